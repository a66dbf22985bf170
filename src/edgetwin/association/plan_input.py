"""An engineer's own sites and users: read from CSV, checked, and completed by a scenario's constants where a column is left out.

No square is served: the middle of the sites is the middle of the projection, and whatever lies absurdly far from it is refused.
"""

import difflib
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError
from edgetwin.scenario import Scenario, schema, sites, table

Limits = Literal["hard", "soft", "off"]
FAR_M = 100e3
LEAST = 1e-6
"""What data in Mbit and limits in s must at least be: above 0"""
POSITION = ("lat", "lon", "x_m", "y_m")


class Sites(NamedTuple):
    """Sites in the order of their file. xy_m: (sites, 2), metres east and north; server, cpu_hz, capacity: (sites,), what a site without
    server would have, too; region: "" where none."""

    ids: tuple[str, ...]
    xy_m: NDArray[np.float64]
    server: NDArray[np.bool_]
    cpu_hz: NDArray[np.float64]
    capacity: NDArray[np.int64]
    region: tuple[str, ...]


class Users(NamedTuple):
    """Users in the order of their file. xy_m: (users, 2); data_bits, update_bits, limit_s: (users,); pin: a server's id or ""; regions: those
    allowed, none for all; apart: the label of an anti-affinity group or ""."""

    ids: tuple[str, ...]
    xy_m: NDArray[np.float64]
    data_bits: NDArray[np.float64]
    update_bits: NDArray[np.float64]
    limit_s: NDArray[np.float64]
    pin: tuple[str, ...]
    regions: tuple[tuple[str, ...], ...]
    apart: tuple[str, ...]


class Request(NamedTuple):
    """What is to be planned. section: constants, with the `limits` asked for; candidates: sites that could be built; assumptions: in words."""

    sites: Sites
    users: Users
    candidates: Sites | None
    section: schema.Association
    scenario: str
    assumptions: tuple[str, ...]


def read(site_file: Path, user_file: Path, candidate_file: Path | None, on: Scenario, limits: str) -> Request:
    """The request in these files, with the constants of a scenario's section [association]. Raises InputError that names file, line and
    column, or the setting."""
    if limits not in get_args(Limits):
        raise InputError(f"limits {limits!r}: must be one of {', '.join(get_args(Limits))}")
    section = on.association
    if section is None:
        raise InputError(f"scenario {on.name} has no section [association], whose constants a plan needs")
    if section.compute_share != "square-root":
        raise InputError(f'association.compute_share = "{section.compute_share}": must be "square-root" for a plan')
    if section.latency_weight == 0:
        raise InputError(
            "association.latency_weight = 0: must be above 0 for a plan, else it matters to no one where a twin lives"
        )
    section = section.model_copy(update={"delay_limits": limits})
    site_columns = (*POSITION, "server", "cpu_hz", "capacity", "region")
    user_columns = (*POSITION, "data_mbit", "update_mbit", "latency_limit_s", "pin", "region", "apart")
    tables = [table.read(site_file, ("id",), site_columns), table.read(user_file, ("id",), user_columns)]
    if candidate_file is not None:
        tables.append(table.read(candidate_file, ("id",), site_columns))
    xy_m = located(tables)
    notes = [f"radio, wires, times and prices: section [association] of {on.name}"]
    cpu_hz = on.servers.cpu_hz if section.cpu_hz is None and on.servers is not None else _mean(section.cpu_hz)
    own = _sites(tables[0], xy_m[0], cpu_hz, section.capacity, notes)
    if not own.server.any():
        raise InputError(f"{site_file}: no site has a server: set server = true for at least one")
    users = _users(tables[1], xy_m[1], section, own, notes)
    candidates = None
    if candidate_file is not None:
        candidates = _sites(tables[2], xy_m[2], cpu_hz, section.capacity, notes)
        for row, name in enumerate(candidates.ids):
            if name in own.ids:
                tables[2].fault(row, "id", f"must be unique, but {site_file} has it too")
    return Request(own, users, candidates, section, on.name, tuple(notes))


