"""The Kalman filter against matrices in NumPy and against least squares, and what it becomes at the ends of its parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.forecasting import drift, kalman, linear
from edgetwin.forecasting.errors import k_step_errors
from edgetwin.forecasting.forecaster import ahead
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.kalman import Parameters
from forecasting.paths import MOVES, ladder, persistent_walk, random_walk

pytestmark = pytest.mark.usefixtures("quick_compilation")

ONE = Growth(jnp.ones((1, 1)), jnp.zeros((1, 1)))


def reference(history, mean_step, damping, noise, slots):
    """The textbook filter with explicit matrices, one axis of one user at a time. Returns (slots, users, 2)."""
    transition, seen = np.array([[1, damping], [0, damping]]), np.array([[1.0, 0.0]])
    random = (1 - damping**2) * np.ones((2, 2))
    forecasts = np.zeros((slots, *history.shape[1:]))
    for user, axis in np.ndindex(history.shape[1:]):
        state, covariance = np.array([history[0, user, axis], 0.0]), np.diag([noise, 1.0])
        drift_step = np.array([mean_step[user, axis], 0.0])
        for measured in history[1:, user, axis]:
            state, covariance = transition @ state + drift_step, transition @ covariance @ transition.T + random
            gain = covariance @ seen.T / (seen @ covariance @ seen.T + noise)
            state = state + gain[:, 0] * (measured - state[0])
            covariance = (np.eye(2) - gain @ seen) @ covariance
        for k in range(slots):
            state = transition @ state + drift_step
            forecasts[k, user, axis] = state[0]
    return forecasts


@pytest.mark.parametrize(("damping", "noise"), [(0.8, 0.0), (0.6, 0.3), (0.97, 1.0)])
def test_it_equals_the_reference(damping, noise):
    rng = np.random.default_rng(1)
    history, mean_step = rng.normal(0, 3, (5, 4, 2)), rng.normal(0, 1, (4, 2))
    parameters = Parameters(jnp.asarray(mean_step), jnp.asarray(damping), jnp.asarray(noise), ONE)
    forecast = ahead(kalman.forecaster(parameters), jnp.asarray(history), 6).mean
    assert np.allclose(forecast, reference(history, mean_step, damping, noise, 6), atol=1e-4)


def test_without_memory_it_is_drift_and_at_full_memory_the_last_displacement():
    history = random_walk(1, 4, seed=0)[0].astype(np.float32)
    still = Parameters(jnp.full((10, 2), 0.25), jnp.array(0.0), jnp.array(0.0), ONE)
    assert np.allclose(ahead(kalman.forecaster(still), history, 3).mean, ahead(drift.drift([0.25, 0.25], 1), history, 3).mean)
    lasting = Parameters(jnp.zeros((1, 2)), jnp.array(0.9999), jnp.array(0.0), ONE)
    held = history[-1] + 3 * (history[-1] - history[-2])
    assert np.allclose(ahead(kalman.forecaster(lasting), history, 3).mean[2], held, atol=2e-3)


def test_on_the_persistent_walk_it_finds_the_damping_and_beats_drift_and_linear():
    """A displacement's best linear forecast on this walk is 0.8·(itself − mean) + mean: damping 0.8 and no noise."""
    paths, unseen = (persistent_walk(800, 14, seed).astype(np.float32) for seed in (0, 1))
    found = kalman.fit(paths, 5, shared=False)
    assert float(found.damping) == pytest.approx(0.8, abs=0.04)
    assert float(found.measurement_noise) <= 0.003
    assert np.allclose(found.mean_step, ladder() @ MOVES, atol=0.08)
    errors = k_step_errors(kalman.forecaster(found), unseen, 5, [1, 5])
    for kind in (drift, linear):
        other = k_step_errors(kind.forecaster(kind.fit(paths, 5, shared=False)), unseen, 5, [1, 5])
        assert all(mine.squared_error.mean < 0.95 * theirs.squared_error.mean for mine, theirs in zip(errors, other, strict=True))
    assert all(abs(error.calibration.mean - 1) < 0.06 for error in errors)


def test_noisy_positions_are_smoothed():
    """Steady walkers whose positions are measured with noise as large as a step: the fit sees the noise and beats the raw slope."""
    rng = np.random.default_rng(2)
    velocity = rng.normal(0, 1, (400, 1, 1, 2))
    paths = (np.arange(12).reshape(-1, 1, 1) * velocity + rng.normal(0, 0.7, (400, 12, 1, 2))).astype(np.float32)
    found = kalman.fit(paths, 5, shared=True)
    assert float(found.measurement_noise) >= 0.2 and float(found.damping) >= 0.9
    mine, theirs = (
        k_step_errors(kind.forecaster(kind.fit(paths, 5, shared=True)), paths, 5, [2])[0].squared_error.mean
        for kind in (kalman, linear)
    )
    assert mine < theirs
