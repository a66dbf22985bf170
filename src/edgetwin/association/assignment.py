"""Twin placement as one minimisation that needs no network: who lives where, what that costs, and which placements are allowed.

With square-root shares f_ik = F_k·s_i/S_k, s_i = √(c·B_i), S_k = Σ_i s_i·x_ik, the least compute latency at a server is S_k²/F_k,
so (18) has a quadratic cost in the servers' loads S_k, and a delay limit (18d) is a limit on S_k. Solvers and bounds work on this
record alone, in float64.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError

LIMIT_TOLERANCE = 1e-9
"""A load may exceed a limit by this relative amount: what rounding leaves of a load that equals it."""


class Assignment(NamedTuple):
    """Minimise constant + Σ_ik linear_ik·x_ik + Σ_k compute_k·(Σ_i load_i·x_ik)² + Σ_k open_cost_k·y_k; y_k = 1: some twin lives at k.

    Every user i has one host k (x_ik = 1) among those allowed, and no server hosts more than its capacity.
    """

    constant: float
    linear: NDArray
    """(users, servers)"""
    load: NDArray
    """(users,), s_i ≥ 0"""
    compute: NDArray
    """(servers,), > 0"""
    open_cost: NDArray
    """(servers,), ≥ 0"""
    capacity: NDArray
    """(servers,), int"""
    allowed: NDArray
    """(users, servers), bool: pins and regions"""
    apart: tuple[NDArray, ...] = ()
    """Anti-affinity: users, by index, of whom no two may share a server"""
    load_limit: NDArray | None = None
    """(users, servers): the largest S_k at which user i, hosted by k, keeps its delay limit; -inf: never; None: no limits"""


class Names(NamedTuple):
    """What users and servers are called where a message must name them."""

    users: Sequence[str]
    servers: Sequence[str]


def loads(assignment: Assignment, host: NDArray) -> NDArray:
    """S_k = Σ_i s_i·x_ik, (servers,). host: (users,) server index."""
    return np.bincount(host, weights=assignment.load, minlength=len(assignment.compute))


def cost(assignment: Assignment, host: NDArray) -> float:
    """The cost of a placement, whether or not it is allowed. host: (users,) server index."""
    hosting = np.bincount(host, minlength=len(assignment.compute)) > 0
    users = np.arange(len(host))
    return float(
        assignment.constant
        + assignment.linear[users, host].sum()
        + assignment.compute @ loads(assignment, host) ** 2
        + assignment.open_cost[hosting].sum()
    )


def late(assignment: Assignment, host: NDArray) -> NDArray:
    """Which users miss their delay limit (18d), (users,) bool."""
    if assignment.load_limit is None:
        return np.zeros(len(host), bool)
    limit = assignment.load_limit[np.arange(len(host)), host]
    return loads(assignment, host)[host] > limit * (1 + LIMIT_TOLERANCE)


def together(assignment: Assignment) -> NDArray:
    """(users, users) bool: pairs that some anti-affinity group keeps apart."""
    pairs = np.zeros((len(assignment.load),) * 2, bool)
    for group in assignment.apart:
        pairs[np.ix_(group, group)] = True
    np.fill_diagonal(pairs, False)
    return pairs


def broken_rule(assignment: Assignment, host: NDArray, names: Names | None = None) -> str | None:
    """The first rule that a placement breaks, in words; None where it keeps all. Delay limits are no such rule: see `late`.

    host: (users,), -1 for a user that has no server yet.
    """
    housed = np.flatnonzero(host >= 0)
    for user in housed[~assignment.allowed[housed, host[housed]]]:
        return f"user {user_name(user, names)} may not live on server {server_name(host[user], names)}"
    count = np.bincount(host[housed], minlength=len(assignment.capacity))
    for server in np.flatnonzero(count > assignment.capacity):
        return f"server {server_name(server, names)} hosts {count[server]} twins and has room for {assignment.capacity[server]}"
    for group in assignment.apart:
        where = host[group]
        for server in np.flatnonzero(np.bincount(where[where >= 0]) > 1):
            sharing = listed(group[where == server], user_name, names)
            return f"users {sharing} are to be kept apart and share server {server_name(server, names)}"
    return None


def check(assignment: Assignment, host: NDArray, names: Names | None = None) -> None:
    """Raises InputError where a placement breaks a rule."""
    if broken := broken_rule(assignment, host, names):
        raise InputError(broken)


def user_name(user: int | np.integer, names: Names | None) -> str:
    """A user's name, its index where it has none."""
    return str(user) if names is None else names.users[int(user)]


def server_name(server: int | np.integer, names: Names | None) -> str:
    """A server's name, its index where it has none."""
    return str(server) if names is None else names.servers[int(server)]


def listed(indices: NDArray, name: Callable[[int, Names | None], str], names: Names | None, most: int = 5) -> str:
    """Names of the first few, and how many more there are."""
    few = ", ".join(name(index, names) for index in indices[:most])
    return few + (f" and {len(indices) - most} more" if len(indices) > most else "")
