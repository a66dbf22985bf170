"""Frozen slots: channels, requests and hosts in a file, solved in float64 to the least energy of the served requests."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.files import read_arrays
from edgetwin.registry import parsed
from edgetwin.two_timescale.admission import Admission, serve_most
from edgetwin.two_timescale.min_energy import Limits, Slot, least_energy, slot_of
from edgetwin.two_timescale.optimal import min_energy

ARRAYS = {"gain": 3, "serving": 2, "host": 2, "active": 2, "data_bits": 2, "cycles": 2, "served": 2}
LIMITS = ("latency_limit_s", "bandwidth_hz", "noise_power_w", "tx_power_max_w", "cpu_max_hz", "link_rate_bps")
ITERATIONS = 400


def solve(files: Sequence[Path], policy: str) -> list[dict[str, Any]]:
    """A row per slot of every file: `value` is the energy of all users, J. Policies: `min-energy`, which chooses whom to serve, and
    `min-energy[served=file]`. `served` counts users; `lower_bound` is the value itself, the global optimum for those served; `residual`
    tells how far the optimality conditions are from holding, relative.

    Raises InputError for a file or policy that will not do.
    """
    if "+" in policy:
        raise InputError(
            f"policy {policy!r}: slots come with their hosts, so name one without a deployment: choose among min-energy"
        )
    _, knobs = parsed(policy, {"min-energy": min_energy})
    if not math.isinf(knobs["price"]):
        raise InputError(
            f"policy 'min-energy': price = {knobs['price']:g}: frozen slots are solved for as many as can be; leave it out"
        )
    if knobs["served"] not in ("own", "file"):
        raise InputError(f"policy 'min-energy': served = {knobs['served']}: must be own or file")
    rows = []
    for file in files:
        with jax.enable_x64(True):
            rows += _solved(file, knobs["served"] == "file")
    return rows


def _solved(file: Path, given: bool) -> list[dict[str, Any]]:
    data = read(file)
    slots, limits = slots_of(data)
    run = compiled(slots, data["served"] if given else data["active"], limits, given)
    start = time.perf_counter()
    found = jax.block_until_ready(run())
    seconds = (time.perf_counter() - start) / len(data["gain"])
    if given and not (possible := np.asarray(found.optimum.feasible)).all():
        raise InputError(f"{file}: the users served in slot {int(np.argmin(possible))} cannot all be served")
    served, residual = np.asarray(found.served), np.asarray(found.optimum.residual)
    energy_j = np.where(served, np.asarray(found.optimum.energy_j), 0).sum(axis=1)
    return [
        {
            "name": f"{file.name}#{number}",
            "value": float(energy_j[number]),
            "lower_bound": float(energy_j[number]),
            "served": int(served[number].sum()),
            "residual": float(residual[number]) if served[number].any() else 0.0,
            "seconds": seconds,
        }
        for number in range(len(served))
    ]


def compiled(slots: Slot, requests: np.ndarray, limits: Limits, given: bool) -> Any:
    """A function of nothing that solves all slots at once, (slots, …), compiled: those `requests`, or as many of them as can be."""

    def solved(slot: Slot, wanted: jax.Array) -> Admission:
        if given:
            return Admission(wanted, least_energy(slot, wanted, limits, iterations=ITERATIONS), jnp.ones((), jnp.int32))
        return serve_most(slot, wanted, limits, ITERATIONS)

    wanted = jnp.asarray(requests)
    program = jax.jit(jax.vmap(solved)).lower(slots, wanted).compile()
    return lambda: program(slots, wanted)


def slots_of(data: dict[str, np.ndarray]) -> tuple[Slot, Limits]:
    """The slots of a file, (slots, …), every site with a server of its own, and their limits. In the precision that JAX has."""
    sites, bandwidth_hz, link_rate_bps = data["gain"].shape[2], float(data["bandwidth_hz"]), float(data["link_rate_bps"])

    def one(gain, serving, host, data_bits, cycles):
        every, cpu_hz = jnp.arange(sites), jnp.full(sites, float(data["cpu_max_hz"]))
        rates = {"bandwidth_hz": bandwidth_hz, "link_rate_bps": link_rate_bps}
        return slot_of(gain, serving, host, every, cpu_hz, data_bits, cycles, **rates)

    slots = jax.vmap(one)(*(jnp.asarray(data[name]) for name in ("gain", "serving", "host", "data_bits", "cycles")))
    noise, power_max, tau = (float(data[name]) for name in ("noise_power_w", "tx_power_max_w", "latency_limit_s"))
    return slots, Limits(bandwidth_hz, noise, power_max, tau)


def read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of slots. Raises InputError that says what is wrong with it."""
    wanted = {**ARRAYS, **dict.fromkeys(LIMITS, 0)}
    data = {name: values for name, values in read_arrays(file).items() if name in wanted}
    missing = [name for name, dimensions in wanted.items() if name not in data or not _fits(name, data[name], dimensions)]
    if missing:
        raise InputError(f"{file}: is no file of two-timescale slots: {', '.join(missing)} missing or of the wrong shape or kind")
    slots, users, sites = data["gain"].shape
    wrong = [name for name in ARRAYS if name != "gain" and data[name].shape != (slots, users)]
    if wrong or 0 in (slots, users, sites):
        raise InputError(
            f"{file}: gain {data['gain'].shape} and {wrong[0]} {data[wrong[0]].shape} do not fit together: "
            "(slots, users, sites), (slots, users)"
            if wrong
            else f"{file}: gain {data['gain'].shape}: needs at least one slot, user and site"
        )
    for name in ("serving", "host"):
        _must(file, name, data[name], (data[name] >= 0) & (data[name] < sites), f"a site from 0 to {sites - 1}")
    for name in ("gain", "data_bits", "cycles", *LIMITS):
        _must(file, name, data[name], np.isfinite(data[name]) & (data[name] > 0), "finite, above 0")
    _must(file, "served", data["served"], data["active"] | ~data["served"], "among the active users")
    return data


def _fits(name: str, values: np.ndarray, dimensions: int) -> bool:
    kinds = {"active": "b", "served": "b", "serving": "iu", "host": "iu"}.get(name, "fiu")
    return values.ndim == dimensions and values.dtype.kind in kinds


def _must(file: Path, name: str, values: np.ndarray, allowed: np.ndarray, what: str) -> None:
    wrong = np.argwhere(~np.asarray(allowed))
    if len(wrong):
        where = f"[{', '.join(map(str, wrong[0]))}]" if values.ndim else ""
        raise InputError(f"{file}: {name}{where} = {values[tuple(wrong[0])].item()}: must be {what}")
