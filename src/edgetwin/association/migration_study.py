"""Whether learning pays where effects last: the learned migration policy against rules, the best of each slot, a plan that knows the future,
and the bound, on the same networks, which no training has met.

Net utility differs far more between networks than between policies, so everything is judged by paired differences to `priced`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from edgetwin.evaluation.claims import Claim, at_least, at_most, gain_of
from edgetwin.evaluation.plots import INK, colour, empty, ends_of, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate, pooled, seed_mean
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen

JOBS = "edgetwin.association.migration_jobs"
SCENARIO = "association/n100-m10"
LEARNED, BASE = "afterstate-td", "priced"
RULES = ("never", "nearest", "algorithm-3", BASE)
SLOT_OPTIMUM, CLAIRVOYANT, BOUND = "slot-optimum", "clairvoyant", "proven bound"
REFERENCES = (SLOT_OPTIMUM, CLAIRVOYANT)
REFERENCE_NETWORKS = 12
"""The first ones, for what is slow"""
NET, UTILITY, MOVES, LATE = "net_utility", "utility", "migrations_per_100_users", "delay_violations"
MINUTES = 15.0
WHERE = "not in the paper, where migration follows Algorithm 3 at no price"


class Size(NamedTuple):
    """What a scale takes: seeds, slots of a training, networks of the comparison."""

    seeds: int
    slots: int
    networks: int


SIZES: Mapping[Scale, Size] = {"quick": Size(1, 16_000, 16), "full": Size(5, 40_000, 64)}


def _jobs(scale: Scale) -> list[Job]:
    size = SIZES[scale]
    shared = {"scenario": SCENARIO, "set": {}, "episodes": size.networks}
    few = {**shared, "episodes": REFERENCE_NETWORKS, "policies": list(REFERENCES), "shown": "references"}
    trainings = [
        Job(
            f"{LEARNED}, seed {seed}",
            f"{JOBS}:learned",
            {**shared, "shown": LEARNED, "algo": LEARNED, "budget": size.slots, "seed": seed},
        )
        for seed in range(size.seeds)
    ]
    return [
        *trainings,
        Job("rules", f"{JOBS}:rules", {**shared, "policies": list(RULES), "shown": "rules"}),
        Job("the bound", f"{JOBS}:bound", {**shared, "shown": "bound"}),
        Job(f"slow: {' and '.join(REFERENCES)}, the first {REFERENCE_NETWORKS} networks", f"{JOBS}:rules", few),
    ]


def by_seed(results: Results, measure: str = NET) -> np.ndarray:
    """What trained policies come to, (seeds, networks)."""
    return np.array([value["measures"][measure] for value in chosen(results, shown=LEARNED)])


def of(results: Results, policy: str, measure: str = NET) -> np.ndarray:
    """What a policy comes to on all its networks, (networks,): the learned one's mean over seeds, and what nobody can exceed."""
    if policy == LEARNED:
        return by_seed(results, measure).mean(axis=0)
    if policy == BOUND:
        return np.array(chosen(results, shown="bound")[0][measure])
    return np.array(_told(results, policy)["measures"][measure])


def over_base(results: Results, policy: str) -> np.ndarray:
    """By how much a policy's net utility exceeds that of `priced` on the networks that it met, (networks,)."""
    value = of(results, policy)
    return value - of(results, BASE)[: len(value)]


def gains_by_seed(results: Results) -> dict[str, Estimate]:
    """The learned policy's net utility over that of `priced`: of each seed with an interval over networks, and where there are several
    seeds, of all with one over seeds."""
    gains = by_seed(results) - of(results, BASE)
    each = {f"seed {seed}": _mean(gain) for seed, gain in zip(_seeds(results), gains, strict=True)}
    return {**each, "over seeds": seed_mean(gains.mean(axis=1))} if len(gains) > 1 else each


def share_of_the_way(results: Results, to: str) -> Estimate:
    """How much of what another has over `priced` the learned policy, in the mean over seeds, has too; over the networks of the other."""
    whole = over_base(results, to)
    return pooled(over_base(results, LEARNED)[: len(whole)], whole)


def _told(results: Results, policy: str) -> Any:
    return chosen(results, shown="references" if policy in REFERENCES else "rules")[0][policy]


def _seeds(results: Results) -> list[int]:
    return [result.settings["seed"] for result in results.values() if result.settings["shown"] == LEARNED]


def _mean(values: np.ndarray) -> Estimate:
    """A mean over networks with its interval. values: (networks,)."""
    return pooled(values, np.ones(len(values)))


def _over_seeds(results: Results, name: str, times: float = 1.0) -> Estimate:
    return seed_mean(times * np.array([value[name] for value in chosen(results, shown=LEARNED)]))


