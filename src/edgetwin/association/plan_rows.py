"""A plan in rows, as tables, CSV files and JSON have it: servers, users with the reason where a limit is missed, totals, advice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetwin.association import latency
from edgetwin.association.advice import Advice
from edgetwin.association.place import Plan, problem

CONSTANTS = (
    "bandwidth_hz",
    "bandwidth_use",
    "tx_power_w",
    "noise_density_w_per_hz",
    "path_loss_1km_db",
    "path_loss_decade_db",
    "distance_min_m",
    "update_gap_s",
    "horizon_s",
    "cycles_per_bit",
    "wire_s_per_bit_m",
    "latency_weight",
    "cost_weight",
    "open_cost_s",
    "violation_price_s",
)


def to_json(plan: Plan) -> dict[str, Any]:
    """All of a plan as plain data, as docs/place.md describes it."""
    request = plan.request
    return {
        "scenario": request.scenario,
        "policy": plan.policy,
        "method": plan.method,
        "limits": request.section.delay_limits,
        "assumptions": list(request.assumptions),
        "constants": {name: getattr(request.section, name) for name in CONSTANTS},
        "totals": totals(plan),
        "servers": servers(plan),
        "users": users(plan),
        "advice": None if plan.advice is None else advice_json(plan.advice),
    }


def totals(plan: Plan) -> dict[str, Any]:
    """J and what it is made of, latencies of an update, and how good the plan is."""
    found = plan.outcome
    return {
        "cost": found.cost,
        "lower_bound": plan.lower_bound,
        "gap": plan.gap,
        "system_latency_s": float(found.latency_s.mean()),
        "energy_j": float(found.energy_j.mean()),
        "open_servers": found.open_servers,
        "servers": len(plan.servers),
        "users": len(plan.host),
        "mean_latency_s": float(found.interaction_s.mean()),
        "worst_latency_s": float(found.interaction_s.max()),
        "over_limit": int(found.violations.sum()),
        "fewest_over_limit": plan.fewest_over_limit,
    }


def servers(plan: Plan) -> list[dict[str, Any]]:
    """A row per server. load: what share of its CPU the updates take, one from each twin every update gap; above 1 it cannot keep up."""
    numbers, section = plan.instance, plan.request.section
    count = np.bincount(plan.host, minlength=len(plan.servers))
    cycles = section.cycles_per_bit * np.bincount(plan.host, numbers.update_bits, len(count))
    load = cycles / (section.update_gap_s * numbers.cpu_hz)
    return [
        {
            "id": plan.request.sites.ids[site],
            "open": bool(count[row]),
            "twins": int(count[row]),
            "capacity": int(numbers.capacity[row]),
            "cpu_hz": float(numbers.cpu_hz[row]),
            "load": float(load[row]),
            "cpu_per_twin_hz": float(numbers.cpu_hz[row] / count[row]) if count[row] else None,
        }
        for row, site in enumerate(plan.servers)
    ]


def users(plan: Plan) -> list[dict[str, Any]]:
    """A row per user: home, server, the latency of an update and its parts, the CPU that the twin gets, and why a limit is missed."""
    request, numbers, found = plan.request, plan.instance, plan.outcome
    section, who = request.section, np.arange(len(plan.host))
    air = latency.air_time(numbers.update_bits, numbers.rate_bps)
    wire = latency.wired_time(numbers.update_bits, numbers.wire_m[who, plan.host], section.wire_s_per_bit_m)
    total = np.bincount(plan.host, numbers.load, len(plan.servers))
    share_hz = numbers.cpu_hz[plan.host] * numbers.load / total[plan.host]
    compute = latency.compute_time(numbers.update_bits, section.cycles_per_bit, share_hz)
    late, allowed = found.violations, problem(request, numbers).allowed
    return [
        {
            "id": name,
            "home": request.sites.ids[plan.home[user]],
            "server": request.sites.ids[plan.servers[plan.host[user]]],
            "latency_s": float(found.interaction_s[user]),
            "limit_s": float(numbers.limit_s[user]),
            "ok": not late[user],
            "reason": reason(plan, user, allowed[user], air[user], wire[user], compute[user]) if late[user] else "",
            "air_s": float(air[user]),
            "wire_s": float(wire[user]),
            "compute_s": float(compute[user]),
            "cpu_hz": float(share_hz[user]),
        }
        for user, name in enumerate(request.users.ids)
    ]


def reason(plan: Plan, user: int, allowed: NDArray, air_s: float, wire_s: float, compute_s: float) -> str:
    """Why a user misses its limit, with numbers: the air alone, wires on top of it, or computing; and what its twin alone on the best server
    allowed to it would take. allowed: (servers,)."""
    numbers, section = plan.instance, plan.request.section
    limit_s, update = numbers.limit_s[user], numbers.update_bits[user]
    if air_s >= limit_s:
        return f"air alone: {air_s:.3g} s of {limit_s:.3g} s; only a nearer site, less data per update or a longer limit helps"
    alone_s = (
        air_s
        + latency.wired_time(update, numbers.wire_m[user], section.wire_s_per_bit_m)
        + latency.compute_time(update, section.cycles_per_bit, numbers.cpu_hz)
    )
    alone_s = np.where(allowed, alone_s, np.inf)
    best = plan.request.sites.ids[plan.servers[alone_s.argmin()]]
    parts = f"air {air_s:.3g} + wires {wire_s:.3g} + computing {compute_s:.3g} s of {limit_s:.3g} s"
    cause = "wires" if air_s + wire_s >= limit_s else "computing"
    even = "even " if alone_s.min() > limit_s else ""
    return f"{cause}: {parts}; {even}alone on {best} it would take {alone_s.min():.3g} s"


def advice_json(advice: Advice) -> dict[str, Any]:
    """Every change that helps, best first."""
    return {**advice._asdict(), "changes": [change._asdict() for change in advice.changes]}
