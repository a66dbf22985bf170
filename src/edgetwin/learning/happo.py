"""Heterogeneous-agent proximal policy optimisation (HAPPO; Kuba et al. 2022), Algorithm 1 of the two-timescale paper, for any task.

Agents improve one after another in a random order; each counts on what those before it have become: its advantage is multiplied by M,
the ratio of their new to their old probabilities. With Beta heads it is the paper's Beta-HAPPO; without M, with all agents at once, MAPPO.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.learning import stacks
from edgetwin.learning import worlds as side_by_side
from edgetwin.learning.critics import KINDS, STATE, Kind, critics_of
from edgetwin.learning.gae import gae
from edgetwin.learning.learner import Learner, check_settings
from edgetwin.learning.roles import HIDDEN, Role
from edgetwin.problem import Outcome, Task

BUDGETS = {"quick": 100_000, "paper": 750_000}


class Settings(NamedTuple):
    """Hyperparameters; the defaults are Table I.

    An update learns from `slots_per_update` slots of `environments` together, in `epochs` passes over `minibatches` parts. Learning rates
    fall to 0 over `anneal_slots` (0: never). `masked`: components that cannot matter are left out of loss and M,
    actions that took no effect of M only. `m_before_step`: an agent enters M with what it was before its step (lines 22 and 23 in the printed order).
    `normalised`: advantages of a class have mean 0 and deviation 1. |log M| is held below `log_m_limit`.
    """

    environments: int = 1
    slots_per_update: int = 5000
    epochs: int = 25
    minibatches: int = 1
    learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-4
    anneal_slots: int = 0
    clip: float = 0.2
    entropy: float = 0.01
    critics: Kind = "agent"
    sequential: bool = True
    masked: bool = False
    normalised: bool = False
    log_m_limit: float = 20.0
    m_before_step: bool = True
    hidden: tuple[int, ...] = HIDDEN


class Learned(NamedTuple):
    """Actors by class and critics, each a stack."""

    actors: dict[str, stacks.Stack]
    critics: list[stacks.Stack]


class State(NamedTuple):
    """Everything that changes: random key, environments, the slots that each has played of its episode, networks, and slots in all."""

    key: jax.Array
    worlds: side_by_side.Worlds
    age: jax.Array
    learned: Learned
    slots: jax.Array


class Batch(NamedTuple):
    """Experience, classes by name. seen: (agents, batch, …) and the global state (batch, …); drawn, counted: (agents, batch, components);
    behaviour, advantage, returns: (agents, batch, credits); took_effect: (batch,)."""

    seen: dict[str, jax.Array]
    drawn: dict[str, jax.Array]
    counted: dict[str, jax.Array]
    behaviour: dict[str, jax.Array]
    advantage: dict[str, jax.Array]
    returns: dict[str, jax.Array]
    took_effect: dict[str, jax.Array]


class Credit(NamedTuple):
    """What a slot is worth to the agents, (agents, credits) by class, and which components of their actions mattered, (agents, components)."""

    rewards: dict[str, jax.Array]
    counted: dict[str, jax.Array]


class Play(NamedTuple):
    """A task as `worlds` plays it: it sees what networks look at, and is paid by credit."""

    reset: Callable[[jax.Array], Any]
    observe: Callable[[Any], Any]
    step: Callable[[Any, Any], tuple[Any, Outcome]]
    action: Callable[..., Any]
    spec: Any


def surrogate(ratio: jax.Array, weighted: jax.Array, clip: float) -> jax.Array:
    """min[ratio·M·Â, clip(ratio, 1 ± ϵ)·M·Â], elementwise; weighted: M·Â.     two-timescale (30)"""
    return jnp.minimum(ratio * weighted, jnp.clip(ratio, 1 - clip, 1 + clip) * weighted)


def task_credit(task: Task, roles: Mapping[str, Role]) -> Callable[[Any, Any, Outcome], Credit]:
    """The task's own rewards, and everything counts."""

    def credit(state: Any, action: Any, outcome: Outcome) -> Credit:
        agents = task.spec.agents
        return Credit(
            {name: getattr(outcome.rewards, name)[:, None] for name in roles},
            {name: jnp.ones((agents[name].count, role.components), bool) for name, role in roles.items()},
        )

    return credit


