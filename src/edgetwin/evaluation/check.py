"""The contract kit: runs a task or a policy through every clause of the contracts and says PASS or FAIL for each, by name.

A plug-in's author calls `check_task(task)` and `check_policy(policy)`, or `edgetwin check TASK [--policy NAME]`.
"""

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.problem import KNOWLEDGE, Categorical, Outcome, Policy, Ratio, Scene, Task, episode_keys, random_action

SLOTS = 24


class Clause(NamedTuple):
    """One clause of a contract: did it hold, and if not, where not."""

    name: str
    passed: bool
    detail: str = ""


class Broken(Exception):
    """A clause does not hold; the message says where."""


class Walk(NamedTuple):
    """An episode's first slots under random actions, NumPy, slots first."""

    observations: Any
    worlds: Any
    outcomes: Outcome


def check_task(task: Task) -> list[Clause]:
    """Every clause for a task, in order, over the first slots of an episode."""
    slots = min(SLOTS, task.spec.slots)
    first, other = episode_keys(1, 2)
    walk = _compiled_walk(task, slots)
    reset, step = jax.jit(task.reset), jax.jit(task.step)

    @functools.cache
    def seen() -> Walk:
        return walk(first, 7)

    clauses: dict[str, Callable[[], None]] = {
        "shapes": lambda: _shapes(task, first),
        "compiles": lambda: _compiles(task, first),
        "finite": lambda: _finite(seen()),
        "bounds": lambda: _bounds(task, seen()),
        "determinism": lambda: _same(seen(), _compiled_walk(task, slots)(first, 7), "two runs with the same key differ"),
        "global random state": lambda: _no_global_random(lambda: _compiled_walk(task, slots)(first, 7)),
        "seeds matter": lambda: _seeds_matter(seen(), walk(other, 7)),
        "common random numbers": lambda: _same(seen().worlds, walk(first, 8).worlds, "the world depends on the actions"),
        "trace": lambda: _trace(_traced(task, first, slots), seen().worlds),
        "timescales": lambda: _timescales(task, reset, step, first),
        "episode end": lambda: _episode_end(task, reset, step, first),
        "summary": lambda: _summary(task, seen()),
        "global state": lambda: _global_state(task, first),
        "scene": lambda: _scene(task, first),
        "bound": lambda: _bound(task, slots),
    }
    return list(_judged(clauses))


def check_policy(policy: Policy) -> list[Clause]:
    """Every clause for a policy, on its own task."""
    slots = min(SLOTS, policy.task.spec.slots)
    key = episode_keys(1, 1)[0]

    @functools.cache
    def decided() -> tuple[Any, Any, Any]:
        return _first_decision(policy, key)

    @functools.cache
    def actions() -> Any:
        return _decisions(policy, key, slots)

    clauses: dict[str, Callable[[], None]] = {
        "declaration": lambda: _declaration(policy),
        "shapes": lambda: _action_shapes(policy, decided()[2]),
        "carry": lambda: _stable_carry(*decided()[:2]),
        "finite": lambda: _all_finite(actions(), "action"),
        "bounds": lambda: _action_bounds(policy.task, actions()),
        "determinism": lambda: _same(actions(), _decisions(policy, key, slots), "two runs with the same key differ"),
        "global random state": lambda: _no_global_random(lambda: _decisions(policy, key, slots)),
    }
    return list(_judged(clauses))


