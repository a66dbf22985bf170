"""A good placement in milliseconds: shift, swap, and open, close or exchange servers, until none of them helps.

Changes of the open set are ranked by an estimate, and the most promising are carried out side by side as one stack of trials: closed
servers lose their users, who are placed again where they cost least, and shifts follow.
"""

import numpy as np
from numpy.typing import NDArray

from edgetwin.association.assignment import Assignment, check, late
from edgetwin.association.feasibility import any_host, require_feasible
from edgetwin.association.stack import Costs, Stack, among, costs_of, exchanges

TRIALS = 16
"""Changes of the open set tried side by side"""
BATCHES = 8
"""Stacks of trials without success that end the search"""
TRIAL_SHIFTS = 12
"""Shifts that follow a change before trials are compared"""


def local_search(assignment: Assignment, start: NDArray | None = None) -> NDArray:
    """A placement that no shift or swap improves, and no promising change of the open set: (users,) server index.

    It keeps capacities, allowed servers and anti-affinity; of delay limits it misses as few as it can, then costs as little. The same
    assignment and start give the same placement: nothing is drawn. start: (users,), -1 for a user that has no server yet. Raises
    InputError where no placement exists or `start` breaks a rule.
    """
    costs = costs_of(assignment)
    if start is not None:
        check(assignment, start)
        return _search(costs, *settle(costs, complete(costs, start)))
    free = costs_of(assignment._replace(load_limit=None))
    host = _search(free, *close_many(free, *settle(free, first_host(free))))
    if not late(assignment, host).any():
        return host
    lenient = costs_of(assignment, lenient=True)
    host = _search(lenient, *settle(lenient, host))
    return _search(costs, *settle(costs, host))


def _search(costs: Costs, host: NDArray, value: float) -> NDArray:
    """Changes the open set while that helps."""
    found = host, value
    while (better := improve_open_set(costs, *found)) is not None:
        found = better
    return found[0]


def first_host(costs: Costs) -> NDArray:
    """Everyone where it costs least as things stand, cheapest first, with all servers open."""
    return complete(costs, np.full(len(costs.problem.load), -1))


def complete(costs: Costs, host: NDArray) -> NDArray:
    """The placement with a server for users that have none: one that already hosts somebody where that is possible."""
    servers, users = costs.linear.shape
    hosting = np.bincount(host[host >= 0], minlength=servers) > 0
    for opens in (hosting, np.ones(servers, bool)):
        stack = Stack(costs, host[None].copy(), opens[None])
        stack.shift(10 * users)
        if (stack.host[0] >= 0).all():
            return stack.host[0]
    require_feasible(costs.problem)
    found = any_host(costs.problem)
    assert found is not None
    return found


def settle(costs: Costs, host: NDArray) -> tuple[NDArray, float]:
    """Shifts and swaps among the servers that are open until neither helps: the placement and its value."""
    used, host = np.unique(host, return_inverse=True)
    costs = among(costs, used)
    while True:
        stack = Stack(costs, host[None], np.ones((1, len(used)), bool))
        stack.shift(100 * len(host))
        host = stack.host[0]
        if not _swap(costs, host):
            return used[host], float(stack.value()[0])


def _swap(costs: Costs, host: NDArray) -> bool:
    """Carries out, in place, the best swaps that meet at no server. Whether there was one."""
    load = np.bincount(host, weights=costs.problem.load, minlength=len(costs.linear))
    change = exchanges(costs, host, load)
    partner = change.argmin(axis=1)
    gain = change[np.arange(len(host)), partner]
    touched = np.zeros(len(load), bool)
    for user in np.argsort(gain, kind="stable"):
        if gain[user] >= -costs.least_gain:
            break
        pair = [user, partner[user]]
        if not touched[host[pair]].any():
            touched[host[pair]] = True
            host[pair] = host[pair[::-1]]
    return bool(touched.any())


