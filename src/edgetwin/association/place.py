"""A plan for an engineer's own sites and users: which servers open, whose twin lives where, who misses its delay limit, and the proven gap."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from numpy.typing import NDArray

from edgetwin.association import latency
from edgetwin.association.assignment import LIMIT_TOLERANCE, Assignment, Names, cost, late
from edgetwin.association.bounds import quick_bound
from edgetwin.association.feasibility import require_feasible
from edgetwin.association.instance import Instance, Outcome, assignment, load_limit, outcome
from edgetwin.association.local_search import improve_open_set, local_search, settle
from edgetwin.association.optimum import optimum
from edgetwin.association.plan_input import Request
from edgetwin.association.rules import in_order
from edgetwin.association.stack import costs_of
from edgetwin.errors import InputError

if TYPE_CHECKING:
    from edgetwin.association.advice import Advice

Rule = Literal["optimum", "local-search", "greedy", "nearest"]
GAP = 1e-3
"""What the optimum is proven to"""


class Plan(NamedTuple):
    """Twins placed. policy: as asked for; method: what placed them in the end; host: (users,), index among the servers of `instance`;
    home: (users,), index of the nearest site; lower_bound: what no plan costs less than that has as few users over their limit;
    fewest_over_limit: no plan has fewer; advice: what to change."""

    request: Request
    instance: Instance
    policy: str
    method: str
    home: NDArray[np.int64]
    host: NDArray[np.int64]
    outcome: Outcome
    lower_bound: float
    fewest_over_limit: int
    advice: "Advice | None" = None

    @property
    def servers(self) -> NDArray[np.int64]:
        """Which sites have a server, (servers,)."""
        return servers(self.request)

    @property
    def gap(self) -> float | None:
        """By how much J may exceed the least, as a share of the bound; None where the bound is no positive number."""
        return max(self.outcome.cost / self.lower_bound - 1, 0.0) if self.lower_bound > 0 else None

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data, as docs/place.md describes it."""
        from edgetwin.association.plan_rows import to_json

        return to_json(self)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes plan.json, users.csv, servers.csv and the map into a folder that holds nothing else."""
        from edgetwin.association.plan_output import write

        return write(self, Path(folder))


class Placed(NamedTuple):
    """A placement, what made it, and what is proven."""

    host: NDArray[np.int64]
    method: str
    lower_bound: float
    fewest_over_limit: int = 0


def servers(request: Request) -> NDArray[np.int64]:
    """Sites that have a server, (servers,)."""
    return np.flatnonzero(request.sites.server)


def homes(request: Request) -> NDArray[np.int64]:
    """Each user's nearest site, (users,)."""
    return distance(request.users.xy_m, request.sites.xy_m).argmin(axis=1)


def instance(request: Request) -> Instance:
    """The request in numbers: the nearest site is home, and its rate (3) is that of the path loss alone, without shadowing."""
    sites, users, section = request.sites, request.users, request.section
    distance_m, home = distance(users.xy_m, sites.xy_m), homes(request)
    bandwidth_hz = np.full(len(home), section.bandwidth_hz)
    if section.bandwidth_use == "shared":
        bandwidth_hz /= np.bincount(home)[home]
    with jax.enable_x64(True):
        nearest_m = np.maximum(distance_m.min(axis=1), section.distance_min_m)
        gain = latency.path_gain(nearest_m, 0.0, section)
        rate_bps = np.asarray(latency.uplink_rate(gain, bandwidth_hz, section.tx_power_w, section.noise_density_w_per_hz))
    where = servers(request)
    return Instance(
        distance_m=distance_m[:, where],
        wire_m=distance(sites.xy_m, sites.xy_m[where])[home],
        rate_bps=rate_bps,
        data_bits=users.data_bits,
        update_bits=users.update_bits,
        limit_s=users.limit_s,
        cpu_hz=sites.cpu_hz[where],
        capacity=sites.capacity[where],
        section=section,
    )


def problem(request: Request, numbers: Instance) -> Assignment:
    """The minimisation, with pins, regions and anti-affinity, and with delay limits unless they are off."""
    where, users = servers(request), request.users
    ids = [request.sites.ids[site] for site in where]
    allowed = np.ones((len(users.ids), len(where)), bool)
    region = np.array([request.sites.region[site] for site in where])
    for user, (pin, regions) in enumerate(zip(users.pin, users.regions, strict=True)):
        if pin:
            allowed[user] = np.arange(len(ids)) == ids.index(pin)
        elif regions:
            allowed[user] = np.isin(region, regions)
    labels = dict.fromkeys(label for label in users.apart if label)
    groups = [np.flatnonzero([each == label for each in users.apart]) for label in labels]
    apart = tuple(group for group in groups if len(group) > 1)
    return assignment(numbers, limited=request.section.delay_limits != "off", allowed=allowed, apart=apart)