def _judged(clauses: dict[str, Callable[[], None]]) -> Iterator[Clause]:
    for name, clause in clauses.items():
        try:
            clause()
        except Broken as broken:
            yield Clause(name, False, str(broken))
        except Exception as error:  # a plug-in may raise anything; the kit reports it
            yield Clause(name, False, f"raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        else:
            yield Clause(name, True)


def _compiled_walk(task: Task, slots: int) -> Callable[[jax.Array, int], Walk]:
    """A walk as one program, traced afresh: so that what is drawn while tracing shows as a difference between two of them."""

    @jax.jit
    def run(key: jax.Array, action_seed: jax.Array) -> Any:
        def slot(state, number):
            action = random_action(task, jax.random.fold_in(jax.random.key(action_seed), number))
            after, outcome = task.step(state, action)
            return after, (task.observe(state), task.world(state), outcome)

        return jax.lax.scan(slot, task.reset(key), jnp.arange(slots))[1]

    return lambda key, action_seed: Walk(*jax.tree.map(np.asarray, run(key, action_seed)))


def _shapes(task: Task, key: jax.Array) -> None:
    def first_slot(key):
        state = task.reset(key)
        return task.observe(state), task.step(state, random_action(task, key))[1]

    observation, outcome = jax.eval_shape(first_slot, key)
    for name, agents in task.spec.agents.items():
        _expect_shape(getattr(observation, name, None), (agents.count, agents.observation_size), f"observation.{name}")
        _expect_shape(getattr(outcome.rewards, name, None), (agents.count,), f"rewards.{name}")
    for flag in ("terminated", "truncated"):
        value = jnp.asarray(getattr(outcome, flag)) if isinstance(getattr(outcome, flag), bool) else getattr(outcome, flag)
        if value.shape != () or value.dtype != bool:
            raise Broken(f"{flag} has shape {value.shape} and type {value.dtype}, not one truth value")


def _expect_shape(value: Any, shape: tuple[int, ...], name: str) -> None:
    if value is None:
        raise Broken(f"{name} is missing")
    if jnp.shape(value) != shape:
        raise Broken(f"{name} has shape {jnp.shape(value)}, the spec says {shape}")


def _finite(walk: Walk) -> None:
    _all_finite(walk.observations, "observation")
    _all_finite(walk.outcomes.rewards, "reward")
    _all_finite(walk.outcomes.metrics, "metric")


def _all_finite(tree: Any, what: str) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        bad = ~np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1)
        if bad.any():
            raise Broken(f"{what}{jax.tree_util.keystr(path)} is not finite in slot {bad.argmax()}")


def _bounds(task: Task, walk: Walk) -> None:
    for name, agents in task.spec.agents.items():
        largest = np.abs(getattr(walk.observations, name)).reshape(len(walk.outcomes.terminated), -1).max(axis=1)
        if (largest > agents.observation_limit).any():
            slot = (largest > agents.observation_limit).argmax()
            raise Broken(
                f"observation.{name} reaches {largest[slot]:g} in slot {slot}, the limit is {agents.observation_limit:g}"
            )


def _plain(leaf: Any) -> np.ndarray:
    keyed = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if keyed else leaf)


def _equal(first: Any, second: Any) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(_plain(one), _plain(two), equal_nan=_plain(one).dtype.kind == "f") for one, two in pairs)


def _same(first: Any, second: Any, complaint: str) -> None:
    if not _equal(first, second):
        raise Broken(complaint)


def _no_global_random(run: Callable[[], Any]) -> None:
    """The result must not depend on NumPy's and Python's global generators, nor may they be drawn from or reseeded."""
    kept = np.random.get_state(), random.getstate()
    try:
        results = []
        for seed in (1, 2):
            np.random.seed(seed)
            random.seed(seed)
            before = np.random.get_state()[1].copy(), np.random.get_state()[2], random.getstate()  # type: ignore[index]
            results.append(run())
            after = np.random.get_state()
            if not np.array_equal(before[0], after[1]) or before[1] != after[2] or before[2] != random.getstate():  # type: ignore[index]
                raise Broken("the global random state of NumPy or Python was changed")
        _same(results[0], results[1], "the result depends on the global random state")
    finally:
        np.random.set_state(kept[0])
        random.setstate(kept[1])


def _seeds_matter(one: Walk, two: Walk) -> None:
    if _equal(one.worlds, two.worlds):
        raise Broken("two different keys give the same world: reset ignores its key")


def _traced(task: Task, key: jax.Array, slots: int) -> Any:
    """An episode's trace, as one program."""
    return jax.jit(lambda key: task.trace(key, slots))(key)


