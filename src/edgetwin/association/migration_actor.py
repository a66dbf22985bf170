"""How a learned policy moves twins: users decide one after another, each by what its twin is worth now and what a network expects later.

A user in turn takes the server k that maximises D(k) − price of the move + γ·W(k). D is the difference reward of this slot, with the loads as
those before left them; W, the network, is what follows from the twin's being at k after the decision. One network serves all users.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association import latency, sharing
from edgetwin.association.migration import MigrationTask
from edgetwin.association.migration_credit import worth
from edgetwin.association.migration_sight import Seen, nearest, price
from edgetwin.association.placement import NEAR_BITS, NEAR_HZ
from edgetwin.learning.networks import MLP

AHEAD = (0.0, 5.0, 15.0, 30.0)
"""Slots for which the way ahead is looked at"""
NEAR_SPEED = 20.0
"""m per slot"""
FAR_M = 1000.0
"""A transfer over so far is the unit of what the network expects"""
OF_PAIR, OF_WAY, OF_USER = 7, 4 * len(AHEAD), 6
FEATURES = OF_PAIR + OF_WAY + OF_USER


class Pairs(NamedTuple):
    """The features that loads do not change, ways: (users, servers, OF_WAY), own: (users, OF_USER); unit: (users,), of values."""

    ways: jax.Array
    own: jax.Array
    unit: jax.Array


class Turn(NamedTuple):
    """A user's turn. host: where its twin goes. worth: (servers,), the difference reward there; features: (servers, FEATURES); may:
    (servers,), open with a free place. Users first where they are stacked."""

    host: jax.Array
    worth: jax.Array
    features: jax.Array
    may: jax.Array


def unit_of(price: jax.Array) -> jax.Array:
    """The unit of what the network expects for users, in utility: what a transfer over FAR_M costs, or 1 where nothing costs."""
    return jnp.where(price > 0, FAR_M * price, 1)


def pairs_of(task: MigrationTask, seen: Seen) -> Pairs:
    """What can be said of users and servers before anybody decides: wires, transfers, distances and crowds if all go on as they go."""
    section, prospects, width_m = task.section, seen.prospects, task.network.width_m
    unit, air_s = unit_of(price(task, seen)), prospects.energy_j / section.tx_power_w
    gone = jnp.stack([nearest(seen, slots) for slots in AHEAD], axis=1)
    later_m = seen.between_m[gone].transpose(0, 2, 1)
    coming_m = jnp.stack([jnp.linalg.norm(seen.away_m - slots * seen.moved_m[:, None], axis=-1) for slots in AHEAD], axis=-1)
    wire_s = latency.wired_time(seen.update_bits[:, None, None], later_m, section.wire_s_per_bit_m)
    crowd = jnp.sum((gone[:, :, None] == jnp.arange(task.servers)) & seen.present[:, None, None], axis=0).T
    crowd = jnp.broadcast_to(crowd * (task.servers / task.users), wire_s.shape)
    ways = jnp.concatenate([3 * wire_s, later_m / FAR_M, coming_m / width_m, crowd], axis=-1)
    alone = task.migration.utility_weight * jnp.exp(prospects.limit_s - air_s)
    own = jnp.stack(
        [
            jnp.log(alone / unit),
            seen.data_bits / NEAR_BITS,
            jnp.linalg.norm(seen.moved_m, axis=1) / NEAR_SPEED,
            jnp.arcsinh(3 * air_s),
            jnp.arcsinh(3 * prospects.limit_s),
            jnp.min(coming_m[..., 0], axis=1) / width_m,
        ],
        axis=1,
    )
    return Pairs(ways, own, unit)


def decide(task: MigrationTask, network: MLP, discount: float, seen: Seen) -> Turn:
    """Everybody's turn, in the users' order; fields users first."""
    pairs, servers = pairs_of(task, seen), jnp.arange(task.servers)
    capacity = jnp.asarray(task.capacity)
    moving = price(task, seen)[:, None] * seen.between_m[seen.host]
    begun = (sharing.hosts(seen.host, task.servers, seen.present), seen.free)

    def turn(carry, user):
        at, free = carry
        host, here = seen.host[user], servers == seen.host[user]
        given = worth(task, seen.prospects, at, user)
        total = given.own + given.others
        may, unit = seen.is_open & (free > 0), pairs.unit[user]
        best = jnp.max(jnp.where(may | here, total, -jnp.inf))
        compute_s = seen.prospects.work_s[user] * given.load / seen.prospects.weight[user]
        of_pair = jnp.stack(
            [
                jnp.arcsinh(10 * given.own / unit),
                jnp.arcsinh(10 * given.others / unit),
                jnp.arcsinh(10 * total / unit),
                jnp.arcsinh(10 * (best - total) / unit),
                3 * compute_s,
                4 * given.load / capacity / (1 if task.reserved else jnp.mean(seen.prospects.weight)),
                seen.cpu_hz / NEAR_HZ,
            ],
            axis=1,
        )
        features = jnp.concatenate(
            [of_pair, pairs.ways[user], jnp.broadcast_to(pairs.own[user], (task.servers, OF_USER))], axis=1
        )
        value = total - moving[user] + discount * unit * network(features)[:, 0]
        chosen = jnp.argmax(jnp.where(may | here, value, -jnp.inf))
        chosen = jnp.where(seen.present[user] & (value[chosen] > value[host]), chosen, host)
        there = (servers == chosen) & seen.present[user]
        free = free + ((here & seen.present[user]).astype(free.dtype) - there.astype(free.dtype))
        return (at.at[user].set(there.astype(at.dtype)), free), Turn(chosen, total, features, may)

    return jax.lax.scan(turn, begun, jnp.arange(task.users))[1]
