"""`ddpg`: multi-agent DDPG (Algorithm 1) as it takes to learn placement: actors pass messages, the critic adds up servers, opening gets credit.

(28) is followed where it leads: along the critic's derivative by the soft association, and, since a server is open or closed, along the
difference that each server's opening alone makes to the critic. The rest is as printed: noise (29), replay, (31), slow copies.
"""

from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from edgetwin.association import placement_actor, placement_critic, projection
from edgetwin.association.placement import NEAR_S, Action, PlacementTask
from edgetwin.association.placement_actor import Actor
from edgetwin.association.placement_critic import Critic
from edgetwin.association.placement_sight import Seen, seen
from edgetwin.learning.learner import Learner
from edgetwin.learning.networks import towards
from edgetwin.learning.off_policy import Method, Transition, off_policy

BLOCK_SLOTS = 1600
LOGIT_DECAY = 1e-3
"""The weight of the square of opening logits in the actor's loss: far from 0 they would hardly be learned any more"""


class Settings(NamedTuple):
    """Hyperparameters: γ = `discount`, α_π = `policy_learning_rate`, α_Q = `learning_rate`, both Adam's, both falling over `anneal_slots`.

    `noise_std` is that of 𝔑 in (29) on opening logits, once for each server and once for all of them together, and
    `association_noise_s` that on users' preferences. `actor_batch` of the `batch` placements teach the actor, which waits for
    `critic_first` updates of the critic. Where users are about to change servers a gradient can be a hundred times the usual:
    `gradient_limit`.
    """

    discount: float = 0.0
    learning_rate: float = 4e-3
    policy_learning_rate: float = 2e-3
    anneal_slots: int = 48_000
    gradient_limit: float = 0.5
    target_rate: float = 0.01
    noise_std: float = 1.7
    association_noise_s: float = 0.2
    batch: int = 256
    actor_batch: int = 32
    replay: int = 6400
    environments: int = 32
    slots_per_update: int = 32
    first_update: int = 320
    critic_first: int = 100


class Learned(NamedTuple):
    """Actor, critic, their slow copies, the optimisers' states, and the number of updates."""

    actor: Actor
    critic: Critic
    slow_actor: Actor
    slow_critic: Critic
    actor_optimiser: Any
    critic_optimiser: Any
    updates: jax.Array


def annealed(rate: float, settings: Settings) -> optax.GradientTransformation:
    """Adam whose rate falls on a line to a twentieth over `anneal_slots` (0: never), of gradients cut at `gradient_limit`."""
    updates = settings.anneal_slots // settings.slots_per_update
    schedule = optax.linear_schedule(rate, rate / 20, updates) if updates else rate
    return optax.chain(optax.clip_by_global_norm(settings.gradient_limit), optax.flatten(optax.adam(schedule)))


def hosted(preference: jax.Array, is_open: jax.Array, capacity: jax.Array, present: jax.Array) -> jax.Array:
    """The placement (23) that preferences come to, (…, users, servers), 0 or 1. preference: (…, users, servers)."""
    flat = preference.reshape(-1, *preference.shape[-2:])
    each = (leaf.reshape(-1, leaf.shape[-1]) for leaf in (is_open, present))
    host = jax.vmap(lambda score, opened, there: projection.associated(score, opened, capacity, there))(flat, *each)
    at = host[..., None] == jnp.arange(preference.shape[-1])
    return at.reshape(preference.shape).astype(jnp.float32)


def opened(logits: jax.Array, capacity: jax.Array, present: jax.Array) -> jax.Array:
    """Which servers open, (batch, servers): those with logits above 0, and always enough for all.     association (23)"""
    return jax.vmap(lambda score, there: projection.opened(score, capacity, there.sum()))(logits, present)


def judged(actor: Actor, critic: Critic, sight: Seen, is_open: jax.Array, capacity: jax.Array) -> jax.Array:
    """Q of the placement that the actor makes with these servers open, (batch,)."""
    preference, _ = placement_actor.associated(actor, sight, is_open)
    at = hosted(preference, is_open, capacity, sight.present)
    return placement_critic.value(critic, sight, at, at.any(axis=-2))


