"""How a server's CPU is shared among its twins: by the square root of their work (least sum of times), equally, by their work, or reserved."""

import jax.numpy as jnp


def hosts(host, servers, present):
    """Which twin computes where, (users, servers) 0 or 1. host: (users,), -1 for none; present: (users,), whose twins compute."""
    return ((host[:, None] == jnp.arange(servers)) & present[:, None]).astype(jnp.float32)


def share(rule, work, at, cpu_hz, capacity):
    """CPU of each twin at the server that hosts it, (users,), Hz; 1 where it has none, since nothing is computed there.     association (18c)

    rule: "square-root" f = F·√w/Σ√w, "equal" F/n, "proportional" F·w/Σw, "reserved" F/N_k. work: (users,), cycles. at: (users, servers),
    of `hosts`. cpu_hz, capacity: (servers,).
    """
    if rule == "reserved":
        given = at @ (cpu_hz / capacity)
    else:
        weight = {"square-root": jnp.sqrt(work), "equal": jnp.ones_like(work), "proportional": work}[rule]
        total = weight @ at
        given = weight * (at @ (cpu_hz / jnp.where(total > 0, total, 1)))
    return jnp.where(given > 0, given, 1)
