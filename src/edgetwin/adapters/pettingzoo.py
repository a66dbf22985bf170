"""Any task as a PettingZoo parallel environment: one network, every agent of every class under its own name, with its own spaces.

Agents are called CLASS_INDEX, such as users_0 … users_29, stations_0 … stations_4, centre_0, also where a class has one. All act in
every slot; a slow class's action takes effect at its own times, which `metadata` has under "every" and "first".

Episodes are those of the Gymnasium adapter: drawn from a stream that `reset(seed=…)` starts, and none of a comparison's. Those are
played by number: `reset(seed=0, options={"episode": 3})`.
"""

import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.adapters.episodes import Episode, Same, advance, begin, checked_seed, summary, task_by_name, words
from edgetwin.errors import InputError, did_you_mean
from edgetwin.problem import Task

try:
    from gymnasium import spaces
    from gymnasium.error import ResetNeeded
    from gymnasium.utils import seeding
    from pettingzoo import ParallelEnv

    from edgetwin.adapters.spaces import checked_actions, spaces_of
except ModuleNotFoundError as missing:
    raise ImportError("edgetwin.adapters.pettingzoo needs PettingZoo: pip install 'edgetwin[rl]'") from missing


class Slot(NamedTuple):
    """What the agents learn of a slot: what they see after it, (agents, size) per class, and the outcome."""

    observations: Mapping[str, Any]
    rewards: Mapping[str, Any]
    terminated: Any
    truncated: Any
    metrics: Mapping[str, Any]


