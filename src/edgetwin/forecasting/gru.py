"""GRU: the recurrent network of network-sync (6)-(10) over all users together, read as a residual.

It reads the displacements within a packet, one per step, and its output is the mean of the next displacement, added to the last state;
k slots ahead it reads its own forecasts of displacement. Raw coordinates would have to be learnt over the whole area, displacements look
alike everywhere. Users keep their place in the vector, so each may move in a way of its own.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from edgetwin.forecasting import growth, training
from edgetwin.forecasting.cell import Cell, as_type, initial, next_hidden, output, read
from edgetwin.forecasting.forecaster import Forecast, Forecaster, ahead, checked_history
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import checked_paths, motion, residuals

NAME = "gru"


class Parameters(NamedTuple):
    """cell: 2U inputs and outputs. scale: scalar, the rms displacement of the paths it was trained on, by which inputs are divided."""

    cell: Cell
    scale: jax.Array
    errors: Growth


class State(NamedTuple):
    """hidden: (hidden,) after all displacements so far. position: (users, 2), the last true or forecast one. slots: since the packet."""

    hidden: jax.Array
    position: jax.Array
    slots: jax.Array
    motion: jax.Array


def forecaster(parameters: Parameters) -> Forecaster:
    """Last state + the output (10), iterated; M of at least 2, and the users it was trained on."""
    users = len(parameters.cell.b_o) // 2

    def start(history):
        history = checked_history(history, 2, NAME, users)
        cell, scale = as_type(parameters.cell, history.dtype), jnp.asarray(parameters.scale, history.dtype)
        steps = jnp.diff(history, axis=0).reshape(len(history) - 1, -1)
        return State(read(cell, steps / scale), history[-1], jnp.zeros((), jnp.int32), motion(history))

    def step(state: State):
        dtype = state.position.dtype
        cell, scale, slots = as_type(parameters.cell, dtype), jnp.asarray(parameters.scale, dtype), state.slots + 1
        change = output(cell, state.hidden)
        position = state.position + scale * change.reshape(users, 2)
        forecast = Forecast(position, growth.squared_error(parameters.errors, slots, state.motion))
        return State(next_hidden(cell, change, state.hidden), position, slots, state.motion), forecast

    return Forecaster(NAME, start, step)


def fit(
    paths,
    memory: int,
    *,
    hidden: int = 128,
    slots: int = 5,
    learning_rate: float = 2e-3,
    batch: int = 256,
    epochs: int = 12,
    patience: int = 3,
    seed: int = 0,
) -> Parameters:
    """Trained on paths (paths, time, users, 2) with Adam on loss (11), averaged over 1 … `slots` slots ahead, by k-step error over k.

    N^h = `hidden`; `memory` is M. One path in ten is held back: it decides when to stop, and on it the
    errors by slots ahead are measured. The same seed gives the same weights. Raises InputError.
    """
    paths = checked_paths(paths, memory)
    slots = min(slots, paths.shape[1] - memory)
    scale = jnp.sqrt(jnp.mean(jnp.sum(jnp.diff(paths, axis=1) ** 2, axis=-1)))
    scale = jnp.where(scale > 0, scale, 1)
    rng = np.random.default_rng(seed)
    blind = Parameters(initial(rng, 2 * paths.shape[2], hidden, 2 * paths.shape[2], paths.dtype), scale, growth.none(paths))

    def objective(cell, windows):
        model = forecaster(blind._replace(cell=cell))
        forecast = jax.vmap(lambda history: ahead(model, history, slots).mean)(windows[:, :memory])
        weight = jnp.sqrt(1 / (scale**2 * jnp.arange(1, slots + 1, dtype=paths.dtype)))[:, None, None]
        return training.loss(forecast * weight, windows[:, memory:] * weight)

    split = training.split(paths, rng)
    parts = [training.windows(part, memory, slots) for part in split]
    updates = epochs * (len(parts[0]) // batch + 1)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, updates))
    trained = training.train(
        objective, blind.cell, *parts, optimiser=optimiser, batch=batch, epochs=epochs, patience=patience, rng=rng
    )
    found = blind._replace(cell=trained.parameters)
    return found._replace(errors=growth.fit(residuals(forecaster(found), split[1], memory), shared=False))
