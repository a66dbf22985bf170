"""The behaviour model M of a device twin, association (1): how it has moved and how far off a forecast by that was, learned one update at a time.

The model's memory is a dozen numbers that are stored with the twin in the transaction of the update: its velocity, a mean over about half
the silence after which it is carried on; one forecast under way; and E|error|² of such forecasts after 1, 4 and 16 silences. A forecast is
begun, its error is found as the device goes on reporting, and after the longest the next is begun. So what is expected of a silent device
is what was seen of it while it spoke, however it moves. A memory that is damaged, or of another model, is begun anew.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from edgetwin.twin.kinds import Kind
from edgetwin.twin.messages import Update
from edgetwin.twin.record import State, Twin

VERSION = 1
RUNGS = (1, 4, 16)
"""After how many times `silent_after_s` a forecast's error is looked at."""
WEIGHT = 0.2
"""How much the latest error counts in the mean."""
VELOCITY_SPAN = 0.5
"""How far back the mean velocity reaches, in times of `silent_after_s`."""
SENSIBLE, SENSIBLE_M2 = 1e15, 1e30
"""m/s and m² beyond which a memory is taken for damaged."""
DAMAGED = (KeyError, IndexError, TypeError, ValueError, ArithmeticError)


class Motion(NamedTuple):
    """What a memory knows: velocity_mps (x, y), and squared_error_m2, E|error|² after each of the first `RUNGS`, as many as are known."""

    velocity_mps: tuple[float, float]
    squared_error_m2: tuple[float, ...]


class _Fix(NamedTuple):
    """Where a device was, and when."""

    time_s: float
    x_m: float
    y_m: float


def learned(kind: Kind, twin: Twin, update: Update) -> State:
    """The model's memory after an update; one without a position, or not later than the last, teaches nothing."""
    if kind.position is None:
        return twin.model
    x, y = kind.position
    now = _Fix(update.time_s, update.state.get(x), update.state.get(y))  # type: ignore[arg-type]
    if now.x_m is None or now.y_m is None:
        return {**_memory(twin), "position_s": position_s(twin)}
    was = _Fix(position_s(twin), twin.reported.get(x), twin.reported.get(y))  # type: ignore[arg-type]
    if was.x_m is None or was.y_m is None or not now.time_s > was.time_s:
        return _without_position_s(_memory(twin))
    try:
        memory = _after(kind, twin.model, was, now)
    except DAMAGED:
        memory = {}
    return memory or _begun(kind, was, now)


def motion(kind: Kind, memory: State) -> Motion | None:
    """What a memory knows of the movement, None where it knows nothing, is damaged or of another model."""
    try:
        if memory["model"] != _model(kind):
            return None
        (vx, vy), errors = memory["velocity_mps"], memory["squared_error_m2"]
        sensible = _sensible(errors) and abs(vx) <= SENSIBLE and abs(vy) <= SENSIBLE
        return Motion((float(vx), float(vy)), tuple(map(float, errors))) if sensible else None
    except DAMAGED:
        return None


def position_s(twin: Twin) -> float:
    """When the twin's position was measured: with its last update, or with the last that told a position."""
    found = _memory(twin).get("position_s")
    return found if type(found) is float and math.isfinite(found) else twin.measured_s


def _after(kind: Kind, memory: State, was: _Fix, now: _Fix) -> dict[str, Any]:
    """The memory one position later, {} where it is damaged. Raises one of DAMAGED where it is, or is of another model."""
    model, span_s = _model(kind), VELOCITY_SPAN * kind.silent_after_s
    if memory["model"] != model:
        return {}
    (vx, vy), known_s, elapsed_s = memory["velocity_mps"], memory["known_s"], now.time_s - was.time_s
    share_per_s = 1 / (elapsed_s + known_s)
    vx += share_per_s * (now.x_m - was.x_m - vx * elapsed_s)
    vy += share_per_s * (now.y_m - was.y_m - vy * elapsed_s)
    known_s = min(known_s + elapsed_s, span_s)
    if not -SENSIBLE < vx < SENSIBLE or not -SENSIBLE < vy < SENSIBLE or not 0 < known_s <= span_s:
        return {}
    scores, forecast, errors = memory["scores"], memory["forecast"], memory["squared_error_m2"]
    if memory["known_s"] < span_s:
        forecast = _forecast(kind, now, vx, vy)
    elif not 0 <= now.time_s - forecast[0] < RUNGS[scores % len(RUNGS)] * kind.silent_after_s:
        scores, forecast, errors = _scored(kind, scores, forecast, errors, was, now)
        forecast = forecast or _forecast(kind, now, vx, vy)
    return {
        "model": model,
        "velocity_mps": [vx, vy],
        "known_s": known_s,
        "scores": scores,
        "forecast": forecast,
        "squared_error_m2": errors,
    }