class PettingZooEnv(ParallelEnv[str, np.ndarray, Any]):
    """A task on one network, for all of its agents. `seed` starts the stream of episodes, as `reset(seed=…)` starts it anew.

    Observations and actions are those of the Gymnasium adapter, an agent each. All agents begin and end together: `terminated` and
    `truncated` are the task's. Every agent's info has the slot's metrics under "metrics", and in an episode's last slot the task's
    metrics of the episode under "summary"; both are there once, the same for all. `state()` is the critics' global state.
    Raises InputError for an action that its agent's space does not contain, and for agents that are missing or not there.
    """

    render_mode = None

    def __init__(self, task: Task, seed: int = 0):
        self.task = task
        self._classes = task.spec.agents
        self._names = {name: [f"{name}_{index}" for index in range(agents.count)] for name, agents in self._classes.items()}
        self.possible_agents = [agent for names in self._names.values() for agent in names]
        self.agents: list[str] = []
        own = {agent: spaces_of(self._classes[name]) for name, names in self._names.items() for agent in names}
        self.observation_spaces = {agent: seen for agent, (seen, _) in own.items()}
        self.action_spaces = {agent: done for agent, (_, done) in own.items()}
        if task.spec.state_size:
            self.state_space = spaces.Box(-np.inf, np.inf, (task.spec.state_size,), np.float32)
        self.metadata = {
            "name": f"edgetwin/{task.name}",
            "render_modes": [],
            "is_parallelizable": True,
            "every": {name: agents.every for name, agents in self._classes.items()},
            "first": {name: agents.first for name, agents in self._classes.items()},
        }
        self._programs = _programs(Same(id(task), task))
        self._stream, self._seed = seeding.np_random(checked_seed(seed))
        self._episode: Episode | None = None

    def observation_space(self, agent: str) -> spaces.Space:
        """What an agent sees: a Box of float32 within ± the spec's limit."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """What an agent may do: Discrete for one choice, MultiDiscrete for several, a Box for numbers."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """The next episode of the stream, which a seed starts anew; or with options {"episode": n}, the n-th of comparisons.

        Other options are left alone with a warning, since PettingZoo's own test passes one.
        """
        for option in sorted(set(options or ()) - {"episode"}):
            warnings.warn(f"reset has no option {option!r}: only 'episode', the number of a comparison's episode", stacklevel=2)
        if checked_seed(seed) is not None:
            self._stream, self._seed = seeding.np_random(seed)
        named = words(self._stream, self._seed, (options or {}).get("episode"), 1)[0]
        self._episode, observations = self._programs.begin(named)
        self.agents = list(self.possible_agents)
        return self._by_agent({name: np.array(seen) for name, seen in observations.items()}), {agent: {} for agent in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One slot, with an action of every agent. Raises ResetNeeded outside an episode."""
        if self._episode is None or not self.agents:
            raise ResetNeeded("no episode is under way: call reset() first")
        self._episode, slot = self._programs.advance(self._episode, self._checked(actions))
        told: dict[str, Any] = {"metrics": {name: _plain(leaf) for name, leaf in slot.metrics.items()}}
        terminated, truncated, acted = bool(slot.terminated), bool(slot.truncated), self.agents
        if terminated or truncated:
            told["summary"] = summary(self.task, self._episode.totals)
            self.agents = []
        return (
            self._by_agent({name: np.array(seen) for name, seen in slot.observations.items()}),
            self._by_agent({name: np.asarray(paid).tolist() for name, paid in slot.rewards.items()}),
            dict.fromkeys(acted, terminated),
            dict.fromkeys(acted, truncated),
            {agent: dict(told) for agent in acted},
        )

    def state(self) -> np.ndarray:
        """The critics' global state, (spec's state_size,). Raises NotImplementedError for a task that has none."""
        if not self.task.spec.state_size:
            return super().state()
        if self._episode is None:
            raise ResetNeeded("there is no state yet: call reset() first")
        return np.array(self._programs.state(self._episode.state))

    def _by_agent(self, stacked: Mapping[str, Any]) -> dict[str, Any]:
        """What is stacked by class, an agent each."""
        return {agent: one for name, names in self._names.items() for agent, one in zip(names, stacked[name], strict=True)}

    def _checked(self, actions: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The actions as the task wants them, (agents, size) per class."""
        if not isinstance(actions, Mapping):
            raise InputError(f"actions = {actions!r}: must be a dictionary with an action for every agent")
        if actions.keys() != self.observation_spaces.keys():
            for agent in actions:
                if agent not in self.observation_spaces:
                    near = did_you_mean(str(agent), self.possible_agents)
                    raise InputError(f"actions has {agent!r}, which is no agent of {self.task.name!r}{near}")
            missing = next(agent for agent in self.possible_agents if agent not in actions)
            raise InputError(f"actions has none of {missing}: all agents act in every slot")
        return {
            name: checked_actions(self._classes[name].action, names, [actions[agent] for agent in names])
            for name, names in self._names.items()
        }


def parallel_env(
    task: Task | str,
    scenario: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PettingZooEnv:
    """The environment of a task; or of one by name, on a scenario (by default the task's own) with dotted settings changed."""
    if isinstance(task, str):
        return PettingZooEnv(task_by_name(task, scenario, settings), seed)
    if scenario is not None or settings is not None:
        raise InputError(f"task {task.name!r} has its scenario: a scenario or settings go with a task's name")
    return PettingZooEnv(task, seed)


class _Programs(NamedTuple):
    begin: Any
    advance: Any
    state: Any


@lru_cache(maxsize=8)
def _programs(of: Same) -> _Programs:
    """A task's compiled functions, kept so that all environments of one task share them."""
    task: Task = of.value

    def by_class(fields):
        return {name: getattr(fields, name) for name in task.spec.agents}

    def see(state):
        return {name: seen.astype(jnp.float32) for name, seen in by_class(task.observe(state)).items()}

    def first(named):
        episode = begin(task, named)
        return episode, see(episode.state)

    def next_slot(episode, actions):
        after, outcome = advance(task, episode, task.action(**actions))
        leaves = jax.tree_util.tree_leaves_with_path(outcome.metrics)
        metrics = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
        return after, Slot(see(after.state), by_class(outcome.rewards), outcome.terminated, outcome.truncated, metrics)

    return _Programs(jax.jit(first), jax.jit(next_slot), jax.jit(lambda state: task.global_state(state).astype(jnp.float32)))


def _plain(leaf: Any) -> Any:
    """A number, or an array that nobody may write to."""
    values = np.asarray(leaf)
    return values if values.ndim else values.item()
