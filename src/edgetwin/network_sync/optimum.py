"""The least cost of an episode, exactly: a shortest path over sync times, and below it where packets are partial a bound user by user.

Between two syncs the twin runs on its own, so the cost of the slots between depends on nothing before: episodes are paths through sync
times, and the shortest is found from the end backwards. It knows the future, so no policy can be below it on any episode.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.forecasting.forecaster import ahead
from edgetwin.network_sync.world import World

if TYPE_CHECKING:
    from edgetwin.network_sync.task import NetworkSyncTask

MEMORYLESS = ("drift", "last")
"""Forecasters that need the last state alone."""


class Plan(NamedTuple):
    """The least cost of an episode, and in which slots it syncs, (slots,)."""

    cost: jax.Array
    syncs: jax.Array


def is_exact(task: "NetworkSyncTask") -> bool:
    """Whether the twin after a sync depends on nothing before it."""
    return task.section.packet == "history" or task.section.forecaster in MEMORYLESS


def errors_since_sync(task: "NetworkSyncTask", start_history: jax.Array, trace: World) -> jax.Array:
    """The twin's squared error in each slot for each sync it may run on from: (slots + 1 syncs, slots, users), blocks².

    Sync 0 is the synced start, sync j+1 the one of slot j; entries of slots up to that of the sync are 0.
    """
    slots = trace.history_blocks.shape[0]
    histories = jnp.concatenate([start_history[None], trace.history_blocks])
    truth = trace.history_blocks[:, -1]

    def from_sync(history, first):
        forecast = ahead(task.forecaster, history, slots).mean
        steps = jnp.arange(slots) - first
        error = jnp.sum((truth - forecast[jnp.clip(steps, 0, slots - 1)]) ** 2, axis=-1)
        return jnp.where((steps >= 0)[:, None], error, 0)

    return jax.vmap(from_sync)(histories, jnp.arange(slots + 1))


def shortest_path(stay: jax.Array, loss: jax.Array) -> Plan:
    """The cheapest choice of sync times. stay: (slots + 1, slots), cost of slot t without a sync when sync j was the last; loss: (slots,).

    least[j] = min over the next sync k of Σ_{t=j}^{k−1} stay[j, t] + loss[k] + least[k + 1], or none any more.
    """
    slots = len(loss)
    until = jnp.concatenate([jnp.zeros((slots + 1, 1), stay.dtype), jnp.cumsum(stay, axis=1)], axis=1)
    times = jnp.arange(slots + 1)

    def backwards(least, sync):
        then = jnp.concatenate([loss + least[1:], jnp.zeros(1, stay.dtype)])
        cost = jnp.where(times >= sync, until[sync] + then, jnp.inf)
        best = jnp.argmin(cost)
        return least.at[sync].set(cost[best]), best

    least, following = jax.lax.scan(backwards, jnp.zeros(slots + 1, stay.dtype), times, reverse=True)

    def forwards(sync, slot):
        now = following[sync] == slot
        return jnp.where(now, slot + 1, sync), now

    return Plan(least[0], jax.lax.scan(forwards, jnp.zeros((), following.dtype), jnp.arange(slots))[1])


def offline_plan(task: "NetworkSyncTask", start_history: jax.Array, trace: World) -> Plan:
    """The optimum of one episode with packets that hold all users. start_history: (M, users, 2), the synced start; trace: slots first."""
    error_weight = 1 - task.section.rate_weight
    stay = error_weight * errors_since_sync(task, start_history, trace).mean(axis=-1)
    return shortest_path(stay, jax.vmap(task.sync_loss)(trace))


def separate_bound(task: "NetworkSyncTask", start_history: jax.Array, trace: World) -> jax.Array:
    """A lower bound on an episode's cost with partial packets: each user alone, paying its share of a full packet's price.

    A sync that refreshes m ≤ packet_users users costs C_t ≥ m·C_t/packet_users, and the twin's errors add up user by user.
    """
    errors = errors_since_sync(task, start_history, trace) * (1 - task.section.rate_weight) / task.users
    share = jax.vmap(task.sync_loss)(trace) / task.packet_users
    return jax.vmap(lambda stay: shortest_path(stay, share).cost, in_axes=2)(errors).sum()


def check_exact(task: "NetworkSyncTask") -> None:
    """Raises InputError where sync times do not decide an episode's cost alone."""
    if not is_exact(task):
        raise InputError(
            f'policy "offline-optimum": with network_sync.packet = "state" a {task.section.forecaster} forecast depends on all earlier '
            f'syncs, so no shortest path exists: use network_sync.packet = "history" or network_sync.forecaster = "drift"'
        )
    if task.partial:
        raise InputError('policy "offline-optimum": is known for network_sync.refresh = "all" only')


def bound(task: "NetworkSyncTask", keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]] | None:
    """What no policy can beat on these episodes: mean cost and mean reward, whatever its other metrics. None where none is known."""
    if not is_exact(task):
        return None

    @jax.jit
    def episode(key):
        history = task.model.start(task.model.streams(key))[1]
        trace = task.trace(key, slots)
        least = separate_bound(task, history, trace) if task.partial else offline_plan(task, history, trace).cost
        return least, task.section.rate_weight * trace.rates.serving.sum()

    cost, free = (np.asarray(values) for values in jax.lax.map(episode, keys, batch_size=64))
    return lambda metrics: {"cost": float(cost.mean()), "reward": float((free - cost).mean())}
