"""What no placement can cost less than, proven in milliseconds: a Lagrangian bound, the same as the linear relaxation's at its best.

For any prices λ_i of a host and loads t_k, S_k² ≥ 2·t_k·S_k − t_k² gives

    cost ≥ constant + Σ_i λ_i + Σ_k min(0, v_k),
    v_k = open_cost_k − compute_k·t_k² + Σ of the capacity_k least of min(0, r_ik),   r_ik = linear_ik + 2·compute_k·t_k·s_i − λ_i

which is concave in all of them. Subgradient ascent starts from the prices that a good placement suggests; whatever it finds is a bound.
Allowed servers and capacities are kept; delay limits and anti-affinity are left out, so the bound holds with and without them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.association.assignment import Assignment, cost, loads
from edgetwin.association.local_search import local_search

PATIENCE = 10
"""Steps without a better bound after which the step is halved"""
DEFLECTION = 1.5
"""How far a direction that turns back is bent towards the one before (Camerini, Fratta and Maffioli)"""


class Lagrangian(NamedTuple):
    """The bound at some prices."""

    value: float
    opening: NDArray
    """v_k, (servers,)"""
    taken: NDArray
    """(servers, users) bool: who makes up v_k"""
    margin: NDArray
    """(servers, users): what v_k rises by with a user who is not taken; not positive for one who is"""


class Dual(NamedTuple):
    """The bound as a function of prices in one unit, (users + servers,): λ_i, 2·compute_k·t_k·(mean s)."""

    assignment: Assignment
    linear: NDArray
    """(servers, users), inf where not allowed"""
    load: NDArray
    """(users,), s_i/(mean s)"""
    twice_curvature: NDArray
    """(servers,), 4·compute_k·(mean s)²"""

    def at(self, prices: NDArray) -> Lagrangian:
        """The bound at these prices."""
        host, compute = np.split(prices, [len(self.load)])
        living = self.linear + (compute[:, None] * self.load - host)
        taken = living < 0
        last = np.zeros(len(compute))
        wanted = taken.sum(axis=1)
        for server in np.flatnonzero((wanted > 0) & (wanted >= self.assignment.capacity)):
            room = self.assignment.capacity[server]
            least = np.argpartition(living[server], room - 1)[:room]
            taken[server] = False
            taken[server, least] = True
            last[server] = living[server, least[-1]]
        opening = self.assignment.open_cost - compute**2 / self.twice_curvature + np.where(taken, living, 0).sum(axis=1)
        value = self.assignment.constant + host.sum() + np.minimum(opening, 0).sum()
        return Lagrangian(float(value), opening, taken, living - last[:, None])

    def slope(self, prices: NDArray, found: Lagrangian) -> NDArray:
        """A subgradient: hosts missing, and load above t."""
        compute = prices[len(self.load) :]
        is_open = found.opening < 0
        taken = found.taken & is_open[:, None]
        load = np.where(is_open, taken @ self.load - 2 * compute / self.twice_curvature, 0)
        return np.concatenate([1 - taken.sum(axis=0), load])


def dual_of(assignment: Assignment) -> Dual:
    """The bound as a function of prices."""
    unit = float(assignment.load.mean()) or 1.0
    linear = np.where(assignment.allowed & (assignment.capacity > 0), assignment.linear, np.inf).T.copy()
    return Dual(assignment, linear, assignment.load / unit, 4 * assignment.compute * unit**2)


def first_prices(dual: Dual, host: NDArray) -> NDArray:
    """Prices at which the open servers of a placement just pay for themselves."""
    assignment = dual.assignment
    load, count = loads(assignment, host), np.bincount(host, minlength=len(assignment.compute))
    marginal = 2 * assignment.compute * load
    fixed = (assignment.open_cost - assignment.compute * load**2) / np.maximum(count, 1)
    own = assignment.linear[np.arange(len(host)), host] + marginal[host] * assignment.load + fixed[host]
    marginal = np.where(count > 0, marginal, np.median(marginal[count > 0]))
    unit = np.sqrt(dual.twice_curvature / assignment.compute) / 2
    return np.concatenate([own, marginal * unit])


def ascend(dual: Dual, prices: NDArray, target: float, steps: int) -> tuple[float, NDArray]:
    """The best bound in so many steps of deflected subgradient ascent, and its prices. target: the cost of a placement (Polyak's step)."""
    users = len(dual.load)
    best, best_prices = -np.inf, prices
    direction = np.zeros_like(prices)
    stride, stalled = 1.0, 0
    for _ in range(steps):
        found = dual.at(prices)
        stalled = 0 if found.value > best + 1e-6 * abs(best) else stalled + 1
        if found.value > best:
            best, best_prices = found.value, prices
        if stalled >= PATIENCE:
            stride, stalled = stride / 2, 0
        slope = dual.slope(prices, found)
        turn = direction @ slope
        direction = slope - DEFLECTION * turn / (direction @ direction) * direction if turn < 0 else slope
        square = direction @ direction
        if square == 0 or found.value >= target:
            break
        prices = prices + stride * (target - found.value) / square * direction
        prices[users:] = np.maximum(prices[users:], 0)
    return best, best_prices


def quick_bound(assignment: Assignment, host: NDArray | None = None, steps: int = 200) -> float:
    """A lower bound on the cost of every placement on allowed servers within capacities, whether or not it keeps delay limits or keeps
    users apart. host: a good placement to start from, (users,); by default the local search's. Raises InputError where none exists.
    """
    if host is None:
        host = local_search(assignment._replace(load_limit=None))
    dual, least = dual_of(assignment), cost(assignment, host)
    return min(ascend(dual, first_prices(dual, host), least, steps)[0], least)


class Fixed(NamedTuple):
    """What every placement below some cost has in common. lower_bound: on the cost of all; keep: (users, servers), pairs it may have;
    closed, opened: (servers,)."""

    lower_bound: float
    keep: NDArray
    closed: NDArray
    opened: NDArray


def fixed_by(assignment: Assignment, host: NDArray, steps: int) -> Fixed:
    """What all placements cheaper than this one must have: wherever the bound with a choice enforced exceeds its cost, it is ruled out."""
    dual, least = dual_of(assignment), cost(assignment, host)
    least += 1e-9 * abs(least)
    found = dual.at(ascend(dual, first_prices(dual, host), least, steps)[1])
    with_server = found.value + np.maximum(found.opening, 0)
    without_server = found.value - np.minimum(found.opening, 0)
    with_pair = with_server[:, None] + np.maximum(found.margin, 0)
    return Fixed(found.value, (with_pair <= least).T, with_server > least, without_server > least)
