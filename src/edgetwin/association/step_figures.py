"""Fig. 8 as a study: what placement costs in the steps of an episode. Each step is placed anew with what is known then."""

import numpy as np
from matplotlib.figure import Figure

from edgetwin.association.figures import FIRST, MUCH, by_fewer_stations, size_claims
from edgetwin.association.study_jobs import (
    HUES,
    JOBS,
    LEARNED,
    SIZES,
    STEPS,
    Size,
    above,
    costs,
    rule_costs,
    sampled,
    training_jobs,
)
from edgetwin.evaluation.claims import Claim, at_least, at_most
from edgetwin.evaluation.plots import GRID, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table

STEP_NETWORKS = {"quick": 6, "full": 32}
STEP_RULES = ("nearest", "greedy", "optimum")
LATE = slice(10, STEPS)
SAME = 1.0
"""What counts as equally far from the optimum, percentage points."""


def _fig8_jobs(scale: Scale) -> list[Job]:
    steps = {"policies": list(STEP_RULES), "steps": STEPS, "episodes": STEP_NETWORKS[scale]}
    rules = [
        Job(
            f"rules in {STEPS} steps, {size}",
            f"{JOBS}:rule_policies",
            {"scenario": size.scenario, "set": {}, "shown": "steps", **steps},
        )
        for size in SIZES
    ]
    return [job for size in SIZES for job in training_jobs(size, scale)] + rules


def _steps(results: Results, size: Size, policy: str) -> np.ndarray:
    """A policy's cost in each step on the networks that all have, for what was learned the mean over seeds. Returns (networks, steps)."""
    optimum = rule_costs(results, size, "optimum", shown="steps")
    if policy == LEARNED:
        return costs(results, size, policy)[:, : len(optimum)].mean(axis=0)
    return rule_costs(results, size, policy, shown="steps")


def _fig8_picture(results: Results) -> Figure:
    figure, steps = Figure(figsize=(10, 6.6), dpi=72, layout="constrained"), np.arange(1, STEPS + 1)
    each = figure.subplots(2, 2, sharey=True).ravel()
    for axes, size in zip(each, SIZES, strict=True):
        axes.grid(True, color=GRID)
        axes.spines[["top", "right"]].set_visible(False)
        for policy in (LEARNED, "optimum", "greedy", "nearest"):
            estimates = [sampled(column) for column in _steps(results, size, policy).T]
            ends = np.array([estimate.ci95 or (np.nan, np.nan) for estimate in estimates])
            hue, style = HUES[policy], "--" if policy == "optimum" else "-"
            axes.plot(steps, [estimate.mean for estimate in estimates], style, color=hue, linewidth=1.5, label=policy)
            if policy == LEARNED:
                axes.fill_between(steps, ends[:, 0], ends[:, 1], color=hue, alpha=0.14, linewidth=0)
        axes.set_title(str(size), loc="left", fontsize=11)
        axes.set_xlim(1, STEPS)
        axes.set_xlabel("step of an episode, 1 s each")
        axes.set_ylabel("cost J, s")
    figure.legend(*each[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    say_it_as_it_is(figure)
    return figure


def _fig8_tables(results: Results) -> list[Table]:
    rows: list[list[str | float | Estimate | None]] = []
    for size in SIZES:
        best = _steps(results, size, "optimum")
        for policy in (LEARNED, *STEP_RULES):
            cost = _steps(results, size, policy)
            cells = [sampled(cost[:, FIRST]), sampled(cost[:, 9]), sampled(cost[:, -1])]
            over = [above(cost[:, FIRST], best[:, FIRST]), above(cost[:, LATE].mean(axis=1), best[:, LATE].mean(axis=1))]
            rows.append([str(size), policy, *cells, *over])
    columns = (
        "network",
        "policy",
        "cost in step 1, s",
        "in step 10, s",
        "in step 25, s",
        "above the optimum in step 1, %",
        "in steps 11 to 25, %",
    )
    return [Table("steps", "Cost J over an episode; intervals over networks", columns, rows)]


def _later_regret(results: Results, size: Size) -> Estimate:
    """How much farther above the optimum the learned policy is in step 1 than in steps 11 to 25, percentage points; paired by network."""
    cost, best = (_steps(results, size, policy) for policy in (LEARNED, "optimum"))
    first, late = cost[:, FIRST] / best[:, FIRST], cost[:, LATE].mean(axis=1) / best[:, LATE].mean(axis=1)
    return sampled(100 * (first - late))


def _fig8_claims(results: Results) -> list[Claim]:
    fallen = {
        str(size): (above((each := _steps(results, size, LEARNED))[:, FIRST], each[:, LATE].mean(axis=1))) for size in SIZES
    }
    everyone = {name: {size: _steps(results, size, name).mean(axis=1) for size in SIZES} for name in ("optimum", LEARNED)}
    return [
        Claim(
            f"The cost is minimised to a quite small value in 10 steps: step 1 costs at least {MUCH:g} % more than steps 11 to 25",
            "Fig. 8",
            fallen,
            at_least(MUCH),
            unit="%",
        ),
        Claim(
            f"No steps are needed: in step 1 the learned policy is at most {SAME:g} percentage point farther above the optimum than later",
            "Fig. 8, each slot placed anew with what is known",
            {str(size): _later_regret(results, size) for size in SIZES},
            at_most(SAME),
            unit="percentage points",
        ),
        *size_claims(everyone, "Fig. 8"),
        Claim(
            f"With N = 80, M = 5 costs much more than M = 10: at least {MUCH:g} %",
            "Fig. 8",
            {name: by_fewer_stations(each)["N = 80"] for name, each in everyone.items()},
            at_least(MUCH),
            unit="%",
        ),
    ]


STUDIES = {
    "association/fig8": Study(
        "Cost over the steps of an episode",
        "Fig. 8",
        "25 steps on four networks: the learned policy, the optimum, greedy and nearest, each placing anew in every step.",
        _fig8_jobs,
        lambda results: {"steps": _fig8_picture(results)},
        _fig8_tables,
        _fig8_claims,
        {"quick": 3, "full": 50},
    ),
}
