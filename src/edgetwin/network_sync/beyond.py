"""What the paper does not show: why agents fail, and when a gap between SAC and DQN appears; and what partial packets save."""

import math

import numpy as np
from matplotlib.figure import Figure

from edgetwin.evaluation.claims import Claim, gain_of
from edgetwin.evaluation.plots import INK, colour, empty, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate, seed_mean, seed_saving
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen
from edgetwin.network_sync.jobs import estimate
from edgetwin.network_sync.study_jobs import TRACKS, A, B, percent, rules_job, training_jobs

# The ablation: what makes agents fail, and when a gap between SAC and DQN appears.

OBSERVATIONS = {"compact": "S, C, age, slots left", "error": "positions, errors, C", "paper": "positions alone"}
REWARDS = {"cost": "minus the scaled cost", "raw": "raw, (15) and (17)"}


def _ablation_jobs(scale: Scale) -> list[Job]:
    jobs = [rules_job(base, scale, ("never", "always", "index")) for base in (A, B)]
    for base in (A, B):
        for observation in OBSERVATIONS:
            for reward in REWARDS:
                changes = {"network_sync.observation": observation, "network_sync.reward": reward}
                if reward == "raw":
                    changes["network_sync.reward_scale"] = 1.0  # type: ignore[assignment]
                for algorithm in ("sac", "dqn"):
                    name = f"{algorithm} on {base}, {observation}, {reward}"
                    jobs += training_jobs(
                        name, scale, scenario=base, set=changes, algo=algorithm, base=base, observation=observation, reward=reward
                    )
    return jobs


def _ablation_table(results: Results) -> list[Table]:
    tables = []
    for base in (A, B):
        found = chosen(results, rules=base)[0]["policies"]
        rows: list[list[str | float | Estimate | None]] = [
            [name, None, estimate(values["cost"]), None, None, estimate(values["sync_rate"]), None]
            for name, values in found.items()
        ]
        for observation, told in OBSERVATIONS.items():
            for reward, paid in REWARDS.items():
                values = [
                    chosen(results, base=base, observation=observation, reward=reward, algo=algo) for algo in ("sac", "dqn")
                ]
                cost, syncs = (
                    np.array([[each[metric] for each in value] for value in values]) for metric in ("cost", "sync_rate")
                )
                over = [
                    *(seed_mean(each) for each in cost),
                    percent(seed_saving(cost[0], cost[1]), 1),
                    *(seed_mean(each) for each in syncs),
                ]
                rows.append([told, paid, *over])
        columns = ("observation", "reward", "cost, SAC", "cost, DQN", "SAC below DQN, %", "sync rate, SAC", "sync rate, DQN")
        tables.append(
            Table(base.replace("/", "-"), f"Cost per episode on {base}, by what is observed and what is paid", columns, rows)
        )
    return tables


def _ablation_claims(results: Results) -> list[Claim]:
    gaps: dict[str, dict[str, Estimate]] = {"well posed": {}, "aliased or badly scaled": {}}
    for base in (A, B):
        for observation in OBSERVATIONS:
            for reward in REWARDS:
                values = [
                    chosen(results, base=base, observation=observation, reward=reward, algo=algo) for algo in ("sac", "dqn")
                ]
                cost = [np.array([each["cost"] for each in value]) for value in values]
                kind = "well posed" if (observation, reward) == ("compact", "cost") else "aliased or badly scaled"
                gaps[kind][f"{base}, {observation}, {reward}"] = percent(seed_saving(cost[0], cost[1]), 1)
    return [
        Claim(
            f"SAC beats DQN by 10.31 %: {kind}",
            "Fig. 3, read as cost",
            measured,
            gain_of(10.31),
            paper=10.31,
            unit="% of the cost",
        )
        for kind, measured in gaps.items()
    ]


# Beyond the paper: packets that hold some users' states.

PACKETS = (1, 2, 3, 5, 7, 10)
PARTIAL = {"preset A": A, "preset B": B, "real tracks": TRACKS}


def _partial_jobs(scale: Scale) -> list[Job]:
    jobs = []
    for base in PARTIAL.values():
        changes = {"network_sync.forecaster": "kalman"} if base == TRACKS else {}
        jobs.append(rules_job(base, scale, ("index", "offline-optimum"), changes))
        for users in PACKETS:
            partial = {**changes, "network_sync.refresh": "partial", "network_sync.packet_users": users}
            rules = rules_job(base, scale, ("index", "always"), partial)
            jobs.append(Job(rules.name, rules.function, {**rules.settings, "rules": "partial", "packet": users, "base": base}))
    return jobs


