"""GRU as printed: network-sync (6)-(12) to the letter, to show what that does. It is not meant to be used.

No biases; raw coordinates in, absolute coordinates out; the state read anew from h = 0 over the last M states of the twin, its own
forecasts included; plain stochastic gradient descent (12) with α = 0.05 on (11). The printed shapes do not match (a matrix for one
state of 2U numbers meets M states): read as one state per step. Gates saturate at coordinates of tens of blocks, so most gradients vanish.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from edgetwin.forecasting import growth, training
from edgetwin.forecasting.cell import Cell, as_type, initial, output, read
from edgetwin.forecasting.forecaster import Forecast, Forecaster, checked_history
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import checked_paths, motion, residuals

NAME = "gru-printed"
BIASES = ("b_r", "b_h", "b_z", "b_o")


class Parameters(NamedTuple):
    """cell: 2U inputs and outputs, all biases 0."""

    cell: Cell
    errors: Growth


class State(NamedTuple):
    """history: (M, users, 2), the twin's last M states, S'_t."""

    history: jax.Array
    slots: jax.Array
    motion: jax.Array


def forecaster(parameters: Parameters) -> Forecaster:
    """The output (10) itself, after reading the twin's last M states."""
    users = len(parameters.cell.b_o) // 2

    def start(history):
        history = checked_history(history, 1, NAME, users)
        return State(history, jnp.zeros((), jnp.int32), motion(history))

    def step(state: State):
        mean, slots = printed_output(parameters.cell, state.history), state.slots + 1
        history = jnp.concatenate([state.history[1:], mean[None]])
        return State(history, slots, state.motion), Forecast(mean, growth.squared_error(parameters.errors, slots, state.motion))

    return Forecaster(NAME, start, step)


def printed_output(cell: Cell, history):
    """ŝ'_{t+1} of S'_t = history (M, users, 2), by (6)-(10). Returns (users, 2)."""
    cell = as_type(cell, history.dtype)
    return output(cell, read(cell, history.reshape(len(history), -1))).reshape(history.shape[1:])


def descent(rate: float) -> optax.GradientTransformation:
    """W ← W − α·∇L for every W^i and U^j; there are no biases to move.     network-sync (12)"""
    still = dict.fromkeys(Cell._fields, 1.0) | dict.fromkeys(BIASES, 0.0)

    def update(gradient, memory, parameters=None):
        return Cell(*(-rate * still[name] * part for name, part in zip(Cell._fields, gradient, strict=True))), memory

    return optax.GradientTransformation(lambda parameters: optax.EmptyState(), update)


def fit(
    paths, memory: int, *, hidden: int = 128, learning_rate: float = 0.05, batch: int = 256, epochs: int = 12, seed: int = 0
) -> Parameters:
    """Trained on paths (paths, time, users, 2) one slot ahead, for all `epochs`, as printed. Raises InputError for too short paths."""
    paths = checked_paths(paths, memory)
    rng = np.random.default_rng(seed)
    blind = Parameters(initial(rng, 2 * paths.shape[2], hidden, 2 * paths.shape[2], paths.dtype), growth.none(paths))

    def objective(cell, windows):
        return training.loss(jax.vmap(lambda history: printed_output(cell, history))(windows[:, :memory]), windows[:, memory])

    split = training.split(paths, rng)
    parts = [training.windows(part, memory, 1) for part in split]
    trained = training.train(
        objective,
        blind.cell,
        *parts,
        optimiser=descent(learning_rate),
        batch=batch,
        epochs=epochs,
        patience=epochs,
        rng=rng,
    )
    found = blind._replace(cell=trained.parameters)
    return found._replace(errors=growth.fit(residuals(forecaster(found), split[1], memory), shared=False))
