"""A real day of taxis in San Francisco: at which of 209 towers each of 536 was in each of 1441 minutes, where it had a fix.

There are no positions: a taxi stands at its tower plus an offset that whoever uses the trace draws.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError
from edgetwin.scenario import data, schema

SLOT_S = 60.0


class Trace(NamedTuple):
    """towers_deg: (towers, 2), latitude and longitude. tower: (minutes, taxis), an index of towers, -1 without a fix."""

    towers_deg: NDArray[np.float64]
    tower: NDArray[np.int64]


def read() -> Trace:
    """The trace as published. Raises DataUnavailable where its file cannot be had."""
    return _read(str(data.path_of(data.SF_TAXI_CELLS)))


@lru_cache(maxsize=1)
def _read(path: str) -> Trace:
    from scipy.io import loadmat

    found = loadmat(path, variable_names=["cellOfUsers", "coordinatesCells2D"])
    return Trace(found["coordinatesCells2D"].astype(np.float64), found["cellOfUsers"].astype(np.int64) - 1)


def of_users(users: schema.Users, sites: schema.Sites) -> Trace:
    """The trace of the first `users.count` taxis. Raises InputError where there are not so many, or not all towers stand as sites."""
    trace = read()
    minutes, taxis = trace.tower.shape
    if users.count > taxis:
        raise InputError(f"users.count = {users.count}: the day has {taxis} taxis")
    if sites.count != len(trace.towers_deg):
        raise InputError(f"sites.count = {sites.count}: must be {len(trace.towers_deg)}, all towers, with sf-taxis")
    return trace._replace(tower=trace.tower[:, : users.count])
