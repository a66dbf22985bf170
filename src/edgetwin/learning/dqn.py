"""Double DQN (van Hasselt, Guez, Silver: Deep Reinforcement Learning with Double Q-learning, 2016): what network-sync compares SAC with.

The online network chooses the next action, its slow copy judges it. Exploration is ε-greedy, ε falling linearly.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from edgetwin.learning.learner import Learner, only_choice
from edgetwin.learning.networks import MLP, mlp, rows_of, towards
from edgetwin.learning.off_policy import Transition, off_policy, one_choice
from edgetwin.problem import Task


class Settings(NamedTuple):
    """Hyperparameters. ε falls from 1 to `exploration_end` over the first `exploration_slots` slots."""

    discount: float = 0.95
    learning_rate: float = 1e-3
    target_rate: float = 0.005
    batch: int = 256
    replay: int = 60_000
    hidden: tuple[int, ...] = (64, 64)
    environments: int = 16
    slots_per_update: int = 16
    first_update: int = 1000
    exploration_slots: int = 30_000
    exploration_end: float = 0.05


class Learned(NamedTuple):
    """The Q function, its slow copy and the optimiser's state."""

    critic: MLP
    target: MLP
    optimiser: Any


def double_q_target(batch: Transition, online: jax.Array, slow: jax.Array, discount: float) -> jax.Array:
    """r + β Q̄(s′, argmax_a Q(s′, a)); nothing follows a termination. online, slow: (batch, choices) at s′. Returns (batch,)."""
    following = rows_of(slow, jnp.argmax(online, axis=-1))
    return batch.reward + discount * jnp.where(batch.terminated, 0.0, following)


def exploration(slots: jax.Array, settings: Settings) -> jax.Array:
    """ε after a number of slots."""
    share = jnp.minimum(slots / settings.exploration_slots, 1.0)
    return 1 + share * (settings.exploration_end - 1)


def dqn(task: Task, settings: Settings = Settings()) -> Learner:  # noqa: B008
    """Double DQN for a task with one agent and one choice. Raises InputError for any other."""
    agent, size, choices = only_choice(task, "dqn")
    adam = optax.flatten(optax.adam(settings.learning_rate))

    def init(key: jax.Array) -> Learned:
        critic = mlp(key, size, settings.hidden, choices)
        return Learned(critic, critic, adam.init(critic))

    def greedy(critic: MLP, observation: jax.Array) -> jax.Array:
        return jnp.argmax(critic(observation), axis=-1)

    def explore(learned: Learned, observation: jax.Array, noise: jax.Array, slots: jax.Array) -> jax.Array:
        anything = jnp.argmax(noise[:, :choices], axis=-1)
        return jnp.where(noise[:, choices] < exploration(slots, settings), anything, greedy(learned.critic, observation))

    def update(learned: Learned, batch: Transition, noise: jax.Array) -> tuple[Learned, dict[str, jax.Array]]:
        target = double_q_target(batch, learned.critic(batch.following), learned.target(batch.following), settings.discount)

        def loss(critic: MLP) -> tuple[jax.Array, jax.Array]:
            q = critic(batch.observation)
            return 0.5 * jnp.mean((rows_of(q, batch.action) - target) ** 2), jnp.mean(q)

        (loss_q, mean), gradient = jax.value_and_grad(loss, has_aux=True)(learned.critic)
        change, optimiser = adam.update(gradient, learned.optimiser)
        critic = optax.apply_updates(learned.critic, change)
        figures = {"q_loss": loss_q, "q_mean": mean}
        return Learned(critic, towards(learned.target, critic, settings.target_rate), optimiser), figures

    method = one_choice(
        task, agent, explore, greedy, init=init, update=update, policy=lambda learned: learned.critic, noise=choices + 1
    )
    return off_policy("dqn", task, settings, method)
