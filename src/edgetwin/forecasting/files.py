"""A fitted forecaster as one file: its parameters, its name, and what the writer wants remembered."""

from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from edgetwin.errors import InputError, did_you_mean
from edgetwin.files import check_writable
from edgetwin.forecasting import drift, gru, gru_printed, gru_shared, kalman, last_value, linear
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.learning import arrays

KINDS: dict[str, ModuleType] = {kind.NAME: kind for kind in (drift, last_value, linear, kalman, gru, gru_shared, gru_printed)}


class Saved(NamedTuple):
    """What a file holds. metadata: plain words, as they were saved."""

    name: str
    parameters: Any
    metadata: dict[str, str]


def forecaster(name: str, parameters) -> Forecaster:
    """The forecaster of that name with these parameters. Raises InputError for an unknown name."""
    if name not in KINDS:
        raise InputError(f"forecaster {name!r}: unknown{did_you_mean(name, KINDS)}; there are {', '.join(KINDS)}")
    return KINDS[name].forecaster(parameters)


def save(path: Path, name: str, parameters, metadata: dict[str, str] | None = None) -> None:
    """Writes the parameters of the forecaster `name`, whole or not at all. Raises InputError where that cannot be."""
    forecaster(name, parameters)
    check_writable(path)
    arrays.write(path, parameters, {"format": arrays.FORMAT, "forecaster": name, "metadata": metadata or {}})


def load(path: Path) -> Saved:
    """What `save` wrote. Raises InputError where the file is missing, damaged, or not a forecaster's."""
    leaves, about = arrays.read(path)
    name = about.get("forecaster")
    if name is None:
        raise InputError(f"{path}: holds no forecaster, but {about.get('algorithm', 'something else')}")
    if name not in KINDS:
        raise InputError(f"{path}: holds the forecaster {name!r}, which is unknown here; there are {', '.join(KINDS)}")
    return Saved(name, _built(KINDS[name].Parameters, leaves, ""), about["metadata"])


def _built(record, leaves, prefix):
    """A named tuple `record` from leaves by name: fields that are named tuples themselves are built the same way."""
    parts = record.__annotations__.items()
    return record(
        *(_built(of, leaves, f"{prefix}.{name}") if hasattr(of, "_fields") else leaves[f"{prefix}.{name}"] for name, of in parts)
    )