def located(tables: list[table.Table]) -> list[NDArray[np.float64]]:
    """Where the rows of each table are, (rows, 2) in metres from the middle of the first table's, the sites'. Raises InputError for
    coordinates that are swapped, out of range or more than 100 km from the sites, and for tables of different kinds."""
    flat = [{"x_m", "y_m"} & {*each.columns} != set() for each in tables]
    anywhere = schema.Area(width_m=1, centre_lat_deg=0, centre_lon_deg=0)
    for each, is_flat in zip(tables, flat, strict=True):
        sites.positions(each, anywhere)
        if is_flat != flat[0]:
            kinds = ["x_m,y_m" if kind else "lat,lon" for kind in (flat[0], is_flat)]
            raise InputError(f"{each.file}, line 1: has {kinds[1]}, but {tables[0].file} has {kinds[0]}: give both the same kind")
    if flat[0]:
        placed = [sites.positions(each, anywhere) for each in tables]
        middle = _amid(placed[0])
        for each, xy_m in zip(tables, placed, strict=True):
            _refuse_far(each, "x_m", np.hypot(*(xy_m - middle).T), np.full(len(xy_m), np.inf))
        return [xy_m - placed[0].mean(axis=0) for xy_m in placed]
    lat_lon = [np.stack([table.numbers(each, "lat"), table.numbers(each, "lon")], axis=1) for each in tables]
    middle = _amid(np.stack([lat_lon[0][:, 0], lat_lon[0][0, 1] + _turned(lat_lon[0][:, 1] - lat_lon[0][0, 1])], axis=1))
    for each, degrees in zip(tables, lat_lon, strict=True):
        away_m, swapped_m = (
            np.hypot(*sites.project(lat, lon, middle[0], middle[1], 0)) for lat, lon in (degrees.T, degrees.T[::-1])
        )
        _refuse_far(each, "lat", away_m, swapped_m)
    mean = lat_lon[0][:, 0].mean(), middle[1] + _turned(lat_lon[0][:, 1] - middle[1]).mean()
    return [np.stack(sites.project(lat, lon, *mean, 0), axis=1) for lat, lon in (degrees.T for degrees in lat_lon)]


