"""The loop that off-policy learners of one choice share: act in many environments, remember, and learn from minibatches.

What differs between algorithms is a `Method`: its networks, how it explores, how it learns from a minibatch, and what it keeps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.learning import replay as ring
from edgetwin.learning import worlds as side_by_side
from edgetwin.learning.learner import Learner, check_settings, only_choice
from edgetwin.problem import Task

BLOCK_SLOTS = 4096


class Transition(NamedTuple):
    """What is remembered of a slot. `terminated` alone ends the value: after truncation it goes on from `following`."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    following: jax.Array
    terminated: jax.Array


class State(NamedTuple):
    """Everything that changes: random key, environments, replay, the method's networks and optimisers, and the slots so far."""

    key: jax.Array
    worlds: side_by_side.Worlds
    replay: ring.Replay
    learned: Any
    slots: jax.Array


@dataclass(frozen=True)
class Method:
    """What makes an algorithm of the shared loop.

    `init(key) → learned`. `explore(learned, observation, noise, slots) → action` for observation (environments, size) and noise
    (environments, choices + 1) uniform in [0, 1). `update(learned, batch) → (learned, figures)` for a batch of transitions.
    `policy(learned) → params`; `greedy(params, observation) → action` decides for observation (batch, size).
    """

    init: Callable[[jax.Array], Any]
    explore: Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]
    update: Callable[[Any, Transition], tuple[Any, dict[str, jax.Array]]]
    policy: Callable[[Any], Any]
    greedy: Callable[[Any, jax.Array], jax.Array]


def off_policy(name: str, task: Task, settings: Any, method: Method) -> Learner:
    """The learner that a method makes. settings: `environments`, `slots_per_update`, `first_update`, `batch`, `replay`, and its own.

    Every slot of all environments is followed by environments/slots_per_update updates (or one every slots_per_update/environments
    slots), once `first_update` slots have been seen. Raises InputError for a task with more than one choice, or settings without sense.
    """
    check_settings(name, settings)
    agent, size, choices = only_choice(task, name)
    environments = settings.environments
    rounds, updates = _rhythm(environments, settings.slots_per_update)
    iterations = -(-BLOCK_SLOTS // (environments * rounds))

    def seen(observations: Any) -> jax.Array:
        return getattr(observations, agent)[:, 0]

    def init(key: jax.Array) -> State:
        key, worlds, learned = jax.random.split(key, 3)
        row = Transition(jnp.zeros(size), jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros(size), jnp.zeros((), bool))
        begun = side_by_side.start(task, worlds, environments)
        return State(key, begun, ring.empty(row, settings.replay), method.init(learned), jnp.zeros((), jnp.int32))

    def collect(state: State, noise: jax.Array) -> tuple[State, tuple[jax.Array, jax.Array]]:
        """One slot of every environment, remembered."""
        observation = seen(state.worlds.observations)
        action = method.explore(state.learned, observation, noise, state.slots)
        worlds, moved = side_by_side.step(task, state.worlds, task.action(**{agent: action[:, None, None]}))
        reward, returns = (getattr(each, agent)[:, 0] for each in (moved.rewards, moved.returns))
        rows = Transition(observation, action, reward.astype(jnp.float32), seen(moved.following), moved.terminated)
        state = state._replace(worlds=worlds, replay=ring.add(state.replay, rows), slots=state.slots + environments)
        return state, (jnp.sum(returns), jnp.sum(moved.ended))

    def wait(learned: Any, batch: Transition) -> tuple[Any, dict[str, jax.Array]]:
        figures = jax.eval_shape(method.update, learned, batch)[1]
        return learned, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), figures)

    def round_of(state: State, draws: tuple[jax.Array, jax.Array]) -> tuple[State, Any]:
        noise, bits = draws
        state, ends = jax.lax.scan(collect, state, noise)
        ready = state.slots >= settings.first_update

        def once(learned: Any, bits: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            return jax.lax.cond(ready, method.update, wait, learned, ring.sample(state.replay, bits))

        learned, figures = jax.lax.scan(once, state.learned, bits)
        return state._replace(learned=learned), (ends, updates * ready, figures)

    def block(state: State) -> tuple[State, dict[str, jax.Array]]:
        key, noise, bits = jax.random.split(state.key, 3)
        shape = (iterations, rounds, environments, choices + 1)
        draws = (
            _flat(jax.random.uniform, noise, shape),
            _flat(jax.random.bits, bits, (iterations, updates, settings.batch)),
        )
        state, ((returns, episodes), made, figures) = jax.lax.scan(round_of, state._replace(key=key), draws)
        made = jnp.sum(made)
        means = {name: jnp.sum(figure) / made for name, figure in figures.items()}
        return state, {"return": jnp.sum(returns) / jnp.sum(episodes), "updates": made, **means}

    def act(params: Any, observation: Any, key: jax.Array) -> Any:
        return task.action(**{agent: method.greedy(params, getattr(observation, agent))[:, None]})

    return Learner(
        name=name,
        task=task,
        settings=settings,
        block_slots=iterations * rounds * environments,
        init=init,
        block=block,
        policy=lambda state: method.policy(state.learned),
        act=act,
        learned=lambda state: state.learned,
    )


def _rhythm(environments: int, slots_per_update: int) -> tuple[int, int]:
    """How many slots of all environments, and then how many updates, make one round of the loop."""
    if slots_per_update >= environments:
        return max(1, round(slots_per_update / environments)), 1
    return 1, max(1, round(environments / slots_per_update))


def _flat(draw: Callable[..., jax.Array], key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random numbers of a shape, drawn in one row: faster than with short last axes."""
    count = 1
    for length in shape:
        count *= length
    return draw(key, (count,)).reshape(shape)
