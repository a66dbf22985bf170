"""What to change about a network: each server or site it could have, and more CPU or room for the servers it has, judged by planning again.

Every change is planned by the local search from the placement at hand, and compared with what that search makes of it without a change.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.association.instance import Outcome, outcome
from edgetwin.association.place import Plan, distance, homes, instance, problem, search, servers
from edgetwin.association.plan_input import Request, Sites

LEAST_GAIN = 1e-9
"""A change must save this share of J, or a missed limit, to be one"""


class Change(NamedTuple):
    """A change that helps. kind: "server", "cpu", "capacity" or "site"; site: its id; cost, over_limit: J and how many users miss their limit with
    it; saves, saves_over_limit: against planning again without it."""

    kind: str
    site: str
    words: str
    cost: float
    over_limit: int
    saves: float
    saves_over_limit: int


class Advice(NamedTuple):
    """Changes that help, best first. cost, over_limit: of planning again without a change; tried: how many of all `possible` ones there was
    time for."""

    cost: float
    over_limit: int
    changes: tuple[Change, ...]
    tried: int
    possible: int


class Trial(NamedTuple):
    """A change to be tried. near: how many users have that site as their nearest; request: as it would then be."""

    kind: str
    site: str
    words: str
    near: int
    request: Request


def advise(made: Plan, seconds: float = 60.0, progress: Callable[[int, int], None] = lambda done, of: None) -> Advice:
    """Every change tried, those at the sites nearest to most users first, until time is up. Best: where limits are hard, fewest users over
    their limit, then least J. progress(done, of) is told every trial."""
    began, hard = time.perf_counter(), made.request.section.delay_limits == "hard"
    base, at = replanned(made.request, made.servers[made.host])
    late = int(base.violations.sum())
    trials = sorted(possible(made.request), key=lambda trial: -trial.near)
    helping: list[Change] = []
    tried = 0
    for trial in trials:
        if time.perf_counter() - began > seconds:
            break
        found, _ = replanned(trial.request, at)
        tried += 1
        progress(tried, len(trials))
        still, saves = int(found.violations.sum()), base.cost - found.cost
        worth = saves > LEAST_GAIN * abs(base.cost)
        if worth and (not hard or still <= late) or (hard and still < late):
            helping.append(Change(trial.kind, trial.site, trial.words, found.cost, still, saves, late - still))
    helping.sort(key=lambda change: (change.over_limit if hard else 0, change.cost))
    return Advice(base.cost, late, tuple(helping), tried, len(trials))


def replanned(request: Request, at: NDArray[np.int64]) -> tuple[Outcome, NDArray[np.int64]]:
    """What the local search makes of twins that stand at the sites `at`, (users,): the outcome, and the sites in the end."""
    numbers, where, section = instance(request), servers(request), request.section
    price = section.violation_price_s / len(at) if section.delay_limits == "soft" else None
    host = search(problem(request, numbers), np.searchsorted(where, at), price)
    return outcome(numbers, host), where[host]


def possible(request: Request) -> Iterator[Trial]:
    """Every change there is: a server for each site that has none, twice the CPU or half as much room again for each that has one, and
    every candidate site."""
    sites, users = request.sites, request.users
    near = np.bincount(homes(request), minlength=len(sites.ids))
    for site, name in enumerate(sites.ids):

        def trial(kind: str, words: str, **fields: Any) -> Trial:
            changed: dict[str, Any] = {field: _put(getattr(sites, field), site, value) for field, value in fields.items()}  # noqa: B023
            return Trial(kind, name, words, int(near[site]), request._replace(sites=sites._replace(**changed)))  # noqa: B023

        cpu_hz, capacity = sites.cpu_hz[site], sites.capacity[site]
        if not sites.server[site]:
            yield trial("server", f"put a server of {cpu_hz / 1e9:g} GHz at {name}", server=True)
            continue
        yield trial("cpu", f"double the CPU of {name} to {2 * cpu_hz / 1e9:g} GHz", cpu_hz=2 * cpu_hz)
        if capacity < len(users.ids):
            more = int(np.ceil(1.5 * capacity))
            yield trial("capacity", f"raise the capacity of {name} by half, to {more} twins", capacity=more)
    if request.candidates is not None:
        nearest_m = distance(users.xy_m, sites.xy_m).min(axis=1)
        nearer = (distance(users.xy_m, request.candidates.xy_m) < nearest_m[:, None]).sum(axis=0)
        for row, name in enumerate(request.candidates.ids):
            has = f"a server of {request.candidates.cpu_hz[row] / 1e9:g} GHz" if request.candidates.server[row] else "no server"
            grown = request._replace(sites=_with_row(sites, request.candidates, row))
            yield Trial("site", name, f"build site {name} with {has}", int(nearer[row]), grown)


def _put(values: NDArray, row: int, value: Any) -> NDArray:
    changed = values.copy()
    changed[row] = value
    return changed


def _with_row(sites: Sites, more: Sites, row: int) -> Sites:
    """The sites and one more, last."""
    return Sites(
        ids=(*sites.ids, more.ids[row]),
        xy_m=np.vstack([sites.xy_m, more.xy_m[row]]),
        server=np.append(sites.server, more.server[row]),
        cpu_hz=np.append(sites.cpu_hz, more.cpu_hz[row]),
        capacity=np.append(sites.capacity, more.capacity[row]),
        region=(*sites.region, more.region[row]),
    )