def _levels(results: Results, policies: tuple[str, ...], networks: int, table: str, title: str) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for policy in policies:
        found = [_mean(of(results, policy, measure)[:networks]) for measure in (NET, UTILITY, MOVES, LATE)]
        times: list[Estimate | None] = [None, None]
        if policy == LEARNED:
            times = [_over_seeds(results, name) for name in ("seconds", "decision_ms")]
            knows = chosen(results, shown=LEARNED)[0]["knows"]
        else:
            knows = _told(results, policy)["knows"]
        rows.append([policy, knows, *found, *times])
    rows.append([BOUND, None, _mean(of(results, BOUND)[:networks]), *[None] * 5])
    columns = (
        "policy",
        "knows",
        "net utility",
        "utility",
        "migrations per 100 users and slot",
        "over the limit, share",
        "training, s",
        "a decision, ms",
    )
    return Table(table, title, columns, rows)


def _tables(results: Results) -> list[Table]:
    networks, seeds = by_seed(results).shape[1], len(_seeds(results))
    told = f"{LEARNED}: mean of {seeds} seed{'s' if seeds > 1 else ''}"
    gains: list[list[str | float | Estimate | None]] = [
        [f"{LEARNED}, {name}", networks, gain, None, None] for name, gain in gains_by_seed(results).items()
    ]
    shares = [share_of_the_way(results, to) for to in (CLAIRVOYANT, BOUND)]
    gains.append([f"{LEARNED}, over networks, seeds' mean", networks, _mean(over_base(results, LEARNED)), *shares])
    for policy in (*(rule for rule in RULES if rule != BASE), *REFERENCES, BOUND):
        gain = over_base(results, policy)
        gains.append([policy, len(gain), _mean(gain), None, None])
    columns = ("policy", "networks", f"net utility over {BASE}", f"share of the way to {CLAIRVOYANT}", "to the bound")
    return [
        _levels(results, (*RULES, LEARNED), networks, "policies", f"{networks} networks; {told}"),
        _levels(
            results,
            (BASE, LEARNED, *REFERENCES),
            REFERENCE_NETWORKS,
            "references",
            f"The first {REFERENCE_NETWORKS} networks, where slow references were run too; {told}",
        ),
        Table("gains", f"Net utility over {BASE} on the same networks, paired", columns, gains),
    ]


def _picture(results: Results) -> Figure:
    """Differences to `priced`: a point for each network, the mean with its interval beside it."""
    gains = by_seed(results) - of(results, BASE)
    rows = [(f"{LEARNED}, seed {seed}", gain, colour(1)) for seed, gain in zip(_seeds(results), gains, strict=True)]
    if len(gains) > 1:
        rows.append((f"{LEARNED}, seeds' mean", gains.mean(axis=0), colour(2)))
    others = ((SLOT_OPTIMUM, colour(3)), (CLAIRVOYANT, colour(4)), (BOUND, INK))
    rows += [(policy, over_base(results, policy), hue) for policy, hue in others]
    figure, axes = empty(8.6, 1.3 + 0.5 * len(rows))
    for place, (_, gain, hue) in enumerate(rows):
        mean = _mean(gain)
        low, high = ends_of(mean)
        axes.plot(gain, np.full(len(gain), place + 0.18), "o", color=hue, markersize=3, alpha=0.4, markeredgewidth=0)
        axes.errorbar(
            mean.mean, place - 0.12, xerr=[[mean.mean - low], [high - mean.mean]], fmt="D", color=hue, markersize=5, capsize=3
        )
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{name} ({len(gain)})" for name, gain, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(
        f"net utility over {BASE} on the same network\ndiamonds: means with 95 % intervals over networks (their number)"
    )
    say_it_as_it_is(figure)
    return figure


def _claims(results: Results) -> list[Claim]:
    behind = _mean(-over_base(results, SLOT_OPTIMUM))
    shares = {
        "of the way to the bound": share_of_the_way(results, BOUND),
        f"to {CLAIRVOYANT}": share_of_the_way(results, CLAIRVOYANT),
    }
    return [
        Claim(
            f"The learned policy beats {BASE} in net utility on networks that it has not met, every seed and all together",
            WHERE,
            gains_by_seed(results),
            at_least(0),
        ),
        Claim(
            f"A training takes at most {MINUTES:g} minutes, with compilation",
            WHERE,
            {"over seeds": _over_seeds(results, "seconds", 1 / 60)},
            at_most(MINUTES),
            unit="minutes",
        ),
        Claim(
            f"Effects last: what is best in each slot alone ({SLOT_OPTIMUM}) has less net utility than {BASE}",
            WHERE,
            {f"{BASE} over {SLOT_OPTIMUM}": behind},
            at_least(0),
        ),
        Claim(
            f"The learned policy gains all that can be gained over {BASE} (1: all of it)",
            WHERE,
            shares,
            gain_of(1),
        ),
    ]


STUDIES = {
    "association/migration": Study(
        "Learned migration against rules and what is possible",
        "beyond the paper",
        "Net utility of a learned policy over `priced` on networks that it has not met, paired; and how far the best of a slot, a plan that "
        "knows the future, and the proven bound are.",
        _jobs,
        lambda results: {"gains": _picture(results)},
        _tables,
        _claims,
    ),
}
