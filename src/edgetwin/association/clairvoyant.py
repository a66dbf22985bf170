"""Migration planned with the whole trace known: what can be achieved, so that the proven bound above it says how much nobody can.

The plan starts from what `priced` does. Then one user after another takes its best way through the whole episode, the others' left as they
are: what it takes from them by loading their servers counts as much as what it gains, and full servers are closed to it. So every change
raises the sum of net utilities. When no user alone can raise it, two at a time take their best ways together, so that they may change
places on full servers. It is a feasible plan, not the optimum: that lies between it and the bound.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association.foresight import Foresight, best_way, best_ways, check_size, foresee
from edgetwin.association.migration import MigrationTask, State
from edgetwin.association.migration_rules import one_by_one
from edgetwin.association.world import World
from edgetwin.problem import Policy, View

SWEEPS = 12
"""At most; the last ones gain next to nothing"""
EXCHANGES = 12
"""Users with whom each looks for the best ways of two together"""
LEAST_GAIN = 1e-6
"""Relative to a user's utility over the episode: what rounding in single precision may feign"""


def priced_hosts(task: MigrationTask, state: State, worlds: World) -> jax.Array:
    """Where `priced` has the twins in the slots of a trace, (slots, users). state: that of slot 0."""

    def slot(host: jax.Array, world: World) -> tuple[jax.Array, jax.Array]:
        now = state._replace(host=host, world=world)
        price = task.transfer_cost(task.prospects(now)) / task.migration.horizon_slots
        host = task.target(now, task.action(one_by_one(task, now, price)[:, None])).astype(host.dtype)
        return host, host

    return jax.lax.scan(slot, state.host, worlds)[1]


class Others(NamedTuple):
    """Who is at servers without those who are to choose: load and room, (slots, servers); at: (slots, users, servers), 1 where a twin is;
    utility, decay: (slots, users), theirs."""

    load: jax.Array
    room: jax.Array
    at: jax.Array
    utility: jax.Array
    decay: jax.Array


def without(known: Foresight, hosts: jax.Array, stays: jax.Array) -> Others:
    """Those of `stays`, (users,) bool, at their hosts, (slots, users)."""
    at = ((hosts[:, :, None] == jnp.arange(len(known.is_open))) & stays[:, None]).astype(known.scale.dtype)
    load = jnp.einsum("tuk,u->tk", at, known.weight)
    scale, decay = (jnp.take_along_axis(each, hosts[:, :, None], axis=2)[..., 0] for each in (known.scale, known.decay))
    utility = scale * jnp.exp(-decay * jnp.take_along_axis(load, hosts, axis=1))
    return Others(load, jnp.where(known.is_open, known.capacity - at.sum(axis=1), 0), at, utility, decay)


def gain(known: Foresight, others: Others, user: jax.Array, load: jax.Array) -> jax.Array:
    """Utility of `user` at each server if `load` joins the others there, (slots, servers)."""
    return known.scale[:, user] * jnp.exp(-known.decay[:, user] * (others.load + load))


def loss(others: Others, load: jax.Array) -> jax.Array:
    """What the others at each server lose if `load` joins them, (slots, servers)."""
    return jnp.einsum("tu,tuk->tk", -others.utility * jnp.expm1(-others.decay * load), others.at)


def one_better(known: Foresight, hosts: jax.Array, user: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hosts with the user's best way in them, and whether it is another."""
    others, own = without(known, hosts, jnp.arange(len(known.weight)) != user), known.weight[user]
    reward = jnp.where(others.room > 0, gain(known, others, user, own) - loss(others, own), -jnp.inf)
    mine = hosts[:, user]
    now = jnp.take_along_axis(reward, mine[:, None], axis=1)
    value, way = best_way(reward - now, known.move[user], known.start[user])
    takes = value + paid(known, hosts, user) > LEAST_GAIN * jnp.abs(now).sum()
    return hosts.at[:, user].set(jnp.where(takes, way.astype(hosts.dtype), mine)), takes


def two_better(known: Foresight, hosts: jax.Array, pair: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same for the best ways of two users together, which may so change places on full servers."""
    one, two = pair
    own = known.weight[pair]
    others = without(known, hosts, (jnp.arange(len(known.weight)) != one) & (jnp.arange(len(known.weight)) != two))
    first, second = (gain(known, others, user, load) - loss(others, load) for user, load in zip(pair, own, strict=True))
    both = gain(known, others, one, own.sum()) + gain(known, others, two, own.sum()) - loss(others, own.sum())
    alone = jnp.where(others.room > 0, 0, -jnp.inf)
    apart = (first + alone)[:, :, None] + (second + alone)[:, None, :]
    together = jnp.where(others.room > 1, both, -jnp.inf)[:, :, None]
    reward = jnp.where(jnp.eye(len(known.is_open), dtype=bool), together, apart)
    mine = hosts[:, pair]
    now = reward[jnp.arange(len(hosts)), mine[:, 0], mine[:, 1]]
    value, ways = best_ways(reward - now[:, None, None], known.move[pair], known.start[pair])
    takes = value + paid(known, hosts, one) + paid(known, hosts, two) > LEAST_GAIN * jnp.abs(now).sum()
    return hosts.at[:, pair].set(jnp.where(takes, ways.astype(hosts.dtype), mine)), takes


def paid(known: Foresight, hosts: jax.Array, user: jax.Array) -> jax.Array:
    """What a user's moves cost over the episode."""
    before = jnp.concatenate([known.start[user][None], hosts[:-1, user]])
    return known.move[user, before, hosts[:, user]].sum()


def planned(known: Foresight, hosts: jax.Array) -> jax.Array:
    """Feasible hosts with a greater sum of net utilities, (slots, users), from feasible ones."""
    users = jnp.arange(len(known.weight))

    def alone(loop: Any) -> Any:
        hosts, number, _ = loop
        hosts, took = jax.lax.scan(partial(one_better, known), hosts, users)
        return hosts, number + 1, took.any()

    def exchange(hosts: jax.Array, away: jax.Array) -> tuple[jax.Array, None]:
        pairs = jnp.stack([users, (users + away) % len(users)], axis=1)
        return jax.lax.scan(partial(two_better, known), hosts, pairs)[0], None

    def settle(hosts: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda loop: loop[2] & (loop[1] < SWEEPS), alone, (hosts, 0, jnp.array(True)))[0]

    return settle(jax.lax.scan(exchange, settle(hosts), 1 + jnp.arange(min(EXCHANGES, len(users) // 2)))[0])


def clairvoyant(task: MigrationTask) -> Policy:
    """The plan for the whole trace, made at the start and followed. Raises InputError where users come and go or there are too many."""
    check_size(task)

    def init(key: jax.Array, view: View) -> jax.Array:
        state = view.state
        return planned(foresee(task, state, view.trace), priced_hosts(task, state, view.trace))

    def act(hosts: jax.Array, view: View, key: jax.Array) -> tuple[jax.Array, Any]:
        return hosts, task.action(jax.lax.dynamic_index_in_dim(hosts, view.state.slot, keepdims=False)[:, None])

    return Policy(name="", task=task, act=act, init=init, information="trace")
