"""One synchronisation: how long it takes, whether it fails, and what it costs the user."""

import jax.numpy as jnp


def sync_delay(data_bits, rate_bps, link_bps, cycles_per_bit, cpu_hz):
    """Uplink, wired link and computing, s.     two-timescale (9)

    All (users,). link_bps is inf where the serving site hosts the twin, which is the first case of (9). inf where a share is 0.
    """
    return data_bits / rate_bps + data_bits / link_bps + data_bits * cycles_per_bit / cpu_hz


def sync_failure(requesting, migrating, delay_s, latency_limit_s):
    """Whether a request fails: while its twin migrates, or when it takes too long.     two-timescale (12)

    All (users,); returns bool.
    """
    return requesting & (migrating | (delay_s > latency_limit_s))


def sync_energy(power_w, data_bits, rate_bps, latency_limit_s):
    """Transmission energy, J: p·min(D/R, τ), 0 for silent users.     two-timescale (13)

    As printed (13) has no bound as R → 0 and is 0/0 at p = 0; a user stops sending when its time is up (decision 8).
    """
    return jnp.where(power_w > 0, power_w * jnp.minimum(data_bits / rate_bps, latency_limit_s), 0)
