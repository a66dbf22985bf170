"""What happens whatever is decided: users walk or follow real tracks, interference and fading are drawn. Slot n draws from `fold_in(stream, n)`.

Slot 0 sees the users one move after the synced start, so the twin's age is 1 there. Positions count in blocks from the base station.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.network_sync import link
from edgetwin.physical import mobility
from edgetwin.scenario import Network, Scenario
from edgetwin.scenario.schema import NetworkSync


def section_of(scenario: Scenario) -> NetworkSync:
    """The scenario's section for this problem. Raises InputError where it has none."""
    if scenario.network_sync is None:
        raise InputError(f"scenario {scenario.name} has no section [network_sync], so the task network-sync cannot run on it")
    return scenario.network_sync


class Streams(NamedTuple):
    """An episode's random streams, one key each."""

    start: jax.Array
    movement: jax.Array
    interference: jax.Array
    fading: jax.Array


class Walk(NamedTuple):
    """Users on a walk: the move each made last, (users,)."""

    move: jax.Array


class Noise(NamedTuple):
    """A slot's raw draws, uniform in [0, 1), each of the length its cause needs."""

    movement: jax.Array
    interference: jax.Array
    fading: jax.Array


class World(NamedTuple):
    """What is so in a slot, whoever decides. history_blocks: (M, users, 2), the last M true positions, the newest last."""

    history_blocks: jax.Array
    interference_w: jax.Array
    rates: link.Rates

    @property
    def position_blocks(self) -> jax.Array:
        return self.history_blocks[-1]