def effective_sample_size(log_weights: jax.Array) -> jax.Array:
    """(Σw)²/(n·Σw²) of n weights: 1 where they are equal, 1/n where one has it all."""
    weights = jnp.exp(log_weights - jnp.max(log_weights))
    return jnp.sum(weights) ** 2 / (weights.size * jnp.sum(weights**2))


def happo(
    name: str,
    task: Task,
    settings: Settings,
    roles: Mapping[str, Role],
    credit: Callable[[Any, Any, Outcome], Credit] | None = None,
) -> Learner:
    """Algorithm 1 for a task whose classes have these roles. `credit(state, action, outcome)` is what is learned from, else the rewards.

    Raises InputError for settings without sense.
    """
    check(name, settings)
    spec, environments = task.spec, settings.environments
    counts = {role: spec.agents[role].count for role in roles}
    slots = settings.slots_per_update // environments
    pay = credit or task_credit(task, roles)
    units = {role: 1 if roles[role].shared else counts[role] for role in roles}
    actor_shapes = {role: stacks.shape(roles[role].init, units[role]) for role in roles}
    critics = critics_of(roles, counts, settings.critics, spec.state_size, settings.hidden)
    with_state = settings.critics != "own"
    looks_ahead = any(role.discount > 0 for role in roles.values())

    def observe(state: Any) -> tuple[Any, dict[str, jax.Array]]:
        observation = task.observe(state)
        seen = {name: role.features(getattr(observation, name)) for name, role in roles.items()}
        return observation, {**seen, STATE: task.global_state(state)} if with_state else seen

    def step(state: Any, action: Any) -> tuple[Any, Outcome]:
        after, outcome = task.step(state, action)
        credit = pay(state, action, outcome)
        return after, outcome._replace(rewards=credit.rewards, metrics=credit.counted)

    play = Play(task.reset, observe, step, task.action, spec)

    def networks(learned: Learned) -> dict[str, Any]:
        """The actors as pytrees, agents first unless shared."""
        return {
            name: shape.network(learned.actors[name].rows[0])
            if roles[name].shared
            else jax.vmap(shape.network)(learned.actors[name].rows)
            for name, shape in actor_shapes.items()
        }

    def outputs(actors: Mapping[str, Any], seen: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the actors say of features (agents, …), by class."""
        return {
            name: role.outputs(actors[name], seen[name]) if role.shared else jax.vmap(role.outputs)(actors[name], seen[name])
            for name, role in roles.items()
        }

    def init(key: jax.Array) -> State:
        key, worlds, actors, values = jax.random.split(key, 4)
        learned = Learned(
            {name: shape.start(jax.random.fold_in(actors, index)) for index, (name, shape) in enumerate(actor_shapes.items())},
            [each.shape.start(jax.random.fold_in(values, index)) for index, each in enumerate(critics)],
        )
        begun = side_by_side.start(play, worlds, environments)  # type: ignore[arg-type]
        return State(key, begun, jnp.zeros(environments, jnp.int32), learned, jnp.zeros((), jnp.int32))

    def collect(actors: Mapping[str, Any], carry: tuple[Any, jax.Array], noise: Any) -> tuple[Any, Any]:
        """One slot of every environment (lines 4 to 14)."""
        worlds, age = carry
        observation, seen = worlds.observations
        agents_first = {name: jnp.swapaxes(seen[name], 0, 1) for name in roles}
        said = outputs(actors, agents_first)
        drawn = {name: jnp.swapaxes(role.head.draw(said[name], noise[name]), 0, 1) for name, role in roles.items()}
        acted = {name: jax.vmap(role.decode)(drawn[name], getattr(observation, name)) for name, role in roles.items()}
        worlds, moved = side_by_side.step(play, worlds, task.action(**acted))  # type: ignore[arg-type]
        effect = {name: (age % spec.agents[name].every == 0) & (age >= spec.agents[name].first) for name in roles}
        following = moved.following[1] if looks_ahead else None
        kept = (seen, drawn, moved.metrics, effect, moved.rewards, following, moved.terminated, moved.ended, moved.returns)
        return (worlds, jnp.where(moved.ended, 0, age + 1)), kept

    def experience(state: State, key: jax.Array) -> tuple[State, Batch, dict[str, jax.Array]]:
        """Lines 2 to 17: play, then advantages."""
        noise = {
            name: role.head.noise(jax.random.fold_in(key, index), slots, (counts[name], environments, role.components))
            for index, (name, role) in enumerate(roles.items())
        }
        actors = networks(state.learned)
        (worlds, age), kept = jax.lax.scan(lambda carry, drawn: collect(actors, carry, drawn), (state.worlds, state.age), noise)
        seen, drawn, counted, effect, rewards, following, terminated, ended, returns_ = kept
        seen, drawn, counted = _by_agent(seen), _by_agent(drawn), _by_agent(counted)
        if not settings.masked:
            counted, effect = jax.lax.optimization_barrier(jax.tree.map(jnp.ones_like, (counted, effect)))
        values = _values(state.learned, seen)
        after = _values(state.learned, _by_agent(following)) if looks_ahead else values
        advantage, returns = {}, {}
        for name, role in roles.items():
            shaped = (slots, environments, counts[name], role.credits)
            paid = jnp.broadcast_to(rewards[name], shaped)
            values_, after_ = (jnp.moveaxis(each[name], 0, 1).reshape(shaped) for each in (values, after))
            one, other = gae(paid, values_, after_, terminated, ended, role.discount, role.trace)
            advantage[name], returns[name] = (_agents_first(each) for each in (one, other))
            if settings.normalised:
                advantage[name] = normal(advantage[name], _credited(role, counted[name]))
        said = outputs(actors, seen)
        behaviour = {
            name: _summed(role, role.head.log_prob(said[name], drawn[name]), counted[name]) for name, role in roles.items()
        }
        effect = {name: each.reshape(-1) for name, each in effect.items()}
        batch = Batch(seen, drawn, counted, behaviour, advantage, returns, effect)
        episodes = jnp.sum(ended)
        figures = {f"{name}_reward": jnp.mean(rewards[name]) for name in roles}
        first = next(iter(roles))
        figures["return"] = jnp.sum(jnp.mean(returns_[first], axis=(2, 3))) / episodes
        return state._replace(worlds=worlds, age=age), batch, figures

    def _values(learned: Learned, seen: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        for each, stack in zip(critics, learned.critics, strict=True):
            found |= each.values(stack, seen)
        return found

    def turn_of(name: str) -> Callable[..., Any]:
        """What an agent of a class does in its turn (lines 22 and 23); all agents of a class at once where they share an actor."""
        role = roles[name]

        def turn(learned: dict[str, stacks.Stack], log_m: jax.Array, index: jax.Array, batch: Batch, rate: jax.Array) -> Any:
            mine = jax.tree.map(lambda leaf: leaf if role.shared else leaf[index], (batch.seen[name], batch.drawn[name]))
            counted, behaviour, advantage = (
                each[name] if role.shared else each[name][index] for each in (batch.counted, batch.behaviour, batch.advantage)
            )
            credited = _credited(role, counted)
            weighted = jnp.exp(jnp.clip(log_m, -settings.log_m_limit, settings.log_m_limit))[:, None] * advantage
            actor = stacks.row(learned[name], index)

            def log_prob(row: jax.Array) -> tuple[jax.Array, jax.Array]:
                said = role.outputs(actor_shapes[name].network(row), mine[0])
                return _summed(role, role.head.log_prob(said, mine[1]), counted), said

            def loss(row: jax.Array) -> tuple[jax.Array, Any]:
                now, said = log_prob(row)
                ratio = jnp.exp(now - behaviour)
                entropy = _summed(role, role.head.entropy(said), counted)
                gained = surrogate(ratio, weighted, settings.clip) + settings.entropy * entropy
                total = jnp.maximum(jnp.sum(credited), 1)
                clipped = jnp.sum(credited & (jnp.abs(ratio - 1) > settings.clip)) / total
                return -jnp.sum(jnp.where(credited, gained, 0)) / total, (clipped, jnp.sum(entropy) / total, now)

            (value, (clipped, entropy, now)), gradient = jax.value_and_grad(loss, has_aux=True)(actor.rows)
            actor = stacks.descend(actor, gradient, rate)
            if settings.sequential:
                now = now if settings.m_before_step else log_prob(actor.rows)[0]
                change = jnp.sum(now - behaviour, axis=-1)
                change = jnp.sum(change, axis=0) if role.shared else change
                log_m = log_m + jnp.where(batch.took_effect[name], change, 0)
            others = {
                other: jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), learned[other]) for other in roles if other != name
            }
            return {**others, name: actor}, log_m, (value, clipped, entropy)

        return turn

    names = list(roles)
    turns = [turn_of(name) for name in names]
    class_of = jnp.concatenate([jnp.full(units[name], place) for place, name in enumerate(names)])
    index_of = jnp.concatenate([jnp.arange(units[name]) for name in names])

    def one_pass(learned: Learned, batch: Batch, key: jax.Array, slots_so_far: jax.Array) -> tuple[Learned, Any]:
        """Lines 19 to 24 on a mini-batch: critics, then the agents in a random order."""
        fall = jnp.maximum(1 - slots_so_far / settings.anneal_slots, 0) if settings.anneal_slots else 1.0
        credited = {name: _credited(role, batch.counted[name]) for name, role in roles.items()}
        values, value_losses = [], {}
        for each, stack in zip(critics, learned.critics, strict=True):
            stack, loss = each.learn(stack, batch.seen, batch.returns, credited, fall * settings.critic_learning_rate)
            values.append(stack)
            value_losses["_".join(each.classes) + "_value_loss"] = loss
        rows = next(iter(batch.took_effect.values())).size

        def take_turn(carry: Any, unit: jax.Array) -> tuple[Any, Any]:
            actors, log_m = carry
            size = effective_sample_size(log_m)
            rows, log_m, figures = jax.lax.switch(
                class_of[unit],
                [lambda *given, turn=turn: turn(*given, batch, fall * settings.learning_rate) for turn in turns],
                actors,
                log_m,
                index_of[unit],
            )
            place = {name: jnp.where(class_of[unit] == number, index_of[unit], units[name]) for number, name in enumerate(names)}
            actors = {name: stacks.with_row(actors[name], place[name], rows[name]) for name in names}
            return (actors, log_m), (size, *figures)

        order = jax.random.permutation(key, len(class_of))
        wide = {name: stacks.with_spare_row(stack) for name, stack in learned.actors.items()}
        (wide, _), (size, losses, clipped, entropy) = jax.lax.scan(take_turn, (wide, jnp.zeros(rows)), order)
        actors = {name: jax.tree.map(lambda leaf: leaf[:-1], stack) for name, stack in wide.items()}
        mine = class_of[order]
        by_class: dict[str, jax.Array] = {}
        for place, name in enumerate(names):
            for what, figure in (("loss", losses), ("entropy", entropy)):
                by_class[f"{name}_{what}"] = jnp.sum(jnp.where(mine == place, figure, 0)) / units[name]
        figures = {**by_class, **value_losses, "effective_sample_size": size, "clip_fraction": clipped}
        return Learned(actors, values), figures

    def block(state: State) -> tuple[State, dict[str, jax.Array]]:
        key, play_key, order_key = jax.random.split(state.key, 3)
        state, batch, figures = experience(state._replace(key=key), play_key)
        parts = _parts(batch, settings.minibatches, slots, environments)
        passes = settings.epochs * settings.minibatches
        keys = jax.random.split(order_key, passes)

        def epoch(learned: Learned, keys: jax.Array) -> tuple[Learned, Any]:
            if settings.minibatches == 1:
                learned, found = one_pass(learned, batch, keys[0], state.slots)
                return learned, jax.tree.map(lambda leaf: leaf[None], found)
            return jax.lax.scan(lambda learned, part: one_pass(learned, part[0], part[1], state.slots), learned, (parts, keys))

        learned, found = jax.lax.scan(epoch, state.learned, keys.reshape(settings.epochs, settings.minibatches))
        figures |= jax.tree.map(lambda leaf: jnp.mean(leaf, axis=(0, 1)), found)
        return state._replace(learned=learned, slots=state.slots + slots * environments), figures

    def act(params: Mapping[str, Any], observation: Any, key: jax.Array) -> Any:
        decided = {}
        for name, role in roles.items():
            own = getattr(observation, name)
            features = role.features(own)[:, None]
            said = role.outputs(params[name], features) if role.shared else jax.vmap(role.outputs)(params[name], features)
            decided[name] = role.decode(role.head.best(said[:, 0]), own)
        return task.action(**decided)

    return Learner(
        name=name,
        task=task,
        settings=settings,
        block_slots=slots * environments,
        init=init,
        block=block,
        policy=lambda state: networks(state.learned),
        act=act,
        learned=lambda state: state.learned,
        budgets=BUDGETS,
    )


def _agents_first(leaf: jax.Array) -> jax.Array:
    """(slots, environments, agents, …) as (agents, batch, …)."""
    leaf = jnp.moveaxis(leaf, 2, 0)
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])


def _by_agent(kept: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: leaf.reshape(-1, *leaf.shape[2:]) if name == STATE else _agents_first(leaf) for name, leaf in kept.items()}


def _parts(batch: Batch, minibatches: int, slots: int, environments: int) -> Batch:
    """Mini-batches first: each has every `minibatches`-th slot of all environments."""
    if minibatches == 1:
        return batch

    def split(axis: int) -> Callable[[jax.Array], jax.Array]:
        def parted(leaf: jax.Array) -> jax.Array:
            before, after = leaf.shape[:axis], leaf.shape[axis + 1 :]
            leaf = leaf.reshape(*before, slots // minibatches, minibatches, environments, *after)
            return jnp.moveaxis(leaf, axis + 1, 0).reshape(minibatches, *before, -1, *after)

        return parted

    by_agent, plain = split(1), split(0)
    fields = {
        field: {name: by_agent(leaf) for name, leaf in value.items()}
        for field, value in batch._asdict().items()
        if field not in ("seen", "took_effect")
    }
    seen = {name: plain(leaf) if name == STATE else by_agent(leaf) for name, leaf in batch.seen.items()}
    return Batch(seen=seen, took_effect={name: plain(leaf) for name, leaf in batch.took_effect.items()}, **fields)


def _summed(role: Role, values: jax.Array, counted: jax.Array) -> jax.Array:
    """Values (…, components) as sums per credit over what counts: (…, credits). A product with ones: faster than a sum, which would not vectorise."""
    kept = jnp.where(counted, values, 0)
    return kept if role.credits == role.components else kept @ jnp.ones((role.components, 1), kept.dtype)


def _credited(role: Role, counted: jax.Array) -> jax.Array:
    """Which credits count, (…, credits): those with a component that does."""
    return counted if role.credits == role.components else jnp.any(counted, axis=-1, keepdims=True)


def normal(advantage: jax.Array, counted: jax.Array) -> jax.Array:
    """Advantages less their mean, over their deviation, both of those that count."""
    total = jnp.maximum(jnp.sum(counted), 1)
    mean = jnp.sum(jnp.where(counted, advantage, 0)) / total
    variance = jnp.sum(jnp.where(counted, (advantage - mean) ** 2, 0)) / total
    return (advantage - mean) / jnp.sqrt(variance + 1e-8)


def check(name: str, settings: Settings) -> None:
    """Raises InputError for settings without sense."""
    check_settings(name, settings)
    if settings.critics not in KINDS:
        raise InputError(f"{name}: critics = {settings.critics}: must be one of {', '.join(KINDS)}")
    slots = settings.slots_per_update // settings.environments
    if slots < 1 or slots % settings.minibatches:
        raise InputError(
            f"{name}: slots_per_update = {settings.slots_per_update} gives {slots} slots to each of {settings.environments} "
            f"environments: must be a multiple of minibatches = {settings.minibatches}"
        )
