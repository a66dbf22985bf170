"""Multi-agent deep deterministic policy gradient, association Algorithm 1 with (28)-(31), and what the paper leaves open decided.

Each agent has an actor, which sees the whole state ("all the agents share the same system state"), and a critic of the state and all
agents' actions. Here the state is what the agents observe together, since that is what a policy in service sees. Actions count from −1 to
1 inside, whatever their bounds are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from edgetwin.learning.learner import Learner, only_real_numbers
from edgetwin.learning.networks import MLP, mlp, towards
from edgetwin.learning.off_policy import Method, Transition, off_policy
from edgetwin.problem import Task

BLOCK_SLOTS = 500


class Settings(NamedTuple):
    """Hyperparameters: γ = `discount`, α_π = `policy_learning_rate`, α_Q = `learning_rate`, both rates Adam's; `noise_std` is that of 𝔑 in
    (29), where actions run from −1 to 1. Of them γ, α_π and `batch` are from Table II."""

    discount: float = 0.7
    learning_rate: float = 1e-3
    policy_learning_rate: float = 1e-3
    target_rate: float = 0.005
    noise_std: float = 0.2
    batch: int = 32
    replay: int = 10_000
    hidden: tuple[int, ...] = (64, 64)
    environments: int = 5
    slots_per_update: int = 1
    first_update: int = 500


class Learned(NamedTuple):
    """Actors and critics, stacked with agents first; their slow copies; and the optimisers' states."""

    actors: MLP
    critics: MLP
    slow_actors: MLP
    slow_critics: MLP
    actors_optimiser: Any
    critics_optimiser: Any


def actions_of(actors: MLP, state: jax.Array) -> jax.Array:
    """π_i(s) of every agent. state: (batch, size). Returns (batch, agents, numbers), from −1 to 1."""
    return jnp.moveaxis(jnp.tanh(actors(state)), 0, 1)


def with_noise(actions: jax.Array, noise: jax.Array, noise_std: float) -> jax.Array:
    """a_i = π_i(s) + 𝔑, kept from −1 to 1; noise: standard normal, shaped like the actions.                   (29)"""
    return jnp.clip(actions + noise_std * noise, -1, 1)


def value(critics: MLP, state: jax.Array, actions: jax.Array) -> jax.Array:
    """Q_i(s, a_1, …, a_n) of every agent's critic, (agents, batch).

    state: (batch, size). actions: (batch, agents, numbers), or (agents, batch, agents, numbers) where each critic is asked of others.
    """
    joint = actions.reshape(*actions.shape[:-2], -1)
    state = jnp.broadcast_to(state, (*joint.shape[:-1], state.shape[-1]))
    return critics(jnp.concatenate([state, joint], axis=-1))[..., 0]


def each_with_its_own(actions: jax.Array, own: jax.Array) -> jax.Array:
    """The joint actions remembered, once for each agent i, with a_i = π_i(s) in place of its own.             (28)

    actions, own: (batch, agents, numbers). Returns (agents, batch, agents, numbers).
    """
    itself = jnp.eye(actions.shape[1], dtype=bool)[:, None, :, None]
    return jnp.where(itself, own, actions)


def actors_loss(actors: MLP, critics: MLP, batch: Transition) -> jax.Array:
    """−Σ_i E[Q_i(s, a_1, …, π_i(s), …, a_n)]: down its gradient (28) is the step of (30), for all agents at once."""
    own = actions_of(actors, batch.observation)
    return -jnp.sum(jnp.mean(value(critics, batch.observation, each_with_its_own(batch.action, own)), axis=-1))


def target(slow_actors: MLP, slow_critics: MLP, batch: Transition, discount: float) -> jax.Array:
    """y = r + γ Q′_i(s′, π′_1(s′), …, π′_n(s′)) by the slow copies, for (31); nothing follows a termination. Returns (agents, batch)."""
    following = value(slow_critics, batch.following, actions_of(slow_actors, batch.following))
    return batch.reward.T + discount * jnp.where(batch.terminated, 0.0, following)


