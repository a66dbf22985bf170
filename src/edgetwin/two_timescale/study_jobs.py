"""What this problem's studies share: the scenario, the comparison's networks, and jobs for trainings and for rules."""

from collections.abc import Sequence
from typing import Any

from edgetwin.evaluation.statistics import Estimate, scaled
from edgetwin.evaluation.study import Job
from edgetwin.problem import Ratio

PHYSICAL = "two-timescale/physical"
JOBS = "edgetwin.two_timescale.jobs"
NETWORKS = 64
EVALUATIONS, EVALUATION_EPISODES = 10, 16
FAILURE, ENERGY = "failure_per_request", "energy_mj_per_slot"
FRONTIER = (0.03, 0.035, 0.04, 0.045, 0.05, 0.055, 0.06, 0.07, 0.08, 0.1, 0.15, 0.2)
"""Failures per request that the rule is tuned for."""
PRICE_MJ = 15.0
"""Of a failed request, where energy and failures are one cost: what `beta-happo` is trained for."""
SHARED: dict[str, Any] = {"scenario": PHYSICAL, "set": {}, "episodes": NETWORKS}


def training_job(name: str, algorithm: str, slots: int, seed: int, parts: bool) -> Job:
    """A training with a seed, shown under `name`."""
    evaluated = {"evaluations": EVALUATIONS, "evaluation_episodes": EVALUATION_EPISODES}
    settings = {"shown": name, "algo": algorithm, "budget": slots, **evaluated, "parts": parts, "seed": seed}
    return Job(f"{name}, seed {seed}", f"{JOBS}:training", {**SHARED, **settings})


def rules_job(name: str, policies: Sequence[str], **settings: Any) -> Job:
    """Rules on the comparison's networks."""
    return Job(name, f"{JOBS}:rule_policies", {**SHARED, "policies": list(policies), **settings})


def frontier_jobs(deployments: Sequence[str], targets: Sequence[float] = FRONTIER) -> list[Job]:
    """The distance rule tuned for each of the targets, with every deployment."""
    return [
        rules_job(f"distance-rule at {100 * target:g} %", [rule_name(target, where) for where in deployments], target=target)
        for target in targets
    ]


def rule_name(target: float, deployment: str) -> str:
    return f"distance-rule[failure={target:g}]+{deployment}"


def cost(share: dict[str, Ratio]) -> Ratio:
    """Energy plus the price of failures, mJ per user and slot."""
    energy, failed = share[ENERGY], share["failure_per_slot"]
    return Ratio(energy.numerator + PRICE_MJ * failed.numerator, energy.denominator)


def percent(share: Estimate, times: float = 1.0) -> Estimate:
    """A share as percent, after multiplication by `times`."""
    return scaled(share, 100 * times)