class WorldModel:
    """The world of a scenario as pure functions: `streams(key)`, `start(streams)` gives what was synced, then `advance` slot by slot."""

    def __init__(self, scenario: Scenario, network: Network):
        self.scenario = scenario
        self.section = section_of(scenario)
        self.users, self.width_m = scenario.users.count, network.width_m
        self.base_m = np.asarray(network.sites_xy_m[0])
        self.tracks = network.tracks
        self.cumulative = np.cumsum(mobility.move_probability(scenario.users), axis=1)
        self.persistence = scenario.users.persistence if scenario.users.mobility == "persistent-walk" else 0.0

    def streams(self, key: jax.Array) -> Streams:
        return Streams(*jax.random.split(key, len(Streams._fields)))

    def blocks(self, position_m):
        """Metres in the area as blocks from the base station."""
        return (position_m - self.base_m) / self.section.block_m

    def start(self, streams: Streams) -> tuple[mobility.TrackReplay | Walk, jax.Array]:
        """The movement's state and the true positions up to the synced start, (M, users, 2) blocks: uniform in the area, or along tracks."""
        if self.tracks is not None:
            replay = self._replay(streams)
            times_s = jnp.arange(self.section.history_slots) * self.section.slot_s
            return replay, jax.vmap(lambda time_s: self._track_blocks(replay, time_s))(times_s)
        users, earlier = self.users, self.section.history_slots - 1
        drawn = jax.random.uniform(streams.start, (2 * users + 2 * earlier * users,))
        position_m = drawn[: 2 * users].reshape(users, 2) * self.width_m
        moves = self._first_moves(drawn[2 * users :].reshape(2, earlier, users))
        steps = self.scenario.users.step_m * jnp.asarray(mobility.MOVES)[moves]
        history_m = position_m - jnp.concatenate([jnp.cumsum(steps[::-1], axis=0)[::-1], jnp.zeros((1, users, 2))])
        return Walk(moves[-1]), self.blocks(mobility.bounded(history_m, self.width_m, self.scenario.users.boundary))

    def _first_moves(self, uniform: jax.Array) -> jax.Array:
        """The moves before the start, in order. uniform: (2, moves, users) → (moves, users)."""
        fresh = mobility.walk_moves(uniform[0], self.cumulative)
        if not self.persistence:
            return fresh

        def next_move(before, drawn):
            move = jnp.where(drawn[1] < self.persistence, before, drawn[0].astype(before.dtype))
            return move, move

        rest = jax.lax.scan(next_move, fresh[0], (fresh[1:], uniform[1, 1:]))[1]
        return jnp.concatenate([fresh[:1], rest])

    def _replay(self, streams: Streams) -> mobility.TrackReplay:
        """A track for each user, laid at random over the area (own tracks stay where they are) and joined where the episode still fits in."""
        tracks, users = self.tracks, self.users
        assert tracks is not None
        x, y, turn, phase = jax.random.uniform(streams.start, (4 * users,)).reshape(4, users)
        count = len(tracks.ids)
        track = jax.random.permutation(streams.movement, count)[jnp.arange(users) % count]
        needed_s = (self.section.slots + self.section.history_slots) * self.section.slot_s
        phase_s = phase * (jnp.asarray(tracks.duration_s)[track] - needed_s)
        if tracks.place_m is not None:
            return mobility.TrackReplay(track, jnp.asarray(tracks.place_m)[track], jnp.zeros(users), phase_s)
        return mobility.TrackReplay(track, jnp.stack([x, y], axis=1) * self.width_m, 2 * jnp.pi * turn, phase_s)

    def _track_blocks(self, replay: mobility.TrackReplay, elapsed_s: jax.Array) -> jax.Array:
        tracks = self.tracks
        assert tracks is not None
        fixes = (jnp.asarray(tracks.time_s), jnp.asarray(tracks.xy_m), jnp.asarray(tracks.duration_s))
        return self.blocks(mobility.track_position(replay, *fixes, elapsed_s, self.width_m))

    def noise(self, streams: Streams, slot: jax.Array) -> Noise:
        """The raw draws of a slot; those that the scenario does not need are empty. One generator for all streams: each costs compile time."""
        users, rbs = self.users, self.section.rb_count
        slot = jnp.asarray(slot)
        own_slot = slot if self.section.interference == "log-uniform" else jnp.zeros_like(slot)
        moves = 0 if self.tracks is not None else (2 if self.persistence else 1) * users
        fades = {"none": 0, "rayleigh-user": users + 1, "rayleigh-rb": (users + 1) * rbs}[self.section.fading]
        sizes = (moves, rbs, fades)
        keys = jax.vmap(jax.random.fold_in)(jnp.stack(streams[1:]), jnp.stack([slot, own_slot, slot]))
        needed = np.array([index for index, size in enumerate(sizes) if size])
        rows = iter(jax.vmap(lambda key: jax.random.uniform(key, (max(sizes),)))(keys[needed]))
        return Noise(*(next(rows)[:size] if size else jnp.zeros(0) for size in sizes))

    def move(self, movement, position_blocks: jax.Array, drawn: jax.Array, slot: jax.Array):
        """The move into a slot: the movement's state, and where users are, (users, 2) blocks. drawn: the slot's `Noise.movement`."""
        if self.tracks is not None:
            return movement, self._track_blocks(movement, (slot + self.section.history_slots) * self.section.slot_s)
        users = self.users
        move = mobility.walk_moves(drawn[:users], self.cumulative)
        if self.persistence:
            move = jnp.where(drawn[users:] < self.persistence, movement.move, move)
        position_m = position_blocks * self.section.block_m + self.base_m
        walk = self.scenario.users
        return Walk(move), self.blocks(mobility.walk_step(position_m, move, walk.step_m, self.width_m, walk.boundary))

    def advance(self, movement, history_blocks: jax.Array, streams: Streams, slot: jax.Array) -> tuple[Any, World]:
        """The movement's state one slot later, and what is so then. history_blocks: (M, users, 2), up to the slot before."""
        noise = self.noise(streams, slot)
        movement, position = self.move(movement, history_blocks[-1], noise.movement, slot)
        low, high = np.log(self.section.interference_w)
        interference_w = jnp.exp(low + (high - low) * noise.interference)
        fading, cloud_fading = self.fading(noise)
        history = jnp.concatenate([history_blocks[1:], position[None]])
        return movement, World(history, interference_w, link.rates(position, interference_w, fading, cloud_fading, self.section))

    def fading(self, noise: Noise) -> tuple[jax.Array, jax.Array]:
        """o_u and the cloud link's fading: 1, or Exp(1) per user, or per user and resource block."""
        users, rbs = self.users, self.section.rb_count
        if self.section.fading == "none":
            return jnp.ones(users), jnp.ones(())
        drawn = -jnp.log1p(-noise.fading)
        if self.section.fading == "rayleigh-user":
            return drawn[:users], drawn[users]
        drawn = drawn.reshape(users + 1, rbs)
        return drawn[:users], drawn[users]
