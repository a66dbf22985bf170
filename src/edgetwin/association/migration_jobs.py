"""The work of the study of learned migration: a training and what it comes to, rules, and the bound, network by network.

All meet the networks of a comparison under seed 0, which no training has met, for whole episodes.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from edgetwin.association.migration import MigrationTask
from edgetwin.association.migration_bound import net_utility_bounds
from edgetwin.evaluation.compare import decision_us, shares_of
from edgetwin.evaluation.rollout import rollout
from edgetwin.learning import trainer
from edgetwin.problem import Policy, episode_keys
from edgetwin.registry import learner as learner_of
from edgetwin.registry import policy as policy_of
from edgetwin.scenario import scenario

EVALUATION_NETWORKS = 1
"""Of the evaluations at the beginning and the end, which the study does not need"""


def learned(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training of `algo` with `seed` for `budget` slots, and the trained policy on `episodes` networks that it has not met. `seconds`
    are those of training, compilation and two short evaluations included; `decision_ms` is the median for one network."""
    task = _task(settings)
    learner = learner_of(task, settings["algo"])
    run = trainer.train_or_resume(learner, settings["seed"], settings["budget"], folder / "run", 1, EVALUATION_NETWORKS)
    key = episode_keys(0, 1)[0]
    state = jax.jit(task.reset)(key)
    return {
        "knows": run.information,
        "seconds": run.metrics[-1]["seconds"],
        "decision_ms": decision_us(run, key, state, jax.jit(task.observe)(state)) / 1e3,
        "measures": _measured(run, settings["episodes"]),
    }


def rules(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """By policy: what it may know, and its measures on the first `episodes` networks."""
    task = _task(settings)
    named = {name: policy_of(task, name) for name in settings["policies"]}
    return {
        name: {"knows": policy.information, "measures": _measured(policy, settings["episodes"])} for name, policy in named.items()
    }


def bound(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The net utility, per user and slot, that nobody can exceed in each of the first `episodes` networks."""
    task = _task(settings)
    slots = task.spec.comparison_slots
    totals = net_utility_bounds(task, episode_keys(0, settings["episodes"]), slots)
    return {"net_utility": totals / (slots * task.users)}


def _task(settings: dict[str, Any]) -> MigrationTask:
    return MigrationTask(scenario(settings["scenario"], settings["set"]))


def _measured(policy: Policy, episodes: int) -> dict[str, np.ndarray]:
    """Each metric of the task in every network, (networks,)."""
    slots = policy.task.spec.comparison_slots
    totals = jax.tree.map(lambda leaf: leaf.sum(axis=1), rollout(policy, episode_keys(0, episodes), slots, slots).metrics)
    return {name: share.numerator / share.denominator for name, share in shares_of(policy.task, totals).items()}
