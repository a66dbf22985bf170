"""A fitted forecaster as one file: its parameters (safetensors), its name, what the writer wants remembered, and a digest of it all."""

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from edgetwin.errors import InputError, did_you_mean
from edgetwin.files import check_writable
from edgetwin.forecasting import drift, gru, gru_printed, gru_shared, kalman, last_value, linear
from edgetwin.forecasting.forecaster import Forecaster

FORMAT = "edgetwin forecaster 1"
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
    leaves = {_label(key): np.asarray(leaf, order="C") for key, leaf in jax.tree_util.tree_leaves_with_path(parameters)}
    header = {"format": FORMAT, "name": name, "metadata": json.dumps(metadata or {}, sort_keys=True)}
    content = safetensors.numpy.save(leaves, header | {"digest": _digest(leaves, header)})
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def load(path: Path) -> Saved:
    """What `save` wrote. Raises InputError where the file is missing, damaged, or not a forecaster's."""
    try:
        with safe_open(path, "numpy") as file:
            header = dict(file.metadata() or {})
            leaves = {label: file.get_tensor(label) for label in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a forecaster, or damaged ({error}); fit and save it again") from None
    digest = header.pop("digest", None)
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not a forecaster (its format is {header.get('format')!r}, not {FORMAT!r})")
    if digest != _digest(leaves, header):
        raise InputError(f"{path}: damaged, its content does not match its digest; fit and save it again")
    name = header["name"]
    if name not in KINDS:
        raise InputError(f"{path}: holds the forecaster {name!r}, which is unknown here; there are {', '.join(KINDS)}")
    return Saved(name, _built(KINDS[name].Parameters, leaves, ""), json.loads(header["metadata"]))


def _label(key) -> str:
    return ".".join(part.name for part in key)


def _built(record, leaves, prefix):
    """A named tuple `record` from leaves by label: fields that are named tuples themselves are built the same way."""
    parts = record.__annotations__.items()
    return record(
        *(_built(of, leaves, f"{prefix}{name}.") if hasattr(of, "_fields") else leaves[prefix + name] for name, of in parts)
    )


def _digest(leaves, header) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for label in sorted(leaves):
        digest.update(f"{label} {leaves[label].dtype} {leaves[label].shape}".encode() + leaves[label].tobytes())
    return digest.hexdigest()
