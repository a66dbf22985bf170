"""From one region to another, Algorithm 2 with (32)-(34): what each way to begin in a new region saves against training from nothing.

A user has been in several regions, in each of which placement was learned on from what was learned before; now it comes to another.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from edgetwin.association.study_jobs import JOBS, LEARNED
from edgetwin.association.transfer_jobs import MEAN, SCRATCH
from edgetwin.evaluation.claims import Claim, at_least, at_most
from edgetwin.evaluation.learning_curves import Level, curve, learning_curves
from edgetwin.evaluation.statistics import Estimate, scaled, seed_difference, seed_mean, seed_saving
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen

WAY: Mapping[str, Mapping[str, Any]] = {
    "centre": {},
    "works": {
        "users.hotspots": 1,
        "association.cycles_per_bit": 300.0,
        "association.wire_s_per_bit_m": 3e-10,
        "association.open_cost_s": 0.5,
    },
    "station": {
        "area.width_m": 1200.0,
        "association.cycles_per_bit": 250.0,
        "association.wire_s_per_bit_m": 1e-10,
        "association.open_cost_s": 1.5,
    },
}
"""The regions that a user comes through, by what they have other than the scenario."""
TARGET: Mapping[str, Any] = {
    "area.width_m": 2000.0,
    "users.hotspots": 4,
    "association.data_bits": [10e6, 50e6],
    "association.cycles_per_bit": 120.0,
    "association.wire_s_per_bit_m": 3e-10,
    "association.open_cost_s": 3.0,
}
"""The suburb it comes to: wide, with longer wires, more data, less to compute and dearer servers."""
WARM, EXPERIENCE, PULL, PRINTED = "warm", "experience", "pull", "printed"
ARMS = (SCRATCH, WARM, EXPERIENCE, MEAN, PULL, PRINTED)
CALLED = {
    SCRATCH: "from scratch",
    WARM: "warm start",
    EXPERIENCE: "warm, experience (33)",
    MEAN: "mean of lineage (32)",
    PULL: "Algorithm 2, (34) convex",
    PRINTED: "Algorithm 2 as printed",
}
RULES = ("nearest", "greedy", "optimum")
SHARES = (0.9, 0.95, 0.99)
BAR_SHARE, BAR_RATIO = 0.95, 0.2
SETTLED = 3
"""Evaluations at the end whose mean is where an arm ends"""


class Size(NamedTuple):
    """What a scale takes: scenario, seeds, slots in each region of the way and of an arm, and networks of an evaluation."""

    scenario: str
    seeds: int
    way_slots: Mapping[str, int]
    slots: int
    networks: int


SIZES: Mapping[Scale, Size] = {
    "quick": Size("association/n80-m10", 2, {"centre": 11_200, "station": 3_200}, 9_600, 32),
    "full": Size("association/n100-m10", 5, {"centre": 24_000, "works": 9_600, "station": 9_600}, 19_200, 64),
}


def _jobs(scale: Scale) -> list[Job]:
    size = SIZES[scale]
    rules = {"scenario": size.scenario, "set": dict(TARGET), "policies": list(RULES), "steps": 1, "episodes": 1}
    shared = {
        "scenario": size.scenario,
        "algo": f"{LEARNED}[anneal_slots={size.slots}]",
        "way": [{"region": region, "set": dict(WAY[region]), "slots": slots} for region, slots in size.way_slots.items()],
        "target": dict(TARGET),
        "arms": list(ARMS),
        "slots": size.slots,
        "evaluation_episodes": size.networks,
        "shown": "arms",
    }
    return [
        *(
            Job(f"transfer, seed {seed}", "edgetwin.association.transfer_jobs:lineage_and_arms", {**shared, "seed": seed})
            for seed in range(size.seeds)
        ),
        Job("rules", f"{JOBS}:rule_policies", {**rules, "evaluation_episodes": size.networks, "shown": "rules"}),
    ]


def iterations_to(updates: Sequence[float], cost: Sequence[float], level: float) -> float:
    """Updates until the cost is first at or below the level, on straight lines between evaluations; all of them where it never is."""
    below = np.flatnonzero(np.asarray(cost) <= level)
    if len(below) == 0:
        return float(updates[-1])
    after = int(below[0])
    if after == 0:
        return float(updates[0])
    share = (cost[after - 1] - level) / (cost[after - 1] - cost[after])
    return float(updates[after - 1] + share * (updates[after] - updates[after - 1]))


def levels(results: Results) -> dict[float, float]:
    """The cost at each of `SHARES` of the way from the untrained policy's level to where the warm start ends, both means over seeds."""
    untrained = float(np.mean([arm["cost"][0] for arm in _arms(results, SCRATCH)]))
    end = float(_ends(results, WARM).mean())
    return {share: untrained + share * (end - untrained) for share in SHARES}


def ratio(results: Results, arm: str, to: str, share: float) -> Estimate:
    """The arm's iterations as a share of those of `to`, with an interval over seeds."""
    return scaled(seed_saving(_iterations(results, arm, share), _iterations(results, to, share)), -1.0, 1.0)


def _arms(results: Results, arm: str) -> list[dict[str, Any]]:
    return [value[arm] for value in chosen(results, shown="arms")]


