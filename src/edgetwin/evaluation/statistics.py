"""Means that say how sure they are: pooled ratios with bootstrap intervals over episodes, paired differences, and means over seeds.

Episodes (networks) are independent, slots within one are not; so intervals resample episodes, and metrics that are ratios (failed
requests over requests) pool numerators and denominators before dividing. Seeds of a training are few, and the bootstrap of five numbers
is a quarter too narrow: their means have Student's intervals. The interquartile mean is that of Agarwal et al., "Deep reinforcement
learning at the edge of the statistical precipice" (2021).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean and its 95 % interval; the interval is None where there is only one episode, all are NaN where there is nothing to divide by."""

    mean: float
    ci95: tuple[float, float] | None


def pooled(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """Σ numerator / Σ denominator with a percentile bootstrap over episodes. numerator, denominator: (episodes,)."""
    value = _ratio(numerator.sum(), denominator.sum())
    if len(numerator) < 2:
        return Estimate(value, None)
    times = resamples(len(numerator))
    return Estimate(value, _interval(_ratio(times @ numerator, times @ denominator)))


def paired_difference(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Estimate:
    """How much the pooled ratio of `first` exceeds that of `second` on the same episodes. Each: (numerator, denominator), (episodes,).

    Both are resampled together, so what the episodes have in common cancels.
    """
    value = _ratio(first[0].sum(), first[1].sum()) - _ratio(second[0].sum(), second[1].sum())
    if len(first[0]) < 2:
        return Estimate(value, None)
    times = resamples(len(first[0]))
    ratios = [_ratio(times @ numerator, times @ denominator) for numerator, denominator in (first, second)]
    return Estimate(value, _interval(ratios[0] - ratios[1]))


def scaled(estimate: Estimate, times: float, plus: float = 0.0) -> Estimate:
    """times·estimate + plus."""
    if estimate.ci95 is None:
        return Estimate(times * estimate.mean + plus, None)
    low, high = sorted(times * end + plus for end in estimate.ci95)
    return Estimate(times * estimate.mean + plus, (low, high))


def seed_mean(values: np.ndarray) -> Estimate:
    """The mean over seeds with Student's interval. values: (seeds,)."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    return Estimate(mean, _student(mean, values - mean))


def seed_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """How much the mean of `first` exceeds that of `second`, paired: the same place is the same seed. Each: (seeds,)."""
    return seed_mean(_paired(first, second)[0] - _paired(first, second)[1])


def seed_saving(first: np.ndarray, second: np.ndarray) -> Estimate:
    """How much less the mean of `first` is than that of `second`, as a share of the second: 1 − mean(first)/mean(second). Each: (seeds,).

    Paired by place. The interval is Student's for the ratio linearised at its value (the ratio estimator of survey sampling).
    """
    first, second = _paired(first, second)
    below = float(second.mean())
    if below == 0:
        return Estimate(math.nan, (math.nan, math.nan))
    ratio = float(first.mean()) / below
    return Estimate(1 - ratio, _student(1 - ratio, -(first - ratio * second) / below))


def interquartile_mean(scores: np.ndarray) -> Estimate:
    """The mean of the middle half of all scores, with a percentile bootstrap that resamples the seeds of each task apart.

    scores: (seeds, tasks) or (seeds,). A quarter, rounded down, is cut at each end.
    """
    scores = np.asarray(scores, dtype=float)
    scores = scores[:, None] if scores.ndim == 1 else scores
    value = float(_middle(scores.reshape(1, -1))[0])
    seeds, tasks = scores.shape
    if seeds < 2:
        return Estimate(value, None)
    picked = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds, tasks))
    return Estimate(value, _interval(_middle(scores[picked, np.arange(tasks)].reshape(RESAMPLES, -1))))


def _middle(samples: np.ndarray) -> np.ndarray:
    """The mean of the middle half of each row. samples: (rows, scores)."""
    cut = samples.shape[1] // 4
    return np.sort(samples, axis=1)[:, cut : samples.shape[1] - cut].mean(axis=1)


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} seeds cannot be paired with {len(second)}")
    return first, second


def _student(mean: float, deviations: np.ndarray) -> tuple[float, float] | None:
    """mean ± t·s/√n by the deviations from it, (seeds,); None for a single seed."""
    seeds = len(deviations)
    if seeds < 2:
        return None
    half = float(stdtrit(seeds - 1, 0.975) * np.sqrt((deviations**2).sum() / (seeds - 1) / seeds))
    return mean - half, mean + half


@lru_cache(maxsize=4)
def resamples(episodes: int) -> np.ndarray:
    """How often each episode is in each resample, (resamples, episodes); the same for every metric, so drawn once."""
    chosen = np.random.default_rng(0).integers(0, episodes, (RESAMPLES, episodes))
    flat = chosen + episodes * np.arange(RESAMPLES)[:, None]
    return np.bincount(flat.ravel(), minlength=RESAMPLES * episodes).reshape(RESAMPLES, episodes).astype(float)


def _ratio(numerator, denominator):
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1), np.nan)
    return float(ratio) if ratio.ndim == 0 else ratio


def _interval(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(samples, [2.5, 97.5]) if np.isfinite(samples).any() else (np.nan, np.nan)
    return float(low), float(high)
