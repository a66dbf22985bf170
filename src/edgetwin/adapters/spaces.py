"""What agents see and may do in Gymnasium's words, and actions checked against them: nothing is clipped or rounded in silence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from edgetwin.errors import InputError
from edgetwin.problem import AgentClass, Categorical, Continuous


def spaces_of(agents: AgentClass) -> tuple[spaces.Box, spaces.Space]:
    """Observations and actions of one agent of a class: Discrete for one choice, MultiDiscrete for several, a Box for numbers."""
    seen = spaces.Box(-agents.observation_limit, agents.observation_limit, (agents.observation_size,), np.float32)
    match agents.action:
        case Continuous(size, low, high):
            return seen, spaces.Box(low, high, (size,), np.float32)
        case Categorical(1, choices):
            return seen, spaces.Discrete(choices)
        case Categorical(heads, choices):
            return seen, spaces.MultiDiscrete([choices] * heads)


def checked_action(allowed: Continuous | Categorical, given: Any, batch: tuple[int, ...]) -> np.ndarray:
    """Actions with the axes of `batch` first, as a task with one agent wants them: (…, 1 agent, size). Raises InputError for others."""
    values = np.asarray(given)
    if not _fits(allowed, values, batch):
        raise _refused(allowed, "action", values, batch)
    return _as_wanted(allowed, values).reshape(*batch, 1, allowed.size)


def checked_actions(allowed: Continuous | Categorical, names: Sequence[str], given: Sequence[Any]) -> np.ndarray:
    """Actions of a class's agents, one each, as a task wants them: (agents, size). Raises InputError that names the first wrong one."""
    values = [np.asarray(one) for one in given]
    if len({(one.shape, one.dtype) for one in values}) == 1 and _fits(allowed, whole := np.stack(values), (len(values),)):
        return _as_wanted(allowed, whole).reshape(len(values), allowed.size)
    for name, one in zip(names, values, strict=True):
        if not _fits(allowed, one, ()):
            raise _refused(allowed, f"action of {name}", one, ())
    return np.stack([_as_wanted(allowed, one).reshape(allowed.size) for one in values])


def _shape(allowed: Continuous | Categorical, batch: tuple[int, ...]) -> tuple[int, ...]:
    return batch if isinstance(allowed, Categorical) and allowed.size == 1 else (*batch, allowed.size)


def _limits(allowed: Continuous | Categorical) -> tuple[float, float]:
    return (allowed.low, allowed.high) if isinstance(allowed, Continuous) else (0, allowed.choices - 1)


def _fits(allowed: Continuous | Categorical, values: np.ndarray, batch: tuple[int, ...]) -> bool:
    if values.shape != _shape(allowed, batch) or values.dtype.kind not in ("f" if isinstance(allowed, Continuous) else "iu"):
        return False
    low, high = _limits(allowed)
    rounded = values.astype(np.float32) if isinstance(allowed, Continuous) else values
    return bool(np.all((low <= rounded) & (rounded <= high)))


def _as_wanted(allowed: Continuous | Categorical, values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32 if isinstance(allowed, Continuous) else np.int32)


def _refused(allowed: Continuous | Categorical, what: str, given: np.ndarray, batch: tuple[int, ...]) -> InputError:
    (low, high), shape = _limits(allowed), _shape(allowed, batch)
    kind = "number" if isinstance(allowed, Continuous) else "whole number"
    wanted = f"{kind}s of shape {shape}" if shape else f"one {kind}"
    return InputError(f"{what} = {np.array2string(given, threshold=8)}: must be {wanted} from {low} to {high}")