def opening_gains(actor: Actor, critic: Critic, sight: Seen, is_open: jax.Array, capacity: jax.Array) -> jax.Array:
    """What each server's being open rather than closed makes of Q, the others as they are and users placed anew: (batch, servers).

    0 where closing it would leave users without a place.
    """
    one_by_one = jnp.eye(is_open.shape[-1], dtype=bool)[:, None]
    tried = jnp.concatenate([is_open[None], is_open[None] ^ one_by_one])
    values = jax.vmap(lambda opens: judged(actor, critic, sight, opens, capacity))(tried)
    change = values[1:] - values[0]
    enough = (tried[1:] * capacity).sum(axis=-1) >= sight.present.sum(axis=-1)
    return jnp.where(enough, jnp.where(is_open.T, -change, change), 0).T


def actor_loss(actor: Actor, critic: Critic, sight: Seen, noise: jax.Array, capacity: jax.Array) -> tuple[jax.Array, jax.Array]:
    """−E[Q(s, π(s))] in the two parts that (28) and (30) come to: by association, and by opening. noise: (batch, servers), in [0, 1).

    Servers are drawn open with the probability that their logits say. Returns the loss and E[Q] of what was drawn, placed.
    """
    unlimited = placement_actor.opening_logits(actor, sight)
    logits = placement_actor.limited(unlimited)
    logistic = jnp.log(noise + 1e-6) - jnp.log1p(1e-6 - noise)
    is_open = opened(logits + logistic, capacity, sight.present)
    preference, soft = placement_actor.associated(actor, sight, is_open)
    at = hosted(jax.lax.stop_gradient(preference), is_open, capacity, sight.present)
    by_association = placement_critic.value(critic, sight, soft, at.any(axis=-2))
    gains = jax.lax.stop_gradient(opening_gains(actor, critic, sight, is_open, capacity))
    by_opening = (jax.nn.sigmoid(logits) * gains).sum(axis=-1)
    decay = LOGIT_DECAY * jnp.mean((unlimited**2).sum(axis=-1))
    return decay - jnp.mean(by_association + by_opening), jnp.mean(placement_critic.value(critic, sight, at, at.any(axis=-2)))


def critic_loss(critic: Critic, sight: Seen, host: jax.Array, target: jax.Array) -> jax.Array:
    """E[(y − Q(s, a))²], whose gradient is that of (31). host: (batch, users), where twins were; target: (batch,), y."""
    at = (host[..., None] == jnp.arange(sight.cpu.shape[-1])).astype(jnp.float32)
    return jnp.mean((target - placement_critic.value(critic, sight, at, at.any(axis=-2))) ** 2)


def target(slow_actor: Actor, slow_critic: Critic, batch: Transition, discount: float, capacity: jax.Array) -> jax.Array:
    """y = r + γ Q′(s′, π′(s′)) by the slow copies, for (31); nothing follows a termination. Returns (batch,)."""
    if discount == 0:
        return batch.reward
    following = batch.following
    is_open = opened(placement_actor.opening_logits(slow_actor, following), capacity, following.present)
    value = judged(slow_actor, slow_critic, following, is_open, capacity)
    return batch.reward + discount * jnp.where(batch.terminated, 0.0, value)


