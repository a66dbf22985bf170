"""The channel: path loss against NumPy, and fading with the moments and the law of a Rician channel."""

import jax
import numpy as np
import pytest
from scipy import stats

from edgetwin.physical import channel

SAMPLES = 200_000


def fading(rician_factor):
    real, imaginary = jax.random.normal(jax.random.key(4), (2, SAMPLES))
    return np.asarray(channel.rician_power(real, imaginary, rician_factor), float)


def test_distance_by_hand():
    users, sites = np.array([[3.0, 4.0], [0.0, 0.0], [100.0, 0.5]]), np.array([[0.0, 0.0], [100.0, 0.0]])
    distance = channel.distance(users, sites, 1.0)
    assert np.allclose(distance, [[5, np.hypot(97, 4)], [1, 100], [np.hypot(100, 0.5), 1]])
    assert (channel.distance(users, sites, 30.0) >= 30).all()


@pytest.mark.parametrize("exponent", [2, 2.0, 3.0, 2.7, 4.0])
def test_mean_gain_against_numpy(exponent):
    distance = np.geomspace(1, 1500, 40)
    assert np.allclose(channel.mean_gain(distance, 1e-3, exponent), 1e-3 * distance**-exponent, rtol=1e-5, atol=0)


@pytest.mark.parametrize("rician_factor", [0.0, 1.0, 10.0, 100.0])
def test_fading_has_mean_1_and_the_variance_of_its_factor(rician_factor):
    power = fading(rician_factor)
    variance = (2 * rician_factor + 1) / (rician_factor + 1) ** 2
    assert power.mean() == pytest.approx(1, abs=4 * np.sqrt(variance / SAMPLES))
    squares = (power - 1) ** 2
    assert squares.mean() == pytest.approx(variance, abs=4 * squares.std() / np.sqrt(SAMPLES))


def test_without_a_line_of_sight_power_is_exponential():
    assert stats.kstest(fading(0.0), stats.expon.cdf).statistic < 1.95 / np.sqrt(SAMPLES)


@pytest.mark.parametrize("rician_factor", [1.0, 10.0])
def test_fading_follows_the_law_of_a_rician_channel(rician_factor):
    """2(κ+1) times the power is a non-central χ² of two degrees of freedom and non-centrality 2κ."""
    law = stats.ncx2(2, 2 * rician_factor)
    assert stats.kstest(2 * (rician_factor + 1) * fading(rician_factor), law.cdf).statistic < 1.95 / np.sqrt(SAMPLES)


def test_a_strong_line_of_sight_leaves_no_fading():
    assert np.abs(fading(1e8) - 1).max() < 1e-2
    assert channel.rician_power(0.0, 0.0, 3.0) == pytest.approx(0.75)
