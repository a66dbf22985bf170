"""Errors, calibration and coverage where the truth is known by construction."""

import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.forecasting import drift, last_value
from edgetwin.forecasting.errors import k_step_errors, region_radius
from edgetwin.forecasting.growth import Growth

RNG = np.random.default_rng(0)
GAUSSIAN = np.cumsum(RNG.normal(0, 1, (1500, 9, 2, 2)), axis=1).astype(np.float32)


def test_a_gaussian_walk_is_known_exactly():
    """Steps of variance 2: error 2k, calibration 1, half and nine tenths of the truths in their regions; 1,500 paths: 5 %, 2 points."""
    for error in k_step_errors(drift.drift([0.0, 0.0], 2.0), GAUSSIAN, 3, [1, 2, 5]):
        assert error.squared_error.mean == pytest.approx(2 * error.slots, rel=0.05)
        assert error.calibration.mean == pytest.approx(1, abs=0.05)
        assert [part.mean for part in error.coverage] == pytest.approx([0.5, 0.9], abs=0.02)
        low, high = error.squared_error.ci95
        assert low < error.squared_error.mean < high


def test_errors_are_a_plain_loop_over_windows():
    paths = GAUSSIAN[:3]
    squares = [((paths[:, t + 4] - paths[:, t]) ** 2).sum(axis=-1) for t in range(2, 5)]
    model = last_value.forecaster(last_value.Parameters(Growth(np.full((1, 1), 0.5), np.zeros((1, 1)))))
    error = k_step_errors(model, paths, 3, [4])[0]
    assert error.squared_error.mean == pytest.approx(np.mean(squares), rel=1e-5)
    assert error.calibration.mean == pytest.approx(np.mean(squares) / 2, rel=1e-5)
    inside = np.mean(np.array(squares) <= -np.log(0.5) * 2)
    assert error.coverage[0].mean == pytest.approx(inside)


def test_a_forecaster_that_expects_too_little_is_told():
    error = k_step_errors(drift.drift([0.0, 0.0], 0.5), GAUSSIAN, 3, [1])[0]
    assert error.calibration.mean == pytest.approx(4, rel=0.05)
    assert error.coverage[1].mean < 0.6


def test_the_region_holds_its_share_of_a_gaussian():
    points = RNG.normal(0, 3, (200_000, 2))
    for share in (0.5, 0.9):
        assert ((points**2).sum(axis=1) <= region_radius(share, 18.0) ** 2).mean() == pytest.approx(share, abs=0.005)


def test_what_paths_do_not_hold_is_refused():
    model = drift.drift([0.0, 0.0], 2.0)
    with pytest.raises(InputError, match="k = 7 slots ahead: paths of 9 states and M = 3 allow 1 to 6"):
        k_step_errors(model, GAUSSIAN, 3, [1, 7])
    with pytest.raises(InputError, match="k = 0 "):
        k_step_errors(model, GAUSSIAN, 3, [0])
    with pytest.raises(InputError, match="paths of 9 states: with M = 9 a path needs at least 10"):
        k_step_errors(model, GAUSSIAN, 9, [1])
    with pytest.raises(InputError, match="no slots ahead"):
        k_step_errors(model, GAUSSIAN, 3, [])
