"""Where base stations stand: layouts that spread them evenly, and real sites from a data set or a file.

The two-timescale paper gives no coordinates: its sites stand where Lloyd's algorithm puts them. Of real sites those are taken
whose mean squared distance to the area is least, which is what Lloyd's algorithm minimises when it may put them anywhere.
"""

import json
from functools import reduce
from importlib import resources
from itertools import combinations
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgetwin.errors import InputError
from edgetwin.scenario import data, schema, table, taxis

EARTH_RADIUS_M = 6_371_008.8
GRID = 40
LLOYD_RESTARTS = 8
CHOICES_MAX = 2000
SWAPPED_MIN_M = 100e3


class Candidates(NamedTuple):
    """Sites to choose from, in the order of their file: `ids`, `xy_m` (sites, 2); `server` (sites,) says which have one, `cpu_hz` and
    `capacity` (sites,) what CPU it has and how many twins it holds, NaN where not given; None where the file has no such column."""

    ids: tuple[str, ...]
    xy_m: NDArray[np.float64]
    server: NDArray[np.bool_] | None = None
    cpu_hz: NDArray[np.float64] | None = None
    capacity: NDArray[np.float64] | None = None


def candidates(sites: schema.Sites, area: schema.Area) -> Candidates:
    """The sites of a scenario's layout that stand in its square: at least `sites.count`, else InputError."""
    if sites.layout == "lloyd":
        return Candidates(_numbered(sites.count), lloyd(sites.count, area.width_m))
    if sites.layout == "uniform":
        return Candidates(_numbered(sites.count), np.random.default_rng(0).random((sites.count, 2)) * area.width_m)
    if sites.layout == "sf-taxi-towers":
        origin = data.SF_TAXI_CELLS.file
        found = taxi_towers(area)
    elif sites.file is None:
        origin = data.OPTUS_SITES.file
        found = optus_sites(area)
    else:
        origin = sites.file
        found = read_sites(Path(sites.file), area)
    inside = within(found.xy_m, area.width_m)
    if inside.sum() < sites.count:
        raise InputError(
            f"sites.count = {sites.count}: only {inside.sum()} of the {len(inside)} sites in {origin} stand in the square: "
            f"lower sites.count, or change area.width_m = {area.width_m:g} or its centre"
        )
    return Candidates(
        tuple(name for name, here in zip(found.ids, inside, strict=True) if here),
        found.xy_m[inside],
        None if found.server is None else found.server[inside],
        None if found.cpu_hz is None else found.cpu_hz[inside],
        None if found.capacity is None else found.capacity[inside],
    )


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"site-{index}" for index in range(count))


def lloyd(count: int, width_m: float) -> NDArray[np.float64]:
    """`count` sites spread evenly over the square, (count, 2) in metres: each at the mean of the points nearest to it.

    3 to 8 sites stand where the frozen benchmark instances have them; other layouts are the best of a few runs from a fixed seed.
    """
    frozen = json.loads((resources.files("edgetwin.scenario") / "presets" / "lloyd.json").read_text(encoding="utf-8"))
    if str(count) in frozen["sites_xy_m"]:
        return np.array(frozen["sites_xy_m"][str(count)]) * (width_m / frozen["area_width_m"])
    points = _grid(max(GRID, 5 * int(np.ceil(np.sqrt(count)))))
    starts = np.random.default_rng(0).random((LLOYD_RESTARTS, count, 2))
    runs = [_k_means(points, start) for start in starts]
    best = min(range(LLOYD_RESTARTS), key=lambda run: runs[run][1])
    return np.round(runs[best][0], 5) * width_m


