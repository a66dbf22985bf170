"""The paper's figures as studies, and its claims judged; `beyond` has what the paper does not show."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgetwin.evaluation.claims import Claim, at_least, gain_of
from edgetwin.evaluation.learning_curves import Level, curve, learning_curves
from edgetwin.evaluation.plots import INK, colour
from edgetwin.evaluation.statistics import Estimate, seed_difference, seed_mean, seed_saving
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen
from edgetwin.network_sync import beyond
from edgetwin.network_sync.jobs import AHEAD, estimate
from edgetwin.network_sync.study_jobs import JOBS, PAPER, TRACKS, A, percent, rules_job, training_jobs

# Fig. 2: trajectories and their forecast.

MOVEMENTS = {
    "random walk": (A, {}),
    "persistent walk": (A, {"users.mobility": "persistent-walk"}),
    "real tracks": (TRACKS, {}),
}
FORECASTERS = ("drift", "last", "linear", "kalman", "gru", "gru-printed")
SHOWN_USERS = (3, 6, 8)
"""Users 4, 7 and 9 of the paper, counted from 0."""


def _fig2_jobs(scale: Scale) -> list[Job]:
    jobs = [
        Job(
            f"{forecaster} on {movement}",
            f"{JOBS}:forecast_errors",
            {
                "movement": movement,
                "forecaster": forecaster,
                "scenario": base,
                "set": {**changes, "network_sync.forecaster": forecaster},
                "paths": 1000 if scale == "full" else 300,
            },
        )
        for movement, (base, changes) in MOVEMENTS.items()
        for forecaster in FORECASTERS
        if (movement, forecaster) != ("real tracks", "gru-printed")
    ]
    walk = MOVEMENTS["persistent walk"][1]
    return jobs + [
        Job(
            f"gru in the twin, packets of {packet}",
            f"{JOBS}:twin_error",
            {
                "packet": packet,
                "scenario": A,
                "set": {**walk, "network_sync.forecaster": "gru", "network_sync.packet": packet},
                "policy": "periodic[k=2]",
                "episodes": 256,
            },
        )
        for packet in ("history", "state")
    ]


def _fig2_tables(results: Results) -> list[Table]:
    tables = []
    for movement in MOVEMENTS:
        rows: list[list[str | float | Estimate | None]] = []
        found = {name: chosen(results, movement=movement, forecaster=name) for name in FORECASTERS}
        floors = [value[0]["floor"] for value in found.values() if value and value[0]["floor"]]
        if floors:
            rows.append(["floor", *floors[0], *[None] * 4])
        for name, value in found.items():
            if value:
                errors = [estimate(each) for each in value[0]["error"]]
                half, ninety = (estimate(each) for each in value[0]["coverage"][0])
                rows.append([name, *errors, estimate(value[0]["calibration"][0]), half, ninety, value[0]["seconds"]])
        columns = (
            "forecaster",
            *(f"k = {k}" for k in AHEAD),
            "actual / expected, k = 1",
            "in 50 % region",
            "in 90 % region",
            "seconds",
        )
        name = movement.replace(" ", "-")
        caution = " (episodes share the held-out tracks, so intervals are too narrow)" if movement == "real tracks" else ""
        tables.append(Table(f"errors-{name}", f"Squared error k slots ahead, {movement}, blocks²{caution}", columns, rows))
    packets = [
        [packet, estimate(value[0]["error"])] for packet in ("history", "state") if (value := chosen(results, packet=packet))
    ]
    title = "The GRU in the twin on the persistent walk, one slot after a sync, by what a sync carries: the last M true states, or one, blocks²"
    return [*tables, Table("packets", title, ("packet", "squared error"), packets)]


def _fig2_pictures(results: Results) -> dict[str, Figure]:
    return {
        "trajectories": _map(chosen(results, movement="random walk", forecaster="gru"), "Random walk, residual GRU"),
        "trajectories-printed": _map(
            chosen(results, movement="random walk", forecaster="gru-printed"), "Random walk, GRU as printed"
        ),
        "trajectories-tracks": _map(chosen(results, movement="real tracks", forecaster="gru"), "Real tracks, residual GRU", None),
    }


def _map(values: Sequence[dict], title: str, users: Sequence[int] | None = SHOWN_USERS) -> Figure:
    """Truth and one-step forecast of three users in one episode, a panel each; by default those of the paper, else those who move most."""
    figure = Figure(figsize=(10.2, 3.7), facecolor="white")
    truth, forecast = (np.array(values[0][name]) for name in ("truth", "forecast"))
    if users is None:
        users = [int(user) for user in np.sort(np.argsort(np.ptp(truth, axis=0).max(axis=1))[-3:])]
    for place, user in enumerate(users):
        axes = figure.add_subplot(1, len(users), place + 1)
        axes.plot(*truth[:, user].T, color=INK, linewidth=1.6, marker="o", markersize=3.5, label="user")
        axes.plot(
            *forecast[:, user].T,
            color=colour(2),
            linewidth=0.9,
            marker="x",
            markersize=5,
            linestyle="--",
            label="twin, one slot ahead",
        )
        error = ((truth[:, user] - forecast[:, user]) ** 2).sum(axis=-1).mean()
        axes.set_title(f"user {user + 1}, here {error:.2g} blocks² off", fontsize=10, loc="left")
        axes.set_xlabel("x, blocks")
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        if place == 0:
            axes.set_ylabel("y, blocks")
            figure.legend(*axes.get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, y=0.97, ha="left", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.99))
    return figure


def _fig2_claims(results: Results) -> list[Claim]:
    gru, drift = (chosen(results, movement="random walk", forecaster=name)[0] for name in ("gru", "drift"))
    tracks, still = (chosen(results, movement="real tracks", forecaster=name)[0] for name in ("gru", "linear"))
    printed = chosen(results, movement="random walk", forecaster="gru-printed")[0]
    four, seven, nine = (estimate(gru["per_user"][user]) for user in SHOWN_USERS)
    return [
        Claim(
            "The more a user's movement changes, the worse it is forecast: user 9 worse than users 4 and 7",
            "Fig. 2 and IV",
            {"user 9 − user 4": _apart(nine, four), "user 9 − user 7": _apart(nine, seven)},
            at_least(0.0),
            unit="blocks²",
        ),
        Claim(
            "The GRU captures dependencies in the history: better than the mean step, on the paper's own random walk",
            "IV",
            {"share of drift's error saved": _saved(gru, drift)},
            gain_of(0.01),
        ),
        Claim(
            "The same where movement has dependencies, on real tracks, against a straight line",
            "IV, on movement the paper does not use",
            {"share of the error saved": _saved(tracks, still)},
            gain_of(0.01),
        ),
        Claim(
            "The GRU as printed (raw coordinates, no biases, plain SGD) forecasts accurately: no worse than staying put",
            "(6)-(12)",
            {
                "share of the last value's error saved": _saved(
                    printed, chosen(results, movement="random walk", forecaster="last")[0]
                )
            },
            at_least(0.0),
        ),
    ]


def _apart(first: Estimate, second: Estimate) -> Estimate:
    """A difference of two estimates whose intervals are taken as independent."""
    half = math.hypot(*((each.ci95[1] - each.ci95[0]) / 2 for each in (first, second) if each.ci95))
    return Estimate(first.mean - second.mean, (first.mean - second.mean - half, first.mean - second.mean + half))


def _saved(better: dict, worse: dict) -> Estimate:
    """1 − error/error one slot ahead, intervals taken as independent."""
    first, second = estimate(better["error"][0]), estimate(worse["error"][0])
    saved = 1 - first.mean / second.mean
    half = (1 - saved) * math.hypot(*((each.ci95[1] - each.ci95[0]) / 2 / each.mean for each in (first, second) if each.ci95))
    return Estimate(saved, (saved - half, saved + half))


# Fig. 3: learning curves of SAC and DQN.

SETTINGS = {"preset A": (A, ("sac", "dqn")), "as the paper states it": (PAPER, ("sac-paper", "dqn-paper"))}
EVALUATION_EPISODES = 64
LEVELS = ("never", "always", "periodic", "index", "offline-optimum")


def _fig3_jobs(scale: Scale) -> list[Job]:
    jobs = [rules_job(base, scale, LEVELS) for base, _ in SETTINGS.values()]
    jobs = [replace(job, settings={**job.settings, "evaluation_episodes": EVALUATION_EPISODES}) for job in jobs]
    for title, (base, algorithms) in SETTINGS.items():
        for algorithm in algorithms:
            jobs += training_jobs(f"{algorithm} on {title}", scale, scenario=base, set={}, algo=algorithm, shown=title)
    return jobs


def _fig3_pictures(results: Results) -> dict[str, Figure]:
    figures = {}
    for title, (base, algorithms) in SETTINGS.items():
        found = chosen(results, rules=base)[0]["evaluated"]
        for metric in ("cost", "reward"):
            curves = [
                curve(
                    name, [(value["curve"]["slots"], value["curve"][metric]) for value in chosen(results, algo=name, shown=title)]
                )
                for name in algorithms
            ]
            levels = [Level(name, cost) for name, cost in found.items()]
            meaning = f"{title}, mean over seeds with 95 % intervals" + (
                "; dashed: rules, the index and the exact offline optimum on the same episodes" if metric == "cost" else ""
            )
            shown = [level for level in levels if metric == "cost"]
            figures[f"{metric}-{base.split('/')[1]}"] = learning_curves(
                curves, shown, f"{metric} per episode of 30 slots", meaning
            )
    return figures


def _fig3_tables(results: Results) -> list[Table]:
    tables = []
    for title, (base, algorithms) in SETTINGS.items():
        found = chosen(results, rules=base)[0]
        rows: list[list[str | float | Estimate | None]] = [
            [name, *(estimate(values[metric]) for metric in ("cost", "reward", "sync_rate")), None]
            for name, values in found["policies"].items()
        ]
        for name in algorithms:
            values = chosen(results, algo=name, shown=title)
            over = [seed_mean(np.array([value[metric] for value in values])) for metric in ("cost", "reward", "sync_rate")]
            rows.append([f"{name}, {len(values)} seeds", *over, float(np.median([value["seconds"] for value in values]))])
        columns = ("policy", "cost", "reward", "sync rate", "training, s")
        tables.append(Table(base.replace("/", "-"), f"{title} ({base})", columns, rows))
    return tables


def _fig3_claims(results: Results) -> list[Claim]:
    gains, savings, rises = {}, {}, {}
    for title, (_, algorithms) in SETTINGS.items():
        values = [chosen(results, algo=name, shown=title) for name in algorithms]
        reward, cost = (np.array([[each[metric] for each in value] for value in values]) for metric in ("reward", "cost"))
        gains[title] = percent(seed_saving(-reward[0], -reward[1]), -1)
        savings[title] = percent(seed_saving(cost[0], cost[1]), 1)
        for name, value in zip(algorithms, values, strict=True):
            curves = np.array([each["curve"]["reward"] for each in value])
            rises[f"{name}, {title}"] = seed_difference(curves[:, -1], curves[:, 0])
    says = "SAC with the GRU improves the weighted sum of rates and accuracy by up to 10.31 % over DQN with the GRU"
    return [
        Claim(says, "Fig. 3, IV and abstract", gains, gain_of(10.31), paper=10.31, unit="% of the reward"),
        Claim(
            "The same as a saving in cost, which leaves out the rate that no decision changes",
            "Fig. 3, read as cost",
            savings,
            gain_of(10.31),
            paper=10.31,
            unit="% of the cost",
        ),
        Claim("The rewards of both algorithms increase with training", "Fig. 3", rises, at_least(0.0), unit="reward per episode"),
    ]


STUDIES = {
    "network-sync/fig2": Study(
        "Trajectories of users and their forecast",
        "Fig. 2",
        "The GRU's one-step forecasts on a map; errors of all forecasters on the walk, a walk with memory and real tracks.",
        _fig2_jobs,
        _fig2_pictures,
        _fig2_tables,
        _fig2_claims,
        {"quick": 3, "full": 4},
    ),
    "network-sync/fig3": Study(
        "Learning curves of SAC and DQN",
        "Fig. 3",
        "Cost and reward over training with the rules, the index and the exact offline optimum as lines; the 10.31 % judged.",
        _fig3_jobs,
        _fig3_pictures,
        _fig3_tables,
        _fig3_claims,
        {"quick": 4, "full": 10},
    ),
    **beyond.STUDIES,
}
