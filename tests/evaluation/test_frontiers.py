"""Above a frontier by how much: places on it, between its points, left and right of it; and what resampling keeps paired."""

import math

import numpy as np
import pytest

from edgetwin.evaluation.frontiers import Excess, Place, excess, mean_excess
from edgetwin.evaluation.statistics import RESAMPLES
from edgetwin.problem import Ratio

EPISODES = 12


def place(x, y, scale=None):
    """A policy with these metrics on every episode; `scale` multiplies both y's numerators, episode by episode."""
    ones = np.ones(EPISODES)
    return Place(Ratio(x * ones, ones), Ratio(y * (ones if scale is None else scale), ones))


FRONTIER = [place(0.05, 0.1), place(0.03, 0.4), place(0.10, 0.05)]


def test_a_place_on_the_frontier_is_not_above_it():
    assert excess(FRONTIER[0], FRONTIER).value == pytest.approx(0)


def test_between_two_points_the_logarithm_of_y_is_a_straight_line():
    middle = math.sqrt(0.4 * 0.1)
    assert excess(place(0.04, 1.2 * middle), FRONTIER).value == pytest.approx(0.2)


def test_left_of_the_frontier_its_highest_point_is_what_counts():
    assert excess(place(0.01, 0.5), FRONTIER).value == pytest.approx(0.25)


def test_right_of_the_frontier_there_is_no_value():
    beyond = excess(place(0.11, 0.01), FRONTIER)
    assert math.isnan(beyond.value) and math.isnan(beyond.estimate.ci95[0])


def test_points_that_rise_are_evened_out():
    """y = .1 at x = .05 and .4 at .06: taken together, their geometric mean at both."""
    risen = [place(0.05, 0.1), place(0.06, 0.4)]
    assert excess(place(0.055, 0.2), risen).value == pytest.approx(0)


def test_what_episodes_have_in_common_cancels():
    """Energies of the episodes span a factor of 50, the policy's are 10 % above the rule's in each of them."""
    scale = np.geomspace(0.2, 10, EPISODES)
    found = excess(place(0.05, 0.11, scale), [place(0.05, 0.1, scale), place(0.06, 0.09, scale)]).estimate
    assert found.mean == pytest.approx(0.1)
    assert found.ci95 == pytest.approx((0.1, 0.1))


def test_the_interval_is_that_of_the_ratio_of_means():
    """Against a frontier that does not vary, the interval is the bootstrap's of the policy's mean."""
    noise = np.random.default_rng(1).uniform(0.5, 1.5, EPISODES)
    found = excess(place(0.05, 0.1, noise), FRONTIER).estimate
    error = noise.std(ddof=1) / math.sqrt(EPISODES)
    assert found.mean == pytest.approx(noise.mean() - 1)
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_mean_over_seeds_is_the_mean_on_every_resample():
    one, other = np.linspace(0, 1, RESAMPLES), np.linspace(1, 0, RESAMPLES)
    found = mean_excess([Excess(0.2, one), Excess(0.4, other)])
    assert found.value == pytest.approx(0.3)
    assert found.estimate.ci95 == pytest.approx((0.5, 0.5))
