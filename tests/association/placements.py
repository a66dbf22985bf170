"""Small placements to prove solvers on: random ones, and the best of each by trying all."""

from itertools import product

import numpy as np

from edgetwin.association.assignment import LIMIT_TOLERANCE, Assignment


def random_assignment(seed, users, servers, *, tight=False, pins=False, apart=False, limits=None):
    """Costs of about one. tight: hardly more room than users; pins: half of the pairs not allowed; apart: two groups kept apart.
    limits: None, or how many mean loads a server may have, about, before users miss their limits."""
    draw = np.random.default_rng(seed)
    capacity = np.full(servers, users)
    if tight:
        capacity = draw.multinomial(users + 1, np.ones(servers) / servers)
    allowed = draw.random((users, servers)) < 0.5 if pins else np.ones((users, servers), bool)
    allowed[np.arange(users), draw.integers(servers, size=users)] = True
    groups = tuple(draw.choice(users, min(users, size), replace=False) for size in (2, 3)) if apart else ()
    load = draw.uniform(0.2, 2, users) * 1e3
    load_limit = None
    if limits is not None:
        load_limit = draw.uniform(0, 2 * limits, (users, servers)) * load.mean()
        load_limit[draw.random((users, servers)) < 0.1] = -np.inf
    return Assignment(
        constant=draw.uniform(0, 1),
        linear=draw.uniform(0, 1, (users, servers)),
        load=load,
        compute=draw.uniform(0.05, 0.3, servers) / load.mean() ** 2,
        open_cost=draw.uniform(0, 1.5, servers),
        capacity=capacity,
        allowed=allowed,
        apart=groups,
        load_limit=load_limit,
    )


def brute_force(assignment):
    """(fewest late users, least cost with that number, its host) over all placements that keep the rules; None where there is none.

    Written from the definition alone, one placement after another.
    """
    users, servers = assignment.linear.shape
    best = None
    for host in product(range(servers), repeat=users):
        total, count = [0.0] * servers, [0] * servers
        for user, server in enumerate(host):
            total[server] += assignment.load[user]
            count[server] += 1
        if any(count[k] > assignment.capacity[k] for k in range(servers)):
            continue
        if not all(assignment.allowed[user, server] for user, server in enumerate(host)):
            continue
        if any(len({host[user] for user in group}) < len(group) for group in assignment.apart):
            continue
        late = 0
        if assignment.load_limit is not None:
            late = sum(total[k] > assignment.load_limit[i, k] * (1 + LIMIT_TOLERANCE) for i, k in enumerate(host))
        value = assignment.constant + sum(assignment.linear[i, k] for i, k in enumerate(host))
        value += sum(assignment.compute[k] * total[k] ** 2 + assignment.open_cost[k] * (count[k] > 0) for k in range(servers))
        if best is None or (late, value) < best[:2]:
            best = (late, value, host)
    return best
