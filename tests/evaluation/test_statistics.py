"""Pooled ratios and their intervals against what is known of them."""

import numpy as np
import pytest
import scipy.stats

from edgetwin.evaluation.statistics import interquartile_mean, paired_difference, pooled, seed_difference, seed_mean, seed_saving


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


def test_means_over_seeds_have_students_interval():
    values = np.random.default_rng(4).normal(3, 2, size=5)
    mean, ends = seed_mean(values)
    assert mean == pytest.approx(values.mean())
    assert ends == pytest.approx(scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values)))
    assert seed_mean([2.0]) == (2.0, None)


def test_intervals_of_five_seeds_cover_the_truth_as_often_as_they_say():
    random = np.random.default_rng(5)
    mean = difference = saving = 0
    for _ in range(1000):
        shared = random.normal(0, 0.5, size=5)
        first, second = 8 + shared + random.normal(0, 0.5, 5), 10 + shared + random.normal(0, 0.5, 5)
        mean += _covers(seed_mean(first), 8)
        difference += _covers(seed_difference(first, second), -2)
        saving += _covers(seed_saving(first, second), 0.2)
    assert all(0.93 <= count / 1000 <= 0.97 for count in (mean, difference, saving)), (mean, difference, saving)


def _covers(estimate, truth):
    return estimate.ci95[0] <= truth <= estimate.ci95[1]


def test_pairs_cancel_what_seeds_share():
    shared = np.array([1.0, 5.0, 9.0, 2.0])
    assert seed_difference(shared + 0.5, shared).ci95 == pytest.approx((0.5, 0.5))
    saving = seed_saving(0.75 * shared, shared)
    assert saving.mean == pytest.approx(0.25)
    assert saving.ci95 == pytest.approx((0.25, 0.25))
    assert seed_mean(shared).ci95[1] - seed_mean(shared).ci95[0] > 5
    assert np.isnan(seed_saving(shared, shared * 0).mean)
    with pytest.raises(ValueError, match="3 seeds cannot be paired with 4"):
        seed_difference(shared[:3], shared)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (7, 3), (4, 4), (2, 1)])
def test_the_interquartile_mean_cuts_a_quarter_at_each_end(shape):
    scores = np.random.default_rng(6).exponential(size=shape)
    assert interquartile_mean(scores).mean == pytest.approx(scipy.stats.trim_mean(scores.ravel(), 0.25))


def test_its_interval_is_that_of_a_plain_stratified_bootstrap():
    scores = np.random.default_rng(7).exponential(size=(8, 3))
    random, means = np.random.default_rng(8), []
    for _ in range(4000):
        sample = [score for task in range(3) for score in random.choice(scores[:, task], size=8)]
        middle = sorted(sample)[6:18]
        means.append(sum(middle) / len(middle))
    assert interquartile_mean(scores).ci95 == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), rel=0.04)


def test_tasks_are_resampled_apart():
    """Seeds agree on every task, tasks differ: there is nothing uncertain."""
    scores = np.tile([1.0, 5.0, 100.0], (6, 1))
    assert interquartile_mean(scores).ci95 == pytest.approx((interquartile_mean(scores).mean,) * 2)
    assert interquartile_mean([[1.0, 2.0]]).ci95 is None
