"""How real users moved: the GOAL tracks of delivery workers, or a user's own, cut into pieces without long gaps.

A track recorded elsewhere keeps its shape and its times but not its place: it is centred on its own mean, and the seed lays it
over the area. A user's own tracks belong where they are, so they also carry their place.
"""

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError
from edgetwin.scenario import data, schema, table
from edgetwin.scenario.sites import positions, within


class Tracks(NamedTuple):
    """Tracks as arrays to interpolate in.

    ids: (tracks,) words. time_s: (tracks, fixes), from 0, rising, padded with +inf. xy_m: (tracks, fixes, 2), from the mean of
    the track's fixes, padded with the last. duration_s: (tracks,), the last fix's time. place_m: (tracks, 2), that mean in the
    area, or None where the seed places tracks.
    """

    ids: tuple[str, ...]
    time_s: NDArray[np.float64]
    xy_m: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    place_m: NDArray[np.float64] | None = None


class Fixes(NamedTuple):
    """Recorded positions, track after track: `names` (tracks,); `track`, `time_s` (fixes,) and `xy_m` (fixes, 2)."""

    names: tuple[str, ...]
    track: NDArray[np.int64]
    time_s: NDArray[np.float64]
    xy_m: NDArray[np.float64]


def goal_tracks(users: schema.Users) -> Tracks:
    """The GOAL tracks (805 tracks of 72 fixes) as pieces that meet the limits of `users`, to be placed by the seed."""
    path = data.path_of(data.GOAL_TRACKS)
    return _pieces(_goal_fixes(path), users, data.GOAL_TRACKS.file)._replace(place_m=None)


def csv_tracks(path: Path, users: schema.Users, area: schema.Area) -> Tracks:
    """Own tracks, `id,time_s` with `lat,lon` or `x_m,y_m`: the pieces within the limits of `users`, their mean in the area."""
    found = table.read(path, ("id", "time_s"), ("lat", "lon", "x_m", "y_m"))
    number: dict[str, int] = {}
    track = np.array([number.setdefault(name, len(number)) for name in table.identifiers(found)])
    order = np.argsort(track, kind="stable")
    time_s = table.numbers(found, "time_s")
    late = (np.diff(track[order]) == 0) & (np.diff(time_s[order]) <= 0)
    if late.any():
        before, row = order[late.argmax()], int(order[late.argmax() + 1])
        found.fault(
            row, "time_s", f"must be later than the track's fix before, {time_s[before]:.12g} on line {found.lines[before]}"
        )
    fixes = Fixes(tuple(number), track[order], time_s[order], positions(found, area)[order])
    pieces = _pieces(fixes, users, str(path))
    assert pieces.place_m is not None
    inside = within(pieces.place_m, area.width_m)
    if not inside.any():
        raise InputError(
            f"{path}: none of its {len(inside)} tracks lies in the square: change area.width_m = {area.width_m:g} or its centre"
        )
    ids = tuple(name for name, here in zip(pieces.ids, inside, strict=True) if here)
    return Tracks(ids, pieces.time_s[inside], pieces.xy_m[inside], pieces.duration_s[inside], pieces.place_m[inside])


@lru_cache(maxsize=1)
def _goal_fixes(path: Path) -> Fixes:
    """All fixes of the archive, whose members are CSV files `timestamp,x,y,groundtruth` with x and y in metres."""
    with zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".csv"))
        lines = [archive.read(member).decode().splitlines()[1:] for member in members]
    stamp, x_m, y_m, _ = zip(*(line.split(",") for member in lines for line in member), strict=True)
    since = np.array(stamp, dtype="datetime64[ns]") - np.datetime64(stamp[0], "ns")
    track = np.repeat(np.arange(len(members)), [len(member) for member in lines])
    xy_m = np.stack([np.array(x_m, dtype=np.float64), np.array(y_m, dtype=np.float64)], axis=1)
    return Fixes(tuple(Path(member).stem for member in members), track, since / np.timedelta64(1, "s"), xy_m)


def _pieces(fixes: Fixes, users: schema.Users, origin: str) -> Tracks:
    """Tracks split at gaps above `track_gap_max_s`; of the pieces, those that last long enough and do not span too much."""
    first = np.diff(fixes.track, prepend=-1) != 0
    starts = np.flatnonzero(first | (np.diff(fixes.time_s, prepend=0.0) > users.track_gap_max_s))
    lengths = np.diff(starts, append=len(fixes.track))
    duration_s = fixes.time_s[starts + lengths - 1] - fixes.time_s[starts]
    span_m = (np.maximum.reduceat(fixes.xy_m, starts) - np.minimum.reduceat(fixes.xy_m, starts)).max(axis=1)
    long, small = duration_s >= users.track_duration_min_s, span_m <= users.track_span_max_m
    if not (long & small).any():
        raise InputError(
            f"{origin}: no track to use: of {len(starts)} pieces (split at users.track_gap_max_s = {users.track_gap_max_s:g}), "
            f"{long.sum()} last users.track_duration_min_s = {users.track_duration_min_s:g} or more and "
            f"{small.sum()} span users.track_span_max_m = {users.track_span_max_m:g} or less, none both"
        )
    names = _names(fixes, starts)
    kept = np.flatnonzero(long & small & _in_part(fixes.track[starts], users.track_part))
    if not len(kept):
        raise InputError(f'{origin}: no track is left with users.track_part = "{users.track_part}": use "all", or more tracks')
    place_m = np.add.reduceat(fixes.xy_m, starts)[kept] / lengths[kept, None]
    fix = np.arange(lengths[kept].max())
    index = starts[kept, None] + np.minimum(fix, lengths[kept, None] - 1)
    time_s = np.where(fix < lengths[kept, None], fixes.time_s[index] - fixes.time_s[starts[kept], None], np.inf)
    return Tracks(tuple(names[piece] for piece in kept), time_s, fixes.xy_m[index] - place_m[:, None], duration_s[kept], place_m)


def _in_part(track: NDArray[np.int64], part: str) -> NDArray[np.bool_]:
    """Which pieces belong to a part, by the number of the track they were cut from: every fourth track is held out for tests."""
    held_out = track % 4 == 3
    return {"all": np.ones(len(track), bool), "train": ~held_out, "test": held_out}[part]


def _names(fixes: Fixes, starts: NDArray[np.int64]) -> list[str]:
    """A track's name for each piece, (pieces,), with `.1`, `.2`, … behind it where the track was split."""
    track = fixes.track[starts]
    pieces = np.bincount(track)[track]
    number = np.arange(len(track)) - np.searchsorted(track, track) + 1
    return [fixes.names[t] + (f".{n}" if of > 1 else "") for t, n, of in zip(track, number, pieces, strict=True)]
