"""What adapters share: tasks by name, kept so that they compile once; episodes named by seeds or numbers; an episode's slots and sums.

Episodes are drawn from a stream that a seed starts, and are none of a comparison's. Those are played by number: with seed 0 and
options {"episode": 3}, the fourth episode of comparisons with seed 0, `episode_keys(0, 4)[3]`.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.problem import Continuous, Outcome, Ratio, Task
from edgetwin.registry import problem
from edgetwin.scenario import Scenario, digest, scenario

WORD = 2**32


class Episode(NamedTuple):
    """An episode under way: the task's state, and its metrics summed so far."""

    state: Any
    totals: Any


@dataclass(frozen=True)
class Same:
    """A value for caches: one with the same mark is the same."""

    mark: Hashable
    value: Any = field(compare=False)


def task_by_name(name: str, on: str | Path | None, settings: Mapping[str, Any] | None) -> Task:
    """The task called `name` on a scenario (by default its own) with dotted settings changed; the same task for the same words."""
    if isinstance(on, Scenario):
        raise InputError(
            f"scenario {on.name!r} is loaded already: give its name or file, or the task, edgetwin.task({name!r}, …)"
        )
    chosen = scenario(problem(name).scenario if on is None else on, settings)
    return _made(name, Same(digest(chosen), chosen))


@lru_cache(maxsize=8)
def _made(name: str, on: Same) -> Task:
    return problem(name).task(on.value)


def checked_seed(seed: int | None) -> int | None:
    """The seed as it is. Raises InputError below 0."""
    if seed is not None and not seed >= 0:
        raise InputError(f"seed = {seed}: must be a whole number, at least 0")
    return seed


def words(stream: np.random.Generator, seed: int | None, episode: Any, count: int) -> np.ndarray:
    """The two words that name each of `count` episodes, (count, 2): drawn from the stream, or the seed and numbers from `episode` on.

    Raises InputError for a seed or number that comparisons cannot have.
    """
    if episode is None:
        return stream.integers(WORD, size=(count, 2), dtype=np.uint32)
    if not isinstance(episode, int | np.integer) or not 0 <= episode <= WORD - count:
        raise InputError(f"option episode = {episode!r}: must be a whole number, at least 0")
    if seed is None or not 0 <= seed < WORD:
        raise InputError(f"seed = {seed}: comparisons have seeds from 0 to 2^32 - 1")
    return np.stack([np.full(count, seed), episode + np.arange(count)], axis=1).astype(np.uint32)


def begin(task: Task, named: Any) -> Episode:
    """The episode that two words name, (2,), before its first slot. Compiles."""
    state = task.reset(jax.random.fold_in(jax.random.key(named[0]), named[1]))
    nothing = {
        name: jax.ShapeDtypeStruct(
            (agents.count, agents.action.size), jnp.float32 if isinstance(agents.action, Continuous) else jnp.int32
        )
        for name, agents in task.spec.agents.items()
    }
    metrics = jax.eval_shape(lambda state, fields: task.step(state, task.action(**fields)), state, nothing)[1].metrics
    return Episode(state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics))


def advance(task: Task, episode: Episode, action: Any) -> tuple[Episode, Outcome]:
    """The episode a slot later, and what the slot brought. Compiles."""
    state, outcome = task.step(episode.state, action)
    return Episode(state, jax.tree.map(jnp.add, episode.totals, outcome.metrics)), outcome


def summary(task: Task, totals: Any) -> dict[str, float]:
    """The task's metrics of an episode, from its sums."""
    shares: dict[str, Ratio] = task.summary(jax.tree.map(np.asarray, totals))
    numbers = {name: (float(share.numerator), float(share.denominator)) for name, share in shares.items()}
    return {name: over / under if under else float("nan") for name, (over, under) in numbers.items()}
