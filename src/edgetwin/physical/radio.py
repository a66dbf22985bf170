"""The uplink: who interferes with whom, the SINR at the serving site, and the rate it carries."""

import math

import jax.numpy as jnp


def at_serving(values, serving):
    """Each user's entry for its serving site. values: (users, sites), serving: (users,) → (users,)."""
    return jnp.take_along_axis(values, serving[:, None], axis=1)[:, 0]


def uplink_sinr(gain, power_w, serving, noise_power_w):
    """SINR of every user at its serving site when all users share one band.

    γ_k = p_k g_{k,s(k)} / (Σ_{i≠k} p_i g_{i,s(k)} + σ²)          two-timescale (6), (7), physical reading

    gain: (users, sites), power gains. power_w: (users,), 0 where silent. serving: (users,), site index.
    noise_power_w: scalar. Returns (users,), linear.
    """
    heard = power_w @ gain
    wanted = power_w * at_serving(gain, serving)
    return wanted / (jnp.maximum(heard[serving] - wanted, 0) + noise_power_w)


def uplink_sinr_literal(gain, power_w, serving, noise_power_w):
    """SINR with every interferer counted at its gain to its *own* site.

    γ_k = p_k g_{k,s(k)} / (Σ_{i≠k} p_i g_{i,s(i)} + σ²)          two-timescale (7), as printed

    Arguments and result as `uplink_sinr`.
    """
    wanted = power_w * at_serving(gain, serving)
    return wanted / (jnp.maximum(jnp.sum(wanted) - wanted, 0) + noise_power_w)


def rate(sinr, bandwidth_hz):
    """Shannon rate B·log2(1 + γ), bit/s, exact for weak signals too.     two-timescale (8)"""
    return bandwidth_hz * (jnp.log1p(sinr) / math.log(2.0))


def power_for_rate(rate_bps, gain, bandwidth_hz, noise_power_w):
    """Power that carries a rate without interference, (2^{R/B} − 1)·σ²/g, W; the inverse of (8) over (7)."""
    return jnp.expm1(rate_bps / bandwidth_hz * math.log(2.0)) * noise_power_w / gain
