"""Placements side by side and what each shift or swap in them would cost: what the local search reads and moves.

Between changes of the open set the cost of opening is fixed, so shifts and swaps are judged by latency alone. Users who miss their delay
limit cost more than any placement could save, so that their number is minimised first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.association.assignment import LIMIT_TOLERANCE, Assignment, together


class Costs(NamedTuple):
    """An assignment as the search reads it: per-server rows contiguous, limits with their tolerance, and the prices that order aims."""

    problem: Assignment
    linear: NDArray
    """(servers, users), inf where not allowed"""
    limit: NDArray | None
    """(servers, users)"""
    together: NDArray | None
    """(users, users), float: pairs kept apart"""
    late_price: float
    """of a user who misses its limit"""
    excess_price: float
    """of a unit of load above the limit of such a user"""
    homeless_price: float
    """of a user without a host: more than all the rest"""
    least_gain: float
    """what a change must save to be one"""

    def own_lateness(self, limit: NDArray, load: NDArray) -> NDArray:
        """The price of users with these limits at servers with these loads."""
        price = self.late_price * (limit < load)
        return price if self.excess_price == 0 else price + self.excess_price * np.maximum(load - limit, 0)

    def lateness(self, limit: NDArray, load: NDArray | float) -> NDArray:
        """The price of all users of a server, with `limit` rising, for each load that it may have."""
        number = np.searchsorted(limit, load)
        if self.excess_price == 0:
            return self.late_price * number
        sums = np.concatenate([[0.0], np.cumsum(limit)])
        return self.late_price * number + self.excess_price * (number * load - sums[number])


def costs_of(assignment: Assignment, *, lenient: bool = False) -> Costs:
    """The search's view of an assignment.

    Missing a limit costs more than any two placements differ by. lenient: it costs what a user may cost at most, and as much again for
    each mean load above the limit, so that a search finds its way through placements with late users.
    """
    linear = np.where(assignment.allowed, assignment.linear, np.inf).T.copy()
    dearest = 2 * np.abs(np.where(assignment.allowed, assignment.linear, 0)).max(axis=1).sum()
    spread = float(dearest + assignment.compute.max() * assignment.load.sum() ** 2 + assignment.open_cost.sum())
    late_price, excess_price, limit = 0.0, 0.0, None
    if assignment.load_limit is not None:
        limit = (assignment.load_limit * (1 + LIMIT_TOLERANCE)).T.copy()
        late_price = 2 * spread
        if lenient:
            limit = np.maximum(limit, 0)
            late_price = spread / len(assignment.load)
            excess_price = spread / float(assignment.load.sum())
    users = len(assignment.load)
    return Costs(
        problem=assignment,
        linear=linear,
        limit=limit,
        together=together(assignment).astype(float) if assignment.apart else None,
        late_price=late_price,
        excess_price=excess_price,
        homeless_price=2 * spread + users * (late_price + excess_price * float(assignment.load.sum())),
        least_gain=1e-12 * (spread + late_price),
    )


class Stack:
    """Placements side by side, and what each shift of a user would cost in them.

    host: (trials, users), -1 without a host. open: (trials, servers). join: (trials, servers, users), the cost of a user's joining a
    server as it stands, inf where it may not or is there. stay: (trials, users), what a user's leaving its server would save.
    """

    def __init__(self, costs: Costs, host: NDArray, open_servers: NDArray):
        self.costs, self.host, self.open = costs, host, open_servers
        trials, servers = open_servers.shape
        self.count = np.zeros((trials, servers), int)
        self.load = np.zeros((trials, servers))
        trial, user = np.nonzero(host >= 0)
        np.add.at(self.count, (trial, host[trial, user]), 1)
        np.add.at(self.load, (trial, host[trial, user]), costs.problem.load[user])
        self.join = np.empty((trials, servers, host.shape[1]))
        self.stay = np.full(host.shape, costs.homeless_price)
        self.update(np.repeat(np.arange(trials), servers), np.tile(np.arange(servers), trials))

    def update(self, trial: NDArray, server: NDArray) -> None:
        """Brings join and stay up to date at these servers."""
        problem = self.costs.problem
        own = problem.compute[server, None] * problem.load**2
        price = 2 * (problem.compute[server] * self.load[trial, server])[:, None] * problem.load
        linear = self.costs.linear[server]
        inside = self.host[trial] == server[:, None]
        join, stay = linear + (price + own), linear + (price - own)
        if self.costs.limit is not None:
            self._add_late(self.costs.limit, trial, server, inside, join, stay)
        shut = ~self.open[trial, server] | (self.count[trial, server] >= problem.capacity[server])
        join[shut] = np.inf
        join[inside] = np.inf
        if self.costs.together is not None:
            join[inside @ self.costs.together > 0] = np.inf
        self.join[trial, server] = join
        rows, users = np.nonzero(inside)
        self.stay[trial[rows], users] = stay[rows, users]

    def _add_late(self, limits, trial, server, inside, join, stay):
        load, price, own = self.costs.problem.load, self.costs.lateness, self.costs.own_lateness
        for row, (index, k) in enumerate(zip(trial, server, strict=True)):
            limit, total = limits[k], self.load[index, k]
            inner = np.sort(limit[inside[row]])
            now = price(inner, total)
            more, less = total + load, total - load
            join[row] += price(inner, more) + own(limit, more) - now
            stay[row] += now - price(inner, less) + own(limit, less)

    def shift(self, most_steps: int) -> None:
        """Carries out the best shift in each placement, one after another, while any helps."""
        trials = np.arange(len(self.host))
        users = self.host.shape[1]
        for _ in range(most_steps):
            change = self.join - self.stay[:, None]
            best = change.reshape(len(trials), -1).argmin(axis=1)
            target, user = np.divmod(best, users)
            helps = change[trials, target, user] < -self.costs.least_gain
            if not helps.any():
                return
            self.move(trials[helps], user[helps], target[helps])

    def move(self, trial: NDArray, user: NDArray, target: NDArray) -> None:
        """Moves one user in each of these placements."""
        source, load = self.host[trial, user], self.costs.problem.load[user]
        housed = source >= 0
        self.host[trial, user] = target
        self.count[trial, target] += 1
        self.load[trial, target] += load
        left, where = trial[housed], source[housed]
        self.count[left, where] -= 1
        self.load[left, where] = np.where(self.count[left, where] > 0, self.load[left, where] - load[housed], 0)
        self.update(np.concatenate([trial, left]), np.concatenate([target, where]))

    def value(self) -> NDArray:
        """Cost with what late and homeless users are priced at, (trials,)."""
        problem = self.costs.problem
        trial, user = np.nonzero(self.host >= 0)
        where = self.host[trial, user]
        total = self.load**2 @ problem.compute + (self.count > 0) @ problem.open_cost
        total += np.bincount(trial, self.costs.linear[where, user], len(self.host))
        total += self.costs.homeless_price * (self.host < 0).sum(axis=1)
        if self.costs.limit is not None:
            price = self.costs.own_lateness(self.costs.limit[where, user], self.load[trial, where])
            total += np.bincount(trial, price, len(total))
        return total


def exchanges(costs: Costs, host: NDArray, load: NDArray) -> NDArray:
    """What exchanging the hosts of users i and j changes, (users, users); inf where it may not be or they share a server."""
    half = np.empty((len(host), len(host)))
    for server in np.unique(host):
        leaving = np.flatnonzero(host == server)
        half[leaving] = _replacements(costs, server, leaving, load[server])
    change = half + half.T
    change[host[:, None] == host] = np.inf
    return change


def _replacements(costs: Costs, server: int, leaving: NDArray, total: float) -> NDArray:
    """What it changes at a server when one of its users leaves and any other user comes instead, (leaving, users)."""
    problem, linear = costs.problem, costs.linear[server]
    more = problem.load - problem.load[leaving, None]
    change = linear - linear[leaving, None] + problem.compute[server] * more * (2 * total + more)
    if costs.limit is not None:
        limit = costs.limit[server]
        then = total + more
        change += costs.lateness(np.sort(limit[leaving]), then) - costs.lateness(np.sort(limit[leaving]), total)
        change += costs.own_lateness(limit, then) - costs.own_lateness(limit[leaving, None], then)
    if costs.together is not None:
        change[costs.together[leaving].sum(axis=0) - costs.together[leaving] > 0] = np.inf
    return change


def among(costs: Costs, servers: NDArray) -> Costs:
    """The same search over some of the servers."""
    problem = costs.problem
    chosen = problem._replace(
        compute=problem.compute[servers], open_cost=problem.open_cost[servers], capacity=problem.capacity[servers]
    )
    limit = None if costs.limit is None else costs.limit[servers]
    return costs._replace(problem=chosen, linear=costs.linear[servers], limit=limit)
