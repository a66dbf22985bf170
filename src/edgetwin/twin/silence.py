"""Devices that fall silent: their twins are carried on by a forecaster, and marked as predicted, until they speak again.

The forecasters are `drift` and `last-value` of `edgetwin.forecasting`, each twin with the velocity and the errors that its own behaviour
model has learned. Both are a straight line with a table of errors, so one closed form in NumPy serves one twin or all of them at once:
there is nothing to compile before the first read, and positions keep 64 bits. `forecaster` gives the same as a forecaster of JAX arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.twin import behaviour
from edgetwin.twin.behaviour import RUNGS
from edgetwin.twin.kinds import Kind
from edgetwin.twin.record import Twin

if TYPE_CHECKING:
    from edgetwin.forecasting.forecaster import Forecaster

STEP = 4
"""From each of RUNGS to the next."""
NOT_YET = (np.nan,) * len(RUNGS)
UNKNOWN = behaviour.Motion((np.nan, np.nan), ())
LEAST_M2 = 1e-12
LEAST_SHARE = 1e-6
"""Errors, and ages in times of `silent_after_s`, below which none is told apart."""


class Forecast(NamedTuple):
    """Where a silent device is expected to be. reported: what is predicted of its state. standard_error_m: √E|truth − position|², None if unknown."""

    reported: dict[str, float]
    forecaster: str
    age_s: float
    standard_error_m: float | None


class _Lines(NamedTuple):
    """Straight lines of twins: position_m, velocity_mps (twins, 2); age_s of the positions (twins,); squared_error_m2 (twins, RUNGS)."""

    position_m: NDArray[np.float64]
    velocity_mps: NDArray[np.float64]
    age_s: NDArray[np.float64]
    squared_error_m2: NDArray[np.float64]


def is_silent(twin: Twin, kind: Kind, now_s: float) -> bool:
    """Whether a device that has spoken was not heard for its kind's `silent_after_s`."""
    return twin.revision > 0 and now_s - twin.received_s >= kind.silent_after_s


def forecasts(twins: Iterable[Twin], kinds: Mapping[str, Kind], now_s: float) -> dict[str, Forecast]:
    """Forecasts of those twins that are silent, by id. A twin of a kind without a position goes on at its last values, with no error known."""
    silent: dict[str, list[Twin]] = {}
    for twin in twins:
        if is_silent(twin, kinds[twin.kind], now_s):
            silent.setdefault(twin.kind, []).append(twin)
    found: dict[str, Forecast] = {}
    for name, of_kind in silent.items():
        found.update(_forecasts(of_kind, kinds[name], now_s))
    return found


def forecaster(twins: Sequence[Twin], kind: Kind, slot_s: float, slots: int) -> "Forecaster":
    """The twins' lines as a forecaster of `edgetwin.forecasting`, for a history (M, twins, 2) of positions in metres, `slot_s` apart.

    Its errors are those of `forecasts` up to `slots` ahead; beyond, they grow in proportion to time.
    """
    import jax.numpy as jnp

    from edgetwin.forecasting import drift, last_value
    from edgetwin.forecasting.growth import Growth

    lines, after_s = _lines(twins, kind, 0.0), kind.silent_after_s
    ages_s = [np.full(len(twins), k * slot_s) for k in range(1, slots + 1)]
    level = jnp.asarray(np.stack([squared_error(age_s, after_s, lines.squared_error_m2) for age_s in ages_s]))
    errors = Growth(level, jnp.zeros_like(level))
    if kind.forecaster == "last-value":
        return last_value.forecaster(last_value.Parameters(errors))
    return drift.forecaster(drift.Parameters(jnp.asarray(np.nan_to_num(lines.velocity_mps) * slot_s), errors))


def squared_error(age_s: NDArray, silent_after_s: float, learned_m2: NDArray) -> NDArray:
    """E|truth − position|² at ages (twins,), m², from what it is after each of RUNGS times `silent_after_s` (twins, RUNGS), m².

    It never shrinks with age. Between the rungs it is a power of the age, before the first it grows as the age, and after the last as its
    square, as of a velocity that is wrong and stays so. NaN where a rung is.
    """
    log = np.log(np.maximum.accumulate(np.maximum(learned_m2, LEAST_M2), axis=1))
    log = np.column_stack([log[:, 0] - np.log(STEP), log, log[:, -1] + 2 * np.log(STEP)])
    place = np.log(np.maximum(age_s / silent_after_s, LEAST_SHARE)) / np.log(STEP) + 1
    below = np.clip(np.floor(place), 0, len(RUNGS)).astype(int)
    at = np.take_along_axis(log, np.stack([below, below + 1], axis=1), axis=1)
    return np.exp(at[:, 0] + (place - below) * (at[:, 1] - at[:, 0]))


def _forecasts(twins: Sequence[Twin], kind: Kind, now_s: float) -> dict[str, Forecast]:
    found = {twin.id: Forecast({}, "last-value", max(now_s - twin.measured_s, 0.0), None) for twin in twins}
    if kind.position is None:
        return found
    x, y = kind.position
    placed = [twin for twin in twins if x in twin.reported and y in twin.reported]
    lines = _lines(placed, kind, now_s)
    low, high = (np.array([getattr(kind.properties[name], side) for name in (x, y)]) for side in ("minimum", "maximum"))
    position = np.clip(lines.position_m + lines.age_s[:, None] * np.nan_to_num(lines.velocity_mps), low, high)
    error_m = np.sqrt(squared_error(lines.age_s, kind.silent_after_s, lines.squared_error_m2))
    for twin, (x_m, y_m), error in zip(placed, position.tolist(), error_m.tolist(), strict=True):
        name, known = (kind.forecaster, error) if error == error else ("last-value", None)
        found[twin.id] = Forecast({x: x_m, y: y_m}, name, found[twin.id].age_s, known)
    return found


def _lines(twins: Sequence[Twin], kind: Kind, now_s: float) -> _Lines:
    """Of twins that have reported a position. squared_error_m2 is NaN where no velocity is known either."""
    assert kind.position is not None
    x, y = kind.position
    known = [behaviour.motion(kind, twin.model) or UNKNOWN for twin in twins]
    velocity = np.array([one.velocity_mps for one in known]).reshape(-1, 2)
    learned = np.array([one.squared_error_m2 + NOT_YET[len(one.squared_error_m2) :] for one in known]).reshape(-1, len(RUNGS))
    position = np.array([(twin.reported[x], twin.reported[y]) for twin in twins], float).reshape(-1, 2)
    age_s = np.maximum(now_s - np.array([behaviour.position_s(twin) for twin in twins], float), 0.0)
    squared = _cautious(learned, velocity, kind.silent_after_s)
    return _Lines(position, velocity if kind.forecaster == "drift" else np.zeros_like(velocity), age_s, squared)


def _cautious(learned_m2: NDArray, velocity_mps: NDArray, silent_after_s: float) -> NDArray:
    """Errors with those that are not learned yet: there the velocity may be all wrong, and no better than it was before."""
    squared, speed2 = learned_m2.copy(), np.sum(velocity_mps**2, axis=1)
    for rung, times in enumerate(RUNGS):
        wrong = speed2 * (times * silent_after_s) ** 2
        if rung:
            wrong = np.maximum(wrong, STEP**2 * squared[:, rung - 1])
        squared[:, rung] = np.where(np.isnan(learned_m2[:, rung]), wrong, squared[:, rung])
    return squared
