"""The pieces of work that this problem's studies are made of: each a function of plain settings, for `evaluation.study`.

All policies, learned ones and rules, meet the same networks; what is kept of each is its share in every metric network by network, so that
differences can be paired.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgetwin.evaluation.compare import Comparison, compare
from edgetwin.learning import trainer
from edgetwin.learning.runs import Run
from edgetwin.problem import Policy, Ratio
from edgetwin.registry import join, only
from edgetwin.registry import learner as learner_of
from edgetwin.scenario import scenario
from edgetwin.two_timescale import rules
from edgetwin.two_timescale.task import TwoTimescale

METRICS = (
    "failure_per_request",
    "failure_per_slot",
    "energy_mj_per_slot",
    "failure_worst_user",
    "users_over_epsilon",
    "migrations_per_frame",
)
CURVES = ("energy_mj_per_slot", "failure_per_request")
LEARNED = "learned"
BOUND_AT = np.linspace(0, 0.5, 101)
"""Failures per request at which the bound is kept."""


def training(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training: its evaluations on the way, and the trained policy on the comparison's networks; where `parts` is true, also with the
    stations' or the centre's decisions made by a rule. `seconds` include compilation and evaluations."""
    task = TwoTimescale(scenario(settings["scenario"], settings["set"]))
    learner, times, episodes = learner_of(task, settings["algo"]), settings["evaluations"], settings["evaluation_episodes"]
    run = trainer.train_or_resume(learner, settings["seed"], settings["budget"], folder / "run", times, episodes)
    evaluated = [line for line in run.metrics if "evaluation" in line]
    whole = replace(run, name=LEARNED)
    comparison = compare(task, [whole, *(mixed(run) if settings["parts"] else [])], settings["episodes"])
    return {
        "curve": {
            "slots": [line["slots"] for line in evaluated],
            **{metric: [line["evaluation"][metric]["mean"] for line in evaluated] for metric in CURVES},
        },
        "shares": _shares(comparison),
        "seconds": run.metrics[-1]["seconds"],
        "updates": sum("training" in line for line in run.metrics),
    }


def mixed(run: Run) -> list[Policy]:
    """A trained policy with the rule's equal shares, and with two rules' deployments, in place of its own."""
    task = run.task
    senders, stations, centre = (only(run, name) for name in ("users", "stations", "centre"))
    return [
        join(task, [senders, rules.equal_shares(task), centre], "equal shares"),
        join(task, [senders, stations, rules.nearest(task)], "nearest"),
        join(task, [senders, stations, rules.sticky(task)], "sticky"),
    ]


def rule_policies(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Policies that need no training on the same networks, their tuned numbers, and the bound on energy at several shares of failures."""
    task = TwoTimescale(scenario(settings["scenario"], settings["set"]))
    comparison = compare(task, settings["policies"], settings["episodes"])
    assert comparison.bound_at is not None
    bound = [comparison.bound_at({"failure_per_request": failed})["energy_mj_per_slot"] for failed in BOUND_AT]
    return {
        "shares": _shares(comparison),
        "params": {name: {key: param.value for key, param in row.params.items()} for name, row in comparison.rows.items()},
        "bound": bound,
    }


def _shares(comparison: Comparison) -> dict[str, dict[str, Ratio]]:
    return {name: {metric: row.shares[metric] for metric in METRICS} for name, row in comparison.rows.items()}


def shares(value: Mapping[str, Any], policy: str = LEARNED) -> dict[str, Ratio]:
    """A policy's share in each metric as a job's result holds it."""
    return {metric: Ratio(*map(np.array, share)) for metric, share in value["shares"][policy].items()}
