"""The forecaster a scenario's twin uses: known from the walk's law where it can be, else fitted to movement of other episodes and kept.

Walks move the same users in every episode, so a forecaster may know each of them; on tracks anyone may come, so all users are forecast
alike, from the part of the tracks that is for training.
"""

import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pooch

from edgetwin.errors import InputError
from edgetwin.forecasting import drift, files, gru, gru_printed, gru_shared, kalman, last_value, linear
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.network_sync.world import WorldModel, section_of
from edgetwin.physical.mobility import MOVES, move_probability
from edgetwin.scenario import Scenario, network, replace

TRAINING_STREAM = 0x6042
TRAJECTORIES, LENGTH = 2000, 30
"""network-sync IV: 2,000 trajectories of 30 slots."""

KINDS: dict[str, tuple[Any, Any]] = {
    "drift": (drift, drift),
    "last": (last_value, last_value),
    "linear": (linear, linear),
    "kalman": (kalman, kalman),
    "gru": (gru, gru_shared),
    "gru-printed": (gru_printed, None),
}
"""By the scenario's word: for users with an identity, and for users who are alike."""


def on_tracks(scenario: Scenario) -> bool:
    """Whether users have no identity, since each episode brings others."""
    return scenario.users.mobility in ("goal-tracks", "file")


def step_law(scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Mean step and E|step − mean|² of every user of an independent walk, in blocks: (users, 2), (users,)."""
    step = scenario.users.step_m / section_of(scenario).block_m
    probability = move_probability(scenario.users)
    mean = probability @ np.array(MOVES) * step
    second = probability @ (np.array(MOVES) ** 2).sum(axis=1) * step**2
    return mean, second - (mean**2).sum(axis=1)


def movement_paths(scenario: Scenario, trajectories: int, length: int, stream: int = TRAINING_STREAM) -> jax.Array:
    """True positions of episodes that no comparison uses, (trajectories, length, users, 2), blocks, float32."""
    section = section_of(scenario)
    longer = replace(scenario, {"network_sync.slots": max(length - section.history_slots, 1)})
    model = WorldModel(longer, network(longer))

    def path(key):
        streams = model.streams(key)
        movement, history = model.start(streams)

        def move(carry, slot):
            movement, position = model.move(carry[0], carry[1], model.noise(streams, slot).movement, slot)
            return (movement, position), position

        rest = jax.lax.scan(move, (movement, history[-1]), jnp.arange(max(length - section.history_slots, 0)))[1]
        return jnp.concatenate([history, rest])[:length]

    keys = jax.random.split(jax.random.fold_in(jax.random.key(stream), 0), trajectories)
    return jax.jit(jax.vmap(path))(keys)


def training_paths(scenario: Scenario) -> jax.Array:
    """What forecasters are fitted to: 2,000 trajectories of 30 slots; on tracks of the part for training, no longer than an episode."""
    if not on_tracks(scenario):
        return movement_paths(scenario, TRAJECTORIES, LENGTH)
    if scenario.users.track_part == "test":
        scenario = replace(scenario, {"users.track_part": "train"})
    section = section_of(scenario)
    return movement_paths(scenario, TRAJECTORIES, min(LENGTH, section.slots + section.history_slots))


def forecaster(scenario: Scenario) -> tuple[Forecaster, np.ndarray]:
    """The forecaster that `network_sync.forecaster` names, and v_u, (users,), blocks²: what it is expected to err by one slot after a sync.

    By the walk's law where that is known; else fitted, and measured, on `training_paths`.
    """
    if follows_law(scenario):
        mean_step, variance = step_law(scenario)
        return drift.drift(mean_step, variance), variance
    paths = training_paths(scenario)
    chosen = _kept(scenario, paths)
    return chosen, one_step_error(chosen, scenario, paths)


def _kept(scenario: Scenario, paths: jax.Array) -> Forecaster:
    """The fitted forecaster, from the user's cache where it has been fitted to the same paths before."""
    kind = kind_of(scenario)
    told = f"{kind.NAME} {section_of(scenario).history_slots} {version('edgetwin')}"
    digest = hashlib.sha256(told.encode() + np.asarray(paths).tobytes()).hexdigest()
    file = Path(pooch.os_cache("edgetwin")) / "forecasters" / f"{kind.NAME}-{digest[:16]}.safetensors"
    if file.exists():
        with suppress(InputError):
            return files.forecaster(kind.NAME, files.load(file).parameters)
    parameters = fit(scenario, paths)
    files.save(file, kind.NAME, parameters, {"scenario": scenario.name})
    return kind.forecaster(parameters)


def kind_of(scenario: Scenario) -> Any:
    """The module of the forecaster that a scenario names. Raises InputError where users without identity need one."""
    word = section_of(scenario).forecaster
    kind = KINDS[word][on_tracks(scenario)]
    if kind is None:
        alike = ", ".join(name for name, kinds in KINDS.items() if kinds[True] is not None)
        raise InputError(
            f'network_sync.forecaster = "{word}": needs users with an identity, so a walk; on tracks must be one of {alike}'
        )
    return kind


def fit(scenario: Scenario, paths: jax.Array) -> Any:
    """The parameters of the scenario's forecaster, fitted to paths (paths, time, users, 2)."""
    kind, tracks = kind_of(scenario), on_tracks(scenario)
    shared = {"shared": tracks} if kind in (drift, last_value, linear, kalman) else {}
    return kind.fit(paths, section_of(scenario).history_slots, **shared)


def follows_law(scenario: Scenario) -> bool:
    """Whether the mean step and its variance are known: drift on an independent walk without walls."""
    return section_of(scenario).forecaster == "drift" and (scenario.users.mobility, scenario.users.boundary) == (
        "random-walk",
        "none",
    )


def one_step_error(chosen: Forecaster, scenario: Scenario, paths: jax.Array) -> np.ndarray:
    """Each user's mean squared error one slot after a sync on paths (paths, time, users, 2); the same for all where users are alike."""
    paths = paths[:, : section_of(scenario).history_slots + 1]
    forecast = jax.jit(jax.vmap(lambda past: chosen.step(chosen.start(past))[1].mean))(paths[:, :-1])
    error = np.asarray(((forecast - paths[:, -1]) ** 2).sum(axis=-1)).mean(axis=0)
    return np.full_like(error, error.mean()) if on_tracks(scenario) else error
