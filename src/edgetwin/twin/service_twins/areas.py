"""What service twins are of, association (2): stretches of road and regions, as they are defined through the interface.

A definition says where it is (`pieces`), which numbers of its device twins it looks at (`numbers`), and how it tells what they come to
(`told`). Another kind of service twin is one more class of that form among the `DEFINITIONS`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from edgetwin.errors import InputError, did_you_mean
from edgetwin.twin.kinds import Kind, kind_named
from edgetwin.twin.service_twins.aggregate import Summary
from edgetwin.twin.service_twins.grid import Box

SPEED = "speed_mps"

Metres = Annotated[float, Field(ge=-1e9, le=1e9)]
Point = tuple[Metres, Metres]
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Piece(NamedTuple):
    """A part of an area: a box around it, and whether a point of the box (x, y in metres) is in it."""

    box: Box
    holds: Callable[[float, float], bool]


class RoadSegment(BaseModel):
    """A stretch of road: a line of points and a width. A device twin is on it within half the width of the line, ends included."""

    model_config = STRICT

    kind: Literal["road-segment"]
    points_m: tuple[Point, ...] = Field(min_length=2, max_length=10_000)
    width_m: float = Field(gt=0, le=10_000)
    of: tuple[str, ...] = Field(min_length=1, max_length=100)
    stale_after_s: float = Field(60.0, gt=0)

    @model_validator(mode="after")
    def _is_a_line(self) -> "RoadSegment":
        if not self.length_m > 0:
            raise ValueError("points_m are all the same: a road has a length")
        return self

    @property
    def length_m(self) -> float:
        """Along the line."""
        return math.fsum(math.dist(a, b) for a, b in zip(self.points_m, self.points_m[1:], strict=False))

    def pieces(self) -> list[Piece]:
        """One for each straight part."""
        return [_beside(a, b, self.width_m / 2) for a, b in zip(self.points_m, self.points_m[1:], strict=False)]

    def numbers(self) -> tuple[str, ...]:
        """Properties that are looked at, where a twin tells them."""
        return (SPEED,)

    def told(self, summary: Summary) -> dict[str, Any]:
        """What is particular to a road."""
        speed = summary.tallies[0]
        return {
            "mean_speed_mps": speed.mean,
            "slowest_speed_mps": speed.least,
            "density_per_km": summary.count / (self.length_m / 1000),
            "length_m": self.length_m,
        }


class Region(BaseModel):
    """A circle (centre_m, radius_m) or a box (low_m, high_m: its corners), and numbers of the twins in it."""

    model_config = STRICT

    kind: Literal["region"]
    centre_m: Point | None = None
    radius_m: float | None = Field(None, gt=0, le=1e9)
    low_m: Point | None = None
    high_m: Point | None = None
    of: tuple[str, ...] = Field(min_length=1, max_length=100)
    properties: tuple[str, ...] = Field((), max_length=50)
    stale_after_s: float = Field(60.0, gt=0)

    @model_validator(mode="after")
    def _has_one_shape(self) -> "Region":
        given = [name for name in ("centre_m", "radius_m", "low_m", "high_m") if getattr(self, name) is not None]
        if given not in (["centre_m", "radius_m"], ["low_m", "high_m"]):
            raise ValueError(f"given {', '.join(given) or 'no shape'}: centre_m and radius_m, or low_m and high_m")
        if self.low_m and self.high_m and not (self.low_m[0] < self.high_m[0] and self.low_m[1] < self.high_m[1]):
            raise ValueError(f"low_m = {list(self.low_m)} is not below high_m = {list(self.high_m)} in x and y")
        if len(set(self.properties)) < len(self.properties):
            raise ValueError("properties: one is named twice")
        return self

    def pieces(self) -> list[Piece]:
        """The region itself."""
        if self.low_m and self.high_m:
            return [Piece(Box(*self.low_m, *self.high_m), lambda x, y: True)]
        assert self.centre_m is not None and self.radius_m is not None
        (x_m, y_m), radius_m = self.centre_m, self.radius_m
        box = Box(x_m - radius_m, y_m - radius_m, x_m + radius_m, y_m + radius_m)
        return [Piece(box, lambda x, y: math.hypot(x - x_m, y - y_m) <= radius_m)]

    def numbers(self) -> tuple[str, ...]:
        """Properties that are looked at, where a twin tells them."""
        return self.properties

    def told(self, summary: Summary) -> dict[str, Any]:
        """What is particular to a region."""
        return {"properties": {name: asdict(tally) for name, tally in zip(self.properties, summary.tallies, strict=True)}}


Definition = RoadSegment | Region
DEFINITIONS: Mapping[str, type[RoadSegment] | type[Region]] = {"road-segment": RoadSegment, "region": Region}


def definition_from(fields: Any, kinds: Mapping[str, Kind]) -> Definition:
    """The definition in plain data. Raises InputError that names what is wrong, and what is allowed."""
    kind = fields.get("kind") if isinstance(fields, Mapping) else None
    if not isinstance(kind, str) or kind not in DEFINITIONS:
        raise InputError(f"kind = {kind!r:.100}: an object whose kind is one of {', '.join(DEFINITIONS)}")
    try:
        made: Definition = TypeAdapter(DEFINITIONS[kind]).validate_python(fields)
    except ValidationError as error:
        raise InputError(_said(error, DEFINITIONS[kind])) from None
    _check_kinds(made, kinds)
    return made


def _check_kinds(made: Definition, kinds: Mapping[str, Kind]) -> None:
    for name in made.of:
        try:
            if kind_named(kinds, name).position is None:
                raise InputError(f"kind {name!r} has no position: {_listed(n for n, k in kinds.items() if k.position)} have")
        except InputError as error:
            raise InputError(f"of: {error}") from None
    if isinstance(made, Region):
        known = {name for kind in made.of for name, one in kinds[kind].properties.items() if one.type in ("number", "integer")}
        for name in made.properties:
            if name not in known:
                raise InputError(f"properties: {name!r} is no number of {', '.join(made.of)}: {_listed(sorted(known))} are")


def _said(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    where, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{where}: there are {', '.join(model.model_fields)}{did_you_mean(where, model.model_fields)}"
    if first["type"] == "missing" or not where:
        return f"{where}: {message}".removeprefix(": ")
    return f"{where} = {first['input']!r:.100}: {message}"


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"


def _beside(a: Sequence[float], b: Sequence[float], reach_m: float) -> Piece:
    """What lies within a reach of the straight line from a to b."""
    (ax, ay), (dx, dy) = a, (b[0] - a[0], b[1] - a[1])
    length2, reach2 = dx * dx + dy * dy, reach_m * reach_m

    def holds(x: float, y: float) -> bool:
        along = ((x - ax) * dx + (y - ay) * dy) / length2 if length2 else 0.0
        along = 0.0 if along < 0 else 1.0 if along > 1 else along
        off_x, off_y = x - ax - along * dx, y - ay - along * dy
        return off_x * off_x + off_y * off_y <= reach2

    low, high = [min(p, q) - reach_m for p, q in zip(a, b, strict=True)], [max(p, q) + reach_m for p, q in zip(a, b, strict=True)]
    return Piece(Box(*low, *high), holds)
