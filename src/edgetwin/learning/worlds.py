"""Many environments of a task side by side, which begin anew by themselves: where learners get experience.

Episodes start from the worlds' own random stream. What was seen after the last slot of an episode is kept apart from what is seen
first in the next, since truncation bootstraps from the former.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.problem import Task, random_action


class Worlds(NamedTuple):
    """Environments between two slots: random key, states, what is seen in them, and the rewards so far of their episodes."""

    key: jax.Array
    states: Any
    observations: Any
    gained: Any


class Moved(NamedTuple):
    """What a slot brought to every environment.

    rewards: like the action, (environments, agents) per class. following: what is seen after the slot, before any new start.
    terminated, ended (terminated or truncated): (environments,). returns: rewards of the whole episode where it ended, else 0.
    metrics: the outcome's, environments first.
    """

    rewards: Any
    following: Any
    terminated: jax.Array
    ended: jax.Array
    returns: Any
    metrics: Any


def start(task: Task, key: jax.Array, environments: int) -> Worlds:
    """`environments` fresh episodes."""
    key, own = jax.random.split(key)
    states = jax.vmap(task.reset)(jax.random.split(own, environments))
    rewards = jax.eval_shape(lambda: task.step(task.reset(own), random_action(task, own))[1].rewards)
    gained = jax.tree.map(lambda leaf: jnp.zeros((environments, *leaf.shape), leaf.dtype), rewards)
    return Worlds(key, states, jax.vmap(task.observe)(states), gained)


def step(task: Task, worlds: Worlds, actions: Any) -> tuple[Worlds, Moved]:
    """One slot of every environment; those whose episode ended begin another. actions: an action with environments first."""
    states, outcome = jax.vmap(task.step)(worlds.states, actions)
    ended = outcome.terminated | outcome.truncated
    following = jax.vmap(task.observe)(states)
    gained = jax.tree.map(jnp.add, worlds.gained, outcome.rewards)

    def begin_anew(key: jax.Array, states: Any, following: Any, gained: Any) -> Worlds:
        fresh = start(task, key, len(ended))
        return Worlds(fresh.key, *_where(ended, fresh[1:], (states, following, gained)))

    again = jax.lax.cond(jnp.any(ended), begin_anew, Worlds, worlds.key, states, following, gained)
    returns = _where(ended, gained, jax.tree.map(jnp.zeros_like, gained))
    return again, Moved(outcome.rewards, following, outcome.terminated, ended, returns, outcome.metrics)


def _where(which: jax.Array, first: Any, second: Any) -> Any:
    """The environments of `first` where `which` holds, those of `second` elsewhere. Random keys are chosen as well."""

    def choose(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(which.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

    return jax.tree.map(choose, first, second)