def _trace(trace: Any, worlds: Any) -> None:
    for ahead, seen in zip(jax.tree.leaves(trace), jax.tree.leaves(worlds), strict=True):
        if not np.allclose(np.asarray(ahead, float), np.asarray(seen, float), rtol=1e-4, atol=1e-6):
            raise Broken("the trace of an episode differs from the worlds met in it")


def _timescales(task: Task, reset: Callable[..., Any], step: Callable[..., Any], key: jax.Array) -> None:
    """Outside its slots a class's action must not change the state; at its first slot it must be able to."""
    draw = jax.jit(functools.partial(random_action, task))
    for name, agents in task.spec.agents.items():
        if agents.every == 1 and agents.first == 0:
            continue
        state = reset(key)
        first = -(-agents.first // agents.every) * agents.every
        for number in range(min(first + 2, task.spec.slots)):
            base = draw(jax.random.key(number))
            choices = [getattr(draw(jax.random.key(10_000 + seed)), name) for seed in (1, 2)]
            states = [step(state, base._replace(**{name: choice}))[0] for choice in choices]
            on_time = number >= agents.first and number % agents.every == 0
            if not on_time and not _equal(*states):
                raise Broken(
                    f"{name} acts every {agents.every} slots from slot {agents.first}, but changed the state in slot {number}"
                )
            if on_time and _equal(*states):
                raise Broken(f"{name}'s action had no effect in slot {number}, where it should")
            state = states[0]


def _episode_end(task: Task, reset: Callable[..., Any], step: Callable[..., Any], key: jax.Array) -> None:
    state = reset(key)
    action = random_action(task, jax.random.key(0))
    for number in range(task.spec.slots):
        state, outcome = step(state, action)
        if bool(outcome.terminated):
            return
        if bool(outcome.truncated) != (number + 1 == task.spec.slots):
            raise Broken(f"truncated is {bool(outcome.truncated)} in slot {number} of an episode of {task.spec.slots}")


def _compiles(task: Task, key: jax.Array) -> None:
    """reset, observe and step vmap, and a step keeps the state's shapes and types, so that episodes scan."""

    def two_networks(keys):
        states = jax.vmap(task.reset)(keys)
        jax.vmap(task.observe)(states)
        after, _ = jax.vmap(lambda state: task.step(state, random_action(task, key)))(states)
        return states, after

    before, after = jax.eval_shape(two_networks, jnp.stack([key, key]))
    for (path, one), two in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (one.shape, one.dtype) != (two.shape, two.dtype):
            where = jax.tree_util.keystr(path)
            raise Broken(f"step turns state{where} from {one.dtype}{list(one.shape[1:])} into {two.dtype}{list(two.shape[1:])}")


def _summary(task: Task, walk: Walk) -> None:
    summary = task.summary(jax.tree.map(lambda leaf: leaf.sum(axis=0), walk.outcomes.metrics))
    if set(summary) != set(task.spec.metrics):
        raise Broken(f"summary gives {sorted(summary)}, the spec names {sorted(task.spec.metrics)}")
    for name, ratio in summary.items():
        if not isinstance(ratio, Ratio) or np.ndim(ratio.numerator) or np.ndim(ratio.denominator):
            raise Broken(f"summary[{name!r}] is not a Ratio of two numbers")


def _global_state(task: Task, key: jax.Array) -> None:
    if task.spec.state_size:
        state = jax.eval_shape(lambda key: task.global_state(task.reset(key)), key)
        _expect_shape(state, (task.spec.state_size,), "global_state")


def _first_decision(policy: Policy, key: jax.Array) -> tuple[Any, Any, Any]:
    """The carry before and after the first decision, and its action; of a device policy their shapes and types alone."""
    task = policy.task

    def seen(key):
        state = task.reset(key)
        return task.observe(state), state, task.trace(key, 1) if policy.information == "trace" else None

    def decide(seen, key):
        view = policy.view(*seen)
        carry = policy.init(key, view)
        return carry, *policy.act(carry, view, key)

    if policy.runs_on == "host":
        return decide(jax.jit(seen)(key), key)
    return jax.eval_shape(lambda key: decide(seen(key), key), key)


def _scene(task: Task, key: jax.Array) -> None:
    def picture(key):
        state = task.reset(key)
        after, outcome = task.step(state, random_action(task, key))
        return task.scene(state, after, outcome)

    scene = jax.eval_shape(picture, key)
    if scene is not None and not isinstance(scene, Scene):
        raise Broken(f"scene gives a {type(scene).__name__}, not a Scene or None")


def _bound(task: Task, slots: int) -> None:
    """A bound has a value for metrics that the spec names, whatever the metrics of the policy."""
    bound_at = task.bound(episode_keys(1, 2), slots)
    if bound_at is None:
        return
    for value in (0.0, 1.0):
        bounds = bound_at(dict.fromkeys(task.spec.metrics, value))
        unknown = set(bounds) - set(task.spec.metrics)
        if unknown or not all(np.isfinite(list(bounds.values()))):
            raise Broken(f"bound gives {bounds}, not finite numbers for metrics of the spec")


def _decisions(policy: Policy, key: jax.Array, slots: int) -> Any:
    """The policy's actions in an episode, NumPy, slots first; it is shown no more than what it declares."""
    task = policy.task
    own = jax.random.key(5)
    trace = _traced(task, key, slots) if policy.information == "trace" else None

    if policy.runs_on == "host":
        state, carry, actions = jax.jit(task.reset)(key), None, []
        observe, step = jax.jit(task.observe), jax.jit(task.step)
        for number in range(slots):
            view = policy.view(observe(state), state, trace)
            carry = policy.init(own, view) if number == 0 else carry
            carry, action = policy.act(carry, view, jax.random.fold_in(own, number))
            actions.append(jax.tree.map(np.asarray, action))
            state, _ = step(state, action)
        return jax.tree.map(lambda *leaves: np.stack(leaves), *actions)

    @jax.jit
    def run(key):
        state = task.reset(key)
        carry = policy.init(own, policy.view(task.observe(state), state, trace))

        def slot(loop, number):
            state, carry = loop
            carry, action = policy.act(carry, policy.view(task.observe(state), state, trace), jax.random.fold_in(own, number))
            return (task.step(state, action)[0], carry), action

        return jax.lax.scan(slot, (state, carry), jnp.arange(slots))[1]

    return jax.tree.map(np.asarray, run(key))


def _declaration(policy: Policy) -> None:
    if policy.information not in KNOWLEDGE:
        raise Broken(f"information = {policy.information!r}: must be one of {', '.join(KNOWLEDGE)}")
    if policy.runs_on not in ("device", "host"):
        raise Broken(f"runs_on = {policy.runs_on!r}: must be device or host")
    if not policy.name:
        raise Broken("the policy has no name")


def _action_shapes(policy: Policy, action: Any) -> None:
    for name, agents in policy.task.spec.agents.items():
        value = getattr(action, name, None)
        _expect_shape(value, (agents.count, agents.action.size), f"action.{name}")
        if isinstance(agents.action, Categorical) and jnp.result_type(value).kind not in "iu":
            raise Broken(f"action.{name} is {jnp.result_type(value)}, a choice must be an integer")


def _action_bounds(task: Task, actions: Any) -> None:
    for name, agents in task.spec.agents.items():
        value, kind = getattr(actions, name), agents.action
        low, high = (0, kind.choices - 1) if isinstance(kind, Categorical) else (kind.low, kind.high)
        if value.min() < low or value.max() > high:
            raise Broken(f"action.{name} leaves [{low:g}, {high:g}]: it runs from {value.min():g} to {value.max():g}")


def _stable_carry(carry: Any, after: Any) -> None:
    """The carry keeps its shapes and types from slot to slot."""
    kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree) for tree in (carry, after)]
    if kinds[0] != kinds[1]:
        raise Broken(f"init gives a carry {kinds[0]}, act returns {kinds[1]}")
