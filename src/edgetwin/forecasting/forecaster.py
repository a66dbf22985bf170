"""The contract of every forecaster: what a sync packet starts, and one slot further at a time, with the error it expects.

A forecaster knows arrays only. It starts from the last M true positions, as a sync packet of network-sync brings them (the input of
(6)-(10)), and from then on feeds on its own forecasts. Both functions are pure JAX, so they jit, vmap and scan, and compute in the
dtype of the history they are given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError


class Forecast(NamedTuple):
    """Where users will be, `mean` (users, 2), and how far off that is expected to be: `squared_error` (users,), E|truth − mean|²."""

    mean: jax.Array
    squared_error: jax.Array


@dataclass(frozen=True)
class Forecaster:
    """start: history (M, users, 2), true positions in any unit of length, oldest first → carry. step: carry → carry, Forecast.

    The first step after a start forecasts one slot ahead of the history's last state, the k-th step k slots ahead.
    """

    name: str
    start: Callable[[jax.Array], Any]
    step: Callable[[Any], tuple[Any, Forecast]]


def ahead(forecaster: Forecaster, history, slots: int) -> Forecast:
    """The forecasts of 1 … `slots` slots ahead of a history (M, users, 2): mean (slots, users, 2), squared_error (slots, users)."""
    return jax.lax.scan(lambda carry, _: forecaster.step(carry), forecaster.start(history), length=slots)[1]


def checked_history(history, states: int, name: str, users: int | None = None) -> jax.Array:
    """`history` as a JAX array. Raises InputError unless it is (M, users, 2) with M of at least `states`, and of `users` users where that matters."""
    if history.ndim != 3 or history.shape[-1] != 2:
        raise InputError(f"history of shape {history.shape}: {name} needs (M states, users, 2)")
    if len(history) < states:
        raise InputError(f"history of {len(history)} states: {name} needs at least {states}")
    if users is not None and history.shape[1] != users:
        raise InputError(f"history of {history.shape[1]} users: this {name} was fitted to {users}, each with a name of its own")
    return jnp.asarray(history)
