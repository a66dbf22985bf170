"""What happens whatever is decided: users move, channels and servers' free CPU vary. Slot n draws from `fold_in(stream, n)`.

Sites, users' data and limits belong to an episode; home, rate and CPU to a slot. A slot lasts the gap between two updates.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association import latency
from edgetwin.errors import InputError
from edgetwin.physical import channel, mobility
from edgetwin.physical.movement import Movement, Visits, between
from edgetwin.scenario import Network, Scenario
from edgetwin.scenario.schema import Association


def section_of(scenario: Scenario, task: str) -> Association:
    """The section [association] of a scenario that has one for the task, too. Raises InputError where it has not."""
    if scenario.association is None or getattr(scenario, task) is None:
        raise InputError(f"scenario {scenario.name} has no section [{task}], so the task {task} cannot run on it")
    return scenario.association


class Streams(NamedTuple):
    """An episode's random streams, one key each."""

    start: jax.Array
    movement: jax.Array
    shadowing: jax.Array
    cpu: jax.Array


class Episode(NamedTuple):
    """What an episode draws once. sites_m: (sites, 2). hop_m: (sites, servers), wires' lengths. data_bits, update_bits: (users,). limit_s:
    (users,), before the time on air has its say. cpu_hz: (servers,), at the start. spread_m: (sites,), how far a taxi may be from its tower."""

    sites_m: jax.Array
    hop_m: jax.Array
    data_bits: jax.Array
    update_bits: jax.Array
    limit_s: jax.Array
    cpu_hz: jax.Array
    spread_m: jax.Array


class Process(NamedTuple):
    """All that moves: users, shadowing (users, sites) and the logarithm of the servers' CPU (servers,)."""

    movement: Any
    shadowing_db: jax.Array
    log_cpu: jax.Array


class World(NamedTuple):
    """What is so in a slot. position_m: (users, 2); home, present, rate_bps: (users,), the nearest site, whether the user is there, and its
    rate; wire_m: (users, servers), the wire's length from home; cpu_hz: (servers,). Who is absent has its last position."""

    position_m: jax.Array
    home: jax.Array
    present: jax.Array
    rate_bps: jax.Array
    wire_m: jax.Array
    cpu_hz: jax.Array


class WorldModel:
    """The world of a scenario as pure functions of keys: `streams`, `episode`, then `begin` and `move` slot by slot."""

    def __init__(self, scenario: Scenario, network: Network, section: Association):
        self.scenario, self.network, self.section = scenario, network, section
        self.users, self.sites, self.servers = scenario.users.count, len(network.site_ids), len(network.server_sites)
        self.server_sites = jnp.asarray(network.server_sites)
        self.movement = Movement(scenario, network, section.update_gap_s)

    def streams(self, key: jax.Array) -> Streams:
        return Streams(*jax.random.split(key, len(Streams._fields)))

    def episode(self, streams: Streams) -> Episode:
        section, key = self.section, jax.random.fold_in(streams.start, 1)
        drawn = jax.random.uniform(key, (3 * self.users + self.servers + 2 * self.sites,))
        data, update, limit = drawn[: 3 * self.users].reshape(3, self.users)
        cpu = drawn[3 * self.users : 3 * self.users + self.servers]
        if self.scenario.sites.layout == "uniform":
            sites_m = drawn[3 * self.users + self.servers :].reshape(self.sites, 2) * self.network.width_m
        else:
            sites_m = jnp.asarray(self.network.sites_xy_m, jnp.float32)
        itself = jnp.eye(self.sites, dtype=bool)
        between_m = jnp.where(itself, 0, channel.distance(sites_m, sites_m, 0.0))
        data_bits = between(section.data_bits, data)
        fixed = jnp.asarray(self.network.cpu_hz, jnp.float32)
        return Episode(
            sites_m=sites_m,
            hop_m=between_m[:, self.server_sites],
            data_bits=data_bits,
            update_bits=data_bits * between(section.update_share, update),
            limit_s=between(section.latency_limit_s, limit),
            cpu_hz=fixed if section.cpu_hz is None else between(section.cpu_hz, cpu),
            spread_m=jnp.min(jnp.where(itself, jnp.inf, between_m), axis=1) / 2,
        )

    def begin(self, streams: Streams, episode: Episode) -> Process:
        """Slot 0: users where they start, shadowing in its long-run spread, CPUs as drawn."""
        shadow = self._normal(streams.shadowing, 0, self.users * self.sites).reshape(self.users, self.sites)
        movement = self.movement.start(streams.start, streams.movement, episode.sites_m, episode.spread_m)
        return Process(movement, self.section.shadowing_db * shadow, jnp.zeros(self.servers))

    def move(self, streams: Streams, episode: Episode, process: Process, slot: jax.Array) -> Process:
        """The process in `slot`, of that in the slot before."""
        section = self.section
        shadow = self._normal(streams.shadowing, slot, self.users * self.sites).reshape(self.users, self.sites)
        cpu = self._normal(streams.cpu, slot, self.servers)
        return Process(
            self.movement.move(streams.movement, process.movement, slot, episode.sites_m, episode.spread_m),
            mobility.remember(process.shadowing_db, 0.0, section.shadowing_memory, section.shadowing_db * shadow),
            mobility.remember(process.log_cpu, 0.0, section.cpu_memory, section.cpu_noise * cpu),
        )

    def see(self, episode: Episode, process: Process, slot: jax.Array) -> World:
        """Homes, rates and CPUs of a slot.     association (3)"""
        section, movement = self.section, process.movement
        position, present = self.movement.place(movement, slot)
        distance = channel.distance(position, episode.sites_m, section.distance_min_m)
        home = movement.site.clip(0) if isinstance(movement, Visits) else jnp.argmin(distance, axis=1)
        at_home = home[:, None] == jnp.arange(self.sites)
        gain = latency.path_gain(
            jnp.sum(jnp.where(at_home, distance, 0), axis=1),
            jnp.sum(jnp.where(at_home, process.shadowing_db, 0), axis=1),
            section,
        )
        bandwidth = jnp.full(self.users, section.bandwidth_hz)
        if section.bandwidth_use == "shared":
            bandwidth = section.bandwidth_hz / jnp.maximum((present[:, None] & at_home).sum(axis=0), 1)[home]
        cpu = episode.cpu_hz * jnp.exp(process.log_cpu)
        return World(
            position_m=position,
            home=home,
            present=present,
            rate_bps=latency.uplink_rate(gain, bandwidth, section.tx_power_w, section.noise_density_w_per_hz),
            wire_m=episode.hop_m[home],
            cpu_hz=episode.cpu_hz if section.cpu_hz is None else jnp.clip(cpu, *section.cpu_hz),
        )

    def limit_s(self, episode: Episode, world: World) -> jax.Array:
        """τ: as drawn, but never below what the air alone takes in this slot. (users,)     association (15), (18d)"""
        floor = self.section.latency_floor_s + self.section.latency_margin * latency.air_time(episode.update_bits, world.rate_bps)
        return jnp.maximum(episode.limit_s, floor)

    def _normal(self, stream: jax.Array, slot: jax.Array | int, count: int) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(stream, slot), (count,))
