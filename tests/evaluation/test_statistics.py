"""Pooled ratios and their intervals against what is known of them."""

import numpy as np
import pytest

from edgetwin.evaluation.statistics import paired_difference, pooled


def test_ratios_are_pooled_before_dividing():
    assert pooled(np.array([1.0, 9.0]), np.array([10.0, 10.0])).mean == pytest.approx(0.5)
    assert pooled(np.array([0.0, 9.0]), np.array([0.0, 10.0])).mean == pytest.approx(0.9)


def test_one_episode_has_no_interval_and_nothing_has_no_value():
    assert pooled(np.array([1.0]), np.array([4.0])) == (0.25, None)
    nothing = pooled(np.zeros(3), np.zeros(3))
    assert np.isnan(nothing.mean)
    assert np.isnan(nothing.ci95).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Means of 40 exponential variables, 400 times: the percentile bootstrap covers 95 % less a little."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        low, high = pooled(random.exponential(size=40), np.ones(40)).ci95
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 400 <= 0.98


def test_the_interval_is_as_wide_as_theory_says():
    sample = np.random.default_rng(2).normal(size=500)
    low, high = pooled(sample, np.ones(500)).ci95
    assert (high - low) == pytest.approx(2 * 1.96 * sample.std() / np.sqrt(500), rel=0.08)


def test_a_paired_difference_cancels_what_episodes_share():
    random = np.random.default_rng(3)
    hard = random.exponential(10, size=60)
    first, second = (hard + 0.1, np.ones(60)), (hard, np.ones(60))
    difference = paired_difference(first, second)
    assert difference.mean == pytest.approx(0.1)
    assert difference.ci95 == pytest.approx((0.1, 0.1), abs=1e-9)
    assert pooled(*first).ci95[1] - pooled(*first).ci95[0] > 1
