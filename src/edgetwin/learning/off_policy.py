"""The loop that off-policy learners share: act in many environments, remember, and learn from minibatches.

What differs between algorithms is a `Method`: its networks, what it sees and keeps, how it explores, how it learns from a minibatch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.learning import replay as ring
from edgetwin.learning import worlds as side_by_side
from edgetwin.learning.learner import Learner, check_settings
from edgetwin.problem import Task

BLOCK_SLOTS = 4096


class Transition(NamedTuple):
    """What is remembered of a slot. `terminated` alone ends the value: after truncation it goes on from `following`."""

    observation: Any
    action: Any
    reward: jax.Array
    following: Any
    terminated: jax.Array


class State(NamedTuple):
    """Everything that changes: random key, environments, replay, the method's networks and optimisers, and the slots so far; and what was
    learned elsewhere, where training is held to that (`learning.transfer`)."""

    key: jax.Array
    worlds: side_by_side.Worlds
    replay: ring.Replay
    learned: Any
    slots: jax.Array
    source: Any = ()


@dataclass(frozen=True)
class Method:
    """What makes an algorithm of the shared loop. Everything has environments, or the batch, first.

    `init(key) → learned`. `remember(observations) → seen` is what is kept of the task's observations, arrays of any shapes.
    `explore(learned, states, seen, noise, slots) → (kept, action)`: the action of the task, and what is kept of it, arrays of any
    shapes, for environments in `states`; noise (environments, `noise`) comes from `draw(key, shape)`, by default uniform in [0, 1).
    `reward(rewards)` is what is kept of the task's rewards. `update(learned, batch, noise) → (learned, figures)` learns from a batch of
    transitions, with `update_noise` numbers uniform in [0, 1). `policy(learned) → params`; `greedy(params, observation) → action` decides
    for one environment. A block has `block_slots` slots or a few more.
    """

    init: Callable[[jax.Array], Any]
    remember: Callable[[Any], Any]
    explore: Callable[[Any, Any, Any, jax.Array, jax.Array], tuple[Any, Any]]
    reward: Callable[[Any], jax.Array]
    update: Callable[[Any, Transition, jax.Array], tuple[Any, dict[str, jax.Array]]]
    policy: Callable[[Any], Any]
    greedy: Callable[[Any, Any], Any]
    noise: int
    draw: Callable[[jax.Array, tuple[int, ...]], jax.Array] = jax.random.uniform
    update_noise: int = 0
    block_slots: int = BLOCK_SLOTS


def one_choice(
    task: Task,
    agent: str,
    explore: Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array],
    greedy: Callable[[Any, jax.Array], jax.Array],
    **rest: Any,
) -> Method:
    """The method of a single agent with a single choice, which sees its observation, (environments, size).

    `explore(learned, seen, noise, slots) → choice`, (environments,); `greedy(params, seen) → choice`. rest: the other fields of `Method`.
    """

    def explored(learned: Any, states: Any, seen: jax.Array, noise: jax.Array, slots: jax.Array) -> tuple[jax.Array, Any]:
        choice = explore(learned, seen, noise, slots)
        return choice, task.action(**{agent: choice[:, None, None]})

    return Method(
        remember=lambda observations: getattr(observations, agent)[:, 0],
        explore=explored,
        reward=lambda rewards: getattr(rewards, agent)[:, 0],
        greedy=lambda params, observation: task.action(**{agent: greedy(params, getattr(observation, agent))[:, None]}),
        **rest,
    )


def off_policy(name: str, task: Task, settings: Any, method: Method) -> Learner:
    """The learner that a method makes. settings: `environments`, `slots_per_update`, `first_update`, `batch`, `replay`, and its own.

    Every slot of all environments is followed by environments/slots_per_update updates (or one every slots_per_update/environments
    slots), once `first_update` slots have been seen. `return` is that of the task's first class of agents, mean over them. Raises
    InputError for settings without sense.
    """
    check_settings(name, settings)
    environments = settings.environments
    rounds, updates = _rhythm(environments, settings.slots_per_update)
    iterations = -(-method.block_slots // (environments * rounds))

    def init(key: jax.Array) -> State:
        key, worlds, learned = jax.random.split(key, 3)
        begun, learned = side_by_side.start(task, worlds, environments), method.init(learned)
        slots, noise = jnp.zeros((), jnp.int32), jnp.zeros((environments, method.noise))
        rows = jax.eval_shape(slot, learned, begun, noise, slots)[1]
        row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows)
        return State(key, begun, ring.empty(row, settings.replay), learned, slots)

    def slot(
        learned: Any, worlds: side_by_side.Worlds, noise: jax.Array, slots: jax.Array
    ) -> tuple[side_by_side.Worlds, Transition, side_by_side.Moved]:
        """One slot of every environment, and what is remembered of it."""
        seen = method.remember(worlds.observations)
        kept, action = method.explore(learned, worlds.states, seen, noise, slots)
        worlds, moved = side_by_side.step(task, worlds, action)
        reward = method.reward(moved.rewards).astype(jnp.float32)
        return worlds, Transition(seen, kept, reward, method.remember(moved.following), moved.terminated), moved

    def collect(state: State, noise: jax.Array) -> tuple[State, tuple[jax.Array, jax.Array]]:
        worlds, rows, moved = slot(state.learned, state.worlds, noise, state.slots)
        state = state._replace(worlds=worlds, replay=ring.add(state.replay, rows), slots=state.slots + environments)
        return state, (jnp.sum(jnp.mean(moved.returns[0], axis=1)), jnp.sum(moved.ended))

    def wait(learned: Any, batch: Transition, noise: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        figures = jax.eval_shape(method.update, learned, batch, noise)[1]
        return learned, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), figures)

    def round_of(state: State, draws: tuple[jax.Array, jax.Array]) -> tuple[State, Any]:
        noise, bits = draws
        state, ends = jax.lax.scan(collect, state, noise)
        ready = state.slots >= settings.first_update

        def once(learned: Any, bits: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            batch = ring.sample(state.replay, bits[: settings.batch])
            return jax.lax.cond(ready, method.update, wait, learned, batch, _uniform(bits[settings.batch :]))

        learned, figures = jax.lax.scan(once, state.learned, bits)
        return state._replace(learned=learned), (ends, updates * ready, figures)

    def block(state: State) -> tuple[State, dict[str, jax.Array]]:
        key, noise, bits = jax.random.split(state.key, 3)
        draws = (
            _flat(method.draw, noise, (iterations, rounds, environments, method.noise)),
            _flat(jax.random.bits, bits, (iterations, updates, settings.batch + method.update_noise)),
        )
        state, ((returns, episodes), made, figures) = jax.lax.scan(round_of, state._replace(key=key), draws)
        made = jnp.sum(made)
        means = {name: jnp.sum(figure) / made for name, figure in figures.items()}
        return state, {"return": jnp.sum(returns) / jnp.sum(episodes), "updates": made, **means}

    return Learner(
        name=name,
        task=task,
        settings=settings,
        block_slots=iterations * rounds * environments,
        init=init,
        block=block,
        policy=lambda state: method.policy(state.learned),
        act=lambda params, observation, key: method.greedy(params, observation),
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


def _uniform(bits: jax.Array) -> jax.Array:
    """Random bits, uint32, as numbers in [0, 1)."""
    return (bits >> 8).astype(jnp.float32) * 2.0**-24
