"""Discrete soft actor-critic: network-sync (13), (18)-(21), with the decisions of docs/network-sync.md where the paper is silent.

Two soft Q functions with slowly updated copies, of which the smaller counts in (18) and in (20). The choice being discrete, the
expectation over it is exact. The paper's α is called `temperature`.
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
    """Hyperparameters: β = `discount`, α = `temperature`, λ_Q = `learning_rate`, λ_π = `policy_learning_rate`; both rates are Adam's."""

    discount: float = 0.95
    temperature: float = 0.05
    learning_rate: float = 1e-3
    policy_learning_rate: float = 1e-3
    target_rate: float = 0.005
    batch: int = 256
    replay: int = 60_000
    hidden: tuple[int, ...] = (64, 64)
    environments: int = 16
    slots_per_update: int = 16
    first_update: int = 1000


class Learned(NamedTuple):
    """The policy, the two Q functions (stacked), their slow copies, and the optimisers' states."""

    actor: MLP
    critics: MLP
    targets: MLP
    actor_optimiser: Any
    critics_optimiser: Any


def soft_value(q: jax.Array, log_policy: jax.Array, temperature: float) -> jax.Array:
    """V(s) = E_a[Q(s, a) − α log π(a|s)], the expectation exact.                                  (13)

    q, log_policy: (batch, choices). Returns (batch,).
    """
    return jnp.sum(jnp.exp(log_policy) * (q - temperature * log_policy), axis=-1)


def policy_loss(log_policy: jax.Array, q: jax.Array, temperature: float) -> jax.Array:
    """J_π = E_s[E_a[α log π(a|s) − Q(s, a)]] = −E_s[V(s)].                                        (18)

    log_policy, q: (batch, choices); q the smaller of the two.
    """
    return -jnp.mean(soft_value(q, log_policy, temperature))


def q_loss(q: jax.Array, target: jax.Array) -> jax.Array:
    """J_Q(θ_k) = ½ E[(Q_k(s, a) − (r + β V̄(s′)))²], summed over both k.                          (20)

    q: (2, batch), of the actions taken. target: (batch,), r + β V̄(s′).
    """
    return 0.5 * jnp.sum(jnp.mean((q - target) ** 2, axis=-1))


def q_target(batch: Transition, following_value: jax.Array, discount: float) -> jax.Array:
    """r + β V̄(s′), the target within (20); nothing follows a termination. Returns (batch,)."""
    return batch.reward + discount * jnp.where(batch.terminated, 0.0, following_value)


def sac(task: Task, settings: Settings = Settings()) -> Learner:  # noqa: B008
    """Discrete soft actor-critic for a task with one agent and one choice. Raises InputError for any other."""
    agent, size, choices = only_choice(task, "sac")
    policy_adam = optax.flatten(optax.adam(settings.policy_learning_rate))
    q_adam = optax.flatten(optax.adam(settings.learning_rate))

    def init(key: jax.Array) -> Learned:
        actor_key, critics_key = jax.random.split(key)
        actor = mlp(actor_key, size, settings.hidden, choices)
        critics = mlp(critics_key, size, settings.hidden, choices, stack=(2,))
        return Learned(actor, critics, critics, policy_adam.init(actor), q_adam.init(critics))

    def log_policy(actor: MLP, observation: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(actor(observation))

    def explore(learned: Learned, observation: jax.Array, noise: jax.Array, slots: jax.Array) -> jax.Array:
        """A draw from the policy, by the Gumbel-max trick."""
        gumbel = -jnp.log(-jnp.log(noise[:, :choices]))
        return jnp.argmax(learned.actor(observation) + gumbel, axis=-1)

    def update(learned: Learned, batch: Transition, noise: jax.Array) -> tuple[Learned, dict[str, jax.Array]]:
        """(21), then (19) with the Q functions as they were, then the slow copies."""
        smaller = jnp.min(learned.targets(batch.following), axis=0)
        value = soft_value(smaller, log_policy(learned.actor, batch.following), settings.temperature)
        target = q_target(batch, value, settings.discount)

        def critics_loss(critics: MLP) -> tuple[jax.Array, jax.Array]:
            q = critics(batch.observation)
            return q_loss(rows_of(q, batch.action), target), jnp.min(q, axis=0)

        (loss_q, q), gradient = jax.value_and_grad(critics_loss, has_aux=True)(learned.critics)
        critics, critics_optimiser = _descend(q_adam, learned.critics, gradient, learned.critics_optimiser)  # (21)

        def actor_loss(actor: MLP) -> jax.Array:
            return policy_loss(log_policy(actor, batch.observation), q, settings.temperature)

        loss_policy, gradient = jax.value_and_grad(actor_loss)(learned.actor)
        actor, actor_optimiser = _descend(policy_adam, learned.actor, gradient, learned.actor_optimiser)  # (19)
        targets = towards(learned.targets, critics, settings.target_rate)
        figures = {"q_loss": loss_q, "policy_loss": loss_policy, "q_mean": jnp.mean(q)}
        return Learned(actor, critics, targets, actor_optimiser, critics_optimiser), figures

    def greedy(actor: MLP, observation: jax.Array) -> jax.Array:
        return jnp.argmax(actor(observation), axis=-1)

    method = one_choice(
        task, agent, explore, greedy, init=init, update=update, policy=lambda learned: learned.actor, noise=choices + 1
    )
    return off_policy("sac", task, settings, method)


def _descend(adam: optax.GradientTransformation, network: MLP, gradient: MLP, optimiser: Any) -> tuple[MLP, Any]:
    """One step of (19) or (21): down the gradient, by Adam in place of plain SGD."""
    change, optimiser = adam.update(gradient, optimiser)
    return optax.apply_updates(network, change), optimiser
