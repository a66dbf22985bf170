"""What drift, last value and linear share: a forecast on a straight line from the last true state, with a table of expected errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.forecasting import growth
from edgetwin.forecasting.forecaster import Forecast, Forecaster, checked_history
from edgetwin.forecasting.paths import motion


class Line(NamedTuple):
    """position, step: (users, 2), the last state and the displacement added every slot. slots: since then. motion: (users,)."""

    position: jax.Array
    step: jax.Array
    slots: jax.Array
    motion: jax.Array


def identities(rows: int) -> int | None:
    """How many users parameters of so many rows stand for: a single row stands for any number."""
    return rows if rows > 1 else None


def straight(name: str, states: int, slope, errors: growth.Growth, users: int | None = None) -> Forecaster:
    """Last state + k·slope(history). slope: history (M, users, 2) → anything that broadcasts to (users, 2); `states`: the least M.

    `users`: how many there must be, where they differ.
    """
    users = identities(errors.level.shape[1]) if users is None else users

    def start(history):
        history = checked_history(history, states, name, users)
        last = history[-1]
        step = jnp.broadcast_to(jnp.asarray(slope(history), last.dtype), last.shape)
        return Line(last, step, jnp.zeros((), jnp.int32), motion(history))

    def step(line: Line):
        slots = line.slots + 1
        mean = line.position + slots.astype(line.position.dtype) * line.step
        return line._replace(slots=slots), Forecast(mean, growth.squared_error(errors, slots, line.motion))

    return Forecaster(name, start, step)
