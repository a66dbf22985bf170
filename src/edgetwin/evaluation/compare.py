"""Policies side by side on the same episodes: metrics with intervals, the bound each is judged by, and what each may know."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from edgetwin.errors import InputError
from edgetwin.evaluation.rollout import rollout
from edgetwin.evaluation.statistics import Estimate, paired_difference, pooled
from edgetwin.problem import Param, Policy, Ratio, Task, episode_keys
from edgetwin.registry import policy as policy_of


@dataclass(frozen=True)
class Row:
    """One policy's results. `shares` holds each metric's numerators and denominators, (episodes,); `curves` its values over time."""

    policy: Policy
    metrics: Mapping[str, Estimate]
    bound: Mapping[str, float]
    gap: Mapping[str, float]
    shares: Mapping[str, Ratio]
    curves: Mapping[str, tuple[Estimate, ...]]
    decision_us: float

    @property
    def params(self) -> Mapping[str, Param]:
        return self.policy.params


@dataclass(frozen=True)
class Comparison:
    """The rows of a comparison, in the order asked for; `bound_at` gives the bounds for any values of the metrics they depend on."""

    task: Task
    seed: int
    episodes: int
    slots: int
    rows: Mapping[str, Row]
    bound_at: Callable[[Mapping[str, float]], dict[str, float]] | None

    def difference(self, metric: str, first: str, second: str) -> Estimate:
        """How much `first` exceeds `second` in a metric, with a paired interval."""
        return paired_difference(self.rows[first].shares[metric], self.rows[second].shares[metric])

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain data, as `compare --json` prints it. Values that do not exist are None."""
        return {
            "task": self.task.name,
            "scenario": self.task.scenario.name,
            "seed": self.seed,
            "episodes": self.episodes,
            "slots": self.slots,
            "policies": {name: _row_json(row) for name, row in self.rows.items()},
        }

    def report(self, path: str | Path, film: Sequence[str] | None = None) -> Path:
        """Writes the comparison as one HTML file that opens from disk; `film` names the policies shown moving (by default three)."""
        from edgetwin.evaluation.report import write

        return write(self, Path(path), film)


def compare(
    task: Task,
    policies: Sequence[str | Policy],
    episodes: int = 64,
    slots: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Runs every policy on the same `episodes` networks for `slots` slots each (by default the task's `comparison_slots`).

    progress(name) is called whenever a policy is done. The same seed gives the same metrics, bit for bit.
    Raises InputError for an unknown policy, one named twice, or a number that makes no sense.
    """
    slots = task.spec.comparison_slots if slots is None else slots
    for name, value in (("episodes", episodes), ("slots", slots)):
        if value < 1:
            raise InputError(f"{name} = {value}: must be at least 1")
    if slots > task.spec.slots:
        raise InputError(f"slots = {slots}: an episode of this scenario has {task.spec.slots}")
    named = [entry if isinstance(entry, Policy) else policy_of(task, entry) for entry in policies]
    names = [entry.name for entry in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not named:
        raise InputError(f"policy {twice[0]!r} is named twice" if twice else "no policy to compare: name at least one")
    keys = episode_keys(seed, episodes)
    done: dict[str, Any] = {}
    with ThreadPoolExecutor(max_workers=2) as pool:
        bound = pool.submit(task.bound, keys, slots)
        running = {pool.submit(_totals, entry, keys, slots, task.spec.report_slots): entry.name for entry in named}
        for future in as_completed(running):
            done[running[future]] = future.result()
            progress(running[future])
    bound_at = bound.result()
    tasks = {id(entry.task): entry.task for entry in named}
    seen = {name: _first_slot(each, keys[0]) for name, each in tasks.items()}
    rows = {
        entry.name: _row(task, entry, done[entry.name], bound_at, decision_us(entry, keys[0], *seen[id(entry.task)]))
        for entry in named
    }
    return Comparison(task, seed, episodes, slots, rows, bound_at)


def _totals(policy: Policy, keys: jax.Array, slots: int, chunk: int) -> Any:
    """Sums per episode and chunk, (episodes, chunks, …)."""
    return rollout(policy, keys, slots, chunk).metrics


def _row(task: Task, policy: Policy, totals: Any, bound_at: Any, decision_us: float) -> Row:
    whole = jax.tree.map(lambda leaf: leaf.sum(axis=1), totals)
    shares = shares_of(task, whole)
    metrics = {name: pooled(*share) for name, share in shares.items()}
    bound = bound_at({name: estimate.mean for name, estimate in metrics.items()}) if bound_at else {}
    gap = {name: _gap(task.spec.metrics[name].better, metrics[name].mean, value) for name, value in bound.items()}
    chunks = jax.tree.leaves(totals)[0].shape[1]
    pieces = [shares_of(task, jax.tree.map(lambda leaf: leaf[:, chunk], totals)) for chunk in range(chunks)]  # noqa: B023
    curves = {name: tuple(pooled(*piece[name]) for piece in pieces) for name in task.spec.curves}
    return Row(policy, metrics, bound, gap, shares, curves, decision_us)


def shares_of(task: Task, totals: Any) -> dict[str, Ratio]:
    """Each metric's numerators and denominators, (episodes,), of sums per episode (episodes first)."""
    episodes = len(jax.tree.leaves(totals)[0])
    each = [task.summary(jax.tree.map(lambda leaf: leaf[episode], totals)) for episode in range(episodes)]  # noqa: B023
    return {
        name: Ratio(
            np.array([float(summary[name].numerator) for summary in each]),
            np.array([float(summary[name].denominator) for summary in each]),
        )
        for name in each[0]
    }


def _gap(better: str | None, value: float, bound: float) -> float:
    """value/bound − 1 for what is minimised, 1 − value/bound for what is maximised."""
    if not bound or better is None:
        return math.nan
    return value / bound - 1 if better == "lower" else 1 - value / bound


def _first_slot(task: Task, key: jax.Array) -> tuple[Any, Any]:
    """The first state of an episode and what is observed in it."""
    state = jax.jit(task.reset)(key)
    return state, jax.jit(task.observe)(state)


def decision_us(policy: Policy, key: jax.Array, state: Any, observation: Any, repeats: int = 30) -> float:
    """Median time of one decision for one network, warm, microseconds: what a live loop would wait."""
    trace = policy.task.trace(key, 1) if policy.information == "trace" else None
    view = policy.view(observation, state, trace)
    carry = policy.init(key, view)
    act = policy.act if policy.runs_on == "host" else jax.jit(policy.act)
    jax.block_until_ready(act(carry, view, key))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(act(carry, view, key))
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "metrics": {
            name: {"mean": _number(estimate.mean), "ci95": [_number(end) for end in estimate.ci95] if estimate.ci95 else None}
            for name, estimate in row.metrics.items()
        },
        "bound": {name: _number(row.bound.get(name, math.nan)) for name in row.metrics},
        "gap": {name: _number(row.gap.get(name, math.nan)) for name in row.metrics},
        "information": row.policy.information,
        "runs_on": row.policy.runs_on,
        "reference": row.policy.reference,
        "params": {name: {"value": _plain(param.value), "tuned": param.tuned} for name, param in row.params.items()},
        "decision_us": round(row.decision_us, 1),
    }


def _plain(value: float | int | str | bool) -> float | int | str | bool | None:
    """A knob's value; None for a number that is not finite."""
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
