"""What happens whatever is decided: users move, channels fade, requests arrive. Slot n draws from `fold_in(stream, n)`.

One random stream per cause, so that a change in one (another movement model, say) leaves the others' draws as they were.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.physical import channel, mobility
from edgetwin.scenario import Network, Scenario
from edgetwin.scenario.schema import TwoTimescale


def radio_of(scenario: Scenario) -> TwoTimescale:
    """The scenario's section for this problem. Raises InputError where it has none."""
    if scenario.two_timescale is None:
        raise InputError(f"scenario {scenario.name} has no section [two_timescale], so the task two-timescale cannot run on it")
    return scenario.two_timescale


class Streams(NamedTuple):
    """An episode's random streams, one key each."""

    start: jax.Array
    movement: jax.Array
    fading: jax.Array
    requests: jax.Array


class Noise(NamedTuple):
    """A slot's raw draws. speed, direction: (users,) and fading: (2, users, sites) standard normal; request, data, cycles: (users,) uniform."""

    speed: jax.Array
    direction: jax.Array
    fading: jax.Array
    request: jax.Array
    data: jax.Array
    cycles: jax.Array


class Start(NamedTuple):
    """Where Gauss-Markov users begin, and their means. (users, 2), (users,), (users,)."""

    position_m: jax.Array
    mean_speed_mps: jax.Array
    mean_direction_rad: jax.Array


class World(NamedTuple):
    """What is so in a slot, whoever decides. (users, …)."""

    position_m: jax.Array
    gain: jax.Array
    requesting: jax.Array
    data_bits: jax.Array
    cycles_per_bit: jax.Array


class WorldModel:
    """The world of a scenario as pure functions of keys: `streams`, `start`, `noise`, then `move` and `see` slot by slot."""

    def __init__(self, scenario: Scenario, network: Network):
        self.scenario = scenario
        self.network = network
        self.users = scenario.users.count
        self.radio = radio_of(scenario)

    def streams(self, key: jax.Array) -> Streams:
        return Streams(*jax.random.split(key, len(Streams._fields)))

    def start(self, streams: Streams) -> Start | mobility.TrackReplay:
        """Where users begin: uniform in the square, mean speeds and directions uniform; or tracks, places, turns and phases at random."""
        x, y, first, second = jax.random.uniform(streams.start, (4 * self.users,)).reshape(4, self.users)
        position = jnp.stack([x, y], axis=1) * self.network.width_m
        tracks = self.network.tracks
        if tracks is None:
            slow, fast = self.scenario.users.mean_speed_mps
            return Start(position, slow + (fast - slow) * first, 2 * jnp.pi * second)
        return mobility.joined_tracks(tracks, streams.movement, position, first, second)

    def begin(self, start: Start | mobility.TrackReplay) -> mobility.GaussMarkov | mobility.TrackReplay:
        """The movement's state in slot 0: at the mean speed and direction."""
        if isinstance(start, mobility.TrackReplay):
            return start
        return mobility.GaussMarkov(start.position_m, start.mean_speed_mps, start.mean_direction_rad, *start[1:])

    def noise(self, streams: Streams, slot: jax.Array) -> Noise:
        """The raw draws of a slot. Drawn flat: the generator is three times slower on arrays with a short last axis."""
        users, sites = self.users, len(self.network.site_ids)
        now = jax.vmap(lambda stream: jax.random.fold_in(stream, slot))(jnp.stack(streams[1:]))
        movement = jnp.zeros((2, users))
        if self.network.tracks is None:
            movement = jax.random.normal(now[0], (2 * users,)).reshape(2, users)
        fading = jax.random.normal(now[1], (2 * users * sites,)).reshape(2, users, sites)
        requests = jax.random.uniform(now[2], (3 * users,)).reshape(3, users)
        return Noise(movement[0], movement[1], fading, requests[0], requests[1], requests[2])

    def move(
        self, movement: mobility.GaussMarkov | mobility.TrackReplay, noise: Noise
    ) -> mobility.GaussMarkov | mobility.TrackReplay:
        """The movement's state one slot later. Tracks are functions of time and have nothing to update."""
        if isinstance(movement, mobility.TrackReplay):
            return movement
        users = self.scenario.users
        return mobility.gauss_markov_step(
            movement,
            noise.speed * users.speed_noise_mps,
            noise.direction * users.direction_noise_rad,
            slot_s=self.radio.slot_s,
            width_m=self.network.width_m,
            speed_memory=users.speed_memory,
            direction_memory=users.direction_memory,
        )

    def see(self, movement: mobility.GaussMarkov | mobility.TrackReplay, noise: Noise, slot: jax.Array) -> World:
        """Positions, channel gains (5) and requests of a slot."""
        radio, tracks = self.radio, self.network.tracks
        if isinstance(movement, mobility.TrackReplay):
            assert tracks is not None
            position = mobility.track_position(
                movement,
                jnp.asarray(tracks.time_s),
                jnp.asarray(tracks.xy_m),
                jnp.asarray(tracks.duration_s),
                slot * radio.slot_s,
                self.network.width_m,
            )
        else:
            position = movement.position_m
        distance = channel.distance(position, jnp.asarray(self.network.sites_xy_m), radio.distance_min_m)
        mean = channel.mean_gain(distance, radio.reference_gain, radio.path_loss_exponent)

        def between(limits, uniform):
            return limits[0] + (limits[1] - limits[0]) * uniform

        return World(
            position_m=position,
            gain=mean * channel.rician_power(noise.fading[0], noise.fading[1], radio.rician_factor),
            requesting=noise.request < radio.request_probability,
            data_bits=between(radio.data_bits, noise.data),
            cycles_per_bit=between(radio.cycles_per_bit, noise.cycles),
        )
