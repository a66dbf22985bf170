"""Linear: everyone goes on at the mean step of the last packet, held until the next one."""

from typing import NamedTuple

from edgetwin.forecasting import growth
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.forecasting.growth import Growth
from edgetwin.forecasting.paths import checked_paths, residuals
from edgetwin.forecasting.straight import straight

NAME = "linear"


class Parameters(NamedTuple):
    """The errors that were found; the slope is the packet's."""

    errors: Growth


def forecaster(parameters: Parameters) -> Forecaster:
    """Last state + k·(last − first state)/(M − 1), M of at least 2."""
    return straight(NAME, 2, lambda history: (history[-1] - history[0]) / (len(history) - 1), parameters.errors)


def fit(paths, memory: int, shared: bool) -> Parameters:
    """Its errors by slots ahead on paths (paths, time, users, 2), per user or `shared` by all."""
    paths = checked_paths(paths, memory)
    return Parameters(growth.fit(residuals(forecaster(Parameters(growth.none(paths))), paths, memory), shared))
