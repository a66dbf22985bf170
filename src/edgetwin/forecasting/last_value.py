"""Last value: the twin stays where it was last synced, the forecast that needs no model."""

from typing import NamedTuple

from edgetwin.forecasting import growth
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import checked_paths, residuals
from edgetwin.forecasting.straight import straight

NAME = "last-value"


class Parameters(NamedTuple):
    """The errors that were found; the forecast itself has nothing to fit."""

    errors: Growth


def forecaster(parameters: Parameters) -> Forecaster:
    """The last state, however long ago."""
    return straight(NAME, 1, lambda history: 0.0, parameters.errors)


def fit(paths, memory: int, shared: bool) -> Parameters:
    """Its errors by slots ahead on paths (paths, time, users, 2), per user or `shared` by all."""
    paths = checked_paths(paths, memory)
    return Parameters(growth.fit(residuals(forecaster(Parameters(growth.none(paths))), paths, memory), shared))
