"""The contracts everything else meets: what a decision problem (`Task`) and a decision maker (`Policy`) are.

A task is a world that moves in slots. Its agents come in classes (users, stations, centre); observations, actions and rewards are
named tuples with one stacked array per class. What is random in a slot is drawn from the task's own streams, before `observe`,
never from a policy's key: so all policies meet the same world (common random numbers).

A policy says what it may know and where it runs. Rules, optimisers and trained networks are all policies and stand in one table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from edgetwin.errors import InputError

Information = Literal["observation", "state", "trace"]
RunsOn = Literal["device", "host"]
KNOWLEDGE: tuple[Information, ...] = ("observation", "state", "trace")


@dataclass(frozen=True)
class Continuous:
    """An action of `size` real numbers in [low, high] per agent."""

    size: int
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Categorical:
    """An action of `heads` choices per agent, each an integer in 0 … choices−1."""

    heads: int
    choices: int

    @property
    def size(self) -> int:
        return self.heads


@dataclass(frozen=True)
class AgentClass:
    """A class of like agents: how many, the sizes of what they see and do, and when what they do takes effect.

    `act` is asked in every slot; the action of slot n takes effect where n is a multiple of `every` and n ≥ `first`.
    Observations stay within ±`observation_limit`.
    """

    count: int
    observation_size: int
    action: Continuous | Categorical
    every: int = 1
    first: int = 0
    observation_limit: float = 10.0


@dataclass(frozen=True)
class Metric:
    """What is reported: its unit, and which way is better (None: neither)."""

    unit: str
    better: Literal["lower", "higher"] | None
    meaning: str


@dataclass(frozen=True)
class Spec:
    """What a task looks like from outside.

    `agents` names the classes in the order of the fields of observation, action and reward. `slots` is an episode's length,
    `comparison_slots` that of an episode in comparisons, `slot_s` the duration of a slot where it has one. Pictures show the two metrics
    of `frontier` against each other, and `curves` over time, a point per `report_slots`. `state_size` is the length of the critics'
    global state (0: none).
    """

    agents: Mapping[str, AgentClass]
    metrics: Mapping[str, Metric]
    slots: int
    comparison_slots: int
    report_slots: int
    slot_s: float | None = None
    frontier: tuple[str, str] | None = None
    curves: tuple[str, ...] = ()
    state_size: int = 0


class Ratio(NamedTuple):
    """An episode's share in a metric: metrics pool numerators and denominators over episodes before dividing."""

    numerator: Any
    denominator: Any


class Outcome(NamedTuple):
    """What a slot brought. `terminated` ends the problem, `truncated` only the watching (the value goes on: bootstrap).

    rewards: a named tuple like the action's, (agents,) per class. metrics: a pytree of numbers that are summed over the slots of an
    episode; `Task.summary` makes the metrics of the sums.
    """

    rewards: Any
    terminated: Any
    truncated: Any
    metrics: Any


class Scene(NamedTuple):
    """A picture of a slot, for maps: positions in metres, and for each user its serving site, its twin's site and what befell it."""

    sites_m: Any
    server_sites: Any
    users_m: Any
    serving_site: Any
    host_site: Any
    requesting: Any
    failed: Any
    migrating: Any


class Task(Protocol):
    """A decision problem on one network. All methods are pure; those on states and actions jit, vmap and scan.

    `action(users=…, stations=…, …)` makes an action of one array per class. `world(state)` is what the slot's draws made, the same
    whatever was done; `trace(key, slots)` is the worlds of an episode's first slots ahead of time, slots first. `bound(keys, slots)`
    prepares, once for those episodes, a function from a policy's metrics to proven bounds {metric: value} for any policy with those
    metrics, or returns None where no bound is known. `scene(state, after, outcome)` is a picture of the slot that led from one state to
    the next, or None.
    """

    name: str
    scenario: Any
    spec: Spec

    def reset(self, key: jax.Array) -> Any: ...
    def observe(self, state: Any) -> Any: ...
    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]: ...
    @property
    def action(self) -> Callable[..., Any]: ...
    def global_state(self, state: Any) -> jax.Array: ...
    def world(self, state: Any) -> Any: ...
    def trace(self, key: jax.Array, slots: int) -> Any: ...
    def summary(self, totals: Any) -> dict[str, Ratio]: ...
    def bound(self, keys: jax.Array, slots: int) -> "Callable[[Mapping[str, float]], dict[str, float]] | None": ...
    def scene(self, state: Any, after: Any, outcome: Outcome) -> Scene | None: ...


