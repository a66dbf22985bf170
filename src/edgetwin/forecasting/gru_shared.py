"""GRU, shared: one small recurrent network (6)-(10) for users without identity, such as recorded tracks; each is forecast alone.

People's speeds differ 30-fold and their headings mean nothing, so each packet is read in a frame of its own: displacements are divided by
their root mean square in the packet and turned so that the last one points along the first axis. What the frame hides but matters, the
packet's speed against that of all paths, is a third input. The output (10) is the next displacement, in that frame.
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

NAME = "gru-shared"
STILL = 0.01
SLOW = 0.05
MOST_PATHS = 2000


class Parameters(NamedTuple):
    """cell: 3 inputs, 2 outputs. scale: scalar, the rms displacement of the paths it was trained on; STILL of it is the least frame,
    and errors of packets below SLOW of it are weighed alike."""

    cell: Cell
    scale: jax.Array
    errors: Growth


class Frame(NamedTuple):
    """scale: (users, 1), length of 1 in the frame. turn: (users, 2), cosine and sine of its heading. speed: (users, 1), log-scale input."""

    scale: jax.Array
    turn: jax.Array
    speed: jax.Array


class State(NamedTuple):
    """hidden: (users, hidden). position: (users, 2), the last true or forecast one. slots: since the packet. motion: (users,)."""

    hidden: jax.Array
    position: jax.Array
    frame: Frame
    slots: jax.Array
    motion: jax.Array


def frame_of(steps, typical) -> Frame:
    """The frame of a packet's displacements (M − 1, users, 2). typical: scalar, the rms displacement of all paths."""
    mean_square = jnp.mean(jnp.sum(steps**2, axis=-1), axis=0)
    scale = jnp.sqrt(mean_square + (STILL * typical) ** 2)[:, None]
    last = steps[-1]
    square = jnp.sum(last**2, axis=-1, keepdims=True)
    moves = square > 0
    ahead_is = jnp.array([1, 0], steps.dtype)
    turn = jnp.where(moves, last / jnp.sqrt(jnp.where(moves, square, 1)), ahead_is)
    return Frame(scale, turn, jnp.log(scale / typical))


def into(frame: Frame, steps):
    """Displacements (…, users, 2) as the frame sees them."""
    x, y = steps[..., 0], steps[..., 1]
    cos, sin = frame.turn[:, 0], frame.turn[:, 1]
    return jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1) / frame.scale


def out_of(frame: Frame, steps):
    """The reverse of `into`."""
    x, y = steps[..., 0], steps[..., 1]
    cos, sin = frame.turn[:, 0], frame.turn[:, 1]
    return jnp.stack([cos * x - sin * y, sin * x + cos * y], axis=-1) * frame.scale


def with_speed(frame: Frame, seen):
    """The network's inputs (…, users, 3): displacement in the frame, and the frame's speed."""
    return jnp.concatenate([seen, jnp.broadcast_to(frame.speed, (*seen.shape[:-1], 1))], axis=-1)


def forecaster(parameters: Parameters) -> Forecaster:
    """Last state + the output (10) seen from outside the frame, iterated; M of at least 2, any number of users."""

    def own(dtype):
        return as_type(parameters.cell, dtype), jnp.asarray(parameters.scale, dtype)

    def start(history):
        history = checked_history(history, 2, NAME)
        cell, typical = own(history.dtype)
        steps = jnp.diff(history, axis=0)
        frame = frame_of(steps, typical)
        hidden = read(cell, with_speed(frame, into(frame, steps)))
        return State(hidden, history[-1], frame, jnp.zeros((), jnp.int32), motion(history))

    def step(state: State):
        cell, _ = own(state.position.dtype)
        seen = output(cell, state.hidden)
        position, slots = state.position + out_of(state.frame, seen), state.slots + 1
        hidden = next_hidden(cell, with_speed(state.frame, seen), state.hidden)
        forecast = Forecast(position, growth.squared_error(parameters.errors, slots, state.motion))
        return State(hidden, position, state.frame, slots, state.motion), forecast

    return Forecaster(NAME, start, step)


def fit(
    paths,
    memory: int,
    *,
    hidden: int = 32,
    slots: int = 12,
    learning_rate: float = 3e-3,
    batch: int = 256,
    epochs: int = 20,
    patience: int = 4,
    seed: int = 0,
) -> Parameters:
    """Trained on paths (paths, time, users, 2), whoever's they are, with Adam on loss (11) 1 … `slots` slots ahead.

    Squared errors are divided by k³, as those of people grow, and by the root mean square of the packet's displacements, half way between
    absolute errors (the fastest tenth would decide) and relative ones. Every window counts once more in the mirror: left and right are
    alike. Of many paths MOST_PATHS are drawn. `memory` is M. One path in ten is held back and decides when to stop. The same seed gives
    the same weights. Raises InputError.
    """
    paths = checked_paths(paths, memory)
    rng = np.random.default_rng(seed)
    paths = _alone(paths, rng)
    slots = min(slots, paths.shape[1] - memory)
    scale = jnp.sqrt(jnp.mean(jnp.sum(jnp.diff(paths, axis=1) ** 2, axis=-1)))
    scale = jnp.where(scale > 0, scale, 1)
    blind = Parameters(initial(rng, 3, hidden, 2, paths.dtype), scale, growth.none(paths))
    k = jnp.arange(1, slots + 1, dtype=paths.dtype)[:, None, None]

    def objective(cell, windows):
        model = forecaster(blind._replace(cell=cell))
        history, truth = windows[:, :memory], windows[:, memory:]
        forecast = jax.vmap(lambda past: ahead(model, past, slots).mean)(history)
        speed = jnp.sqrt(jax.vmap(motion)(history) + (SLOW * scale) ** 2)[:, None, :, None]
        weight = jnp.sqrt(1 / (scale * speed * k**3))
        return training.loss(forecast * weight, truth * weight)

    parts = [training.windows(part, memory, slots) for part in training.split(paths, rng)]
    parts[0] = jnp.concatenate([parts[0], parts[0] * jnp.array([1, -1], paths.dtype)])
    updates = epochs * (len(parts[0]) // batch + 1)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, updates))
    trained = training.train(
        objective, blind.cell, *parts, optimiser=optimiser, batch=batch, epochs=epochs, patience=patience, rng=rng
    )
    found = blind._replace(cell=trained.parameters)
    return found._replace(errors=growth.fit(residuals(forecaster(found), paths, memory), shared=True))


def _alone(paths, rng):
    """Paths (paths, time, users, 2) as those of single users, (paths, time, 1, 2), at most MOST_PATHS drawn at random."""
    single = jnp.moveaxis(paths, 2, 1).reshape(-1, paths.shape[1], 1, 2)
    return single if len(single) <= MOST_PATHS else single[rng.permutation(len(single))[:MOST_PATHS]]
