"""Placement as plain numbers, float64: one slot of the task, a frozen instance, or an engineer's own users; and the minimisation it stands for."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.association import latency
from edgetwin.association.assignment import Assignment
from edgetwin.scenario.schema import Association


class Instance(NamedTuple):
    """Users to be placed and servers. distance_m: (users, servers), from the user; wire_m: (users, servers), from its home site; rate_bps,
    data_bits, update_bits, limit_s: (users,); cpu_hz, capacity: (servers,). section: constants."""

    distance_m: NDArray[np.float64]
    wire_m: NDArray[np.float64]
    rate_bps: NDArray[np.float64]
    data_bits: NDArray[np.float64]
    update_bits: NDArray[np.float64]
    limit_s: NDArray[np.float64]
    cpu_hz: NDArray[np.float64]
    capacity: NDArray[np.int64]
    section: Association

    @property
    def system_bits(self) -> NDArray[np.float64]:
        return latency.system_bits(self.data_bits, self.update_bits, self.section)

    @property
    def path_s(self) -> NDArray[np.float64]:
        """Air and wires of (13) for each user and server, (users, servers)."""
        bits = self.system_bits
        return latency.air_time(bits, self.rate_bps)[:, None] + latency.wired_time(
            bits[:, None], self.wire_m, self.section.wire_s_per_bit_m
        )

    @property
    def load(self) -> NDArray[np.float64]:
        """s = √(c·B), (users,): under square-root shares a server's computing takes (Σs)²/F in all."""
        return np.sqrt(self.section.cycles_per_bit * self.system_bits)


def assignment(instance: Instance, limited: bool | None = None, **constraints: Any) -> Assignment:
    """J of (26) under square-root shares as one minimisation. `limited`: delay limits (18d) as constraints, by default where the section
    says "hard"; `constraints`: fields of `Assignment`, such as `allowed`."""
    section, users = instance.section, len(instance.data_bits)
    weight = section.latency_weight / users
    energy_j = latency.energy(instance.data_bits, instance.rate_bps, section.tx_power_w).mean()
    limited = section.delay_limits == "hard" if limited is None else limited
    made = Assignment(
        constant=float(section.cost_weight * energy_j),
        linear=weight * instance.path_s,
        load=instance.load,
        compute=weight / instance.cpu_hz,
        open_cost=np.full(len(instance.cpu_hz), section.cost_weight * section.open_cost_s),
        capacity=instance.capacity,
        allowed=np.ones(instance.wire_m.shape, bool),
        load_limit=load_limit(instance) if limited else None,
    )
    return made._replace(**constraints)


def load_limit(instance: Instance) -> NDArray[np.float64]:
    """The largest Σs of a server at which each user, if hosted there, keeps its limit: (users, servers), −inf where it never can.

    With f = F·s/Σs, (11) is air + wire + c·ΔD·Σs/(F·s) ≤ τ.     association (18d)
    """
    section, update = instance.section, instance.update_bits
    wired = latency.wired_time(update[:, None], instance.wire_m, section.wire_s_per_bit_m)
    left_s = instance.limit_s[:, None] - latency.air_time(update, instance.rate_bps)[:, None] - wired
    most = left_s * instance.cpu_hz * (instance.load / (section.cycles_per_bit * update))[:, None]
    return np.where(left_s > 0, most, -np.inf)


class Outcome(NamedTuple):
    """What a placement brings. latency_s, interaction_s, energy_j: (users,), (13), (11) and (19); open_servers: how many; cost: J."""

    latency_s: NDArray[np.float64]
    interaction_s: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    open_servers: int
    violations: NDArray[np.bool_]
    cost: float


def outcome(instance: Instance, host: NDArray[np.int64]) -> Outcome:
    """The placement `host`, (users,), under the section's shares. J of (26), with a price for missed limits where they are soft."""
    section, users = instance.section, np.arange(len(host))
    cpu_hz = _share(instance, host)
    wire_m = instance.wire_m[users, host]
    latency_s = latency.system_latency(instance.data_bits, instance.update_bits, instance.rate_bps, wire_m, cpu_hz, section)
    interaction_s = latency.update_time(instance.update_bits, instance.rate_bps, wire_m, cpu_hz, section)
    energy_j = latency.energy(instance.data_bits, instance.rate_bps, section.tx_power_w)
    opened = len(np.unique(host))
    late = interaction_s > instance.limit_s * (1 + 1e-9)
    cost = latency.total_cost(latency_s.mean(), energy_j.mean(), opened, section)
    if section.delay_limits == "soft":
        cost += section.violation_price_s * late.mean()
    return Outcome(latency_s, interaction_s, energy_j, opened, late, float(cost))


def _share(instance: Instance, host: NDArray[np.int64]) -> NDArray[np.float64]:
    work = instance.section.cycles_per_bit * instance.system_bits
    weight = {"square-root": np.sqrt(work), "equal": np.ones_like(work), "proportional": work}[instance.section.compute_share]
    total = np.bincount(host, weight, len(instance.cpu_hz))
    return instance.cpu_hz[host] * weight / total[host]
