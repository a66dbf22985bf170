"""The behaviour model M of a device twin, association (1): how it has moved, learned one update at a time, and where it will be without news.

The model's memory is a few numbers that are stored with the twin: the mean velocity, older steps weighing less, and how far off a forecast
by it was. Between updates the twin is carried on by a forecaster of `edgetwin.forecasting`.
"""

from typing import Any

from edgetwin.twin.kinds import Kind
from edgetwin.twin.messages import Update
from edgetwin.twin.record import State, Twin

WEIGHT = 0.3
"""How much the latest step counts."""


def learned(kind: Kind, twin: Twin, update: Update) -> State:
    """The model's memory after an update: velocity_mps (x, y) and squared_error_m2_per_s, E|error|² of a forecast a second ahead.

    An update without a position, or not later in time than the last, teaches nothing.
    """
    if kind.position is None:
        return twin.model
    here = [update.state.get(name) for name in kind.position]
    before = [twin.reported.get(name) for name in kind.position]
    elapsed_s = update.time_s - twin.measured_s
    if None in here or None in before or elapsed_s <= 0:
        return twin.model
    velocity = [(now - then) / elapsed_s for now, then in zip(here, before, strict=True)]
    if not twin.model:
        return {"velocity_mps": velocity, "squared_error_m2_per_s": sum(v * v for v in velocity) * elapsed_s}
    mean: Any = twin.model["velocity_mps"]
    error = sum((v - m) ** 2 for v, m in zip(velocity, mean, strict=True)) * elapsed_s
    return {
        "velocity_mps": [m + WEIGHT * (v - m) for v, m in zip(velocity, mean, strict=True)],
        "squared_error_m2_per_s": (1 - WEIGHT) * twin.model["squared_error_m2_per_s"] + WEIGHT * error,
    }
