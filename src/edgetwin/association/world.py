"""What happens whatever is decided: users move, channels and servers' free CPU vary. Slot n draws from `fold_in(stream, n)`.

Sites, users' data and limits belong to an episode; home, rate and CPU to a slot. A slot lasts the gap between two updates.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.association import latency
from edgetwin.errors import InputError
from edgetwin.physical import channel, mobility
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


class Waypoints(NamedTuple):
    """Users on their way: position and target (users, 2), speed (users,)."""

    position_m: jax.Array
    target_m: jax.Array
    speed_mps: jax.Array


class Visits(NamedTuple):
    """Taxis: the tower of their last fix (users,), -1 before the first, and their place (users, 2)."""

    site: jax.Array
    position_m: jax.Array


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
        data_bits = _between(section.data_bits, data)
        fixed = jnp.asarray(self.network.cpu_hz, jnp.float32)
        return Episode(
            sites_m=sites_m,
            hop_m=between_m[:, self.server_sites],
            data_bits=data_bits,
            update_bits=data_bits * _between(section.update_share, update),
            limit_s=_between(section.latency_limit_s, limit),
            cpu_hz=fixed if section.cpu_hz is None else _between(section.cpu_hz, cpu),
            spread_m=jnp.min(jnp.where(itself, jnp.inf, between_m), axis=1) / 2,
        )

    def begin(self, streams: Streams, episode: Episode) -> Process:
        """Slot 0: users where they start, shadowing in its long-run spread, CPUs as drawn."""
        shadow = self._normal(streams.shadowing, 0, self.users * self.sites).reshape(self.users, self.sites)
        return Process(self._start(streams, episode), self.section.shadowing_db * shadow, jnp.zeros(self.servers))

    def move(self, streams: Streams, episode: Episode, process: Process, slot: jax.Array) -> Process:
        """The process in `slot`, of that in the slot before."""
        section = self.section
        shadow = self._normal(streams.shadowing, slot, self.users * self.sites).reshape(self.users, self.sites)
        cpu = self._normal(streams.cpu, slot, self.servers)
        return Process(
            self._moved(streams, episode, process.movement, slot),
            mobility.remember(process.shadowing_db, 0.0, section.shadowing_memory, section.shadowing_db * shadow),
            mobility.remember(process.log_cpu, 0.0, section.cpu_memory, section.cpu_noise * cpu),
        )

    def see(self, episode: Episode, process: Process, slot: jax.Array) -> World:
        """Homes, rates and CPUs of a slot.     association (3)"""
        section, movement = self.section, process.movement
        position, present = self._place(movement, slot)
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

    def _start(self, streams: Streams, episode: Episode) -> Any:
        users, width_m = self.scenario.users, self.network.width_m
        if self.network.visits is not None:
            nowhere = Visits(jnp.full(self.users, -1), jnp.zeros((self.users, 2)))
            return self._moved(streams, episode, nowhere, jnp.zeros((), jnp.int32))
        drawn = jax.random.uniform(streams.start, (6 * self.users + 2 * users.hotspots,))
        x, y, first, second, *_ = drawn[: 6 * self.users].reshape(6, self.users)
        position = jnp.stack([x, y], axis=1) * width_m
        if self.network.tracks is not None:
            return _replay(self.network.tracks, streams.movement, position, first, second)
        if users.mobility == "gauss-markov":
            mean_speed, mean_direction = _between(users.mean_speed_mps, first), 2 * jnp.pi * second
            return mobility.GaussMarkov(position, mean_speed, mean_direction, mean_speed, mean_direction)
        if users.hotspots:
            middle = drawn[6 * self.users :].reshape(users.hotspots, 2) * width_m
            around = self._normal(streams.start, 2, 2 * self.users).reshape(self.users, 2) * users.hotspot_std_m
            spot = jnp.minimum((first * users.hotspots).astype(jnp.int32), users.hotspots - 1)
            crowd = jnp.clip(middle[spot] + around, 0, width_m)
            position = jnp.where((second < users.hotspot_share)[:, None], crowd, position)
        target, speed = self._legs(streams, 0)
        return Waypoints(position, target, speed)

    def _legs(self, streams: Streams, slot: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """New targets and speeds, used by whoever has arrived."""
        drawn = jax.random.uniform(jax.random.fold_in(streams.movement, slot), (3 * self.users,)).reshape(3, self.users)
        return drawn[:2].T * self.network.width_m, _between(self.scenario.users.waypoint_speed_mps, drawn[2])

    def _moved(self, streams: Streams, episode: Episode, movement: Any, slot: jax.Array) -> Any:
        users, slot_s = self.scenario.users, self.section.update_gap_s
        if isinstance(movement, mobility.TrackReplay):
            return movement
        if isinstance(movement, Visits):
            assert self.network.visits is not None
            site = jnp.asarray(self.network.visits, jnp.int32)[slot]
            radius, angle = jax.random.uniform(jax.random.fold_in(streams.movement, slot), (2 * self.users,)).reshape(
                2, self.users
            )
            away = jnp.sqrt(radius) * episode.spread_m[site.clip(0)]
            turned = jnp.stack([jnp.cos(2 * jnp.pi * angle), jnp.sin(2 * jnp.pi * angle)], axis=1)
            arrives = (site >= 0) & (site != movement.site)
            position = jnp.where(arrives[:, None], episode.sites_m[site.clip(0)] + away[:, None] * turned, movement.position_m)
            return Visits(jnp.where(site >= 0, site, movement.site), position)
        if isinstance(movement, mobility.GaussMarkov):
            speed, direction = self._normal(streams.movement, slot, 2 * self.users).reshape(2, self.users)
            return mobility.gauss_markov_step(
                movement,
                speed * users.speed_noise_mps,
                direction * users.direction_noise_rad,
                slot_s=slot_s,
                width_m=self.network.width_m,
                speed_memory=users.speed_memory,
                direction_memory=users.direction_memory,
            )
        target, speed = self._legs(streams, slot)
        return Waypoints(
            *mobility.waypoint_step(movement.position_m, movement.target_m, movement.speed_mps, target, speed, slot_s)
        )

    def _place(self, movement: Any, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where users are, (users, 2), and which of them are there at all, (users,)."""
        everyone = jnp.ones(self.users, bool)
        if isinstance(movement, mobility.TrackReplay):
            tracks = self.network.tracks
            assert tracks is not None
            fixes = (jnp.asarray(tracks.time_s), jnp.asarray(tracks.xy_m), jnp.asarray(tracks.duration_s))
            return mobility.track_position(movement, *fixes, slot * self.section.update_gap_s, self.network.width_m), everyone
        if isinstance(movement, Visits):
            assert self.network.visits is not None
            return movement.position_m, jnp.asarray(self.network.visits, jnp.int32)[slot] >= 0
        return movement.position_m, everyone

    def _normal(self, stream: jax.Array, slot: jax.Array | int, count: int) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(stream, slot), (count,))


def _between(limits: tuple[float, float], uniform: jax.Array) -> jax.Array:
    return limits[0] + (limits[1] - limits[0]) * uniform


def _replay(tracks: Any, key: jax.Array, place_m: jax.Array, first: jax.Array, second: jax.Array) -> mobility.TrackReplay:
    users, count = len(place_m), len(tracks.ids)
    track = jax.random.permutation(key, count)[np.arange(users) % count]
    phase = 2 * first * jnp.asarray(tracks.duration_s)[track]
    if tracks.place_m is not None:
        return mobility.TrackReplay(track, jnp.asarray(tracks.place_m)[track], jnp.zeros(users), phase)
    return mobility.TrackReplay(track, place_m, 2 * jnp.pi * second, phase)
