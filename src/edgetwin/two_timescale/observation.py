"""What each agent sees, scaled to about [−1, 1], and the way back for rules that think in metres and bits.

| quantity | scaled as |
|---|---|
| position x, y | 2·x/W − 1 |
| data D, cycles per bit C | divided by the largest the scenario allows |
| latency limit τ | divided by the slot length |
| queue Y[qT] | log(1 + Y)/5 |
| index of user, site | (1 … K)/K, (1 … M)/M |
| own fading |h|²/ḡ | as it is; its mean is 1 |
| counts of users | divided by K |

D, C, τ and the request flag are 0 while a user has no request.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.scenario import Network, Scenario
from edgetwin.two_timescale.world import radio_of

QUEUE_SCALE = 5.0


class Observation(NamedTuple):
    """One field per agent class: (users, ·), (stations, ·), (1, ·)."""

    users: jax.Array
    stations: jax.Array
    centre: jax.Array


class Sight(NamedTuple):
    """What the observations are made of, in physical units. (users,) unless told."""

    position_m: jax.Array
    fading: jax.Array
    requesting: jax.Array
    data_bits: jax.Array
    cycles_per_bit: jax.Array
    serving: jax.Array
    host: jax.Array
    migrating: jax.Array
    queue_frame: jax.Array


class UserSight(NamedTuple):
    """What a user can read off its own observation, in physical units. (users, 2), (users,), (users,), (users,)."""

    position_m: jax.Array
    data_bits: jax.Array
    cycles_per_bit: jax.Array
    requesting: jax.Array


class CentreSight(NamedTuple):
    """What the centre can read off its observation, in physical units. (users,), (users,), (users, 2), (users,)."""

    serving: jax.Array
    host: jax.Array
    position_m: jax.Array
    queue_frame: jax.Array


class Observer:
    """The observations (20), (22), (24) and the critics' state of a scenario, and their decoding."""

    def __init__(self, scenario: Scenario, network: Network):
        self.users, self.sites, self.servers = scenario.users.count, len(network.site_ids), len(network.server_sites)
        self.width_m = network.width_m
        self.radio = radio_of(scenario)
        self.server_sites = jnp.asarray(network.server_sites)
        self.site_features = self._scaled(jnp.asarray(network.sites_xy_m)).reshape(-1)
        extended = 3 if self.radio.observation == "extended" else 0
        self.user_size = 8 + 2 * self.sites + extended
        self.station_size = 1 + 2 * self.sites + self.users * (8 + self.sites)
        self.centre_size = 2 * self.sites + self.users * (3 + self.sites + self.servers)
        self.state_size = self.users * (7 + self.sites + self.servers) + 1

    def observation(self, sight: Sight) -> Observation:
        return Observation(self._users(sight), self._stations(sight), self._centre(sight))

    def _users(self, sight: Sight) -> jax.Array:
        """{k, u_k, q_m, Ω_k} and Y_k[qT]; extended by the own fading and by how many are active, in all and at the own site.     (20)"""
        index = (jnp.arange(self.users) + 1) / self.users
        sites = jnp.broadcast_to(self.site_features, (self.users, 2 * self.sites))
        columns = [index[:, None], self._scaled(sight.position_m), sites, self._request(sight), self._queue(sight)[:, None]]
        if self.radio.observation == "extended":
            near = sight.serving[:, None] == sight.serving[None, :]
            at_site = jnp.sum(near & sight.requesting[None, :], axis=1) / self.users
            in_all = jnp.broadcast_to(jnp.sum(sight.requesting) / self.users, (self.users,))
            columns.append(jnp.stack([sight.fading, in_all, at_site], axis=1))
        return jnp.concatenate(columns, axis=1)

    def _stations(self, sight: Sight) -> jax.Array:
        """{m, α, u_k, q, Ω_k} over all users, and of ζ whether the twin is here.     (22)"""
        stations = jnp.arange(self.sites)[:, None]
        request = self._request(sight)
        served = jax.nn.one_hot(sight.serving, self.sites)
        own = jnp.stack([sight.serving[None, :] == stations, self.server_sites[sight.host][None, :] == stations], axis=-1)
        shared = jnp.concatenate([served, self._scaled(sight.position_m), request[:, :3]], axis=1)
        per_user = jnp.concatenate(
            [
                jnp.broadcast_to(request[None, :, 3:], (self.sites, self.users, 1)),
                own.astype(shared.dtype),
                jnp.broadcast_to(shared[None], (self.sites, *shared.shape)),
            ],
            axis=-1,
        )
        index = (stations + 1) / self.sites
        sites = jnp.broadcast_to(self.site_features, (self.sites, 2 * self.sites))
        return jnp.concatenate([index, sites, per_user.reshape(self.sites, -1)], axis=1)

    def _centre(self, sight: Sight) -> jax.Array:
        """{α, q, u} with hosts and queues.     (24)"""
        per_user = [*self._links(sight), self._scaled(sight.position_m), self._queue(sight)[:, None]]
        return jnp.concatenate([self.site_features, jnp.concatenate(per_user, axis=1).reshape(-1)])[None, :]

    def global_state(self, sight: Sight, slot_in_frame: jax.Array) -> jax.Array:
        """What critics see. (state_size,)."""
        request = self._request(sight)
        own = jnp.stack([request[:, 3], request[:, 0], request[:, 1], self._queue(sight), sight.migrating], axis=1)
        per_user = jnp.concatenate([self._scaled(sight.position_m), own, *self._links(sight)], axis=1)
        return jnp.concatenate([per_user.reshape(-1), (slot_in_frame * (1.0 / self.radio.frame_slots))[None]])

    def read_users(self, observation: Observation) -> UserSight:
        """What users know, from their observations alone."""
        seen = observation.users
        request = seen[:, 3 + 2 * self.sites :]
        return UserSight(
            position_m=self._metres(seen[:, 1:3]),
            data_bits=request[:, 0] * self.radio.data_bits[1],
            cycles_per_bit=request[:, 1] * self.radio.cycles_per_bit[1],
            requesting=request[:, 3] > 0.5,
        )

    def read_fading(self, observation: Observation) -> jax.Array:
        """Users' own fading |h|²/ḡ to the serving site, from the extended observation. (users,)"""
        return observation.users[:, -3]

    def read_centre(self, observation: Observation) -> CentreSight:
        """What the centre knows, from its observation alone."""
        seen = observation.centre[0, 2 * self.sites :].reshape(self.users, -1)
        hosts = self.sites + self.servers
        return CentreSight(
            serving=jnp.argmax(seen[:, : self.sites], axis=1),
            host=jnp.argmax(seen[:, self.sites : hosts], axis=1),
            position_m=self._metres(seen[:, hosts : hosts + 2]),
            queue_frame=jnp.expm1(seen[:, hosts + 2] * QUEUE_SCALE),
        )

    def _scaled(self, position_m: jax.Array) -> jax.Array:
        return 2 * position_m / self.width_m - 1

    def _metres(self, scaled: jax.Array) -> jax.Array:
        return (scaled + 1) * (self.width_m / 2)

    def _queue(self, sight: Sight) -> jax.Array:
        return jnp.log1p(sight.queue_frame) / QUEUE_SCALE

    def _links(self, sight: Sight) -> list[Any]:
        return [jax.nn.one_hot(sight.serving, self.sites), jax.nn.one_hot(sight.host, self.servers)]

    def _request(self, sight: Sight) -> jax.Array:
        """Ω_k = (D, C, τ) and the request flag, zeros while idle. (users, 4)."""
        limit = jnp.full(self.users, self.radio.latency_limit_s / self.radio.slot_s)
        request = jnp.stack(
            [
                sight.data_bits / self.radio.data_bits[1],
                sight.cycles_per_bit / self.radio.cycles_per_bit[1],
                limit,
                jnp.ones(self.users),
            ],
            axis=1,
        )
        return jnp.where(sight.requesting[:, None], request, 0)
