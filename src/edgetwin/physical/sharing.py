"""Servers' CPUs and wired links, shared by score: who asks for more gets more, and all together never exceed what there is."""

import jax.numpy as jnp


def proportional_share(score, resource, competing):
    """Each user's share of the resource it draws on: its score over the sum of the competing scores there.

    score: (users,) ≥ 0; resource: (users,) integers, equal where users draw on the same one; competing: (users,) bool.
    Returns (users,) in [0, 1]; 0 for users that do not compete, and where all scores are 0.
    """
    score = jnp.where(competing, score, 0)
    total = jnp.sum(jnp.where(resource[:, None] == resource[None, :], score[None, :], 0), axis=1)
    return jnp.where(total > 0, score / jnp.where(total > 0, total, 1), 0)


def cpu_frequency(score, host, competing, cpu_hz):
    """CPU cycles per second for each user at the server that hosts its twin.     two-timescale (10), (11), (14g), (14h)

    score, host: (users,), host indexes servers; cpu_hz: (servers,), f_max. The sum over a server's users never exceeds f_max
    ((11) as printed sums over the wrong index). Returns (users,), Hz.
    """
    return proportional_share(score, host, competing) * cpu_hz[host]


def link_rate(score, source, target, competing, link_rate_bps, sites):
    """Rate of each user's share of the wired link from its serving site to its twin's site.     two-timescale (14e), (14f)

    score, source, target: (users,), sites; one link of `link_rate_bps` per ordered pair; sites: their number. Returns (users,),
    bit/s; inf where source = target, since that path costs nothing.
    """
    crossing = source != target
    share = proportional_share(score, source * sites + target, competing & crossing)
    return jnp.where(crossing, share * link_rate_bps, jnp.inf)
