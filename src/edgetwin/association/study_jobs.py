"""What the figures of placement share: sizes, scales, their jobs, and estimates from what jobs return.

Jobs that several figures need are the same jobs, so what one figure has done the next one beside it takes over.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgetwin.evaluation.plots import INK, colour
from edgetwin.evaluation.statistics import Estimate, pooled, scaled, seed_mean
from edgetwin.evaluation.study import Job, Results, Scale, chosen

JOBS = "edgetwin.association.jobs"


class Size(NamedTuple):
    """A network of the paper's: N users and M base stations, each with a server."""

    users: int
    stations: int

    @property
    def scenario(self) -> str:
        return f"association/n{self.users}-m{self.stations}"

    def __str__(self) -> str:
        return f"N = {self.users}, M = {self.stations}"


SIZES = tuple(Size(users, stations) for users in (80, 100) for stations in (5, 10))
LARGEST = SIZES[-1]
LEARNED, PRINTED = "ddpg", "maddpg-mlp"
RULES = ("random", "nearest", "greedy", "local-search", "optimum")
SLOTS: Mapping[Scale, int] = {"quick": 9600, "full": 48_000}
PRINTED_SLOTS: Mapping[Scale, int] = {"quick": 1000, "full": 10_000}
SEEDS: Mapping[Scale, int] = {"quick": 1, "full": 5}
NETWORKS: Mapping[Scale, int] = {"quick": 24, "full": 64}
EVALUATIONS: Mapping[Scale, int] = {"quick": 4, "full": 15}
EVALUATION_NETWORKS: Mapping[Scale, int] = {"quick": 24, "full": 64}
STEPS = 25
"""Of an episode in Fig. 8."""
HUES = {
    LEARNED: colour(1),
    PRINTED: colour(2),
    "greedy": colour(3),
    "nearest": colour(4),
    "local-search": colour(5),
    "random": colour(8),
    "optimum": INK,
}
"""The colour of each policy in all pictures."""


def training_jobs(size: Size, scale: Scale) -> list[Job]:
    """`ddpg` on networks of a size, a job for every seed."""
    return [
        _training(size, scale, f"{LEARNED}[anneal_slots={SLOTS[scale]}]", LEARNED, SLOTS[scale], seed)
        for seed in range(SEEDS[scale])
    ]


def printed_job(size: Size, scale: Scale) -> Job:
    """The printed algorithm on networks of a size."""
    return _training(size, scale, PRINTED, PRINTED, PRINTED_SLOTS[scale], 0)


def _training(size: Size, scale: Scale, algorithm: str, shown: str, slots: int, seed: int) -> Job:
    settings = {
        "shown": shown,
        "algo": algorithm,
        "budget": slots,
        "seed": seed,
        "evaluations": EVALUATIONS[scale],
        "evaluation_episodes": EVALUATION_NETWORKS[scale],
        "steps": STEPS,
    }
    return Job(f"{shown}, {size}, seed {seed}", f"{JOBS}:training", {**_of(size), **settings, "episodes": NETWORKS[scale]})


def rules_job(size: Size, scale: Scale) -> Job:
    """Rules in the first slot, on the networks of the comparison and on those of the trainings' evaluations."""
    settings = {
        "policies": list(RULES),
        "steps": 1,
        "episodes": NETWORKS[scale],
        "evaluation_episodes": EVALUATION_NETWORKS[scale],
    }
    return Job(f"rules, {size}", f"{JOBS}:rule_policies", {**_of(size), "shown": "rules", **settings})


def _of(size: Size) -> dict[str, Any]:
    return {"scenario": size.scenario, "set": {}}


def costs(results: Results, size: Size, shown: str, measure: str = "cost") -> np.ndarray:
    """What trainings came to on the networks of the comparison, (seeds, networks, steps)."""
    return np.array([value["measures"][measure] for value in chosen(results, scenario=size.scenario, shown=shown)])


def rule_costs(results: Results, size: Size, rule: str, measure: str = "cost", shown: str = "rules") -> np.ndarray:
    """What a rule comes to on the same networks, (networks, steps)."""
    return np.array(chosen(results, scenario=size.scenario, shown=shown)[0]["measures"][rule][measure])


def above(first: np.ndarray, second: np.ndarray) -> Estimate:
    """How much more the first costs in all than the second on the same networks, %, with an interval over networks. Each: (networks,)."""
    return scaled(pooled(first, second), 100.0, -100.0)


def above_by_seed(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The same with an interval over seeds. first: (seeds, networks), second: (networks,)."""
    return seed_mean(100 * (first.sum(axis=1) / second.sum() - 1))


def over_seeds_and_networks(first: np.ndarray, second: np.ndarray) -> dict[str, Estimate]:
    """How much more the first costs, %, by what the interval is over: seeds, where there are several, and networks, on the mean over seeds.

    first: (seeds, networks), second: (networks,).
    """
    seeds = {"over seeds": above_by_seed(first, second)} if len(first) > 1 else {}
    return {**seeds, "over networks": above(first.mean(axis=0), second)}


def sampled(values: np.ndarray) -> Estimate:
    """A mean over networks with its interval. values: (networks,)."""
    return pooled(values, np.ones(len(values)))


def combination(terms: Sequence[tuple[float, np.ndarray]]) -> Estimate:
    """Σ weight·mean(values) over independent samples, each of networks of its own, with a normal 95 % interval. values: (networks,)."""
    return _normal(sum(weight * values.mean() for weight, values in terms), terms)


def log_combination(terms: Sequence[tuple[float, np.ndarray]]) -> Estimate:
    """Σ weight·ln mean(values) likewise, linearised at the means."""
    value = sum(weight * np.log(values.mean()) for weight, values in terms)
    return _normal(value, [(weight, values / values.mean()) for weight, values in terms])


def more(first: np.ndarray, second: np.ndarray) -> Estimate:
    """How much more the first sample's mean is than the second's, %, the samples independent. Each: (networks,), of networks of its own."""
    value = log_combination([(1.0, first), (-1.0, second)])
    low, high = value.ci95 or (np.nan, np.nan)
    ends = None if value.ci95 is None else (100 * float(np.expm1(low)), 100 * float(np.expm1(high)))
    return Estimate(100 * float(np.expm1(value.mean)), ends)


def _normal(value: float, terms: Sequence[tuple[float, np.ndarray]]) -> Estimate:
    if min(len(values) for _, values in terms) < 2:
        return Estimate(float(value), None)
    variance = sum(weight**2 * values.var(ddof=1) / len(values) for weight, values in terms)
    half = 1.96 * float(np.sqrt(variance))
    return Estimate(float(value), (float(value) - half, float(value) + half))
