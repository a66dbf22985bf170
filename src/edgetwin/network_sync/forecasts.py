"""The forecaster a scenario's twin uses: known from the walk's law where it can be, else fitted to movement of other episodes and kept.

Walks move the same users in every episode, so a forecaster may know each of them; on tracks anyone may come, so all users are forecast
alike, from the part of the tracks that is for training.
"""

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.forecasting import drift, last_value, linear
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.network_sync.world import WorldModel, move_probability, section_of
from edgetwin.physical.mobility import MOVES
from edgetwin.scenario import Scenario, network, replace

TRAINING_STREAM = 0x6042
TRAJECTORIES, LENGTH = 2000, 30
"""network-sync IV: 2,000 trajectories of 30 slots."""

FITTED = {"last": last_value, "linear": linear}


def on_tracks(scenario: Scenario) -> bool:
    """Whether users have no identity, since each episode brings others."""
    return scenario.users.mobility in ("goal-tracks", "file")


def user_by_user(scenario: Scenario) -> bool:
    """Whether one user's forecast can be refreshed without the others'."""
    return on_tracks(scenario) or section_of(scenario).forecaster not in ("gru", "gru-printed")


def step_law(scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Mean step and E|step − mean|² of every user of an independent walk, in blocks: (users, 2), (users,)."""
    step = scenario.users.step_m / section_of(scenario).block_m
    probability = move_probability(scenario)
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
            movement, position = model.move(carry[0], carry[1], streams, slot)
            return (movement, position), position

        rest = jax.lax.scan(move, (movement, history[-1]), jnp.arange(max(length - section.history_slots, 0)))[1]
        return jnp.concatenate([history, rest])[:length]

    keys = jax.random.split(jax.random.fold_in(jax.random.key(stream), 0), trajectories)
    return jax.jit(jax.vmap(path))(keys)


def training_paths(scenario: Scenario) -> jax.Array:
    """What forecasters are fitted to: 2,000 trajectories of 30 slots, on tracks of the part for training."""
    if on_tracks(scenario) and scenario.users.track_part == "test":
        scenario = replace(scenario, {"users.track_part": "train"})
    return movement_paths(scenario, TRAJECTORIES, LENGTH)


def forecaster(scenario: Scenario) -> Forecaster:
    """The forecaster that `network_sync.forecaster` names."""
    section = section_of(scenario)
    if section.forecaster == "drift" and scenario.users.mobility == "random-walk" and scenario.users.boundary == "none":
        return drift.drift(*step_law(scenario))
    paths = training_paths(scenario)
    module = drift if section.forecaster == "drift" else FITTED[section.forecaster]
    return module.forecaster(module.fit(paths, section.history_slots, on_tracks(scenario)))


def one_step_error(chosen: Forecaster, scenario: Scenario) -> np.ndarray:
    """v_u, each user's expected squared error one slot after a sync, (users,), blocks²: by the walk's law for drift, else measured."""
    section = section_of(scenario)
    if section.forecaster == "drift" and scenario.users.mobility == "random-walk" and scenario.users.boundary == "none":
        return step_law(scenario)[1]
    paths = training_paths(scenario)[:, : section.history_slots + 1]
    forecast = jax.jit(jax.vmap(lambda past: chosen.step(chosen.start(past))[1].mean))(paths[:, :-1])
    error = np.asarray(((forecast - paths[:, -1]) ** 2).sum(axis=-1)).mean(axis=0)
    return np.full_like(error, error.mean()) if on_tracks(scenario) else error
