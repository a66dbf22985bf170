"""Frozen placement instances: read from a file, placed by a rule or the optimum in float64, with a proven bound beside."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgetwin.association import rules
from edgetwin.association.bounds import quick_bound
from edgetwin.association.instance import Instance, assignment, outcome
from edgetwin.errors import InputError
from edgetwin.files import read_arrays
from edgetwin.registry import parsed
from edgetwin.scenario import scenario

ARRAYS = {
    "site_xy_m": 2,
    "user_xy_m": 2,
    "home": 1,
    "rate_bps": 1,
    "data_bits": 1,
    "update_bits": 1,
    "latency_limit_s": 1,
    "cpu_hz": 1,
    "capacity": 1,
}
CONSTANTS = (
    "cycles_per_bit",
    "wire_s_per_bit_m",
    "horizon_s",
    "update_gap_s",
    "tx_power_w",
    "latency_weight",
    "cost_weight",
    "open_cost_s",
)


class Placed(NamedTuple):
    """A placement and, where it comes with one, its proven bound."""

    host: np.ndarray
    lower_bound: float | None = None


def _random(instance: Instance, *, seed: int = 0) -> Placed:
    if seed < 0:
        raise InputError(f"policy 'random': seed = {seed}: must be at least 0")
    return Placed(rules.random(instance, np.random.default_rng(seed)))


def _nearest(instance: Instance) -> Placed:
    return Placed(rules.nearest(instance))


def _greedy(instance: Instance) -> Placed:
    return Placed(rules.greedy(instance))


def _searched(instance: Instance) -> Placed:
    return Placed(rules.searched(instance))


def _optimum(instance: Instance, *, gap: float = 5e-4) -> Placed:
    found = rules.exact(instance, gap)
    return Placed(found.host, found.lower_bound)


PLACERS: dict[str, Callable[..., Placed]] = {
    "random": _random,
    "nearest": _nearest,
    "greedy": _greedy,
    "local-search": _searched,
    "optimum": _optimum,
}


def solve(files: Sequence[Path], policy: str) -> list[dict[str, Any]]:
    """A row per file: the cost J of `policy`, and a lower bound on any policy's. Raises InputError for a file or policy that will not do."""
    placer, knobs = parsed(policy.strip(), PLACERS)
    instances = [(file, read(file)) for file in files]
    rows = []
    for file, instance in instances:
        start = time.perf_counter()
        placed = placer(instance, **knobs)
        seconds = time.perf_counter() - start
        found = outcome(instance, placed.host)
        bound = quick_bound(assignment(instance)) if placed.lower_bound is None else placed.lower_bound
        rows.append(
            {
                "name": file.name,
                "value": found.cost,
                "lower_bound": float(bound),
                "seconds": seconds,
                "open_servers": found.open_servers,
                "delay_violations": int(found.violations.sum()),
            }
        )
    return rows


def read(file: Path) -> Instance:
    """The instance in an .npz file. Raises InputError for one that holds none, or values that make no sense."""
    data = read_arrays(file)
    wanted = {**ARRAYS, **dict.fromkeys(CONSTANTS, 0)}
    missing = [
        name for name, axes in wanted.items() if name not in data or data[name].ndim != axes or data[name].dtype.kind not in "fiu"
    ]
    if missing:
        raise InputError(f"{file}: is no placement instance: {', '.join(missing)} missing or of the wrong shape or kind")
    _check(file, data)
    return _instance(data)


def _check(file: Path, data: dict[str, np.ndarray]) -> None:
    users, servers = len(data["user_xy_m"]), len(data["site_xy_m"])
    for name in ARRAYS:
        of_servers = name in ("site_xy_m", "cpu_hz", "capacity")
        shape = (servers if of_servers else users, *((2,) if name.endswith("xy_m") else ()))
        if data[name].shape != shape or 0 in shape:
            raise InputError(
                f"{file}: {name} has shape {data[name].shape}: must be {shape} beside the other fields, and not empty"
            )
    positive = {*ARRAYS, *CONSTANTS} - {
        "site_xy_m",
        "user_xy_m",
        "home",
        "latency_weight",
        "cost_weight",
        "open_cost_s",
        "horizon_s",
    }
    for name in (*ARRAYS, *CONSTANTS):
        values = data[name]
        wrong = ~np.isfinite(values) | ((values <= 0) if name in positive else np.zeros(values.shape, bool))
        if wrong.any():
            where = f"[{', '.join(map(str, np.argwhere(wrong)[0]))}]" if values.ndim else ""
            raise InputError(f"{file}: {name}{where} = {values[wrong][0]:g}: must be finite{', above 0' * (name in positive)}")
    if data["home"].dtype.kind == "f" or not ((data["home"] >= 0) & (data["home"] < servers)).all():
        raise InputError(f"{file}: home: must be whole numbers from 0 to {servers - 1}, indices of sites")
    if data["capacity"].sum() < users:
        raise InputError(f"{file}: capacity: the servers hold {data['capacity'].sum()} twins, but there are {users} users")


def _instance(data: dict[str, np.ndarray]) -> Instance:
    base = scenario("association/n100-m10").association
    assert base is not None
    section = base.model_copy(update={name: float(data[name]) for name in CONSTANTS})
    sites, users = data["site_xy_m"].astype(np.float64), data["user_xy_m"].astype(np.float64)
    return Instance(
        distance_m=np.sqrt(((users[:, None] - sites) ** 2).sum(axis=-1)),
        wire_m=np.sqrt(((sites[data["home"], None] - sites) ** 2).sum(axis=-1)),
        rate_bps=data["rate_bps"].astype(np.float64),
        data_bits=data["data_bits"].astype(np.float64),
        update_bits=data["update_bits"].astype(np.float64),
        limit_s=data["latency_limit_s"].astype(np.float64),
        cpu_hz=data["cpu_hz"].astype(np.float64),
        capacity=data["capacity"].astype(np.int64),
        section=section,
    )
