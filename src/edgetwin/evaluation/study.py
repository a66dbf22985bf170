"""A study: what draws one figure or table of a paper, with intervals, and judges what the paper says about it.

A study is a set of independent jobs (a training with a seed, a comparison on some episodes) and functions from their results to
pictures, tables and claims. Jobs are named functions of plain settings, so that each can run in a process of its own and its result
can be kept on disk and found again; `evaluation.study_run` does that.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from edgetwin.errors import InputError
from edgetwin.evaluation.claims import Claim
from edgetwin.evaluation.statistics import Estimate

Scale = Literal["quick", "full"]
SCALES: tuple[Scale, ...] = ("quick", "full")
FORMAT = 1


@dataclass(frozen=True)
class Job:
    """One piece of a study's work: `function`, named "package.module:function", called with `settings` and a folder for its run files.

    The function takes (settings: dict, folder: Path) and returns numbers, texts, lists and dicts of them; NumPy arrays become lists, what
    is not finite becomes None. `settings` are plain data and hold all that the result depends on, its seed too. Killed and started again,
    the function is called with the same folder, where a training finds its checkpoint; it should print nothing to standard output.
    """

    name: str
    function: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """16 hexadecimal digits that change with the function's name, the settings, and the version of edgetwin."""
        identity = [FORMAT, version("edgetwin"), self.function, dict(self.settings)]
        return hashlib.sha256(json.dumps(identity, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]

    def load(self) -> Callable[[dict[str, Any], Path], Any]:
        """The function itself. Raises InputError where there is none of that name."""
        module, _, name = self.function.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(f"job {self.name!r}: {self.function} cannot be loaded ({error})") from None


class Result(NamedTuple):
    """What a job returned, as read back from its file, and the seconds that it took (after an interruption: the last part)."""

    settings: Mapping[str, Any]
    value: Any
    seconds: float


Results = Mapping[str, Result]


def chosen(results: Results, **settings: Any) -> list[Any]:
    """The values of the jobs that have these settings, in the order of the study's jobs: `chosen(results, algo="sac")`."""
    return [
        result.value
        for result in results.values()
        if all(key in result.settings and result.settings[key] == value for key, value in settings.items())
    ]


@dataclass(frozen=True)
class Table:
    """A table of a study: `name` of its files, a title, columns and rows. A cell is a text, a number, an Estimate, or None."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str | float | Estimate | None]]


def _nothing(results: Results) -> Any:
    return ()


def _no_pictures(results: Results) -> Mapping[str, Figure]:
    return {}


@dataclass(frozen=True)
class Study:
    """What draws one figure or table of a paper.

    `reproduces` says which ("Fig. 3"), `summary` what it shows in a sentence. `jobs(scale)` are its jobs at "quick" (minutes, fewer seeds
    or slots) or "full" scale (the paper's); `draw(results)` the pictures by the names of their files, `tables` and `claims` the rest.
    `minutes` is what each scale takes on a two-core laptop, where known.
    """

    title: str
    reproduces: str
    summary: str
    jobs: Callable[[Scale], Sequence[Job]]
    draw: Callable[[Results], Mapping[str, Figure]] = _no_pictures
    tables: Callable[[Results], Sequence[Table]] = _nothing
    claims: Callable[[Results], Sequence[Claim]] = _nothing
    minutes: Mapping[Scale, float] = field(default_factory=lambda: MappingProxyType({}))


def plain(value: Any) -> Any:
    """A job's result as JSON holds it: arrays as lists, numbers that are not finite as None. Raises TypeError for what JSON cannot hold."""
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise TypeError(f"a job's result may have names as keys only, not {wrong!r}")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__jax_array__") or hasattr(value, "addressable_data"):
        return plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a job's result may hold numbers, texts, lists and dicts, not {type(value).__name__}")