def _iterations(results: Results, arm: str, share: float) -> np.ndarray:
    level = levels(results)[share]
    return np.array([iterations_to(each["updates"], each["cost"], level) for each in _arms(results, arm)])


def _reached(results: Results, arm: str, share: float) -> int:
    return sum(min(each["cost"]) <= levels(results)[share] for each in _arms(results, arm))


def _starts(results: Results, arm: str) -> np.ndarray:
    return np.array([each["cost"][0] for each in _arms(results, arm)])


def _ends(results: Results, arm: str) -> np.ndarray:
    return np.array([np.mean(each["cost"][-SETTLED:]) for each in _arms(results, arm)])


def _rules(results: Results) -> dict[str, float]:
    return chosen(results, shown="rules")[0]["evaluated"]


def _above_optimum(results: Results, costs: np.ndarray) -> Estimate:
    return seed_mean(100 * (costs / _rules(results)["optimum"] - 1))


def _growth(results: Results, arm: str) -> Estimate:
    """‖θ‖ after the last block as a multiple of that after the first."""
    norms = [[norm for norm in each["parameter_norm"] if norm is not None] for each in _arms(results, arm)]
    return seed_mean(np.array([each[-1] / each[0] for each in norms]))


def _picture(results: Results) -> Figure:
    curves = [curve(CALLED[arm], [(each["slots"], each["cost"]) for each in _arms(results, arm)]) for arm in ARMS]
    horizontal = [Level(name, value) for name, value in _rules(results).items()]
    reached = f"95 % of the way is {levels(results)[BAR_SHARE]:.3g} s."
    return learning_curves(curves, horizontal, "mean cost in the new region, s", f"Bands: 95 % over seeds. {reached}")


def _table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for arm in ARMS:
        seeds = len(_arms(results, arm))
        needed = [seed_mean(_iterations(results, arm, share)) for share in SHARES]
        reached = ", ".join(str(_reached(results, arm, share)) for share in SHARES)
        start, end = (_above_optimum(results, costs) for costs in (_starts(results, arm), _ends(results, arm)))
        against = None if arm == SCRATCH else ratio(results, arm, SCRATCH, BAR_SHARE)
        rows.append([CALLED[arm], start, end, *needed, f"{reached} of {seeds}", against])
    for name, cost in _rules(results).items():
        above = 100 * (cost / _rules(results)["optimum"] - 1)
        rows.append([name, above, above, *[None] * len(SHARES), None, None])
    columns = (
        "beginning",
        "before training, % above the optimum",
        "in the end, %",
        *(f"iterations to {100 * share:.0f} %" for share in SHARES),
        "seeds that got there",
        "of scratch's to 95 %",
    )
    title = "Beginning in a new region; a seed that never got there counts with all its iterations"
    return Table("transfer", title, columns, rows)


def _claims(results: Results) -> list[Claim]:
    where = "V-B; no number in the paper"
    optimum = _rules(results)["optimum"]
    at_start = seed_difference(100 * _starts(results, SCRATCH) / optimum, 100 * _starts(results, WARM) / optimum)
    mean_worse = seed_difference(100 * _starts(results, MEAN) / optimum, 100 * _starts(results, WARM) / optimum)
    pull_worse = seed_difference(100 * _ends(results, PULL) / optimum, 100 * _ends(results, WARM) / optimum)
    printed_worse = seed_difference(100 * _ends(results, PRINTED) / optimum, 100 * _ends(results, WARM) / optimum)
    return [
        Claim(
            f"Training goes on from the source: a warm start is at 95 % in at most {BAR_RATIO:g} of the iterations from scratch",
            where,
            {"warm start over scratch": ratio(results, WARM, SCRATCH, BAR_SHARE)},
            at_most(BAR_RATIO),
        ),
        Claim(
            "What was learned elsewhere helps at once: before any training it costs less than an untrained policy",
            where,
            {"saved, % of the optimum": at_start},
            at_least(0),
            unit="%",
        ),
        Claim(
            "The source's experience (33) beside its model brings training to 99 % no later than the model alone",
            where,
            {"experience over warm start": ratio(results, EXPERIENCE, WARM, 0.99)},
            at_most(1),
        ),
        Claim(
            "The mean of a lineage (32) is no worse a beginning than its last model",
            where,
            {"worse before training, % of the optimum": mean_worse},
            at_most(0),
            unit="%",
        ),
        Claim(
            "Convex (34) ends within a percent of the warm start",
            "not in the paper, which prints the sum",
            {"worse in the end, % of the optimum": pull_worse},
            at_most(1),
            unit="%",
        ),
        Claim(
            "(34) as printed ends no worse than the warm start",
            where,
            {"worse in the end, % of the optimum": printed_worse},
            at_most(0),
            unit="%",
        ),
        Claim(
            "(34) as printed keeps its parameters within twice of what they were",
            where,
            {"growth of the parameters": _growth(results, PRINTED)},
            at_most(2),
        ),
    ]


STUDIES = {
    "association/transfer": Study(
        "From one region to another",
        "Algorithm 2",
        "Placement in a new region from nothing, from what was learned elsewhere, and by (32), (33) and both readings of (34).",
        _jobs,
        lambda results: {"transfer": _picture(results)},
        lambda results: [_table(results)],
        _claims,
        {"quick": 3, "full": 30},
    ),
}
