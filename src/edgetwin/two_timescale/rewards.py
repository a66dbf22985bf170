"""What the agents are paid: users and stations by the drift-plus-penalty, the centre by the delays its deployment would cause."""

import jax.numpy as jnp


def global_reward(penalty):
    """r_g = −Σ_k Ξ_k, for users and stations.     two-timescale (28). penalty: (users,) of (19)."""
    return -jnp.sum(penalty)


def centre_delay(
    virtual_host,
    *,
    serving,
    host,
    server_sites,
    competing,
    cpu_score,
    link_score,
    data_bits,
    cycles_per_bit,
    cpu_hz,
    link_rate_bps,
    slot_s,
):
    """Wired and computing time of each user if its twin alone stood at `virtual_host`, s.     two-timescale (27)

    One user at a time deviates from the real deployment: its share of a server or link is its score over the scores of the *other*
    users that really compete there, plus its own (decision 27). Each time is capped at a slot, so that the reward stays bounded.

    virtual_host, serving, host: (users,); competing: (users,) bool, who really uses CPU and links in this slot; cpu_score,
    link_score: (sites, users), the stations' scores. Returns (users,).
    """
    users = jnp.arange(serving.shape[0])
    other = users[:, None] != users[None, :]
    real_site, virtual_site = server_sites[host], server_sites[virtual_host]

    def time(work, rate, own, theirs, rivals):
        total = own + jnp.sum(jnp.where(rivals & other & competing[None, :], theirs[None, :], 0), axis=1)
        return jnp.where(own > 0, jnp.minimum(work * total / (jnp.where(own > 0, own, 1) * rate), slot_s), slot_s)

    computing = time(
        data_bits * cycles_per_bit,
        cpu_hz[virtual_host],
        own=cpu_score[virtual_site, users],
        theirs=cpu_score[real_site, users],
        rivals=host[None, :] == virtual_host[:, None],
    )
    wired = time(
        data_bits,
        link_rate_bps,
        own=link_score[serving, users],
        theirs=link_score[serving, users],
        rivals=(serving[None, :] == serving[:, None]) & (real_site[None, :] == virtual_site[:, None]),
    )
    return computing + jnp.where(virtual_site == serving, 0, wired)


def centre_reward(delay_s, requesting):
    """r_c = −(1/K)·Σ_k of the requesting users' (27).     two-timescale (26)"""
    return -jnp.mean(jnp.where(requesting, delay_s, 0))