class View(NamedTuple):
    """What a policy is shown: its agents' observations; and the full state, or also the episode's draws, where it declares them."""

    observation: Any
    state: Any = None
    trace: Any = None


@dataclass(frozen=True)
class Param:
    """A knob of a policy: its value, and whether it was tuned (on other episodes) rather than given."""

    value: float | int | str | bool
    tuned: bool = False


def _stateless(key: jax.Array, view: View) -> Any:
    return ()


@dataclass(frozen=True)
class Policy:
    """A decision maker for a task.

    `act(carry, view, key) → (carry, action)` is called in every slot, `init(key, view) → carry` once before. `task` is the world it
    decides in, or a relaxed copy that only a reference may use. `controls` names the agent classes it decides for.
    A "device" policy jits and scans; a "host" policy is plain NumPy, one network at a time.
    """

    name: str
    task: Any
    act: Callable[[Any, View, Any], tuple[Any, Any]]
    init: Callable[[Any, View], Any] = _stateless
    information: Information = "observation"
    runs_on: RunsOn = "device"
    params: Mapping[str, Param] = field(default_factory=lambda: MappingProxyType({}))
    controls: tuple[str, ...] = ()
    reference: bool = False

    def view(self, observation: Any, state: Any, trace: Any) -> View:
        """The part of what there is to know that this policy declares."""
        return View(
            observation,
            state if self.information in ("state", "trace") else None,
            trace if self.information == "trace" else None,
        )


def random_action(task: Task, key: Any) -> Any:
    """A uniformly random action for every agent of a task: the baseline of the contract kit and of speed measurements."""
    fields = {}
    for name, agents in task.spec.agents.items():
        key, own = jax.random.split(key)
        flat, shape = (agents.count * agents.action.size,), (agents.count, agents.action.size)
        if isinstance(agents.action, Continuous):
            drawn = jax.random.uniform(own, flat, minval=agents.action.low, maxval=agents.action.high)
        else:
            drawn = jax.random.randint(own, flat, 0, agents.action.choices)
        fields[name] = drawn.reshape(shape)
    return task.action(**fields)


def episode_keys(seed: int, episodes: int) -> jax.Array:
    """Keys of a comparison's episodes, one a network; the same for every policy. Returns (episodes,)."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed = {seed}: must be a whole number from 0 to 2^32 - 1")
    key = jax.random.key(seed)
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(np.arange(episodes))


@dataclass(frozen=True)
class Problem:
    """A decision problem as the registry knows it: its task, the scenario it has by default, and its policies' factories.

    A factory is `f(task, *, knob: float = 1.0, …) -> Policy`: its keyword arguments are the knobs that a name may set in brackets. Where
    it has an attribute `relax`, a function from a task to a relaxed copy, the policy is a reference that decides in that copy.
    `compared` are the names that a comparison shows where none are given, or a function from the task to them. What is loaded on use
    only is named "package.module:NAME": `learners`, a mapping from an algorithm's name to a factory `f(task, *, knob=…) -> Learner`
    (`learning.learner`); `studies`, a mapping from a figure's name to a `Study` (`evaluation.study`); `solver`, a function
    `(files, policy name) -> rows` for frozen instances; `families`, a function `(task, joined) -> {family: policy names}` of policies that
    trade the two frontier metrics for each other by a knob, in its order, each joined with the policy `joined` (None: the problem's choice).
    """

    summary: str
    scenario: str
    task: Callable[[Any], Task]
    policies: Mapping[str, Callable[..., Policy]]
    compared: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = ()
    learners: str | None = None
    studies: str | None = None
    solver: str | None = None
    families: str | None = None

    def shown(self, task: Any) -> tuple[str, ...]:
        """The names that a comparison on this task shows where none are given."""
        return self.compared(task) if callable(self.compared) else self.compared