def close_many(costs: Costs, host: NDArray, value: float) -> tuple[NDArray, float]:
    """Closes a twentieth of the open servers at a time while that helps; nothing where they are fewer than twenty."""
    while True:
        estimate, is_open = open_set_changes(costs, host)
        closing = np.argsort(estimate[:-1, -1], kind="stable")[: is_open.sum() // 20]
        opens = is_open.copy()
        opens[closing[estimate[closing, -1] < 0]] = False
        found = best_open_set(costs, host, opens[None])
        if found is None or found[1] >= value - costs.least_gain:
            return host, value
        host, value = found


def improve_open_set(costs: Costs, host: NDArray, value: float) -> tuple[NDArray, float] | None:
    """A better placement by closing a server, opening one, or both; None where the most promising changes give none."""
    estimate, is_open = open_set_changes(costs, host)
    order = np.argsort(estimate, axis=None, kind="stable")[: BATCHES * TRIALS]
    closing, opening = np.divmod(order[estimate.ravel()[order] < 0], len(estimate))
    opens = np.tile(np.append(is_open, False), (len(closing), 1))
    opens[np.arange(len(closing)), closing] = False
    opens[np.arange(len(closing)), opening] = True
    for first in range(0, len(opens), TRIALS):
        found = best_open_set(costs, host, opens[first : first + TRIALS, :-1])
        if found is not None:
            found = settle(costs, found[0])
            if found[1] < value - costs.least_gain:
                return found
    return None


def best_open_set(costs: Costs, host: NDArray, opens: NDArray) -> tuple[NDArray, float] | None:
    """The best placement after users moved to each of these open sets, and its value; None where none houses everyone.

    opens: (trials, servers).
    """
    used = np.flatnonzero(opens.any(axis=0))
    index = np.full(opens.shape[1], -1)
    index[used] = np.arange(len(used))
    homeless = ~opens[:, host]
    stack = Stack(among(costs, used), np.where(homeless, -1, index[host]), opens[:, used])
    stack.shift(int(homeless.sum(axis=1).max()) + TRIAL_SHIFTS)
    values = stack.value()
    best = values.argmin()
    if (stack.host[best] < 0).any():
        return None
    return used[stack.host[best]], float(values[best])


def open_set_changes(costs: Costs, host: NDArray) -> tuple[NDArray, NDArray]:
    """Estimates of what closing one server, opening one, or both would change: (servers + 1, servers + 1), rows close, columns open.

    The last row closes nothing, the last column opens nothing; inf where the server is not open, or is. A user of a closed server goes
    where it costs least as things stand; a server that opens has the median price of compute, and takes who gains by that. Also
    returns which servers are open, (servers,).
    """
    problem, servers = costs.problem, len(costs.linear)
    is_open = np.bincount(host, minlength=servers) > 0
    stack = Stack(costs, host[None], is_open[None])
    join, stay, load = stack.join[0], stack.stay[0], stack.load[0]
    shut = np.flatnonzero(~is_open)
    price = np.median((problem.compute * load)[is_open])
    entry = costs.linear[shut] + 2 * price * problem.load
    gain = np.minimum(entry - stay, 0)
    opened = problem.open_cost[shut] - price**2 / problem.compute[shut] + gain.sum(axis=1)
    estimate = np.full((servers + 1, servers + 1), np.inf)
    estimate[servers, shut] = opened
    for server in np.flatnonzero(is_open):
        members = np.flatnonzero(host == server)
        elsewhere = join[:, members].copy()
        elsewhere[server] = costs.homeless_price
        least = elsewhere.min(axis=0)
        here = costs.linear[server, members].sum() + problem.compute[server] * load[server] ** 2 + problem.open_cost[server]
        closed = least.sum() - here
        taken = np.minimum(entry[:, members] - least, 0) - gain[:, members]
        estimate[server, servers] = closed
        estimate[server, shut] = closed + opened + taken.sum(axis=1)
    return estimate, is_open