def _begun(kind: Kind, was: _Fix, now: _Fix) -> dict[str, Any]:
    elapsed_s = now.time_s - was.time_s
    vx, vy = (now.x_m - was.x_m) / elapsed_s, (now.y_m - was.y_m) / elapsed_s
    if not (abs(vx) < SENSIBLE and abs(vy) < SENSIBLE):
        return {}
    return {
        "model": _model(kind),
        "velocity_mps": [vx, vy],
        "known_s": min(elapsed_s, VELOCITY_SPAN * kind.silent_after_s),
        "scores": 0,
        "forecast": _forecast(kind, now, vx, vy),
        "squared_error_m2": [],
    }


def _forecast(kind: Kind, now: _Fix, vx: float, vy: float) -> list[float]:
    """From where, and at what velocity; to a tenth of a millimetre, for it is written with every update until it is done."""
    velocity = (round(vx, 4), round(vy, 4)) if kind.forecaster == "drift" else (0.0, 0.0)
    return [now.time_s, round(now.x_m, 4), round(now.y_m, 4), *velocity]


def _scored(kind: Kind, scores: int, forecast: list, errors: list, was: _Fix, now: _Fix) -> tuple[int, list | None, list]:
    """The forecast's errors at the times it has passed since `was`; no forecast where it is done, or where clocks were changed.

    scores: how many errors have been found, a forecast finding one for each of RUNGS. Where the device was at such a time lies on the line
    between its two positions.
    """
    begun_s, x, y, vx, vy = forecast
    errors, (begun, rung) = list(errors), divmod(scores, len(RUNGS))
    if not _sensible(errors) or len(errors) < min(scores, len(RUNGS)):
        return 0, None, []
    if not begun_s <= now.time_s:
        return begun * len(RUNGS), None, errors
    while rung < len(RUNGS):
        ahead_s = RUNGS[rung] * kind.silent_after_s
        share = (begun_s + ahead_s - was.time_s) / (now.time_s - was.time_s)
        if share > 1:
            return begun * len(RUNGS) + rung, forecast, errors
        if not share >= 0:
            return begun * len(RUNGS), None, errors
        dx = was.x_m + share * (now.x_m - was.x_m) - x - vx * ahead_s
        dy = was.y_m + share * (now.y_m - was.y_m) - y - vy * ahead_s
        error = min(dx * dx + dy * dy, SENSIBLE_M2)
        if rung < len(errors):
            error = errors[rung] + max(WEIGHT, 1 / (begun + 1)) * (error - errors[rung])
        errors[rung : rung + 1] = [round(error, 6)]
        rung += 1
    return (begun + 1) * len(RUNGS), None, errors


def _memory(twin: Twin) -> State:
    return twin.model if type(twin.model) is dict else {}


def _model(kind: Kind) -> str:
    """What a memory is of: errors of another forecaster, or after other times, do not count."""
    return f"{kind.forecaster}/{VERSION}/{kind.silent_after_s}"


def _sensible(errors: Any) -> bool:
    return len(errors) <= len(RUNGS) and all(0 <= error <= SENSIBLE_M2 for error in errors)


def _without_position_s(memory: Mapping[str, Any]) -> State:
    return {name: value for name, value in memory.items() if name != "position_s"} if "position_s" in memory else memory
