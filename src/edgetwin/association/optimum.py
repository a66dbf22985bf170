"""The cheapest placement with a proven bound: (18) by HiGHS with perspective cuts, cut again at what was found until the gap is closed.

First users may be split over servers while servers open or not as a whole, which HiGHS solves in a blink and which is nearly tight; then,
where the gap asks for it, users live at one server. The local search gives the first placement and improves what HiGHS finds; pairs that
no better placement can have are left out. With delay limits (18d) the least number of users to relax comes first, then the least cost
with that number.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint

from edgetwin.association.assignment import Assignment, broken_rule, cost, late, loads
from edgetwin.association.bounds import Fixed, fixed_by
from edgetwin.association.local_search import local_search
from edgetwin.association.programme import Programme, Solution, cover, programme, solve, tangents

LEAST_GAP = 1e-7
"""Relative gap that HiGHS's tolerances allow to close"""
DUAL_STEPS = 400
"""Steps of the Lagrangian bound that rules pairs out"""
SPLIT_ROUNDS = 4
"""Most solves with split users"""
CUT_SPREAD = np.concatenate([-np.geomspace(0.5, 0.02, 8), [0], np.geomspace(0.02, 1, 9)])
"""First cuts, relative to the loads of the local search"""

Progress = Callable[[float, float], None]
"""Called after each solve with the lower bound and the cost so far"""


class Solved(NamedTuple):
    """A placement and what is proven of it."""

    host: NDArray
    """(users,) server index"""
    cost: float
    lower_bound: float
    """no placement that relaxes at most as many users costs less"""
    relaxed: NDArray
    """users, by index, that miss their delay limit"""
    fewest_relaxed: int
    """no placement relaxes fewer users"""


def optimum(assignment: Assignment, gap: float = 1e-3, time_limit_s: float = np.inf, progress: Progress | None = None) -> Solved:
    """The least cost within a proven relative `gap`, cost/lower_bound − 1, or what is known when the time is up.

    Where delay limits cannot all be kept, the users relaxed are as few as can be. Raises InputError where no placement exists.
    """
    deadline = time.monotonic() + time_limit_s
    host = local_search(assignment)
    fewest = 0
    if late(assignment, host).any():
        host, fewest = _fewest_relaxed(assignment, host, time.monotonic() + time_limit_s / 2)
    search = _Search(assignment, host, max(gap, LEAST_GAP), deadline, progress)
    if not search.closed:
        search.split_users()
    if not search.closed:
        search.whole_users()
    relaxed = np.flatnonzero(late(assignment, search.host))
    return Solved(search.host, search.cost, search.lower_bound, relaxed, fewest)


def split_bound(assignment: Assignment, host: NDArray | None = None, gap: float = 1e-4, time_limit_s: float = np.inf) -> float:
    """A lower bound on the cost of every placement on allowed servers, within capacities and anti-affinity, whether or not it keeps
    delay limits: the least cost where users may be split over open servers, to a relative `gap`. host: a good placement; by default the
    local search's. Raises InputError where no placement exists.
    """
    free = assignment._replace(load_limit=None)
    host = local_search(free) if host is None else host
    search = _Search(free, host, gap, time.monotonic() + time_limit_s, None)
    search.split_users()
    return search.lower_bound


