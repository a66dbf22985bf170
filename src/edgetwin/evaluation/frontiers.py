"""A policy against a frontier: how much more of one metric it has than others that have as much of another.

Where two metrics are traded for each other, energy for failures, a rule with a knob makes a curve, and neither metric alone compares a
policy with it. What is asked instead: how far above the curve is the policy, at its own place?
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from edgetwin.evaluation.statistics import Estimate, resamples
from edgetwin.problem import Ratio


class Place(NamedTuple):
    """A policy's two metrics on some episodes, each (numerators, denominators), (episodes,)."""

    x: Ratio
    y: Ratio


class Excess(NamedTuple):
    """A share above a frontier, and the same for every resample of the episodes. (resamples,)"""

    value: float
    samples: np.ndarray

    @property
    def estimate(self) -> Estimate:
        """With a percentile bootstrap over episodes; the ends are NaN where some resamples have no value."""
        low, high = np.percentile(self.samples, [2.5, 97.5])
        return Estimate(self.value, (float(low), float(high)))


def excess(policy: Place, frontier: Sequence[Place]) -> Excess:
    """y/y_frontier(x) − 1 at the policy's own x, all on the same episodes, which are resampled together.

    Between the frontier's places log y is a straight line in x, after an isotonic regression that lets it only fall. A policy whose x is less than
    the frontier ever reaches is compared with the frontier's least x, its highest y: that flatters the frontier. Beyond
    its largest x there is no value (NaN).
    """
    times = np.vstack([np.ones(len(policy.x.numerator)), resamples(len(policy.x.numerator))])
    x, y = _over(policy.x, times), _over(policy.y, times)
    at = np.stack([_over(place.x, times) for place in frontier], axis=1)
    height = np.log(np.stack([_over(place.y, times) for place in frontier], axis=1))
    above = y / np.exp([_height(*each) for each in zip(x, at, height, strict=True)]) - 1
    return Excess(float(above[0]), above[1:])


def mean_excess(each: Sequence[Excess]) -> Excess:
    """The mean over several policies, such as the seeds of a training, on the same resamples of the same episodes."""
    return Excess(float(np.mean([one.value for one in each])), np.mean([one.samples for one in each], axis=0))


def _over(ratio: Ratio, times: np.ndarray) -> np.ndarray:
    return (times @ ratio.numerator) / (times @ ratio.denominator)


def _height(x: float, at: np.ndarray, height: np.ndarray) -> float:
    """The frontier's log y at x. at, height: (places,)."""
    order = np.argsort(at)
    at, height = at[order], height[order]
    if (np.diff(height) > 0).any():
        height = isotonic_regression(height, increasing=False).x
    return float(np.interp(x, at, height, right=np.nan))
