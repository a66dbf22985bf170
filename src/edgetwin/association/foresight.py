"""Migration with the whole trace known: every user's utility in every slot at every server, whatever the load, and its best way through them.

Users, all there, meet at servers alone: there they take each other's places and, unless compute is reserved, each other's CPU.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association.migration import MigrationTask, State
from edgetwin.association.world import World
from edgetwin.errors import InputError

MOST = 500_000
"""Users times servers times slots of an episode that can be looked through in seconds"""


class Foresight(NamedTuple):
    """What an episode's net utility is made of: scale·e^{−decay·L} − energy for a user whose server has load L, and what moves cost.

    L is the sum of `weight` over the twins there. scale, decay: (slots, users, servers), decay 0 where compute is reserved; energy: (slots,
    users); weight, start: (users,), start the first host; move: (users, servers, servers), from and to; is_open, capacity: (servers,).
    """

    scale: Any
    decay: Any
    energy: Any
    weight: Any
    move: Any
    start: Any
    is_open: Any
    capacity: Any


def too_much(task: MigrationTask, slots: int) -> str | None:
    """Why an episode of so many slots cannot be looked through, or None."""
    if task.network.visits is not None:
        return "users come and go: all must be there in every slot"
    size = task.users * task.servers * slots
    return f"{size} = users times servers times slots: must be at most {MOST}" if size > MOST else None


def check_size(task: MigrationTask) -> None:
    """Raises InputError where an episode cannot be looked through."""
    why = too_much(task, task.spec.slots)
    if why:
        raise InputError(f"policy 'clairvoyant': {why}")


def foresee(task: MigrationTask, state: State, worlds: World) -> Foresight:
    """The foresight of an episode. state: that of slot 0; worlds: its trace, slots first.     association (11), (19), (20)"""
    capacity = jnp.asarray(task.capacity)

    def slot(world: World) -> tuple[jax.Array, jax.Array, jax.Array]:
        prospects = task.prospects(state._replace(world=world))
        energy = (1 - task.migration.utility_weight) * prospects.energy_j
        least = capacity.astype(jnp.float32) if task.reserved else jnp.zeros(task.servers)
        scale = task.utilities(prospects, least) + energy[:, None]
        return scale, 0 * scale if task.reserved else prospects.work_s / prospects.weight[:, None], energy

    def from_server(server: jax.Array) -> jax.Array:
        return task.transfer_cost(task.prospects(state._replace(host=jnp.full(task.users, server))))

    scale, decay, energy = jax.vmap(slot)(worlds)
    move = jax.vmap(from_server, out_axes=1)(jnp.arange(task.servers))
    return Foresight(scale, decay, energy, task.prospects(state).weight, move, state.host, state.is_open, capacity)


def best_way(reward: jax.Array, move: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The greatest sum of rewards less moves along one user's hosts, and those hosts, (slots,). reward: (slots, servers); move: (servers,
    servers); start: the host before slot 0."""

    def forwards(value: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        via = value[:, None] - move
        return via.max(axis=0) + now, via.argmax(axis=0)

    begun = jnp.where(jnp.arange(len(move)) == start, 0.0, -jnp.inf).astype(reward.dtype)
    value, came = jax.lax.scan(forwards, begun, reward)
    hosts = jax.lax.scan(lambda host, before: (before[host], host), value.argmax(), came, reverse=True)[1]
    return value.max(), hosts


def best_ways(reward: jax.Array, move: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same for two users at once: hosts, (slots, 2). reward: (slots, servers, servers), by the host of either; move: (2, servers,
    servers); start: (2,)."""

    def forwards(value: jax.Array, now: jax.Array) -> tuple[jax.Array, Any]:
        first = value[:, None] - move[0][:, :, None]
        second = first.max(axis=0)[:, :, None] - move[1]
        return second.max(axis=1) + now, (first.argmax(axis=0), second.argmax(axis=1))

    def backwards(hosts: jax.Array, came: Any) -> tuple[jax.Array, jax.Array]:
        second = came[1][hosts[0], hosts[1]]
        return jnp.stack([came[0][hosts[0], second], second]), hosts

    here = jnp.arange(len(move[0]))[:, None] == start
    begun = jnp.where(here[:, None, 0] & here[None, :, 1], 0.0, -jnp.inf).astype(reward.dtype)
    value, came = jax.lax.scan(forwards, begun, reward)
    last = jnp.stack(jnp.unravel_index(value.argmax(), value.shape))
    return value.max(), jax.lax.scan(backwards, last, came, reverse=True)[1]


def net_utility(known: Foresight, hosts: jax.Array) -> jax.Array:
    """The sum of net utilities over users and slots of hosts, (slots, users)."""
    at = hosts[:, :, None] == jnp.arange(len(known.is_open))
    load = jnp.einsum("tuk,u->tk", at.astype(known.scale.dtype), known.weight)
    utility = jnp.sum(jnp.where(at, known.scale * jnp.exp(-known.decay * load[:, None]), 0)) - jnp.sum(known.energy)
    before = jnp.concatenate([known.start[None], hosts[:-1]])
    return utility - jnp.sum(known.move[jnp.arange(len(known.weight)), before, hosts])
