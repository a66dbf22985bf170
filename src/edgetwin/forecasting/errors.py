"""How far off forecasts are, k slots ahead, and whether forecasters know it: errors with intervals, calibration, coverage."""

from typing import NamedTuple

import numpy as np

from edgetwin.errors import InputError
from edgetwin.evaluation.statistics import Estimate, pooled
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.forecasting.paths import checked_paths, residuals

REGIONS = (0.5, 0.9)


class SlotError(NamedTuple):
    """The forecasts k = `slots` ahead. squared_error: mean of |truth − mean|² over users and windows, in squared units of length.

    calibration: actual squared error over expected, 1 where the forecaster knows its error. coverage: share of truths in the 50 % and
    90 % regions of an isotropic Gaussian with the expected squared error. All with intervals over paths.
    """

    slots: int
    squared_error: Estimate
    calibration: Estimate
    coverage: tuple[Estimate, ...]


def k_step_errors(forecaster: Forecaster, paths, memory: int, slots) -> list[SlotError]:
    """Errors for each k of `slots`, from every window of `memory` states of paths (paths, time, users, 2) that k states follow.

    Windows of one path are dependent; intervals resample paths. Raises InputError where paths are too short.
    """
    paths = checked_paths(paths, memory)
    slots = [int(k) for k in slots]
    longest = paths.shape[1] - memory
    if not slots:
        raise InputError(f"no slots ahead were named: give one or more of 1 to {longest}")
    for k in slots:
        if not 1 <= k <= longest:
            raise InputError(f"k = {k} slots ahead: paths of {paths.shape[1]} states and M = {memory} allow 1 to {longest}")
    found = residuals(forecaster, paths, memory, max(slots))
    return [_slot_error(found, k) for k in slots]


def _slot_error(found, k) -> SlotError:
    known = np.asarray(found.known)[:, k - 1]
    squared, expected = (np.asarray(part, np.float64)[known, :, k - 1] for part in (found.squared, found.expected))
    count = np.full(squared.shape[1], squared.shape[0] * squared.shape[2], np.float64)

    def over_paths(values):
        return values.sum(axis=(0, 2))

    coverage = tuple(
        pooled(over_paths(squared <= region_radius(share, expected) ** 2).astype(np.float64), count) for share in REGIONS
    )
    return SlotError(k, pooled(over_paths(squared), count), pooled(over_paths(squared), over_paths(expected)), coverage)


def region_radius(share, squared_error):
    """Radius of the disc that holds `share` of an isotropic Gaussian with this expected squared distance: r² = −ln(1 − share)·E."""
    return np.sqrt(-np.log1p(-share) * squared_error)
