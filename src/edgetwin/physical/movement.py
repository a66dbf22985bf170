"""How the users of a scenario move, whichever of its models or recordings it names: where they start, a slot's step, and their places.

`physical/mobility.py` has the steps themselves. What slot n draws comes from `fold_in(key, n)`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.physical import mobility
from edgetwin.scenario import Network, Scenario


class Waypoints(NamedTuple):
    """Users on their way: position and target (users, 2), speed (users,)."""

    position_m: jax.Array
    target_m: jax.Array
    speed_mps: jax.Array


class Visits(NamedTuple):
    """Taxis: the tower of their last fix (users,), -1 before the first, and their place (users, 2)."""

    site: jax.Array
    position_m: jax.Array


class Walk(NamedTuple):
    """Users on a walk: their place (users, 2), and the move each made last (users,), index into `mobility.MOVES`."""

    position_m: jax.Array
    move: jax.Array


class Movement:
    """The movement of a scenario's users in slots of `slot_s`, as pure functions of two keys: `start`, then `move` slot by slot.

    sites_m: (sites, 2), and spread_m: (sites,), how far a taxi may be from its tower, are asked for where users are taxis.
    """

    def __init__(self, scenario: Scenario, network: Network, slot_s: float):
        self.scenario, self.network, self.slot_s, self.users = scenario, network, slot_s, scenario.users.count
        if scenario.users.mobility.endswith("-walk"):
            self._cumulative = np.cumsum(mobility.move_probability(scenario.users), axis=1)

    def start(self, key: jax.Array, moving: jax.Array, sites_m: jax.Array, spread_m: jax.Array) -> Any:
        """The movement in slot 0, drawn from `key`; what slots draw comes from `moving`."""
        users, width_m = self.scenario.users, self.network.width_m
        if self.network.visits is not None:
            nowhere = Visits(jnp.full(self.users, -1), jnp.zeros((self.users, 2)))
            return self.move(moving, nowhere, jnp.zeros((), jnp.int32), sites_m, spread_m)
        drawn = jax.random.uniform(key, (6 * self.users + 2 * users.hotspots,))
        x, y, first, second, *_ = drawn[: 6 * self.users].reshape(6, self.users)
        position = jnp.stack([x, y], axis=1) * width_m
        if self.network.tracks is not None:
            return mobility.joined_tracks(self.network.tracks, moving, position, first, second)
        if users.mobility == "gauss-markov":
            mean_speed, mean_direction = between(users.mean_speed_mps, first), 2 * jnp.pi * second
            return mobility.GaussMarkov(position, mean_speed, mean_direction, mean_speed, mean_direction)
        if users.mobility.endswith("-walk"):
            return Walk(position, mobility.walk_moves(first, self._cumulative))
        if users.hotspots:
            middle = drawn[6 * self.users :].reshape(users.hotspots, 2) * width_m
            around = _normal(key, 2, 2 * self.users).reshape(self.users, 2) * users.hotspot_std_m
            spot = jnp.minimum((first * users.hotspots).astype(jnp.int32), users.hotspots - 1)
            crowd = jnp.clip(middle[spot] + around, 0, width_m)
            position = jnp.where((second < users.hotspot_share)[:, None], crowd, position)
        target, speed = self._legs(moving, 0)
        return Waypoints(position, target, speed)

    def move(self, moving: jax.Array, movement: Any, slot: jax.Array, sites_m: jax.Array, spread_m: jax.Array) -> Any:
        """The movement in `slot`, of that in the slot before. Tracks are functions of time and have nothing to update."""
        users = self.scenario.users
        if isinstance(movement, mobility.TrackReplay):
            return movement
        if isinstance(movement, Visits):
            assert self.network.visits is not None
            site = jnp.asarray(self.network.visits, jnp.int32)[slot]
            radius, angle = jax.random.uniform(jax.random.fold_in(moving, slot), (2 * self.users,)).reshape(2, self.users)
            away = jnp.sqrt(radius) * spread_m[site.clip(0)]
            turned = jnp.stack([jnp.cos(2 * jnp.pi * angle), jnp.sin(2 * jnp.pi * angle)], axis=1)
            arrives = (site >= 0) & (site != movement.site)
            position = jnp.where(arrives[:, None], sites_m[site.clip(0)] + away[:, None] * turned, movement.position_m)
            return Visits(jnp.where(site >= 0, site, movement.site), position)
        if isinstance(movement, mobility.GaussMarkov):
            speed, direction = _normal(moving, slot, 2 * self.users).reshape(2, self.users)
            return mobility.gauss_markov_step(
                movement,
                speed * users.speed_noise_mps,
                direction * users.direction_noise_rad,
                slot_s=self.slot_s,
                width_m=self.network.width_m,
                speed_memory=users.speed_memory,
                direction_memory=users.direction_memory,
            )
        if isinstance(movement, Walk):
            fresh, again = jax.random.uniform(jax.random.fold_in(moving, slot), (2 * self.users,)).reshape(2, self.users)
            repeat = users.persistence if users.mobility == "persistent-walk" else 0.0
            step = jnp.where(again < repeat, movement.move, mobility.walk_moves(fresh, self._cumulative))
            position = mobility.walk_step(movement.position_m, step, users.step_m, self.network.width_m, users.boundary)
            return Walk(position, step)
        target, speed = self._legs(moving, slot)
        return Waypoints(
            *mobility.waypoint_step(movement.position_m, movement.target_m, movement.speed_mps, target, speed, self.slot_s)
        )

    def place(self, movement: Any, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Where users are, (users, 2), and which of them are there at all, (users,). Who is absent has its last position."""
        everyone = jnp.ones(self.users, bool)
        if isinstance(movement, mobility.TrackReplay):
            tracks = self.network.tracks
            assert tracks is not None
            fixes = (jnp.asarray(tracks.time_s), jnp.asarray(tracks.xy_m), jnp.asarray(tracks.duration_s))
            return mobility.track_position(movement, *fixes, slot * self.slot_s, self.network.width_m), everyone
        if isinstance(movement, Visits):
            assert self.network.visits is not None
            return movement.position_m, jnp.asarray(self.network.visits, jnp.int32)[slot] >= 0
        return movement.position_m, everyone

    def _legs(self, moving: jax.Array, slot: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """New targets and speeds, used by whoever has arrived."""
        drawn = jax.random.uniform(jax.random.fold_in(moving, slot), (3 * self.users,)).reshape(3, self.users)
        return drawn[:2].T * self.network.width_m, between(self.scenario.users.waypoint_speed_mps, drawn[2])


def between(limits: tuple[float, float], uniform: jax.Array) -> jax.Array:
    """Uniform draws in [0, 1) as values between two limits."""
    return limits[0] + (limits[1] - limits[0]) * uniform


def _normal(key: jax.Array, slot: jax.Array | int, count: int) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(key, slot), (count,))
