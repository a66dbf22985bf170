"""Means that say how sure they are: pooled ratios with bootstrap intervals over episodes, and paired differences.

Episodes (networks) are independent, slots within one are not; so intervals resample episodes, and metrics that are ratios (failed
requests over requests) pool numerators and denominators before dividing.
"""

from typing import NamedTuple

import numpy as np

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
    chosen = _resamples(len(numerator))
    return Estimate(value, _interval(_ratio(numerator[chosen].sum(axis=1), denominator[chosen].sum(axis=1))))


def paired_difference(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Estimate:
    """How much the pooled ratio of `first` exceeds that of `second` on the same episodes. Each: (numerator, denominator), (episodes,).

    Both are resampled together, so what the episodes have in common cancels.
    """
    value = _ratio(first[0].sum(), first[1].sum()) - _ratio(second[0].sum(), second[1].sum())
    if len(first[0]) < 2:
        return Estimate(value, None)
    chosen = _resamples(len(first[0]))
    ratios = [
        _ratio(numerator[chosen].sum(axis=1), denominator[chosen].sum(axis=1)) for numerator, denominator in (first, second)
    ]
    return Estimate(value, _interval(ratios[0] - ratios[1]))


def _resamples(episodes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, episodes, (RESAMPLES, episodes))


def _ratio(numerator, denominator):
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1), np.nan)
    return float(ratio) if ratio.ndim == 0 else ratio


def _interval(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(samples, [2.5, 97.5]) if np.isfinite(samples).any() else (np.nan, np.nan)
    return float(low), float(high)