def critics_loss(critics: MLP, batch: Transition, targets: jax.Array) -> jax.Array:
    """Σ_i E[(y − Q_i(s, a_1, …, a_n))²], whose gradient is that of (31). targets: (agents, batch), y."""
    return jnp.sum(jnp.mean((targets - value(critics, batch.observation, batch.action)) ** 2, axis=-1))


def maddpg(
    name: str,
    task: Task,
    settings: Settings = Settings(),  # noqa: B008
    state: Callable[[Any], jax.Array] | None = None,
) -> Learner:
    """Multi-agent DDPG for a task with one class of agents whose actions are real numbers. Raises InputError for any other.

    state: from the class's observation (agents, size) to the whole state (any length,), for one environment; by default all of it.
    """
    kind, agents, bounds = only_real_numbers(task, name)
    count, numbers = agents.count, bounds.size
    middle, half = (bounds.high + bounds.low) / 2, (bounds.high - bounds.low) / 2
    state = state or jnp.ravel
    actors_adam, critics_adam = optax.adam(settings.policy_learning_rate), optax.adam(settings.learning_rate)

    def init(key: jax.Array) -> Learned:
        actors_key, critics_key = jax.random.split(key)
        seen = jax.eval_shape(state, jax.ShapeDtypeStruct((count, agents.observation_size), jnp.float32)).shape[0]
        actors = mlp(actors_key, seen, settings.hidden, numbers, stack=(count,))
        critics = mlp(critics_key, seen + count * numbers, settings.hidden, 1, stack=(count,))
        return Learned(actors, critics, actors, critics, actors_adam.init(actors), critics_adam.init(critics))

    def acted(actions: jax.Array) -> Any:
        return task.action(**{kind: middle + half * actions})

    def explore(learned: Learned, states: Any, seen: jax.Array, noise: jax.Array, slots: jax.Array) -> tuple[jax.Array, Any]:
        actions = actions_of(learned.actors, seen)
        actions = with_noise(actions, noise.reshape(actions.shape), settings.noise_std)
        return actions, acted(actions)

    def update(learned: Learned, batch: Transition, noise: jax.Array) -> tuple[Learned, dict[str, jax.Array]]:
        """(31), then (30) with the critics that came of it, then the slow copies."""
        targets = target(learned.slow_actors, learned.slow_critics, batch, settings.discount)
        q_loss, gradient = jax.value_and_grad(critics_loss)(learned.critics, batch, targets)
        change, critics_optimiser = critics_adam.update(gradient, learned.critics_optimiser)
        critics = optax.apply_updates(learned.critics, change)
        policy_loss, gradient = jax.value_and_grad(actors_loss)(learned.actors, critics, batch)
        change, actors_optimiser = actors_adam.update(gradient, learned.actors_optimiser)
        actors = optax.apply_updates(learned.actors, change)
        slow_actors, slow_critics = (
            towards(slow, network, settings.target_rate)
            for slow, network in ((learned.slow_actors, actors), (learned.slow_critics, critics))
        )
        figures = {"q_loss": q_loss / count, "policy_loss": policy_loss / count, "target_mean": jnp.mean(targets)}
        return Learned(actors, critics, slow_actors, slow_critics, actors_optimiser, critics_optimiser), figures

    method = Method(
        init=init,
        remember=lambda observations: jax.vmap(state)(getattr(observations, kind)),
        explore=explore,
        reward=lambda rewards: getattr(rewards, kind),
        update=update,
        policy=lambda learned: learned.actors,
        greedy=lambda actors, observation: acted(actions_of(actors, state(getattr(observation, kind))[None])[0]),
        noise=count * numbers,
        draw=jax.random.normal,
        block_slots=BLOCK_SLOTS,
    )
    return off_policy(name, task, settings, method)