def _k_means(points: NDArray[np.float64], centres: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Centres (count, 2) that no further step moves, and the mean squared distance of points (points, 2) to the nearest."""
    previous = None
    while True:
        squared = ((points[:, None, 0] - centres[:, 0]) ** 2) + ((points[:, None, 1] - centres[:, 1]) ** 2)
        nearest = squared.argmin(axis=1)
        if previous is not None and (nearest == previous).all():
            return centres, float(squared.min(axis=1).mean())
        previous = nearest
        members = np.bincount(nearest, minlength=len(centres))[:, None]
        sums = np.stack([np.bincount(nearest, points[:, axis], len(centres)) for axis in (0, 1)], axis=1)
        centres = np.where(members > 0, sums / np.maximum(members, 1), centres)


def best_spread(candidates_xy: NDArray[np.float64], count: int, width_m: float) -> NDArray[np.int64]:
    """Which `count` candidates leave the least mean squared distance from the square's points to the nearest of them.

    Where there are at most `CHOICES_MAX` choices, the best of all; else greedy addition, then the best single swap until none
    helps. Equal ones go to the lower index. The points are a grid of 40 × 40 (25 m apart in a square of 1 km).
    candidates_xy: (candidates, 2), metres. Returns (count,) indices, ascending.
    """
    middle = (np.arange(GRID) + 0.5) / GRID
    offset = candidates_xy[:, :, None] / width_m - middle
    squared = (offset[:, 0, :, None] ** 2 + offset[:, 1, None, :] ** 2).reshape(len(candidates_xy), -1)
    if comb(len(candidates_xy), count) <= CHOICES_MAX:
        choices = np.array(list(combinations(range(len(candidates_xy)), count)))
        return choices[_first_least(reduce(np.minimum, (squared[column] for column in choices.T)).sum(axis=1))]
    nearest = np.full(GRID * GRID, np.inf)
    chosen: list[int] = []
    for _ in range(count):
        cost = np.minimum(squared, nearest).sum(axis=1)
        cost[chosen] = np.inf
        chosen.append(_first_least(cost))
        nearest = np.minimum(nearest, squared[chosen[-1]])
    while (swap := _best_swap(squared, np.sort(chosen))) is not None:
        chosen = [index for index in chosen if index != swap[0]] + [swap[1]]
    return np.sort(np.array(chosen, dtype=np.int64))


def _best_swap(squared: NDArray[np.float64], chosen: NDArray[np.int64]) -> tuple[int, int] | None:
    """The pair (out, in) whose swap lowers the sum over points of squared (candidates, points) most; None where none does.

    With a candidate in, the point's distance is min(d₁, d); if its nearest chosen one also goes, min(d₂, d).
    """
    points = np.arange(squared.shape[1])
    order = np.argsort(squared[chosen], axis=0, kind="stable")
    first = squared[chosen[order[0]], points]
    second = squared[chosen[order[1]], points] if len(chosen) > 1 else np.full(len(points), np.inf)
    added = np.minimum(squared, first)
    lost = np.minimum(squared, second) - added
    cost = added.sum(axis=1) + (order[0] == np.arange(len(chosen))[:, None]) @ lost.T
    cost[:, chosen] = np.inf
    if cost.min() >= first.sum() * (1 - 1e-8):
        return None
    leaves, enters = divmod(_first_least(cost.ravel()), len(squared))
    return int(chosen[leaves]), enters


def _first_least(cost: NDArray[np.float64]) -> int:
    """The lowest index whose cost equals the least but for rounding."""
    return int(np.flatnonzero(cost <= cost.min() * (1 + 1e-9))[0])


def _grid(side: int) -> NDArray[np.float64]:
    """The middles of side × side cells of the unit square, (side², 2)."""
    middle = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)


def within(xy_m: NDArray[np.float64], width_m: float) -> NDArray[np.bool_]:
    """Which points (points, 2) lie in the square, its edge included: (points,)."""
    inside = (xy_m >= 0) & (xy_m <= width_m)
    return inside[:, 0] & inside[:, 1]


def project(
    lat_deg: ArrayLike, lon_deg: ArrayLike, centre_lat_deg: float, centre_lon_deg: float, width_m: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metres east and north, x and y, in the square whose middle is the centre: local equirectangular projection.

    x = W/2 + R cos φ₀ (λ − λ₀),  y = W/2 + R (φ − φ₀);  the earth as a sphere, so lengths err by less than 0.7 %.
    """
    east_deg = (np.asarray(lon_deg) - centre_lon_deg + 180) % 360 - 180
    north_deg = np.asarray(lat_deg) - centre_lat_deg
    x_m = width_m / 2 + EARTH_RADIUS_M * np.cos(np.radians(centre_lat_deg)) * np.radians(east_deg)
    return x_m, width_m / 2 + EARTH_RADIUS_M * np.radians(north_deg)


def unproject(
    x_m: ArrayLike, y_m: ArrayLike, centre_lat_deg: float, centre_lon_deg: float, width_m: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude and longitude of points in the square, the inverse of `project`."""
    metres_per_radian = EARTH_RADIUS_M * np.cos(np.radians(centre_lat_deg))
    lon_deg = centre_lon_deg + np.degrees((np.asarray(x_m) - width_m / 2) / metres_per_radian)
    return centre_lat_deg + np.degrees((np.asarray(y_m) - width_m / 2) / EARTH_RADIUS_M), (lon_deg + 180) % 360 - 180


def positions(found: table.Table, area: schema.Area) -> NDArray[np.float64]:
    """Where the rows of a table are, (rows, 2) in metres: from x_m,y_m, or from lat,lon by way of the area's centre."""
    flat, round_ = ("x_m" in found.columns, "y_m" in found.columns), ("lat" in found.columns, "lon" in found.columns)
    if flat == (True, True) and round_ == (False, False):
        return np.stack([table.numbers(found, "x_m"), table.numbers(found, "y_m")], axis=1)
    if flat != (False, False) or round_ != (True, True):
        raise InputError(f"{found.file}, line 1: has {','.join(found.columns)}: it needs either lat,lon or x_m,y_m")
    if area.centre_lat_deg is None or area.centre_lon_deg is None:
        raise InputError(f"{found.file}: lat,lon need area.centre_lat_deg and area.centre_lon_deg: set both, or give x_m,y_m")
    lat, lon = table.numbers(found, "lat"), table.numbers(found, "lon")
    centre = (area.centre_lat_deg, area.centre_lon_deg, area.width_m)
    xy_m = np.stack(project(lat, lon, *centre), axis=1)
    far = (np.abs(xy_m) > SWAPPED_MIN_M).any(axis=1)
    swapped = far & within(np.stack(project(lon, lat, *centre), axis=1), area.width_m)
    swapped |= (np.abs(lat) > 90) & (np.abs(lat) <= 180) & (np.abs(lon) <= 90)
    if swapped.any():
        found.fault(int(swapped.argmax()), "lat", f'with lon = "{found.columns["lon"][swapped.argmax()]}" looks swapped')
    table.numbers(found, "lat", -90, 90)
    table.numbers(found, "lon", -180, 180)
    return xy_m


def read_sites(path: Path, area: schema.Area) -> Candidates:
    """All sites of a CSV file: `id`, `lat,lon` or `x_m,y_m`, optional `server`, `cpu_hz`, `capacity`."""
    found = table.read(path, ("id",), ("lat", "lon", "x_m", "y_m", "server", "cpu_hz", "capacity"))
    return Candidates(
        table.unique(found),
        positions(found, area),
        table.truths(found, "server") if "server" in found.columns else None,
        table.numbers(found, "cpu_hz", low=1, blank=np.nan) if "cpu_hz" in found.columns else None,
        capacities(found),
    )


def capacities(found: table.Table) -> NDArray[np.float64] | None:
    """The column `capacity`, (rows,) whole numbers, NaN where empty; None where there is no such column."""
    if "capacity" not in found.columns:
        return None
    capacity = table.numbers(found, "capacity", low=1, blank=np.nan)
    if (capacity % 1 > 0).any():
        found.fault(int((capacity % 1 > 0).argmax()), "capacity", "must be a whole number from 1")
    return capacity


def optus_sites(area: schema.Area) -> Candidates:
    """The 125 Optus sites of Melbourne's centre (EUA data set): `SITE_ID`, projected by way of the area's centre."""
    found = table.read(data.path_of(data.OPTUS_SITES), ("SITE_ID", "LATITUDE", "LONGITUDE"), None)
    names = {"id": "SITE_ID", "lat": "LATITUDE", "lon": "LONGITUDE"}
    found = found._replace(columns={name: found.columns[theirs] for name, theirs in names.items()})
    return Candidates(table.unique(found), positions(found, area))


def taxi_towers(area: schema.Area) -> Candidates:
    """The 209 towers of the San Francisco taxis, numbered from 1, projected by way of the area's centre."""
    if area.centre_lat_deg is None or area.centre_lon_deg is None:
        raise InputError('sites.layout = "sf-taxi-towers": needs area.centre_lat_deg and area.centre_lon_deg')
    lat, lon = taxis.read().towers_deg.T
    xy_m = np.stack(project(lat, lon, area.centre_lat_deg, area.centre_lon_deg, area.width_m), axis=1)
    return Candidates(tuple(str(number + 1) for number in range(len(xy_m))), xy_m)
