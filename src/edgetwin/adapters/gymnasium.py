"""Tasks with one agent as Gymnasium environments: one network at a time (`GymnasiumEnv`), or many at once (`GymnasiumVectorEnv`).

Importing this module registers every task that has a name, so `gymnasium.make("edgetwin/NAME-v0")` works afterwards; so does
`gymnasium.make("edgetwin.adapters.gymnasium:edgetwin/NAME-v0")`, which imports it.

Episodes are drawn from `np_random`, which `reset(seed=…)` seeds, and are none of a comparison's. Those are played by number:
`reset(seed=0, options={"episode": 3})` begins the fourth episode of comparisons with seed 0, `episode_keys(0, 4)[3]`.
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
from edgetwin.problem import AgentClass, Categorical, Continuous, Ratio, Task
from edgetwin.registry import problem, problems
from edgetwin.scenario import digest, scenario

try:
    import gymnasium as gym
    from gymnasium import spaces
    from gymnasium.error import ResetNeeded
    from gymnasium.utils import seeding
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as missing:
    raise ImportError("edgetwin.adapters.gymnasium needs Gymnasium: pip install 'edgetwin[rl]'") from missing

WORD = 2**32


class Episode(NamedTuple):
    """An episode under way: the task's state, and its metrics summed so far."""

    state: Any
    totals: Any


class Slot(NamedTuple):
    """What the agent learns of a slot: what it sees after it, and the outcome."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    metrics: Any


class GymnasiumEnv(gym.Env[np.ndarray, Any]):
    """A task with one agent as an environment. `seed` starts the stream of episodes, as `reset(seed=…)` starts it anew.

    Observations are a Box within the spec's limit, (observation size,). Actions: Discrete for one choice, MultiDiscrete for several,
    a Box for numbers. `info` has the slot's metrics by name, and in an episode's last slot under "summary" the task's metrics of it.
    Raises InputError for a task with several agents, and for an action that its space does not contain.
    """

    metadata = {"render_modes": []}

    def __init__(self, task: Task, seed: int = 0):
        self.task = task
        self._agents = _agent(task)[1]
        self.observation_space, self.action_space = _spaces(self._agents)
        self._programs = _programs(_Same(id(task), task))
        self._np_random, self._np_random_seed = seeding.np_random(_checked_seed(seed))
        self._episode: Episode | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The next episode of the stream, which a seed starts anew; or with options {"episode": n}, the n-th of comparisons."""
        super().reset(seed=_checked_seed(seed))
        words = _words(self.np_random, self.np_random_seed, options, 1)[0]
        self._episode, observation = self._programs.begin(words)
        return np.array(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One slot. Raises ResetNeeded outside an episode."""
        if self._episode is None:
            raise ResetNeeded("no episode is under way: call reset() first")
        self._episode, slot = self._programs.advance(self._episode, _checked_action(self._agents.action, action, ()))
        info: dict[str, Any] = {name: values.item() for name, values in _columns(slot.metrics, 0)}
        terminated, truncated = bool(slot.terminated), bool(slot.truncated)
        if terminated or truncated:
            info["summary"] = _summary(self.task, self._episode.totals)
            self._episode = None
        return np.array(slot.observation), float(slot.reward), terminated, truncated, info


class GymnasiumVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """A task with one agent on `num_envs` networks at once, in one compiled program; spaces, infos and errors as of `GymnasiumEnv`.

    Episodes that end begin anew in the same step: `info` then has "final_obs" and "final_info", as of gymnasium's SyncVectorEnv.
    With options {"episode": n}, the networks begin with episodes n, n+1, … of comparisons.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, task: Task, num_envs: int, seed: int = 0):
        if num_envs < 1:
            raise InputError(f"num_envs = {num_envs}: must be at least 1")
        self.task, self.num_envs = task, num_envs
        self._agents = _agent(task)[1]
        self.single_observation_space, self.single_action_space = _spaces(self._agents)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._programs = _programs(_Same(id(task), task))
        self._np_random, self._np_random_seed = seeding.np_random(_checked_seed(seed))
        self._episodes: Episode | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes everywhere. Returns observations (num_envs, observation size)."""
        super().reset(seed=_checked_seed(seed))
        words = _words(self.np_random, self._np_random_seed, options, self.num_envs)
        self._episodes, observations = self._programs.begin_all(words)
        return np.array(observations), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One slot everywhere. Raises ResetNeeded before the first reset."""
        if self._episodes is None:
            raise ResetNeeded("no episodes are under way: call reset() first")
        given = _checked_action(self._agents.action, actions, (self.num_envs,))
        words = _words(self.np_random, None, None, self.num_envs)
        self._episodes, observations, slots, totals = self._programs.advance_all(self._episodes, given, words)
        terminated, truncated = np.array(slots.terminated), np.array(slots.truncated)
        ended = terminated | truncated
        infos = _masked(_columns(slots.metrics, 1), ~ended) if not ended.all() else {}
        if ended.any():
            final, whole = np.full(self.num_envs, None, object), np.asarray(slots.observation)
            for index in np.flatnonzero(ended):
                final[index] = np.array(whole[index])
            last = _masked(_columns(slots.metrics, 1), ended) | _masked([("summary", self._summaries(totals, ended))], ended)
            infos |= _masked([("final_obs", final), ("final_info", last)], ended)
        return np.array(observations), np.array(slots.reward, float), terminated, truncated, infos

    def _summaries(self, totals: Any, ended: np.ndarray) -> dict[str, Any]:
        host = jax.tree.map(np.asarray, totals)
        columns = {name: np.zeros(self.num_envs) for name in self.task.spec.metrics}
        for index in np.flatnonzero(ended):
            for name, value in _summary(self.task, jax.tree.map(lambda leaf: leaf[index], host)).items():  # noqa: B023
                columns[name][index] = value
        return _masked(columns.items(), ended)


