"""Drift, last value and linear: iterated steps are formulas, expected errors are closed forms, and input that does not fit is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.forecasting import bayes, drift, growth, last_value, linear
from edgetwin.forecasting.errors import k_step_errors
from edgetwin.forecasting.forecaster import ahead
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import Residuals
from forecasting.paths import MOVES, ladder, random_walk

WALK = random_walk(600, 14, seed=3).astype(np.float32)
UNSEEN = random_walk(600, 14, seed=4).astype(np.float32)
HISTORY = np.array([[[0, 0], [1, 1]], [[2, 1], [1, 3]], [[3, 3], [1, 8]]], np.float32)


def test_drift_is_the_last_state_and_k_mean_steps():
    forecast = ahead(drift.drift([[1.0, 0.0], [0.0, -0.5]], [0.25, 4.0]), HISTORY, 3)
    k = np.arange(1, 4)[:, None, None]
    assert np.allclose(forecast.mean, HISTORY[-1] + k * np.array([[1.0, 0.0], [0.0, -0.5]]))
    assert np.allclose(forecast.squared_error, k[:, 0] * np.array([0.25, 4.0]))


def test_drift_for_all_users_alike():
    forecast = ahead(drift.drift([1.0, 2.0], 0.5), HISTORY, 2)
    assert np.allclose(forecast.mean[1], HISTORY[-1] + [2, 4])
    assert np.allclose(forecast.squared_error, [[0.5, 0.5], [1, 1]])


def test_last_value_and_linear_are_their_formulas():
    errors = Growth(jnp.array([[1.0], [5.0]]), jnp.array([[0.0], [2.0]]))
    stay = ahead(last_value.forecaster(last_value.Parameters(errors)), HISTORY, 3)
    assert np.array_equal(stay.mean, np.broadcast_to(HISTORY[-1], (3, 2, 2)))
    held = ahead(linear.forecaster(linear.Parameters(errors)), HISTORY, 3)
    slope = np.array([[1.5, 1.5], [0, 3.5]])
    assert np.allclose(held.mean, HISTORY[-1] + np.arange(1, 4)[:, None, None] * slope)
    motion = np.array([(5 + 5) / 2, (4 + 25) / 2])
    assert np.allclose(held.squared_error, [[1, 1], 5 + 2 * motion, 1.5 * (5 + 2 * motion)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_has_the_dtype_of_the_history(dtype):
    with jax.enable_x64(True):
        for kind in (drift, last_value, linear):
            forecast = ahead(kind.forecaster(kind.fit(WALK[:20], 4, shared=False)), jnp.asarray(WALK[0, :4], dtype), 2)
            assert forecast.mean.dtype == forecast.squared_error.dtype == dtype


def test_a_vmapped_scan_equals_each_alone():
    model = drift.forecaster(drift.fit(WALK, 5, shared=False))
    histories = UNSEEN[:3, :5]
    together = jax.jit(jax.vmap(lambda history: ahead(model, history, 4)))(histories)
    for number, history in enumerate(histories):
        alone = ahead(model, history, 4)
        assert all(np.allclose(one[number], other, rtol=1e-6) for one, other in zip(together, alone, strict=True))


def test_fitted_errors_are_those_of_the_closed_forms():
    """Drift, last value and linear on the paper's walk: k·v, k·v + k²·|mean|², (k + k²/(M−1))·v. 600 paths: within 6 %."""
    ks = np.arange(1, 8)
    expected = {
        drift: bayes.random_walk_floor(ladder(), ks),
        last_value: bayes.random_walk_last_value(ladder(), ks),
        linear: bayes.random_walk_linear(ladder(), ks, 5),
    }
    for kind, closed_form in expected.items():
        assert np.allclose(kind.fit(WALK, 5, shared=False).errors.level.mean(axis=1)[:7], closed_form, rtol=0.06), kind.NAME


def test_drift_finds_the_mean_step():
    parameters = drift.fit(WALK, 5, shared=False)
    assert np.allclose(parameters.mean_step, ladder() @ MOVES, atol=0.03)
    shared = drift.fit(WALK, 5, shared=True)
    assert shared.mean_step.shape == (1, 2)
    assert np.allclose(shared.mean_step[0], parameters.mean_step.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("kind", [drift, last_value, linear])
def test_expected_errors_hold_on_unseen_paths(kind):
    for error in k_step_errors(kind.forecaster(kind.fit(WALK, 5, shared=False)), UNSEEN, 5, [1, 3, 9]):
        assert abs(error.calibration.mean - 1) < 0.06


def test_the_growth_of_users_alike_is_a_line_in_their_motion():
    """Squared residuals drawn with mean 2 + 3·motion for k = 1 and 10·motion for k = 2 give those lines back."""
    rng = np.random.default_rng(0)
    motion = rng.exponential(2, (40, 500, 1)) * rng.integers(0, 2, (40, 500, 1))
    mean = np.stack([2 + 3 * motion, 10 * motion], axis=2)
    squared = mean * rng.exponential(1, mean.shape)
    known = np.ones((40, 2), bool)
    found = growth.fit(Residuals(*map(jnp.asarray, (squared, mean, motion, known))), shared=True)
    assert np.allclose(found.level[:, 0], [2, 0], atol=0.1)
    assert np.allclose(found.slope[:, 0], [3, 10], rtol=0.05)


def test_unknown_residuals_do_not_count():
    squared = np.array([1.0, 3.0, 999.0]).reshape(3, 1, 1, 1)
    known = np.array([[True], [True], [False]])
    motion = np.zeros((3, 1, 1))
    for shared in (False, True):
        found = growth.fit(Residuals(*map(jnp.asarray, (squared, squared, motion, known))), shared)
        assert np.allclose([found.level[0, 0], found.slope[0, 0]], [2, 0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="M = 1: .* at least 2"):
        drift.fit(WALK, 1, shared=False)
    with pytest.raises(InputError, match="paths of 15 states: with M = 15 a path needs at least 16"):
        linear.fit(WALK, 15, shared=False)
    with pytest.raises(InputError, match=r"paths of shape \(15, 10, 2\)"):
        last_value.fit(WALK[0], 5, shared=False)
    with pytest.raises(InputError, match="at least 1 path"):
        last_value.fit(WALK[:0], 5, shared=False)
    with pytest.raises(InputError, match="history of 1 states: linear needs at least 2"):
        linear.forecaster(linear.fit(WALK[:9], 5, shared=False)).start(WALK[0, :1])
    with pytest.raises(InputError, match="history of 3 users: this drift was fitted to 10"):
        drift.forecaster(drift.fit(WALK[:9], 5, shared=False)).start(WALK[0, :5, :3])
    with pytest.raises(InputError, match=r"history of shape \(5, 2\)"):
        drift.drift([0.0, 0.0], 1.0).start(WALK[0, :5, 0])