def _partial_values(results: Results, base: str) -> tuple[list[Estimate], list[float], Estimate, Estimate]:
    """By packet size the index's cost and the bound; and the index and the offline optimum that refresh all users."""
    found = [chosen(results, rules="partial", packet=users, base=base)[0] for users in PACKETS]
    whole = chosen(results, rules=base)[0]["policies"]
    index = [estimate(value["policies"]["index"]["cost"]) for value in found]
    bound = [value["bound"]["index"] for value in found]
    return index, bound, estimate(whole["index"]["cost"]), estimate(whole["offline-optimum"]["cost"])


def _partial_tables(results: Results) -> list[Table]:
    tables = []
    for title, base in PARTIAL.items():
        index, bound, whole, optimum = _partial_values(results, base)
        rows: list[list[str | float | Estimate | None]] = [
            [f"{users} of 10 users", own, low, round(100 * (1 - own.mean / whole.mean), 2)]
            for users, own, low in zip(PACKETS, index, bound, strict=True)
        ]
        rows += [["all at once, index", whole, optimum.mean, 0.0]]
        columns = ("packet", "cost of the index", "lower bound", "saved against all at once, %")
        tables.append(Table(base.replace("/", "-"), f"Cost per episode with partial packets, {title}", columns, rows))
    return tables


def _partial_pictures(results: Results) -> dict[str, Figure]:
    figures = {}
    for title, base in PARTIAL.items():
        index, bound, whole, optimum = _partial_values(results, base)
        figure, axes = empty(7.6, 4.2)
        ends = np.array([each.ci95 for each in index])
        axes.fill_between(PACKETS, ends[:, 0], ends[:, 1], color=colour(1), alpha=0.16, linewidth=0)
        axes.plot(
            PACKETS, [each.mean for each in index], color=colour(1), marker="o", label="index, the users with the largest shares"
        )
        axes.plot(PACKETS, bound, color=INK, linewidth=1.1, label="lower bound, each user alone")
        axes.axhline(whole.mean, color=colour(2), linestyle=(0, (4, 3)), label="index, all users at once")
        axes.axhline(optimum.mean, color=colour(3), linestyle=(0, (1, 2)), label="offline optimum, all users at once")
        axes.set_ylim(0, None)
        axes.set_xlabel("users in a packet (its size in proportion)")
        axes.set_title(f"cost per episode of 30 slots, {title}", loc="left", fontsize=11)
        axes.legend(frameon=False, fontsize=9, loc="best")
        say_it_as_it_is(figure)
        figures[base.split("/")[1]] = figure
    return figures


def _partial_claims(results: Results) -> list[Claim]:
    savings = {}
    for title, base in PARTIAL.items():
        index, _, whole, _ = _partial_values(results, base)
        best = min(index, key=lambda each: each.mean)
        saved = 100 * (1 - best.mean / whole.mean)
        half = 100 * math.hypot(*((each.ci95[1] - each.ci95[0]) / 2 / whole.mean for each in (best, whole) if each.ci95))
        savings[f"{title}, {PACKETS[index.index(best)]} users per packet"] = Estimate(saved, (saved - half, saved + half))
    return [
        Claim(
            "Sending only those users whose twins err most costs less than refreshing all at once",
            "not in the paper",
            savings,
            gain_of(1.0),
            unit="% of the cost",
        )
    ]


STUDIES = {
    "network-sync/ablation": Study(
        "Why agents fail: what is observed, and how the reward is scaled",
        "beyond Fig. 3",
        "SAC and DQN for every observation and reward, on presets A and B: where a gap between them appears.",
        _ablation_jobs,
        tables=_ablation_table,
        claims=_ablation_claims,
        minutes={"quick": 10, "full": 40},
    ),
    "network-sync/partial": Study(
        "Partial packets: whose state to send",
        "beyond the paper",
        "Cost by packet size where only the users with the highest index are refreshed, against refreshing all.",
        _partial_jobs,
        _partial_pictures,
        _partial_tables,
        _partial_claims,
        {"quick": 5, "full": 8},
    ),
}