def plan(request: Request, policy: str = "optimum", seconds: float = 60.0) -> Plan:
    """The plan of a policy. Raises InputError where no placement keeps capacities, pins, regions and anti-affinity, or the policy finds none."""
    if policy not in get_args(Rule):
        raise InputError(f"policy {policy!r}: must be one of {', '.join(get_args(Rule))}")
    if not 0 < seconds < np.inf:
        raise InputError(f"seconds = {seconds:g}: must be above 0")
    numbers = instance(request)
    asked = problem(request, numbers)
    names = Names(request.users.ids, [request.sites.ids[site] for site in servers(request)])
    require_feasible(asked, names)
    if policy in ("greedy", "nearest"):
        placed = _bounded(asked, _in_order(numbers, asked, policy, names), policy)  # type: ignore[arg-type]
    elif request.section.delay_limits == "soft":
        placed = _priced(asked, request.section.violation_price_s / len(asked.load), policy, seconds)
    else:
        placed = _solved(asked, policy, seconds)
    found = outcome(numbers, placed.host)
    bound = float(placed.lower_bound)
    fewest = max(placed.fewest_over_limit, hopeless(asked._replace(load_limit=load_limit(numbers))))
    return Plan(request, numbers, policy, placed.method, homes(request), placed.host, found, bound, fewest)


def _solved(asked: Assignment, policy: str, seconds: float) -> Placed:
    """By the optimum where it is asked for, else by the local search. What is not proven by the time counts as searched."""
    if policy != "optimum":
        return _bounded(asked, local_search(asked), "local-search")
    found = optimum(asked, GAP, seconds)
    proven = found.cost <= found.lower_bound * (1 + GAP) and len(found.relaxed) == found.fewest_relaxed
    return Placed(found.host, "optimum" if proven else "local-search", found.lower_bound, found.fewest_relaxed)


def _bounded(asked: Assignment, host: NDArray[np.int64], method: str) -> Placed:
    """A placement beside a bound that leaves delay limits out."""
    free = asked._replace(load_limit=None)
    return Placed(host, method, quick_bound(free))


def hopeless(asked: Assignment) -> int:
    """How many users miss their limit even alone on any server allowed to them."""
    assert asked.load_limit is not None
    return int((np.where(asked.allowed, asked.load_limit, -np.inf).max(axis=1) * (1 + LIMIT_TOLERANCE) < asked.load).sum())


def _priced(asked: Assignment, price: float, policy: str, seconds: float) -> Placed:
    """With a price for every missed limit: the best placement without limits, searched on with the price. What costs least without limits,
    and the price of those who miss theirs wherever they are, bound it."""
    free = _solved(asked._replace(load_limit=None), policy, seconds)
    host = search(asked, free.host, price)
    lower_bound = free.lower_bound + price * hopeless(asked)
    proven = cost(asked, host) + price * late(asked, host).sum() <= lower_bound * (1 + GAP)
    return Placed(host, "optimum" if proven and policy == "optimum" else "local-search", lower_bound)


def search(asked: Assignment, start: NDArray[np.int64], late_price: float | None = None) -> NDArray[np.int64]:
    """The local search from a placement; `late_price`, in the unit of the cost, is what a missed limit costs where limits are soft."""
    if late_price is None:
        return local_search(asked, start)
    costs = costs_of(asked)
    assert costs.limit is not None
    costs = costs._replace(late_price=late_price, limit=np.maximum(costs.limit, 0))
    found: tuple[NDArray[np.int64], float] | None = settle(costs, start)
    while found is not None:
        host, value = found
        found = improve_open_set(costs, host, value)
    return host


def _in_order(numbers: Instance, asked: Assignment, policy: Literal["greedy", "nearest"], names: Names) -> NDArray[np.int64]:
    """What a rule makes of users in their order, the most constrained first. Raises InputError where those before leave one no server."""
    host = in_order(numbers, policy, asked)
    if (host < 0).any():
        order = np.argsort(asked.allowed.sum(axis=1), kind="stable")
        stuck = order[np.argmax(host[order] < 0)]
        raise InputError(
            f"policy {policy}: the users before {names.users[stuck]} took all room that is allowed to it: "
            f"use local-search or optimum, which plan ahead"
        )
    return host


def distance(here: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(((here[:, None] - there) ** 2).sum(axis=-1))