def make(task: str, scenario: str | Path | None = None, settings: Mapping[str, Any] | None = None, seed: int = 0) -> GymnasiumEnv:
    """The environment of a task by name, on a scenario (by default the task's own) with dotted settings changed."""
    return GymnasiumEnv(_task(task, scenario, settings), seed)


def make_vector(
    task: str,
    num_envs: int,
    scenario: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> GymnasiumVectorEnv:
    """As `make`, on `num_envs` networks at once."""
    return GymnasiumVectorEnv(_task(task, scenario, settings), num_envs, seed)


def register() -> None:
    """Makes every task that has a name known to Gymnasium as edgetwin/NAME-v0; keywords of `gymnasium.make` are those of `make`."""
    for name in problems():
        if (identity := f"edgetwin/{name}-v0") not in gym.registry:
            gym.register(
                identity,
                entry_point="edgetwin.adapters.gymnasium:make",
                vector_entry_point="edgetwin.adapters.gymnasium:make_vector",
                kwargs={"task": name},
            )


@dataclass(frozen=True)
class _Same:
    """A value for caches: one with the same mark is the same."""

    mark: Hashable
    value: Any = field(compare=False)


def _task(name: str, on: str | Path | None, settings: Mapping[str, Any] | None) -> Task:
    chosen = scenario(problem(name).scenario if on is None else on, settings)
    return _made(name, _Same(digest(chosen), chosen))


@lru_cache(maxsize=8)
def _made(name: str, on: _Same) -> Task:
    return problem(name).task(on.value)


class _Programs(NamedTuple):
    begin: Any
    advance: Any
    begin_all: Any
    advance_all: Any


@lru_cache(maxsize=8)
def _programs(of: _Same) -> _Programs:
    """A task's compiled functions, kept so that all environments of one task share them."""
    task: Task = of.value
    name, agents = _agent(task)
    kind = jnp.float32 if isinstance(agents.action, Continuous) else jnp.int32
    nothing = jax.ShapeDtypeStruct((1, agents.action.size), kind)

    def see(state):
        return getattr(task.observe(state), name)[0].astype(jnp.float32)

    def move(state, action):
        return task.step(state, task.action(**{name: action}))

    def begin(words):
        state = task.reset(jax.random.fold_in(jax.random.key(words[0]), words[1]))
        metrics = jax.eval_shape(move, state, nothing)[1].metrics
        return Episode(state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)), see(state)

    def advance(episode, action):
        state, outcome = move(episode.state, action)
        totals = jax.tree.map(jnp.add, episode.totals, outcome.metrics)
        reward = getattr(outcome.rewards, name)[0]
        return Episode(state, totals), Slot(see(state), reward, outcome.terminated, outcome.truncated, outcome.metrics)

    def advance_all(episodes, actions, words):
        after, slots = jax.vmap(advance)(episodes, actions)
        ended = slots.terminated | slots.truncated

        def renewed():
            def chosen(new, old):
                return jnp.where(ended.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

            return jax.tree.map(chosen, jax.vmap(begin)(words), (after, slots.observation))

        begun, observations = jax.lax.cond(ended.any(), renewed, lambda: (after, slots.observation))
        return begun, observations, slots, after.totals

    return _Programs(jax.jit(begin), jax.jit(advance), jax.jit(jax.vmap(begin)), jax.jit(advance_all))


def _agent(task: Task) -> tuple[str, AgentClass]:
    """The class of a task's only agent, by name."""
    classes = task.spec.agents
    if [agents.count for agents in classes.values()] != [1]:
        listed = ", ".join(f"{agents.count} {name}" for name, agents in classes.items())
        raise InputError(
            f"task {task.name!r} has several agents ({listed}) where a Gymnasium environment has one: "
            "write a Policy for it, or use a learner of edgetwin's own"
        )
    return next(iter(classes.items()))


def _spaces(agents: AgentClass) -> tuple[spaces.Box, spaces.Space]:
    """What is seen and what may be done, as Gymnasium says it."""
    seen = spaces.Box(-agents.observation_limit, agents.observation_limit, (agents.observation_size,), np.float32)
    match agents.action:
        case Continuous(size, low, high):
            return seen, spaces.Box(low, high, (size,), np.float32)
        case Categorical(1, choices):
            return seen, spaces.Discrete(choices)
        case Categorical(heads, choices):
            return seen, spaces.MultiDiscrete([choices] * heads)


def _checked_seed(seed: int | None) -> int | None:
    if seed is not None and not seed >= 0:
        raise InputError(f"seed = {seed}: must be a whole number, at least 0")
    return seed


def _words(stream: np.random.Generator, seed: int | None, options: Mapping[str, Any] | None, count: int) -> np.ndarray:
    """The two words that name each of `count` episodes, (count, 2): drawn from the stream; for comparisons' episodes, seed and number."""
    unknown = sorted(set(options or ()) - {"episode"})
    if unknown:
        raise InputError(f"reset has no option {unknown[0]!r}: only 'episode', the number of a comparison's episode")
    if not options:
        return stream.integers(WORD, size=(count, 2), dtype=np.uint32)
    number = options["episode"]
    if not isinstance(number, int | np.integer) or not 0 <= number <= WORD - count:
        raise InputError(f"option episode = {number!r}: must be a whole number, at least 0")
    if seed is None or not 0 <= seed < WORD:
        raise InputError(f"seed = {seed}: comparisons have seeds from 0 to 2^32 - 1")
    return np.stack([np.full(count, seed), number + np.arange(count)], axis=1).astype(np.uint32)


def _checked_action(allowed: Continuous | Categorical, given: Any, batch: tuple[int, ...]) -> np.ndarray:
    """Actions with the axes of `batch` first, as the task wants them: (…, 1 agent, size)."""
    numbers = isinstance(allowed, Continuous)
    low, high = (allowed.low, allowed.high) if isinstance(allowed, Continuous) else (0, allowed.choices - 1)
    single = not numbers and allowed.size == 1
    shape, values = batch if single else (*batch, allowed.size), np.asarray(given)
    fits = values.shape == shape and values.dtype.kind in ("f" if numbers else "iu")
    if fits:
        values = values.astype(np.float32 if numbers else np.int64)
        fits = bool(np.all((low <= values) & (values <= high)))
    if not fits:
        what = "number" if numbers else "whole number"
        wanted = f"{what}s of shape {shape}" if shape else f"one {what}"
        raise InputError(f"action = {np.array2string(np.asarray(given), threshold=8)}: must be {wanted} from {low} to {high}")
    return values.reshape(*batch, 1, allowed.size)


def _columns(metrics: Any, axes: int) -> list[tuple[str, np.ndarray]]:
    """The numbers in a pytree by name, such as `cost` or `delays.3`; the first `axes` axes stay."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(metrics):
        name, values = jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(leaf)
        inner = values.shape[axes:]
        found += [(".".join([name, *map(str, at)]), values[(..., *at)]) for at in np.ndindex(inner)]
    return found


def _masked(columns: Any, mask: np.ndarray) -> dict[str, Any]:
    """Gymnasium's infos of a batch: values by name, and under _name whose they are; nothing (0) where they are nobody's."""
    infos: dict[str, Any] = {}
    for name, values in columns:
        if isinstance(values, np.ndarray) and values.dtype != object:
            values = np.where(mask, values, np.zeros((), values.dtype))
        infos |= {name: values, f"_{name}": mask.copy()}
    return infos


def _summary(task: Task, totals: Any) -> dict[str, float]:
    summary: dict[str, Ratio] = task.summary(jax.tree.map(np.asarray, totals))
    shares = {name: (float(ratio.numerator), float(ratio.denominator)) for name, ratio in summary.items()}
    return {name: over / under if under else float("nan") for name, (over, under) in shares.items()}


register()
