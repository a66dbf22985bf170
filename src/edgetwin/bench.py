"""Speed on this machine: environments alone, one beside readable NumPy, training, and what a user waits for first.

Ratios come from runs that alternate; medians are quoted, since machines are noisy.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.evaluation.rollout import compiled_rollout
from edgetwin.learning.learner import Learner
from edgetwin.network_sync.task import NetworkSyncTask
from edgetwin.problem import Policy, Task, episode_keys, random_action
from edgetwin.registry import learner, policy
from edgetwin.scenario import scenario
from edgetwin.two_timescale import agents
from edgetwin.two_timescale.reference import Reference
from edgetwin.two_timescale.task import TwoTimescale

NETWORKS, SLOTS, REFERENCE_SLOTS, ROUNDS = 64, 500, 100, 5
SYNC_NETWORKS = 1024
HAPPO = ("beta-happo-shared", "beta-happo")


class Timing(NamedTuple):
    """One measured thing. `cold_s` includes compilation; `warm_s` is a median; `per_second` counts network-slots."""

    name: str
    cold_s: float
    warm_s: float
    per_second: float


def bench(progress: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """Times each problem's environment, rules and training, and the memory it took.

    Compiled programs are not taken from the cache, so that cold means cold. Returns {"problems": [{"task", "timings": [...], …}],
    "peak_memory_mb", "jax"}, plain data.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    return {
        "problems": [_two_timescale(progress), _network_sync(progress)],
        "peak_memory_mb": peak_memory_mb(),
        "jax": jax.__version__,
    }


def _two_timescale(progress: Callable[[str], None]) -> dict[str, Any]:
    """The environment (physical preset, K = 30, M = 5) beside the readable NumPy one, its rules, and a block of each HAPPO's training."""
    task = TwoTimescale(scenario("two-timescale/physical"))
    timings, speedups = _beside_numpy(task, progress)
    for name in ("full-power+nearest", "inversion[snr=5]+nearest", "inversion[snr=5]+sticky"):
        progress(name)
        timings.append(_timed(f"rollout {name}", policy(task, name)))
    for name in HAPPO:
        timings += _parts_of_training(task, name, progress)
    return {**_told(task, NETWORKS, task.sites, timings), "speedup_over_numpy": statistics.median(speedups)}


def _network_sync(progress: Callable[[str], None]) -> dict[str, Any]:
    """The environment (preset A) with the mean step and with the GRU as forecaster, and a block of each learner's training."""
    timings = []
    for forecaster in ("drift", "gru"):
        progress(f"network-sync with {forecaster}")
        task = NetworkSyncTask(scenario("network-sync/a", {"network_sync.forecaster": forecaster}))
        timings.append(_timed(f"environment with {forecaster}, random actions", _random(task, observed=False), SYNC_NETWORKS))
        if forecaster == "drift":
            for name in ("sac", "dqn"):
                progress(f"training {name}")
                taught = learner(task, name)
                cold, block = _blocks(taught)
                warm = [next(block) for _ in range(ROUNDS)]
                timings.append(_timing(f"training {name}, {taught.block_slots} slots", cold, warm, taught.block_slots))
    return _told(task, SYNC_NETWORKS, 1, timings)


def _told(task: Any, networks: int, sites: int, timings: list[Timing]) -> dict[str, Any]:
    """A problem's timings as plain data; agent-steps per second are network-slots per second times the agents of a network."""
    count = sum(each.count for each in task.spec.agents.values())
    return {
        "task": task.name,
        "scenario": task.scenario.name,
        "networks": networks,
        "users": task.users,
        "sites": sites,
        "agents": count,
        "timings": [{**timing._asdict(), "agent_steps_per_s": count * timing.per_second} for timing in timings],
    }


def _parts_of_training(task: TwoTimescale, name: str, progress: Callable[[str], None]) -> list[Timing]:
    """A block of training, its rollout alone, and the rest of it: advantages and updates. The two alternate."""
    taught = learner(task, name)
    playing = agents.fitted(name, task, agents.LEARNING._replace(epochs=0), agents.Fitting(shared=taught.settings.shared))
    progress(f"training {taught.name}")
    cold, block = _blocks(taught)
    cold_play, play = _blocks(playing)
    whole, rollout = np.array([(next(block), next(play)) for _ in range(ROUNDS)]).T
    parts = {
        "rollout": (cold_play, rollout),
        "update": (max(cold - cold_play, 0.0), whole - rollout),
        "whole block": (cold, whole),
    }
    slots = taught.block_slots
    return [_timing(f"{taught.name}, {slots} slots: {part}", first, list(warm), slots) for part, (first, warm) in parts.items()]


