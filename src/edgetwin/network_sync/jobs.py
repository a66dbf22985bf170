"""The pieces of work that this problem's studies are made of: each a function of plain settings, for `evaluation.study`."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from edgetwin.evaluation.compare import compare
from edgetwin.evaluation.rollout import rollout
from edgetwin.evaluation.statistics import Estimate, pooled
from edgetwin.forecasting import bayes
from edgetwin.forecasting.errors import k_step_errors
from edgetwin.learning import trainer
from edgetwin.network_sync import forecasts
from edgetwin.network_sync.task import NetworkSyncTask
from edgetwin.network_sync.world import section_of
from edgetwin.physical.mobility import move_probability
from edgetwin.problem import episode_keys
from edgetwin.registry import learner as learner_of
from edgetwin.registry import policy as policy_of
from edgetwin.scenario import Scenario, scenario

AHEAD = (1, 2, 5)
TEST_STREAM = 0x7E57


def forecast_errors(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One forecaster on movement it was not fitted to: errors 1, 2 and 5 slots ahead, calibration and coverage, per user one slot ahead, the
    floor where it is known, training seconds, and one trajectory with its one-step forecasts."""
    on = scenario(settings["scenario"], settings["set"])
    memory = section_of(on).history_slots
    start = time.perf_counter()
    if forecasts.follows_law(on):
        model = forecasts.forecaster(on)[0]
    else:
        model = forecasts.kind_of(on).forecaster(forecasts.fit(on, forecasts.training_paths(on)))
    seconds = time.perf_counter() - start
    paths = forecasts.movement_paths(on, settings["paths"], forecasts.LENGTH + memory, TEST_STREAM)
    ahead = k_step_errors(model, paths, memory, AHEAD)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(paths[0]), memory, axis=0)[:-1].transpose(0, 3, 1, 2)
    one_step = jax.jit(jax.vmap(lambda past: model.step(model.start(past))[1].mean))
    shown = np.asarray(one_step(windows))
    every = np.asarray(jax.jit(jax.vmap(one_step))(_windows(np.asarray(paths[:200]), memory)))
    missed = ((every - np.asarray(paths[:200, memory:])) ** 2).sum(axis=-1)
    return {
        "slots": list(AHEAD),
        "error": [_plain(each.squared_error) for each in ahead],
        "calibration": [_plain(each.calibration) for each in ahead],
        "coverage": [[_plain(region) for region in each.coverage] for each in ahead],
        "per_user": [
            _plain(pooled(missed[:, :, user].sum(axis=1), np.full(len(missed), missed.shape[1])))
            for user in range(missed.shape[2])
        ],
        "floor": _floor(on),
        "seconds": seconds,
        "truth": paths[0, memory:],
        "forecast": shown,
    }


def _windows(paths: np.ndarray, memory: int) -> np.ndarray:
    """(paths, time, users, 2) as (paths, windows, memory, users, 2), each followed by a state."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(paths, memory, axis=1)[:, :-1], -1, 2)


def _floor(on: Scenario) -> list[float] | None:
    """The Bayes floor 1, 2 and 5 slots ahead, where the law of movement is known."""
    step, users = on.users.step_m / section_of(on).block_m, on.users
    if users.mobility == "random-walk" and users.boundary == "none":
        return [float(floor) for floor in bayes.random_walk_floor(move_probability(on.users), np.array(AHEAD), step)]
    if users.mobility == "persistent-walk" and users.boundary == "none":
        probability = move_probability(on.users)
        return [float(floor) for floor in bayes.persistent_walk_floor(probability, users.persistence, np.array(AHEAD), step)]
    return None


def twin_error(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The twin's mean squared error in slots without a sync, under a policy, (mean, interval)."""
    task = NetworkSyncTask(scenario(settings["scenario"], settings["set"]))
    metrics = rollout(policy_of(task, settings["policy"]), episode_keys(0, settings["episodes"]), task.spec.slots, 1).metrics
    waited = 1 - metrics.syncs
    return {"error": _plain(pooled((metrics.squared_error * waited).sum(axis=1), waited.sum(axis=1)))}


def training(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training: its evaluations on the way, and cost and reward of the trained policy on episodes that all policies share."""
    task = NetworkSyncTask(scenario(settings["scenario"], settings["set"]))
    learner = learner_of(task, settings["algo"])
    start = time.perf_counter()
    run = trainer.train_or_resume(learner, settings["seed"], settings["slots"], folder / "run", settings["evaluations"])
    seconds = time.perf_counter() - start
    lines = [line for line in run.metrics if "evaluation" in line]
    curves = {name: [line["evaluation"][name]["mean"] for line in lines] for name in ("cost", "reward", "sync_rate")}
    keys = episode_keys(0, settings["episodes"])
    totals = rollout(run, keys, task.spec.slots, task.spec.slots).metrics
    return {
        "curve": {"slots": [line["slots"] for line in lines], **curves},
        "cost": float(totals.cost.mean()),
        "reward": float(totals.reward.mean()),
        "sync_rate": float(totals.syncs.mean() / task.spec.slots),
        "seconds": seconds,
    }


def rules(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Policies that need no training on the episodes that all policies share: cost and reward with intervals, and the bound; and where
    `evaluation_episodes` are named, the mean cost on those that trainings are evaluated on."""
    task = NetworkSyncTask(scenario(settings["scenario"], settings["set"]))
    comparison = compare(task, settings["policies"], settings["episodes"])
    rows = comparison.rows.items()
    evaluated = {}
    if "evaluation_episodes" in settings:
        keys = trainer.evaluation_keys(settings["evaluation_episodes"])
        costs = {name: rollout(row.policy, keys, task.spec.slots, task.spec.slots).metrics.cost for name, row in rows}
        evaluated = {name: float(cost.mean()) for name, cost in costs.items()}
    return {
        "evaluated": evaluated,
        "policies": {name: {metric: _plain(value) for metric, value in row.metrics.items()} for name, row in rows},
        "bound": {name: row.bound.get("cost") for name, row in rows},
        "params": {name: {key: param.value for key, param in row.params.items()} for name, row in rows},
    }


def _plain(estimate: Estimate) -> list[float]:
    return [estimate.mean, *(estimate.ci95 or (float("nan"), float("nan")))]


def estimate(stored: list[float]) -> Estimate:
    """An estimate as a job's result holds it: mean, low, high."""
    mean, low, high = stored
    return Estimate(mean, None if low is None else (low, high))
