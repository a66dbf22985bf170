"""Figs. 9 and 10 as studies: the time and the cost of learned placements beside other methods', and how long training and deciding take."""

import math

import numpy as np
from matplotlib.figure import Figure

from edgetwin.association.jobs import MEASURES
from edgetwin.association.study_jobs import (
    HUES,
    JOBS,
    LARGEST,
    LEARNED,
    PRINTED,
    SIZES,
    Size,
    above,
    costs,
    over_seeds_and_networks,
    rule_costs,
    rules_job,
    sampled,
    training_jobs,
)
from edgetwin.evaluation.claims import Claim, at_least, at_most, equals
from edgetwin.evaluation.plots import GRID, colour, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate, pooled, scaled, seed_mean, seed_saving
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen

SHOWN = ("random", "nearest", "greedy", LEARNED, "local-search", "optimum")
MEASURED = {"cost": "cost J, s", "latency_s": "total time T of (17), s"}
BAR, MINUTES, DECISION_MS = 8.0, 15.0, 2.0
"""Over the optimum, %; for a training; for a decision."""
ITERATIONS = 5000
"""Of the paper's trainings."""
ROUNDS = {"quick": {LEARNED: 6}, "full": {LEARNED: 30, PRINTED: 11}}
"""Blocks that are timed, quickly of what is learned alone: of 50 updates of `ddpg`, of 500 of `maddpg-mlp`."""
WARMING = {LEARNED: 3, PRINTED: 1}
"""Blocks until everything is learned: first nobody learns, then the critic alone."""
FEW_MS, THOUSANDS_S = 5.0, 1000.0
RATIOS = {
    (Size(100, 10), Size(100, 5)): 95.0,
    (Size(80, 10), Size(80, 5)): 57.0,
    (Size(100, 10), Size(80, 10)): 25.0,
    (Size(100, 5), Size(80, 5)): 22.0,
}
"""How much longer training takes on the first network than on the second, % (VI, of Fig. 10)."""
BAR_WHERE = "not in the paper"


# Fig. 9: against other methods.


def _fig9_jobs(scale: Scale) -> list[Job]:
    return [job for size in _compared(scale) for job in (*training_jobs(size, scale), rules_job(size, scale))]


def _compared(scale: Scale) -> tuple[Size, ...]:
    return SIZES if scale == "full" else (LARGEST,)


def _sizes(results: Results) -> list[Size]:
    return [size for size in SIZES if chosen(results, scenario=size.scenario, shown=LEARNED)]


def _learned(results: Results, size: Size, measure: str) -> np.ndarray:
    """(seeds, networks)"""
    return costs(results, size, LEARNED, measure)[:, :, 0]


def _of(results: Results, size: Size, policy: str, measure: str) -> np.ndarray:
    """A policy's measure in every network, for what was learned the mean over seeds. Returns (networks,)."""
    if policy == LEARNED:
        return _learned(results, size, measure).mean(axis=0)
    return rule_costs(results, size, policy, measure)[:, 0]


def saved(results: Results, size: Size, rule: str, measure: str) -> dict[str, Estimate]:
    """How much less than a rule's the learned policy's measure is, %."""
    more = over_seeds_and_networks(_learned(results, size, measure), _of(results, size, rule, measure))
    return {label: scaled(estimate, -1.0) for label, estimate in more.items()}


def way(results: Results, size: Size) -> Estimate:
    """The share of the way from `nearest` to the optimum that is gone, %, with an interval over networks."""
    far, best, learned = (_of(results, size, policy, "cost") for policy in ("nearest", "optimum", LEARNED))
    return scaled(pooled(far - learned, far - best), 100.0)