class _Search:
    """The best placement and bound so far, and the programme with the cuts made so far."""

    def __init__(self, assignment: Assignment, host: NDArray, gap: float, deadline: float, progress: Progress | None):
        self.assignment, self.gap, self.deadline, self.progress = assignment, gap, deadline, progress
        self.host, self.cost = host, cost(assignment, host)
        self.number = int(late(assignment, host).sum())
        fixed = fixed_by(assignment, host, DUAL_STEPS)
        self.lower_bound = min(fixed.lower_bound, self.cost)
        self.made = programme(assignment, fixed, typical_cost=self.cost, most_relaxed=self.number)
        self.extra = [_first_cuts(self.made, host)]

    @property
    def closed(self) -> bool:
        return self.cost - self.lower_bound <= self.gap * abs(self.lower_bound) or time.monotonic() >= self.deadline

    def split_users(self) -> None:
        """Solves with split users until cuts or the gap are tight."""
        for _ in range(SPLIT_ROUNDS):
            found = self.solve(whole=False, gap=self.gap / 4)
            if found.share is None or self.closed or self.cut(found) <= self.gap / 4 * self.cost:
                return

    def whole_users(self) -> None:
        """Solves with users at one server until the gap is closed; a placement that comes again has its cuts, so HiGHS is to be closer."""
        gap, seen = self.gap / 2, set()
        while not self.closed and gap > LEAST_GAP / 10:
            found = self.solve(whole=True, gap=gap)
            if found.share is None:
                return
            self.cut(found)
            host = _whole(found.share).tobytes()
            if host in seen:
                gap /= 4
            seen.add(host)

    def solve(self, *, whole: bool, gap: float) -> Solution:
        """One solve: brings bound and placement up to date."""
        found = solve(self.made, self.extra, whole=whole, gap=gap, time_limit_s=self.deadline - time.monotonic())
        self.lower_bound = min(max(self.lower_bound, found.bound), self.cost)
        if found.share is not None:
            self.try_host(found.share, found.relaxed)
        self.lower_bound = min(self.lower_bound, self.cost)
        if self.progress is not None:
            self.progress(self.lower_bound, self.cost)
        return found

    def try_host(self, share: NDArray, relaxed: NDArray) -> None:
        """Takes over what a solution suggests where it is better: local search places users that it splits, and improves the rest."""
        host = _whole(share)
        if (host >= 0).all():
            self.extra += _late_cuts(self.made, host, relaxed)
        if broken_rule(self.assignment, host):
            return
        host = local_search(self.assignment, host)
        value = cost(self.assignment, host)
        if value < self.cost and late(self.assignment, host).sum() <= self.number:
            self.host, self.cost = host, value

    def cut(self, found: Solution) -> float:
        """Adds cuts at a solution's loads; the cost that they were short of."""
        short = found.load**2 - found.square
        server = np.flatnonzero(short > 0)
        self.extra.append(tangents(self.made.columns, server, found.load[server]))
        return float(self.assignment.compute[server] @ short[server]) * self.made.unit_load**2


def _whole(share: NDArray) -> NDArray:
    """Each user's server, -1 where it is split."""
    return np.where(share.max(axis=1) > 0.99, share.argmax(axis=1), -1)


def _first_cuts(made: Programme, host: NDArray) -> LinearConstraint:
    """Cuts around the loads of a placement; at servers it leaves closed, around the load at the median price of compute."""
    load = loads(made.assignment, host)
    price = np.median((load * made.assignment.compute)[load > 0]) if load.any() else 0
    typical = np.where(load > 0, load, price / made.assignment.compute) / made.unit_load
    at = typical[:, None] * (1 + CUT_SPREAD)
    return tangents(made.columns, np.repeat(np.arange(len(load)), len(CUT_SPREAD)), at.ravel())


def _late_cuts(made: Programme, host: NDArray, relaxed: NDArray) -> list[LinearConstraint]:
    """What rules out a crowd that is late though HiGHS, within its tolerance, holds it to be in time."""
    missed = late(made.assignment, host)
    if not missed.any():
        return []
    return [
        cover(made.columns, np.flatnonzero(host == host[user]), int(host[user]), int(user))
        for user in np.flatnonzero(missed & (relaxed < 0.5))
    ]


def _fewest_relaxed(assignment: Assignment, host: NDArray, deadline: float) -> tuple[NDArray, int]:
    """A placement that relaxes as few users as can be, or as were found in time, and how few no placement goes below."""
    servers = len(assignment.compute)
    nothing = np.zeros(servers, bool)
    everything = Fixed(-np.inf, assignment.allowed, nothing, nothing)
    number, fewest = int(late(assignment, host).sum()), 0
    cuts: list[LinearConstraint] = []
    while fewest < number and time.monotonic() < deadline:
        made = programme(assignment, everything, typical_cost=1.0, most_relaxed=number - 1)
        found = solve(made, cuts, whole=True, gap=0, time_limit_s=deadline - time.monotonic(), fewest=True)
        fewest = int(np.ceil(np.clip(found.bound, fewest, number) - 1e-6))
        if found.share is None:
            break
        candidate = _whole(found.share)
        cuts += _late_cuts(made, candidate, found.relaxed)
        if late(assignment, candidate).sum() < number:
            host = local_search(assignment, candidate)
            number = int(late(assignment, host).sum())
    return host, fewest
