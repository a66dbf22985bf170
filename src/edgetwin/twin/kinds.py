"""Kinds of device twins: which properties one has, what they may be, how long its history is kept, and how a silent one is carried on."""

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgetwin.errors import InputError, did_you_mean
from edgetwin.twin.messages import NAME, Bad, Update

TYPES: Mapping[str, tuple[type, ...]] = {"number": (int, float), "integer": (int,), "string": (str,), "boolean": (bool,)}


class Property(BaseModel):
    """A property of a kind: its type, its unit, what values it may take, and whether every update must tell it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["number", "integer", "string", "boolean"] = "number"
    unit: str = ""
    minimum: float = -1e12
    maximum: float = 1e12
    max_length: int = Field(256, ge=1, le=4096)
    required: bool = False


class Kind(BaseModel):
    """What twins of a kind have in common. `position` names the two properties that place it on the ground, in metres, if it has any.

    A twin that was silent for `silent_after_s` is carried on by `forecaster`: "last-value", or "drift" at the mean velocity of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    properties: dict[str, Property] = Field(min_length=1, max_length=200)
    position: tuple[str, str] | None = None
    retention_s: float = Field(7 * 86_400.0, gt=0)
    clock_skew_s: float = Field(5.0, ge=0)
    silent_after_s: float = Field(10.0, gt=0)
    forecaster: Literal["last-value", "drift"] = "drift"

    @model_validator(mode="after")
    def _position_exists(self) -> "Kind":
        for name in self.position or ():
            if name not in self.properties or self.properties[name].type != "number":
                raise ValueError(f"position names {name}, which is no number among the properties")
        return self


DEFAULT_KINDS = Path(__file__).with_name("kinds.toml")


def read_kinds(path: Path = DEFAULT_KINDS) -> dict[str, Kind]:
    """The kinds in a TOML file, by name. Raises InputError that names the file, the key and what is allowed."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
    if not tables:
        raise InputError(f"{path}: no kinds: a table for each, with its properties")
    return {name: _kind(path, name, table) for name, table in tables.items()}


def _kind(path: Path, name: str, table: Any) -> Kind:
    if not NAME.fullmatch(name):
        raise InputError(f"{path}: kind {name!r}: letters, digits, _ and -")
    try:
        return Kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, first["loc"])])
        raise InputError(f"{path}: {where}: {first['msg']}") from None


def kind_named(kinds: Mapping[str, Kind], name: str) -> Kind:
    """A kind by its name. Raises InputError that names those there are."""
    if name not in kinds:
        raise InputError(f"kind {name!r}: there are {', '.join(kinds)}{did_you_mean(name, kinds)}")
    return kinds[name]


def checker(kind: Kind) -> Callable[[Update, float], None]:
    """A function of an update and the time now that raises Bad where the kind does not allow it."""
    check_values = _values_checker(kind)
    required = [name for name, one in kind.properties.items() if one.required]

    def check(update: Update, now_s: float) -> None:
        try:
            for name in required:
                if update.state.get(name) is None:
                    raise Bad("missing", f"{name}: every update must tell it")
            check_values(update.state)
            if update.time_s > now_s + kind.clock_skew_s:
                raise Bad("clock-skew", f"measured {update.time_s - now_s:.1f} s from now: at most {kind.clock_skew_s:g} s")
            if update.time_s < now_s - kind.retention_s:
                raise Bad("too-old", f"measured {now_s - update.time_s:.0f} s ago: history reaches back {kind.retention_s:g} s")
        except Bad as bad:
            raise Bad(bad.reason, bad.detail, *update[:3]) from None

    return check


def check_values(kind: Kind, values: Mapping[str, Any]) -> None:
    """Raises Bad for the first value of a property that the kind does not allow; null is allowed of all."""
    _values_checker(kind)(values)


def _values_checker(kind: Kind) -> Callable[[Mapping[str, Any]], None]:
    properties = {name: (TYPES[one.type], one.minimum, one.maximum, one) for name, one in kind.properties.items()}

    def check(values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name not in properties:
                raise Bad(
                    "unknown-property", f"{name[:100]!r}: there are {', '.join(properties)}{did_you_mean(name, properties)}"
                )
            types, minimum, maximum, allowed = properties[name]
            if value is None:
                continue
            if type(value) not in types:
                raise Bad("wrong-type", f"{name}: {allowed.type}, not {type(value).__name__}")
            if types == (str,):
                if len(value) > allowed.max_length:
                    raise Bad("out-of-range", f"{name}: {len(value)} characters, at most {allowed.max_length}")
            elif types != (bool,) and not minimum <= value <= maximum:
                if type(value) is float and not math.isfinite(value):
                    raise Bad("not-a-number", f"{name} is not finite")
                raise Bad("out-of-range", f"{name} = {value!r:.40}: from {minimum:g} to {maximum:g}")

    return check