def _bars(results: Results, measure: str) -> Figure:
    """A group of bars for each network, a bar for each policy, with 95 % intervals over networks."""
    sizes, width = _sizes(results), 0.8 / len(SHOWN)
    figure = Figure(figsize=(5.4 + 1.4 * len(sizes), 4.2), dpi=72, layout="constrained")
    axes = figure.subplots()
    for place, policy in enumerate(SHOWN):
        found = [sampled(_of(results, size, policy, measure)) for size in sizes]
        mean = np.array([estimate.mean for estimate in found])
        ends = np.array([estimate.ci95 or (estimate.mean, estimate.mean) for estimate in found])
        at = np.arange(len(sizes)) + (place - (len(SHOWN) - 1) / 2) * width
        axes.bar(at, mean, 0.88 * width, color=HUES[policy], label=policy)
        axes.errorbar(at, mean, np.abs(ends.T - mean), fmt="none", ecolor="#60666d", elinewidth=1.1, capsize=2.5)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.grid(True, axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{MEASURED[measure]}, mean over networks with 95 % intervals", loc="left", fontsize=11)
    figure.legend(loc="outside right upper", frameon=False)
    say_it_as_it_is(figure)
    return figure


def _fig9_tables(results: Results) -> list[Table]:
    rows: list[list[str | float | Estimate | None]] = []
    for size in _sizes(results):
        best = _of(results, size, "optimum", "cost")
        for policy in SHOWN:
            cells = [sampled(_of(results, size, policy, measure)) for measure in MEASURES]
            cost = _of(results, size, policy, "cost")
            rows.append([str(size), policy, *cells, sampled(cost - best), above(cost, best)])
    columns = ("network", "policy", "cost J, s", "time T, s", "energy E, J", "open servers", "regret, s", "above the optimum, %")
    title = "Placements on networks that no training has met; intervals over networks, paired for what is above the optimum"
    return [Table("costs", title, columns, rows), _seeds_table(results)]


def _seeds_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for size in _sizes(results):
        best = _of(results, size, "optimum", "cost")
        for seed, value in enumerate(chosen(results, scenario=size.scenario, shown=LEARNED)):
            over = above(np.array(value["measures"]["cost"])[:, 0], best)
            rows.append(
                [str(size), float(seed), over, float(value["curve"]["slots"][-1]), value["seconds"] / 60, value["decision_ms"]]
            )
    columns = ("network", "seed", "above the optimum, %", "slots", "training, minutes", "a decision, ms")
    title = "Every training, timed beside whatever else ran; intervals over networks"
    return Table("trainings", title, columns, rows)


def _fig9_claims(results: Results) -> list[Claim]:
    claims = []
    for measure, told, where in (
        ("latency_s", "total time cost", "Fig. 9, read as T of (17)"),
        ("cost", "cost J, which is what is minimised,", "Fig. 9, read as J of (26)"),
    ):
        for rule in ("nearest", "random"):
            measured = {
                f"{size}, {label}": estimate
                for size in _sizes(results)
                for label, estimate in saved(results, size, rule, measure).items()
            }
            says = f"The learned policy reduces the {told} significantly against {rule}"
            claims.append(Claim(says, where, measured, at_least(0.0), unit="%"))
    far = over_seeds_and_networks(_learned(results, LARGEST, "cost"), _of(results, LARGEST, "optimum", "cost"))
    runs = chosen(results, scenario=LARGEST.scenario, shown=LEARNED)
    minutes, decisions = (np.array([value[name] for value in runs]) for name in ("seconds", "decision_ms"))
    ways = {str(size): way(results, size) for size in _sizes(results)}
    return [
        *claims,
        Claim("The learned policy finds the optimum: all of the way from nearest to it", "VI", ways, at_least(99.0), unit="%"),
        Claim(f"At {LARGEST} the learned policy is within {BAR:g} % of the optimum", BAR_WHERE, far, at_most(BAR), unit="%"),
        Claim(
            f"At {LARGEST} a training takes at most {MINUTES:g} minutes, with compilation and evaluations",
            BAR_WHERE,
            {"over seeds": seed_mean(minutes / 60)},
            at_most(MINUTES),
            unit="minutes",
        ),
        Claim(
            f"At {LARGEST} a decision takes at most {DECISION_MS:g} ms",
            BAR_WHERE,
            {"over seeds": seed_mean(decisions)},
            at_most(DECISION_MS),
            unit="ms",
        ),
    ]


# Fig. 10: seconds of training.


def _fig10_jobs(scale: Scale) -> list[Job]:
    """All in one job, so that nothing of the study runs beside what is timed."""
    settings = {
        "scenarios": [size.scenario for size in SIZES],
        "set": {},
        "rounds": dict(ROUNDS[scale]),
        "policies": ["greedy", "local-search", "optimum"],
        "rule_decisions": 20,
        "scale": scale,
    }
    return [Job("timing", f"{JOBS}:timing", settings)]


def _found(results: Results) -> dict:
    return next(iter(results.values())).value


def per_iteration(found: dict, algo: str, size: Size) -> np.ndarray:
    """Seconds per update in each block in which everything is learned, (blocks,)."""
    timed = found["training"][algo][size.scenario]
    return (np.array(timed["seconds"]) / np.maximum(timed["updates"], 1))[WARMING[algo] :]


def longer(found: dict, algo: str, first: Size, second: Size) -> Estimate:
    """How much longer an update takes on the first network than on the second, %; blocks are paired, as they took turns."""
    saving = seed_saving(per_iteration(found, algo, first), per_iteration(found, algo, second))
    return scaled(saving, -100.0)


def _fig10_picture(results: Results) -> Figure:
    found = _found(results)
    algorithms = found["training"]
    figure = Figure(figsize=(5 + 5 * (len(algorithms) - 1), 4.4), dpi=72, layout="constrained")
    for axes, algo in zip(figure.subplots(1, len(algorithms), squeeze=False)[0], algorithms, strict=True):
        for number, size in enumerate(SIZES, 1):
            timed = found["training"][algo][size.scenario]
            updates, seconds = (np.concatenate([[0], np.cumsum(timed[name])]) for name in ("updates", "seconds"))
            axes.plot(updates, seconds, color=colour(number), linewidth=1.6, marker=".", label=str(size))
        axes.set_title(algo, loc="left", fontsize=11)
        axes.set_xlabel("training iterations (updates)")
        axes.set_ylabel("seconds, without compilation")
        axes.set_xlim(0, None)
        axes.set_ylim(0, None)
        axes.grid(True, color=GRID)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2 * len(algorithms), frameon=False
    )
    say_it_as_it_is(figure)
    return figure