def _amid(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point nearest the median of all, which a few wrong ones do not move far, the first of equals: (2,) of (points, 2)."""
    return points[np.hypot(*(points - np.median(points, axis=0)).T).round(6).argmin()]


def _turned(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return (degrees + 180) % 360 - 180


def _refuse_far(found: table.Table, column: str, away_m: NDArray[np.float64], swapped_m: NDArray[np.float64]) -> None:
    """Faults the first row more than 100 km away, with the hint that it is swapped where it would else be near."""
    far = away_m > FAR_M
    if not far.any():
        return
    row = int(far.argmax())
    other = {"lat": "lon", "x_m": "y_m"}[column]
    given = f'with {other} = "{found.columns[other][row]}"'
    if swapped_m[row] <= FAR_M:
        all_are = f"; so do all {len(far)} rows: swap these, or those of the sites" if (far & (swapped_m <= FAR_M)).all() else ""
        found.fault(row, column, f"{given} looks swapped{all_are}")
    found.fault(
        row, column, f"{given} is {away_m[row] / 1e3:,.0f} km from the middle of the sites: must be within {FAR_M / 1e3:.0f} km"
    )


def _sites(found: table.Table, xy_m: NDArray[np.float64], cpu_hz: float, capacity: int, notes: list[str]) -> Sites:
    if "server" in found.columns:
        server = table.truths(found, "server")
    else:
        server = np.ones(len(xy_m), np.bool_)
        notes.append(f"server: every site in {found.file} has one")
    capacities = sites.capacities(found)
    if capacities is None:
        capacities = np.full(len(xy_m), np.nan)
    return Sites(
        ids=table.unique(found),
        xy_m=xy_m,
        server=server,
        cpu_hz=_filled(found, "cpu_hz", cpu_hz, 1, "mean of association.cpu_hz, or servers.cpu_hz", notes),
        capacity=_completed(found, "capacity", capacities, capacity, "association.capacity", notes)
        .clip(max=1e9)
        .astype(np.int64),
        region=tuple(found.columns.get("region", [""] * len(xy_m))),
    )


def _users(found: table.Table, xy_m: NDArray[np.float64], section: schema.Association, own: Sites, notes: list[str]) -> Users:
    names, none = table.unique(found), [""] * len(xy_m)
    data = _filled(found, "data_mbit", _mean(section.data_bits) / 1e6, LEAST, "mean of association.data_bits", notes)
    share = _mean(section.update_share)
    update = _filled(
        found, "update_mbit", share * data, LEAST, f"{share:g} of data_mbit, mean of association.update_share", notes
    )
    limit = _filled(found, "latency_limit_s", _mean(section.latency_limit_s), LEAST, "mean of association.latency_limit_s", notes)
    pins, regions = _pins(found, own), _regions(found, own)
    for row, (pin, allowed) in enumerate(zip(pins, regions, strict=True)):
        where = own.region[own.ids.index(pin)] if pin else ""
        if pin and allowed and where not in allowed:
            stands = f"is in region {where}" if where else "is in no region"
            found.fault(row, "pin", f"{stands}, but the user may only live in {';'.join(allowed)}: change its pin or its region")
    return Users(names, xy_m, data * 1e6, update * 1e6, limit, pins, regions, tuple(found.columns.get("apart", none)))


def _pins(found: table.Table, own: Sites) -> tuple[str, ...]:
    pins = found.columns.get("pin", [""] * len(found.lines))
    servers = [name for name, has in zip(own.ids, own.server, strict=True) if has]
    for row, pin in enumerate(pins):
        if pin in own.ids and pin not in servers:
            found.fault(row, "pin", "that site has no server: pin to one that has, or give it one")
        if pin and pin not in servers:
            found.fault(row, "pin", f"is no server{_near(pin, servers)}")
    return tuple(pins)


def _regions(found: table.Table, own: Sites) -> tuple[tuple[str, ...], ...]:
    cells = found.columns.get("region", [""] * len(found.lines))
    known = list(dict.fromkeys(region for region in own.region if region))
    split = [tuple(word.strip() for word in cell.split(";") if word.strip()) for cell in cells]
    for row, words in enumerate(split):
        for word in words:
            if not known:
                found.fault(row, "region", "no site has a region: add the column region to the sites")
            if word not in known:
                found.fault(row, "region", f"no site is in {word!r}{_near(word, known)}")
    return tuple(split)


def _near(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return f" (did you mean {close[0]}?)" if close else f": there are {', '.join(known[:10])}{more}"


def _mean(limits: tuple[float, float] | None) -> float:
    assert limits is not None
    return (limits[0] + limits[1]) / 2


def _filled(
    found: table.Table, column: str, default: float | NDArray[np.float64], low: float, source: str, notes: list[str]
) -> NDArray[np.float64]:
    """A column of numbers, with the default where it or a cell is missing."""
    values = np.full(len(found.lines), np.nan)
    if column in found.columns:
        values = table.numbers(found, column, low=low, blank=np.nan)
    return _completed(found, column, values, default, source, notes)


def _completed(
    found: table.Table,
    column: str,
    values: NDArray[np.float64],
    default: float | NDArray[np.float64],
    source: str,
    notes: list[str],
) -> NDArray[np.float64]:
    """Values with the default where they are NaN, and a note that says so."""
    missing = np.isnan(values)
    if missing.any():
        value = "" if isinstance(default, np.ndarray) else f"{default:g}, ".replace("e+", "e")
        where = "no such column" if column not in found.columns else f"empty in {missing.sum()} of {len(values)} rows"
        notes.append(f"{column}: {value}{source} ({found.file}: {where})")
    return np.where(missing, default, values)
