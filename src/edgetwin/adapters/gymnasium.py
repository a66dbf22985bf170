"""Tasks with one agent as Gymnasium environments: one network at a time (`GymnasiumEnv`), or many at once (`GymnasiumVectorEnv`).

Importing this module registers every task that has a name, so `gymnasium.make("edgetwin/NAME-v0")` works afterwards; so does
`gymnasium.make("edgetwin.adapters.gymnasium:edgetwin/NAME-v0")`, which imports it.

Episodes are drawn from `np_random`, which `reset(seed=…)` seeds, and are none of a comparison's. Those are played by number:
`reset(seed=0, options={"episode": 3})` begins the fourth episode of comparisons with seed 0, `episode_keys(0, 4)[3]`.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.adapters.episodes import Episode, Same, advance, begin, checked_seed, summary, task_by_name, words
from edgetwin.errors import InputError
from edgetwin.problem import AgentClass, Task
from edgetwin.registry import problems

try:
    import gymnasium as gym
    from gymnasium.error import ResetNeeded
    from gymnasium.utils import seeding
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space

    from edgetwin.adapters.spaces import checked_action, spaces_of
except ModuleNotFoundError as missing:
    raise ImportError("edgetwin.adapters.gymnasium needs Gymnasium: pip install 'edgetwin[rl]'") from missing


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
        self.observation_space, self.action_space = spaces_of(self._agents)
        self._programs = _programs(Same(id(task), task))
        self._np_random, self._np_random_seed = seeding.np_random(checked_seed(seed))
        self._episode: Episode | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The next episode of the stream, which a seed starts anew; or with options {"episode": n}, the n-th of comparisons."""
        super().reset(seed=checked_seed(seed))
        named = words(self.np_random, self.np_random_seed, _number(options), 1)[0]
        self._episode, observation = self._programs.begin(named)
        return np.array(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One slot. Raises ResetNeeded outside an episode."""
        if self._episode is None:
            raise ResetNeeded("no episode is under way: call reset() first")
        self._episode, slot = self._programs.advance(self._episode, checked_action(self._agents.action, action, ()))
        info: dict[str, Any] = {name: values.item() for name, values in _columns(slot.metrics, 0)}
        terminated, truncated = bool(slot.terminated), bool(slot.truncated)
        if terminated or truncated:
            info["summary"] = summary(self.task, self._episode.totals)
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
        self.single_observation_space, self.single_action_space = spaces_of(self._agents)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._programs = _programs(Same(id(task), task))
        self._np_random, self._np_random_seed = seeding.np_random(checked_seed(seed))
        self._episodes: Episode | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes everywhere. Returns observations (num_envs, observation size)."""
        super().reset(seed=checked_seed(seed))
        named = words(self.np_random, self._np_random_seed, _number(options), self.num_envs)
        self._episodes, observations = self._programs.begin_all(named)
        return np.array(observations), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One slot everywhere. Raises ResetNeeded before the first reset."""
        if self._episodes is None:
            raise ResetNeeded("no episodes are under way: call reset() first")
        given = checked_action(self._agents.action, actions, (self.num_envs,))
        named = words(self.np_random, None, None, self.num_envs)
        self._episodes, observations, slots, totals = self._programs.advance_all(self._episodes, given, named)
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
            for name, value in summary(self.task, jax.tree.map(lambda leaf: leaf[index], host)).items():  # noqa: B023
                columns[name][index] = value
        return _masked(columns.items(), ended)


def make(task: str, scenario: str | Path | None = None, settings: Mapping[str, Any] | None = None, seed: int = 0) -> GymnasiumEnv:
    """The environment of a task by name, on a scenario (by default the task's own) with dotted settings changed."""
    return GymnasiumEnv(task_by_name(task, scenario, settings), seed)


def make_vector(
    task: str,
    num_envs: int,
    scenario: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> GymnasiumVectorEnv:
    """As `make`, on `num_envs` networks at once."""
    return GymnasiumVectorEnv(task_by_name(task, scenario, settings), num_envs, seed)


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


class _Programs(NamedTuple):
    begin: Any
    advance: Any
    begin_all: Any
    advance_all: Any


@lru_cache(maxsize=8)
def _programs(of: Same) -> _Programs:
    """A task's compiled functions, kept so that all environments of one task share them."""
    task: Task = of.value
    name = _agent(task)[0]

    def see(state):
        return getattr(task.observe(state), name)[0].astype(jnp.float32)

    def first(named):
        episode = begin(task, named)
        return episode, see(episode.state)

    def next_slot(episode, action):
        after, outcome = advance(task, episode, task.action(**{name: action}))
        reward = getattr(outcome.rewards, name)[0]
        return after, Slot(see(after.state), reward, outcome.terminated, outcome.truncated, outcome.metrics)

    def next_slots(episodes, actions, named):
        after, slots = jax.vmap(next_slot)(episodes, actions)
        ended = slots.terminated | slots.truncated

        def renewed():
            def chosen(new, old):
                return jnp.where(ended.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

            return jax.tree.map(chosen, jax.vmap(first)(named), (after, slots.observation))

        begun, observations = jax.lax.cond(ended.any(), renewed, lambda: (after, slots.observation))
        return begun, observations, slots, after.totals

    return _Programs(jax.jit(first), jax.jit(next_slot), jax.jit(jax.vmap(first)), jax.jit(next_slots))


def _agent(task: Task) -> tuple[str, AgentClass]:
    """The class of a task's only agent, by name."""
    classes = task.spec.agents
    if [agents.count for agents in classes.values()] != [1]:
        listed = ", ".join(f"{agents.count} {name}" for name, agents in classes.items())
        raise InputError(
            f"task {task.name!r} has several agents ({listed}) where a Gymnasium environment has one: "
            "edgetwin.adapters.pettingzoo has them all; or write a Policy for it, or use a learner of edgetwin's own"
        )
    return next(iter(classes.items()))


def _number(options: Mapping[str, Any] | None) -> Any:
    """The number of a comparison's episode that the options of a reset name, if they do."""
    unknown = sorted(set(options or ()) - {"episode"})
    if unknown:
        raise InputError(f"reset has no option {unknown[0]!r}: only 'episode', the number of a comparison's episode")
    return (options or {}).get("episode")


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


register()