def _fig10_tables(results: Results) -> list[Table]:
    found = _found(results)
    rows: list[list[str | float | Estimate | None]] = []
    for algo in found["training"]:
        for size in SIZES:
            timed, each = found["training"][algo][size.scenario], seed_mean(1e3 * per_iteration(found, algo, size))
            updates = float(sum(timed["updates"]))
            whole = _seconds_of(found, algo, size)
            decision = seed_mean(np.array(found["decision_ms"][algo][size.scenario]))
            rows.append([algo, str(size), timed["compile_s"], updates, float(sum(timed["seconds"])), each, whole, decision])
    columns = (
        "algorithm",
        "network",
        "compilation, s",
        "updates timed",
        "they took, s",
        "an update, ms",
        f"{ITERATIONS} updates at this speed, s",
        "a decision, ms",
    )
    title = "Training and deciding, timed alone; intervals over blocks, for decisions over groups of a hundred"
    rules = [[name, ms] for name, ms in found["rules_ms"].items()]
    return [
        Table("times", title, columns, rows),
        Table("decisions", f"A decision of rules for one network, {LARGEST}, median", ("policy", "ms"), rules),
    ]


def _seconds_of(found: dict, algo: str, size: Size) -> Estimate:
    """Of as many updates as the paper's trainings have, at the measured speed, with compilation."""
    compiling = found["training"][algo][size.scenario]["compile_s"]
    return scaled(seed_mean(per_iteration(found, algo, size)), ITERATIONS, compiling)


def _fig10_claims(results: Results) -> list[Claim]:
    found = _found(results)
    claims = [
        Claim(
            f"Training on {first} takes {paper:g} % longer than on {second}",
            "Fig. 10",
            {algo: longer(found, algo, first, second) for algo in found["training"]},
            equals(paper),
            paper=paper,
            unit="%",
        )
        for (first, second), paper in RATIOS.items()
    ]
    return [
        *claims,
        Claim(
            "More base stations cost more training time than more users: 5 more on N = 80, M = 5 more than 20 users more",
            "Fig. 10",
            {algo: longer(found, algo, Size(80, 10), Size(100, 5)) for algo in found["training"]},
            at_least(0.0),
            unit="%",
        ),
        Claim(
            "The same by elasticities: a percent more base stations costs more time than a percent more users",
            "Fig. 10, read per percent",
            {algo: stations_over_users(found, algo) for algo in found["training"]},
            at_least(0.0),
            unit="% per %",
        ),
        Claim(
            f"Training takes thousands of seconds: {ITERATIONS} iterations at least {THOUSANDS_S:g} s",
            "Fig. 10",
            {f"{algo}, {size}": _seconds_of(found, algo, size) for algo in found["training"] for size in SIZES},
            at_least(THOUSANDS_S),
            unit="s",
        ),
        Claim(
            f"A decision within a few milliseconds: at most {FEW_MS:g}",
            "VI, of Fig. 10",
            {
                f"{algo}, {size}": seed_mean(np.array(found["decision_ms"][algo][size.scenario]))
                for algo in found["training"]
                for size in SIZES
            },
            at_most(FEW_MS),
            unit="ms",
        ),
        Claim(
            f"At {LARGEST} a decision of the learned policy takes at most {DECISION_MS:g} ms",
            BAR_WHERE,
            {LEARNED: seed_mean(np.array(found["decision_ms"][LEARNED][LARGEST.scenario]))},
            at_most(DECISION_MS),
            unit="ms",
        ),
    ]


def stations_over_users(found: dict, algo: str) -> Estimate:
    """The elasticity of an update's time in base stations less that in users, each as a mean over the other; an interval over blocks."""
    times = {size: np.log(per_iteration(found, algo, size)) for size in SIZES}
    stations = sum(times[Size(users, 10)] - times[Size(users, 5)] for users in (80, 100)) / 2 / math.log(10 / 5)
    users = sum(times[Size(100, each)] - times[Size(80, each)] for each in (5, 10)) / 2 / math.log(100 / 80)
    return seed_mean(stations - users)


STUDIES = {
    "association/fig9": Study(
        "Learned placements against other methods",
        "Fig. 9",
        "Time and cost beside random, nearest, greedy, local search and the optimum; the bar: within 8 % of the optimum at 100 users, 10 servers.",
        _fig9_jobs,
        lambda results: {"time": _bars(results, "latency_s"), "cost": _bars(results, "cost")},
        _fig9_tables,
        _fig9_claims,
        {"quick": 2, "full": 50},
    ),
    "association/fig10": Study(
        "How long training and deciding take",
        "Fig. 10",
        "Seconds over iterations for four networks, of the learner and of the printed algorithm; milliseconds per decision.",
        _fig10_jobs,
        lambda results: {"training-time": _fig10_picture(results)},
        _fig10_tables,
        _fig10_claims,
        {"quick": 3, "full": 12},
    ),
}