def _blocks(taught: Learner) -> tuple[float, Iterator[float]]:
    """The time of a first block of training, compiled in it, and an endless series of warm times."""
    block = jax.jit(taught.block)
    start = time.perf_counter()
    first = jax.block_until_ready(block(taught.init(jax.random.key(0)))[0])
    cold = time.perf_counter() - start

    def warm() -> Iterator[float]:
        state = first
        while True:
            start = time.perf_counter()
            state = jax.block_until_ready(block(state)[0])
            yield time.perf_counter() - start

    return cold, warm()


def peak_memory_mb() -> float:
    """The most memory this process has held, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _random(task: Task, *, observed: bool) -> Policy:
    """Random actions; where `observed`, the observations are summed so that they are really computed."""

    def act(carry, view, key):
        seen = sum(jnp.sum(leaf) for leaf in view.observation) if observed else 0.0
        return carry + 1e-9 * seen, random_action(task, key)

    return Policy(name="random", task=task, act=act, init=lambda key, view: jnp.zeros(()))


def _rounds(player: Policy, networks: int = NETWORKS) -> tuple[float, Iterator[float]]:
    """The time of a first rollout, compiled in it, and an endless series of warm times."""
    keys = episode_keys(0, networks)
    slots = min(SLOTS, player.task.spec.slots)
    run = compiled_rollout(player, slots, slots)
    start = time.perf_counter()
    run(keys)
    cold = time.perf_counter() - start

    def warm() -> Iterator[float]:
        while True:
            start = time.perf_counter()
            run(keys)
            yield time.perf_counter() - start

    return cold, warm()


def _timed(name: str, player: Policy, networks: int = NETWORKS) -> Timing:
    cold, warm = _rounds(player, networks)
    return _timing(name, cold, [next(warm) for _ in range(ROUNDS)], networks * min(SLOTS, player.task.spec.slots))


def _timing(name: str, cold: float, warm: list[float], slots: int = NETWORKS * SLOTS) -> Timing:
    middle = statistics.median(warm)
    return Timing(name, cold, middle, slots / middle)


def _beside_numpy(task: TwoTimescale, progress: Callable[[str], None]) -> tuple[list[Timing], list[float]]:
    progress("environment")
    cold, alone = _rounds(_random(task, observed=False))
    cold_seen, seen = _rounds(_random(task, observed=True))
    progress("readable NumPy")
    numpy_run = _reference_run(task)
    start = time.perf_counter()
    numpy_run()
    numpy_cold = time.perf_counter() - start
    times: dict[str, list[float]] = {"alone": [], "seen": [], "numpy": []}
    for _ in range(ROUNDS):
        times["alone"].append(next(alone))
        times["seen"].append(next(seen))
        start = time.perf_counter()
        numpy_run()
        times["numpy"].append(time.perf_counter() - start)
    timings = [
        _timing("environment, random actions", cold, times["alone"]),
        _timing("environment and observations", cold_seen, times["seen"]),
        _timing("readable NumPy, without observations", numpy_cold, times["numpy"], REFERENCE_SLOTS),
    ]
    per_slot = [
        (numpy / REFERENCE_SLOTS) / (jax / (NETWORKS * SLOTS)) for numpy, jax in zip(times["numpy"], times["alone"], strict=True)
    ]
    return timings, per_slot


def _reference_run(task: TwoTimescale) -> Callable[[], None]:
    """A run of the readable environment on draws and actions made beforehand, so that only the environment is timed."""
    streams = task.model.streams(jax.random.key(0))
    start = jax.tree.map(np.asarray, task.model.start(streams))
    draw = jax.jit(lambda slot: task.model.noise(streams, slot))
    noises = [jax.tree.map(np.asarray, draw(slot)) for slot in range(REFERENCE_SLOTS + 1)]
    noises = [noise._replace(fading=np.moveaxis(noise.fading, 0, -1)) for noise in noises]
    chosen = jax.jit(lambda slot: random_action(task, jax.random.key(slot)))
    actions = [jax.tree.map(np.asarray, chosen(slot)) for slot in range(REFERENCE_SLOTS)]

    def run() -> None:
        environment = Reference(task.scenario, task.network)
        environment.reset(start, noises[0])
        for action, noise in zip(actions, noises[1:], strict=True):
            environment.step(action, noise)

    return run
