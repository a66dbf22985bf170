"""The pieces of work that the figures of placement are made of: each a function of plain settings, for `evaluation.study`.

What is kept of a policy is its cost, and what the cost is made of, in every network, so that policies can be compared network by network.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from edgetwin.association import rules
from edgetwin.association.instance import Instance, outcome
from edgetwin.association.placement import PlacementTask
from edgetwin.evaluation.compare import decision_us
from edgetwin.evaluation.rollout import rollout
from edgetwin.learning import trainer
from edgetwin.learning.learner import Learner
from edgetwin.problem import Policy, episode_keys
from edgetwin.registry import learner as learner_of
from edgetwin.registry import policy as policy_of
from edgetwin.scenario import scenario

MEASURES = ("cost", "latency_s", "energy_j", "open_servers")
GAP = 1e-3
DECISIONS, GROUPS = 100, 5


def training(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training on placements of one slot: the mean cost and the seconds at its evaluations, and the trained policy on `episodes` networks
    that it has not met, in every one of `steps` slots. `seconds` include compilation and evaluations; `decision_ms` is the median."""
    task = _task(settings, 1)
    learner, times, episodes = learner_of(task, settings["algo"]), settings["evaluations"], settings["evaluation_episodes"]
    run = trainer.train_or_resume(learner, settings["seed"], settings["budget"], folder / "run", times, episodes)
    lines = [line for line in run.metrics if "evaluation" in line]
    return {
        "curve": {
            "slots": [line["slots"] for line in lines],
            "seconds": [line["seconds"] for line in lines],
            "cost": [line["evaluation"]["cost"]["mean"] for line in lines],
        },
        "seconds": run.metrics[-1]["seconds"],
        "updates": int(sum(line["training"]["updates"] for line in run.metrics if "training" in line)),
        "decision_ms": _decision_ms(run, DECISIONS),
        "measures": _measured(replace(run, task=_task(settings, settings["steps"])), settings["episodes"], settings["steps"]),
    }


def rule_policies(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Policies that need no training on the same networks, in every one of `steps` slots; and where `evaluation_episodes` are named, their
    mean cost on those networks that trainings are evaluated on."""
    task = _task(settings, settings["steps"])
    named = {name: policy_of(task, name) for name in settings["policies"]}
    found = {name: _measured(policy, settings["episodes"], settings["steps"]) for name, policy in named.items()}
    evaluated = {}
    if "evaluation_episodes" in settings:
        keys = trainer.evaluation_keys(settings["evaluation_episodes"])
        evaluated = {name: float(rollout(policy, keys, 1, 1).metrics.cost.mean()) for name, policy in named.items()}
    return {"measures": found, "evaluated": evaluated}


def opening_prices(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The cost J of each network at each of the `prices` of an open server, (networks, prices): of the optimum, with its open servers, and of
    what is best where opening costs nothing, at that price for all servers."""
    task = _task(settings, 1)
    reset, optimum, all_open, opened = jax.jit(task.reset), [], [], []
    for key in episode_keys(0, settings["episodes"]):
        state = reset(key)._replace(streams=None)
        instance, _ = task.instance(jax.tree.map(np.asarray, state))
        free = _priced(instance, 0.0)
        least = outcome(free, rules.exact(free, GAP).host).cost
        solved = [
            outcome(each, rules.exact(each, GAP).host) for each in (_priced(instance, price) for price in settings["prices"])
        ]
        optimum.append([each.cost for each in solved])
        opened.append([each.open_servers for each in solved])
        all_open.append([least + task.section.cost_weight * price * task.servers for price in settings["prices"]])
    return {"optimum": optimum, "open_servers": opened, "all_open": all_open}


def _priced(instance: Instance, price: float) -> Instance:
    return instance._replace(section=instance.section.model_copy(update={"open_cost_s": price}))


def timing(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How long training and deciding take, every algorithm on every scenario: seconds to compile, seconds and updates of every block, blocks of
    the scenarios in turn; milliseconds per decision of one network, medians of groups, and those of rules on the largest scenario."""
    tasks = {name: PlacementTask(scenario(name, settings["set"])) for name in settings["scenarios"]}
    timed = {algo: _timed(tasks, algo, rounds) for algo, rounds in settings["rounds"].items()}
    largest = tasks[settings["scenarios"][-1]]
    return {
        "training": {algo: blocks for algo, (blocks, _) in timed.items()},
        "decision_ms": {algo: decisions for algo, (_, decisions) in timed.items()},
        "rules_ms": {name: _decision_ms(policy_of(largest, name), settings["rule_decisions"]) for name in settings["policies"]},
    }


def _task(settings: dict[str, Any], slots: int) -> PlacementTask:
    return PlacementTask(scenario(settings["scenario"], {**settings["set"], "placement.slots": slots}))


def _measured(policy: Policy, episodes: int, steps: int) -> dict[str, np.ndarray]:
    """Each measure in every slot of every network, (networks, steps)."""
    metrics = rollout(policy, episode_keys(0, episodes), steps, 1).metrics
    return {name: getattr(metrics, name) for name in MEASURES}


def _decision_ms(policy: Policy, decisions: int) -> float:
    """The median time of one decision for one network, warm."""
    key = episode_keys(0, 1)[0]
    state = jax.jit(policy.task.reset)(key)
    if policy.runs_on == "host":
        state = jax.tree.map(np.asarray, state._replace(streams=None))
    return decision_us(policy, key, state, jax.jit(policy.task.observe)(state), decisions) / 1e3


def _timed(tasks: dict[str, PlacementTask], algo: str, rounds: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """By scenario: seconds to compile a block, and of each block its seconds and updates; and milliseconds per decision.
    Scenarios take turns, so that what else the machine does meets them alike."""
    learners = {name: learner_of(task, algo) for name, task in tasks.items()}
    states = {name: jax.jit(learner.init)(jax.random.key(0)) for name, learner in learners.items()}

    def compiled(name: str) -> tuple[Any, float]:
        began = time.perf_counter()
        block = jax.jit(learners[name].block).lower(states[name]).compile()
        return block, time.perf_counter() - began

    done = {name: compiled(name) for name in tasks}
    made = {name: block for name, (block, _) in done.items()}
    found: dict[str, Any] = {name: {"compile_s": seconds, "seconds": [], "updates": []} for name, (_, seconds) in done.items()}
    for _ in range(rounds):
        for name, block in made.items():
            began = time.perf_counter()
            states[name], figures = jax.block_until_ready(block(states[name]))
            found[name]["seconds"].append(time.perf_counter() - began)
            found[name]["updates"].append(int(figures["updates"]))
    return found, {name: _learner_ms(learner, learner.policy(states[name])) for name, learner in learners.items()}


def _learner_ms(learner: Learner, params: Any) -> list[float]:
    """Milliseconds of a decision for one network, warm: the median of each of several groups."""
    key = episode_keys(0, 1)[0]
    observation = jax.jit(lambda key: learner.task.observe(learner.task.reset(key)))(key)
    act = jax.jit(learner.act).lower(params, observation, key).compile()
    medians = []
    for _ in range(GROUPS):
        times = []
        for _ in range(DECISIONS):
            began = time.perf_counter()
            jax.block_until_ready(act(params, observation, key))
            times.append(time.perf_counter() - began)
        medians.append(1e3 * float(np.median(times)))
    return medians
