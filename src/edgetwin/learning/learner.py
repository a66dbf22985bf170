"""The contract of a learner: pure functions from an array state to the next, which one host loop (`trainer`) drives for all of them.

A learner collects experience in many environments side by side and learns from it, both inside one compiled program, a *block*.
Everything that changes is in its state: parameters, targets, optimiser, replay, environments, random key and counters. So a stored
state is a whole checkpoint. A learner of several agent classes returns an action with a field for each; nothing here counts agents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax

from edgetwin.errors import InputError
from edgetwin.problem import AgentClass, Categorical, Continuous, Task

BUDGETS = {"quick": 100_000, "paper": 1_000_000}


@dataclass(frozen=True, eq=False)
class Learner:
    """An algorithm fitted to a task.

    `settings` is a NamedTuple of all hyperparameters: plain numbers, words, and tuples of them. `init(key) → state`, a pytree of arrays.
    `block(state) → (state, figures)` learns from the next `block_slots` slots (of all environments together) and compiles; figures
    are numbers or rows of them by name: losses, whose names end so; `return`, the mean return of the episodes that ended (NaN where none
    did); and of a learner that may let a block pass without learning `updates`, how often it learned.
    `policy(state) → params` are what a decision needs, `act(params, observation, key) → action` is the policy that is evaluated and kept.
    `learned(state)` is all that is learned (by default what `policy` gives): a training stops when it or a loss is no longer finite.
    `budgets` are the slots of a short and of a full training. `begin(state)`, on the host, is what a fresh state becomes where training
    does not begin from nothing, and `origin` is plain data that says from what; `after(state) → (state, figures)`, if any, follows each block
    and is compiled by itself.
    """

    name: str
    task: Task
    settings: Any
    block_slots: int
    init: Callable[[jax.Array], Any]
    block: Callable[[Any], tuple[Any, Mapping[str, jax.Array]]]
    policy: Callable[[Any], Any]
    act: Callable[[Any, Any, jax.Array], Any]
    learned: Callable[[Any], Any] | None = None
    budgets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(BUDGETS))
    begin: Callable[[Any], Any] = lambda state: state
    origin: Mapping[str, Any] | None = None
    after: Callable[[Any], tuple[Any, Mapping[str, jax.Array]]] | None = None


def only_choice(task: Task, algorithm: str) -> tuple[str, int, int]:
    """For learners of one agent with one choice: the name of its class, the observation's size and the number of choices.

    Raises InputError for a task with other agents or actions.
    """
    agents = task.spec.agents
    counts = ", ".join(f"{each.count} {name}" for name, each in agents.items())
    if sum(each.count for each in agents.values()) != 1:
        raise InputError(f"{algorithm}: learns for one agent, but {task.name} has several ({counts})")
    name, agent = next(iter(agents.items()))
    action = agent.action
    if not isinstance(action, Categorical):
        raise InputError(f"{algorithm}: learns one choice, but the action of {task.name} is {action.size} real numbers")
    if action.heads != 1:
        joint = f"the joint action would have {action.choices}^{action.heads} values"
        raise InputError(f"{algorithm}: learns one choice, but an action of {task.name} is {action.heads} choices ({joint})")
    return name, agent.observation_size, action.choices


def only_real_numbers(task: Task, algorithm: str) -> tuple[str, AgentClass, Continuous]:
    """For learners of agents of one class whose actions are real numbers: the class's name, the class, and the kind of its actions.

    Raises InputError for a task with other agents or actions.
    """
    agents = task.spec.agents
    if len(agents) != 1:
        raise InputError(f"{algorithm}: learns for agents of one class, but {task.name} has several ({', '.join(agents)})")
    name, each = next(iter(agents.items()))
    if not isinstance(each.action, Continuous):
        raise InputError(f"{algorithm}: learns real numbers, but an action of {task.name} is {_counted(each.action)}")
    return name, each, each.action


def _counted(action: Categorical) -> str:
    heads = "a choice" if action.heads == 1 else f"{action.heads} choices"
    return f"{heads} of {action.choices}"


def check_settings(algorithm: str, settings: Any) -> None:
    """Raises InputError where a hyperparameter that most learners share makes no sense."""
    limits: dict[str, tuple[Callable[[Any], bool], str]] = {
        "discount": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
        "temperature": (lambda value: value > 0, "above 0"),
        "learning_rate": (lambda value: value > 0, "above 0"),
        "policy_learning_rate": (lambda value: value > 0, "above 0"),
        "noise_std": (lambda value: value >= 0, "at least 0"),
        "association_noise_s": (lambda value: value >= 0, "at least 0"),
        "trace_decay": (lambda value: 0 <= value <= 1, "from 0 to 1"),
        "error_limit": (lambda value: value > 0, "above 0"),
        "gradient_limit": (lambda value: value > 0, "above 0"),
        "actor_batch": (lambda value: 1 <= value <= settings.batch, "at least 1 and at most batch"),
        "critic_first": (lambda value: value >= 0, "at least 0"),
        "target_rate": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
        "batch": (lambda value: value >= 1, "at least 1"),
        "replay": (lambda value: value >= settings.environments, f"at least environments = {settings.environments}"),
        "hidden": (lambda value: all(width >= 1 for width in value), "widths of at least 1"),
        "environments": (lambda value: value >= 1, "at least 1"),
        "first_update": (lambda value: value >= 0, "at least 0"),
        "exploration_slots": (lambda value: value >= 1, "at least 1"),
        "critic_learning_rate": (lambda value: value > 0, "above 0"),
        "slots_per_update": (lambda value: value >= 1, "at least 1"),
        "epochs": (lambda value: value >= 0, "at least 0"),
        "minibatches": (lambda value: value >= 1, "at least 1"),
        "anneal_slots": (lambda value: value >= 0, "at least 0 (0: never)"),
        "clip": (lambda value: value > 0, "above 0"),
        "entropy": (lambda value: value >= 0, "at least 0"),
        "exploration_end": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    }
    for key, value in settings._asdict().items():
        if key in limits and not limits[key][0](value):
            raise InputError(f"{algorithm}: {key} = {value}: must be {limits[key][1]}")
