"""Drift: everyone goes on at their long-run mean step. On an independent random walk no forecast is better."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.forecasting import growth
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import checked_paths, residuals
from edgetwin.forecasting.straight import identities, straight

NAME = "drift"


class Parameters(NamedTuple):
    """mean_step: (users, 2), or (1, 2) for all users alike, per slot."""

    mean_step: jax.Array
    errors: Growth


def drift(mean_step, step_variance) -> Forecaster:
    """Drift whose steps are known to be independent. mean_step: (users, 2) or (2,); step_variance: (users,) or (), E|step − mean|².

    k slots ahead the expected squared error is k·step_variance.
    """
    variance = jnp.atleast_1d(jnp.asarray(step_variance))[None]
    return forecaster(Parameters(jnp.atleast_2d(jnp.asarray(mean_step)), Growth(variance, jnp.zeros_like(variance))))


def forecaster(parameters: Parameters) -> Forecaster:
    """Last state + k·mean step."""
    users = identities(max(len(parameters.mean_step), parameters.errors.level.shape[1]))
    return straight(NAME, 1, lambda history: parameters.mean_step, parameters.errors, users)


def fit(paths, memory: int, shared: bool) -> Parameters:
    """Mean step of each user over paths (paths, time, users, 2), or of all users (`shared`), and its errors by slots ahead.

    Raises InputError for paths that are too short for a memory of `memory` states.
    """
    paths = checked_paths(paths, memory)
    steps = jnp.diff(paths, axis=1)
    mean_step = jnp.mean(steps, axis=(0, 1, 2), keepdims=True)[0, 0] if shared else jnp.mean(steps, axis=(0, 1))
    blind = Parameters(mean_step, growth.none(steps))
    return blind._replace(errors=growth.fit(residuals(forecaster(blind), paths, memory), shared))