def ddpg(task: PlacementTask, settings: Settings = Settings()) -> Learner:  # noqa: B008
    """Multi-agent DDPG with actors that pass messages. A placement does not change what follows it, so by default the future does not count.

    Raises InputError for settings without sense.
    """
    capacity, users, servers = jnp.asarray(task.capacity), task.users, task.servers
    actor_adam = annealed(settings.policy_learning_rate, settings)
    critic_adam = annealed(settings.learning_rate, settings)

    def init(key: jax.Array) -> Learned:
        actor_key, critic_key = jax.random.split(key)
        actor, critic = placement_actor.actor(actor_key), placement_critic.critic(critic_key)
        return Learned(actor, critic, actor, critic, actor_adam.init(actor), critic_adam.init(critic), jnp.zeros((), jnp.int32))

    def remember(observations: Any) -> Seen:
        return seen(observations.servers, task.section)

    def decided(actor: Actor, sight: Seen, noise: Any = (0.0, 0.0)) -> Action:
        """(29), and without noise the policy itself."""
        logits = placement_actor.limited(placement_actor.opening_logits(actor, sight)) + noise[0]
        preference, _ = placement_actor.associated(actor, sight, opened(logits, capacity, sight.present))
        return task.action(placement_actor.scores(logits, preference + noise[1]))

    def explore(learned: Learned, states: Any, sight: Seen, noise: jax.Array, slots: jax.Array) -> tuple[jax.Array, Action]:
        openings, pairs = (
            noise[:, :servers] + noise[:, servers : servers + 1],
            noise[:, servers + 1 :].reshape(-1, users, servers),
        )
        scaled = settings.noise_std * openings, settings.association_noise_s / NEAR_S * pairs
        action = decided(learned.actor, sight, scaled)
        return jax.vmap(task.host_of)(states, action), action

    def update(learned: Learned, batch: Transition, noise: jax.Array) -> tuple[Learned, dict[str, jax.Array]]:
        """(31), then (30) with the critic that came of it, then the slow copies."""
        y = target(learned.slow_actor, learned.slow_critic, batch, settings.discount, capacity)
        q_loss, gradient = jax.value_and_grad(critic_loss)(learned.critic, batch.observation, batch.action, y)
        change, critic_optimiser = critic_adam.update(gradient, learned.critic_optimiser)
        critic = optax.apply_updates(learned.critic, change)
        ready = learned.updates >= settings.critic_first
        few = jax.tree.map(lambda leaf: leaf[: settings.actor_batch], batch.observation)
        noise = noise.reshape(settings.actor_batch, servers)

        def follow(actor: Actor, optimiser: Any) -> tuple[Actor, Any, jax.Array, jax.Array]:
            graded = jax.value_and_grad(actor_loss, has_aux=True)(actor, critic, few, noise, capacity)
            (loss, q), gradient = graded
            change, optimiser = actor_adam.update(gradient, optimiser)
            return optax.apply_updates(actor, change), optimiser, loss, q

        def wait(actor: Actor, optimiser: Any) -> tuple[Actor, Any, jax.Array, jax.Array]:
            return actor, optimiser, jnp.zeros(()), jnp.zeros(())

        actor, actor_optimiser, policy_loss, q = jax.lax.cond(ready, follow, wait, learned.actor, learned.actor_optimiser)
        slow_actor = towards(learned.slow_actor, actor, settings.target_rate)
        slow_critic = towards(learned.slow_critic, critic, settings.target_rate)
        figures = {"q_loss": q_loss, "policy_loss": policy_loss, "q_mean": q}
        return Learned(actor, critic, slow_actor, slow_critic, actor_optimiser, critic_optimiser, learned.updates + 1), figures

    def greedy(actor: Actor, observation: Any) -> Action:
        action = decided(actor, jax.tree.map(lambda leaf: leaf[None], seen(observation.servers, task.section)))
        return jax.tree.map(lambda leaf: leaf[0], action)

    method = Method(
        init=init,
        remember=remember,
        explore=explore,
        reward=lambda rewards: rewards.servers.mean(axis=-1) / NEAR_S,
        update=update,
        policy=lambda learned: learned.slow_actor,
        greedy=greedy,
        noise=servers + 1 + users * servers,
        draw=jax.random.normal,
        update_noise=settings.actor_batch * servers,
        block_slots=BLOCK_SLOTS,
    )
    learner = off_policy("ddpg", task, settings, method)
    return replace(learner, budgets=MappingProxyType({"quick": 25_600, "paper": 48_000}))
