"""Kalman: a filter over the packet's states for users whose velocity fades towards their mean step.

For each axis, with displacements measured from the mean step: velocity v' = φ·v + w, position p' = p + v', measured z = p + e. The
velocity is stationary, with variance 1 when the packet begins, so that φ and the variance of e relative to it fix the forecast.
φ = 0 is drift; φ = 1 without noise goes on at the last displacement. A constant velocity with free process noise was tried and is worse
wherever users slow down. P decides the gains; the expected error is the one found, since P grows otherwise (docs/forecasting.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.forecasting import growth
from edgetwin.forecasting.forecaster import Forecast, Forecaster, ahead, checked_history
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import checked_paths, motion, residuals
from edgetwin.forecasting.straight import identities

NAME = "kalman"
DAMPINGS = tuple(i / 100 for i in range(100))
NOISES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 1.0)
FITTED_SLOTS = 5


class Parameters(NamedTuple):
    """mean_step: (users | 1, 2) per slot. damping φ in [0, 1) and measurement_noise ≥ 0: scalars."""

    mean_step: jax.Array
    damping: jax.Array
    measurement_noise: jax.Array
    errors: Growth


class Filtered(NamedTuple):
    """position, velocity: (users, 2), velocity measured from the mean step. covariance: (2, 2) of both, the same on each axis.

    slots: since the packet. motion: (users,), mean squared displacement in it.
    """

    position: jax.Array
    velocity: jax.Array
    covariance: jax.Array
    slots: jax.Array
    motion: jax.Array


def predict(state: Filtered, mean_step, damping) -> Filtered:
    """One slot without data: x' = F·x, P' = F·P·Fᵀ + Q with F = [[1, φ], [0, φ]] and Q = (1 − φ²)·[[1, 1], [1, 1]]."""
    velocity = damping * state.velocity
    transition = jnp.stack([jnp.stack([jnp.ones_like(damping), damping]), jnp.stack([jnp.zeros_like(damping), damping])])
    covariance = transition @ state.covariance @ transition.T + (1 - damping**2)
    return Filtered(state.position + mean_step + velocity, velocity, covariance, state.slots + 1, state.motion)


def correct(state: Filtered, measured, measurement_noise) -> Filtered:
    """A measured position (users, 2) comes in: gain P·Hᵀ/(H·P·Hᵀ + noise) with H = [1, 0]."""
    gain = state.covariance[:, 0] / (state.covariance[0, 0] + measurement_noise)
    surprise = measured - state.position
    covariance = state.covariance - jnp.outer(gain, state.covariance[0])
    position, velocity = state.position + gain[0] * surprise, state.velocity + gain[1] * surprise
    return state._replace(position=position, velocity=velocity, covariance=covariance)


def forecaster(parameters: Parameters) -> Forecaster:
    """The filter run over the packet, M of at least 2, then predictions alone."""
    users = identities(max(len(parameters.mean_step), parameters.errors.level.shape[1]))

    def own(dtype):
        return [jnp.asarray(part, dtype) for part in parameters[:3]]

    def start(history):
        history = checked_history(history, 2, NAME, users)
        mean_step, damping, noise = own(history.dtype)
        covariance = jnp.diag(jnp.stack([noise, jnp.ones_like(noise)]))
        state = Filtered(history[0], jnp.zeros_like(history[0]), covariance, jnp.zeros((), jnp.int32), motion(history))
        for measured in history[1:]:
            state = correct(predict(state, mean_step, damping), measured, noise)
        return state._replace(slots=jnp.zeros((), jnp.int32))

    def step(state: Filtered):
        mean_step, damping, _ = own(state.position.dtype)
        state = predict(state, mean_step, damping)
        return state, Forecast(state.position, growth.squared_error(parameters.errors, state.slots, state.motion))

    return Forecaster(NAME, start, step)


def fit(paths, memory: int, shared: bool) -> Parameters:
    """φ and measurement noise from a grid, by the squared error 1 … 5 slots ahead, each relative to that of no motion at all.

    paths: (paths, time, users, 2); a window is `memory` states. Users share φ and noise, and the mean step and the error's scale too where
    `shared`. Forecasts are linear in displacements, so the paths' second moments suffice to judge all of the grid. Raises InputError.
    """
    paths = checked_paths(paths, memory)
    slots = min(FITTED_SLOTS, paths.shape[1] - memory)
    steps = jnp.diff(paths, axis=1)
    mean_step = jnp.mean(steps, axis=(0, 1, 2) if shared else (0, 1)).reshape(-1, 2)
    moments = _moments(steps - mean_step, memory, slots, shared)
    damping, noise = (part.ravel() for part in jnp.meshgrid(*(jnp.array(of, paths.dtype) for of in (DAMPINGS, NOISES))))
    errors = jax.jit(jax.vmap(lambda phi, e: _relative_error(phi, e, moments, memory)))(damping, noise)
    best = jnp.argmin(errors)
    blind = Parameters(mean_step, damping[best], noise[best], growth.none(paths))
    return blind._replace(errors=growth.fit(residuals(forecaster(blind), paths, memory), shared))


def _moments(steps, memory, slots, shared):
    """E[x·xᵀ] for each k ≤ slots, x = the window's M−1 displacements and the one over the k slots after; each user has unit variance."""
    scale = jnp.sqrt(jnp.mean(steps**2, axis=(0, 1, 2, 3) if shared else (0, 1, 3), keepdims=True))
    steps = steps / jnp.where(scale > 0, scale, 1)
    starts = steps.shape[1] - memory + 1

    def of(k):
        number = starts - k + 1
        before = [steps[:, lag : lag + number] for lag in range(memory - 1)]
        after = sum(steps[:, memory - 1 + lag : memory - 1 + lag + number] for lag in range(k))
        joined = jnp.stack([*before, after]).reshape(memory, -1)
        return joined @ joined.T / joined.shape[1]

    return jnp.stack([of(k) for k in range(1, slots + 1)])


def _relative_error(damping, noise, moments, memory):
    """Mean over k of the error's second moment against the displacement's; the forecast's weights are its answers to unit displacements."""
    zero = jnp.zeros((1, 2), moments.dtype)
    unit = jnp.eye(memory - 1, dtype=moments.dtype)
    history = jnp.concatenate([jnp.zeros((1, memory - 1), moments.dtype), jnp.cumsum(unit, axis=0)])[:, :, None] * jnp.array(
        [1, 0]
    )
    model = forecaster(Parameters(zero, damping, noise, growth.none(moments)))
    weights = ahead(model, history.astype(moments.dtype), len(moments)).mean[:, :, 0] - history[-1, :, 0]
    error = jnp.concatenate([-weights, jnp.ones((len(moments), 1), moments.dtype)], axis=1)
    return jnp.mean(jnp.einsum("ka,kab,kb->k", error, moments, error) / moments[:, -1, -1])
