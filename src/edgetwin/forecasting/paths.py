"""Recorded paths as forecasters meet them: every window of M states, the states that follow it, and how far forecasts of them are off."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.forecasting.forecaster import Forecaster, ahead


class Residuals(NamedTuple):
    """What forecasts of every window of every path missed by; M states end a window, at most `horizon` follow it.

    squared, expected: (windows, paths, horizon, users), |truth − mean|² and what the forecaster expected. motion: (windows, paths, users),
    mean squared displacement in the window. known: (windows, horizon), False where the path ends before.
    """

    squared: jax.Array
    expected: jax.Array
    motion: jax.Array
    known: jax.Array


def residuals(forecaster: Forecaster, paths, memory: int, horizon: int | None = None) -> Residuals:
    """Forecasts `forecaster` from every window of `memory` states. paths: (paths, time, users, 2). Horizon: as long as paths last."""
    paths = checked_paths(paths, memory)
    return _residuals(forecaster, paths, memory, paths.shape[1] - memory if horizon is None else horizon)


def _residuals(forecaster, paths, memory, horizon):
    time = paths.shape[1]
    following = jnp.pad(paths[:, memory:], ((0, 0), (0, horizon), (0, 0), (0, 0)))

    @jax.jit
    def windows(first):
        def window(start):
            history = jax.lax.dynamic_slice_in_dim(paths, start, memory, axis=1)
            truth = jax.lax.dynamic_slice_in_dim(following, start, horizon, axis=1)
            forecast = jax.vmap(lambda past: ahead(forecaster, past, horizon))(history)
            squared = jnp.sum((truth - forecast.mean) ** 2, axis=-1)
            return squared, forecast.squared_error, jax.vmap(motion)(history)

        return jax.lax.map(window, first)

    first = jnp.arange(time - memory)
    known = first[:, None] + jnp.arange(1, horizon + 1) <= time - memory
    squared, expected, moved = windows(first)
    return Residuals(squared, expected, moved, known)


def motion(history):
    """Mean squared displacement per slot within a history (M, users, 2), 0 for a single state. Returns (users,)."""
    steps = jnp.diff(history, axis=0)
    return jnp.sum(steps**2, axis=(0, 2)) / max(len(steps), 1)


def checked_paths(paths, memory: int) -> jax.Array:
    """`paths` as a JAX array. Raises InputError unless it is (paths, time, users, 2), of M+1 or more states, with M at least 2."""
    if memory < 2:
        raise InputError(f"M = {memory}: forecasts of movement need a memory of at least 2 states")
    if paths.ndim != 4 or paths.shape[-1] != 2:
        raise InputError(f"paths of shape {paths.shape}: forecasters need (paths, time, users, 2)")
    if len(paths) == 0 or paths.shape[2] == 0:
        raise InputError(f"paths of shape {paths.shape}: there must be at least 1 path and 1 user")
    if paths.shape[1] <= memory:
        raise InputError(f"paths of {paths.shape[1]} states: with M = {memory} a path needs at least {memory + 1}")
    return jnp.asarray(paths)
