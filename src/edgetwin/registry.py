"""Where tasks and policies are found by name: the built-in problems, loaded on use, and what third parties install.

Third parties add entry points: group `edgetwin.problems`, NAME = "package.module:PROBLEM" (a `Problem`); group `edgetwin.policies`,
"TASK/NAME" = "package.module:factory"; group `edgetwin.learners` likewise. A problem can also be named as
"package.module:PROBLEM" without being installed.

A policy's name may carry its knobs, `inversion[snr=5]`, and join policies that decide for different agent classes, `full-power+nearest`.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jax

from edgetwin.errors import InputError, did_you_mean
from edgetwin.problem import KNOWLEDGE, Param, Policy, Problem, Task, View

BUILT_IN = {
    "placement": "edgetwin.association:PLACEMENT",
    "migration": "edgetwin.association:MIGRATION",
    "two-timescale": "edgetwin.two_timescale:PROBLEM",
    "network-sync": "edgetwin.network_sync:PROBLEM",
}

_PART = re.compile(r"^(?P<name>[A-Za-z0-9_-]+)(\[(?P<params>[^\[\]]*)\])?$")


def problems() -> list[str]:
    """The names of all tasks, built in and installed."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group="edgetwin.problems"))})


def problem(name: str) -> Problem:
    """The problem called `name`. Raises InputError that lists what there is."""
    if name in BUILT_IN:
        return _load(BUILT_IN[name])
    for point in entry_points(group="edgetwin.problems"):
        if point.name == name:
            return point.load()
    if ":" in name:
        return _load(name)
    raise InputError(f"task {name!r} is not known: choose one of {', '.join(problems())}{did_you_mean(name, problems())}")


def factories(task: Task) -> dict[str, Callable[..., Policy]]:
    """Every policy that can be named for a task: its problem's own and those that third parties add under its name."""
    return {**problem(task.name).policies, **_added("edgetwin.policies", task)}


def policy(task: Task, name: str, known: Mapping[str, Callable[..., Policy]] | None = None) -> Policy:
    """The policy that `name` describes, for this task, of the factories `known` (by default all that are registered for it).

    Raises InputError for an unknown policy or knob, and where an agent class has nobody or two parts that decide for it.
    """
    known = factories(task) if known is None else known
    parts = [parsed(part, known) for part in _split(name)]
    for factory, _ in parts:
        task = getattr(factory, "relax", lambda same: same)(task)
    made = []
    for text, (factory, knobs) in zip(_split(name), parts, strict=True):
        part = factory(task, **knobs)
        params = part.params or {key: Param(value) for key, value in knobs.items()}
        made.append(replace(part, name=text, params=params))
    reference = any(hasattr(factory, "relax") for factory, _ in parts)
    return replace(join(task, made, name), name=name, task=task, reference=reference)


def studies() -> dict[str, Any]:
    """Every problem's studies by their whole names, PAPER/FIGURE: the paper's name is the problem's, or is in the study's key."""
    return {name: study for problem_name in problems() for name, study in _studies_of(problem_name).items()}


def study(name: str) -> Any:
    """The study called PAPER/FIGURE, or package.module:PROBLEM/FIGURE of a problem that is not installed.

    Raises InputError that lists what there is.
    """
    owner = name.partition("/")[0]
    known = _studies_of(owner) if ":" in owner else studies()
    if name not in known:
        listed = f"choose one of {', '.join(sorted(known))}" if known else "there is none to choose"
        raise InputError(f"study {name!r} is not known: {listed}{did_you_mean(name, known)}")
    return known[name]


def _studies_of(name: str) -> dict[str, Any]:
    where = problem(name).studies
    found = {} if where is None else _load(where)
    return {key if "/" in key and ":" not in name else f"{name}/{key}": study for key, study in found.items()}


def solver(name: str) -> Callable[[list[Path], str], list[dict[str, Any]]]:
    """What solves frozen instances of a task: (files, policy name) → rows. Raises InputError where a task has none."""
    target = problem(name).solver
    if target is None:
        solved = [each for each in problems() if problem(each).solver is not None]
        raise InputError(f"task {name!r} has no frozen instances to solve: {', '.join(solved)} has")
    return _load(target)


def families(task: Task, joined: str | None = None, own_problem: Problem | None = None) -> dict[str, tuple[str, ...]]:
    """The names of policies that make a task's frontiers, by family, each joined with the policy `joined` (by default the problem's choice).

    Raises InputError where the problem, found by the task's name where it is not given, has none.
    """
    target = (own_problem or problem(task.name)).families
    if target is None:
        having = ", ".join(name for name in problems() if problem(name).families is not None)
        raise InputError(f"task {task.name!r} has no families of policies to draw frontiers of: {having} has")
    return _load(target)(task, joined)


def learner_factories(task: Task, own_problem: Problem | None = None) -> dict[str, Callable[..., Any]]:
    """Every algorithm that can be named for a task: its problem's own and those that third parties add under its name.

    The problem is found by the task's name where it is not given.
    """
    target = (own_problem or problem(task.name)).learners
    own = _load(target) if target is not None else {}
    return {**own, **_added("edgetwin.learners", task)}


def learner(task: Task, name: str, known: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """The learner that `name` describes for this task, such as `sac[discount=0.8]`, of the factories `known` (by default all of the task's).

    Raises InputError for an unknown algorithm or knob, and where there are none.
    """
    known = learner_factories(task) if known is None else known
    if not known:
        raise InputError(f"task {task.name!r} has no algorithms to train with")
    factory, knobs = parsed(name.strip(), known, "algorithm")
    return replace(factory(task, **knobs), name=name.strip())


def only(policy: Policy, *classes: str) -> Policy:
    """A policy as it decides for some agent classes alone, to be joined with others that decide for the rest."""

    def act(carry: Any, view: View, key: jax.Array) -> tuple[Any, Any]:
        carry, action = policy.act(carry, view, key)
        return carry, {name: getattr(action, name) for name in classes}

    return Policy(
        name=policy.name,
        task=policy.task,
        act=act,
        init=policy.init,
        information=policy.information,
        runs_on=policy.runs_on,
        params=policy.params,
        controls=classes,
        reference=policy.reference,
    )


def join(task: Task, parts: list[Policy], name: str) -> Policy:
    """One policy, called `name`, of several that decide for different agent classes. Raises InputError where a class has nobody, or two."""
    classes = set(task.spec.agents)
    controlled = [agents for part in parts for agents in (part.controls or tuple(classes))]
    twice = sorted({agents for agents in controlled if controlled.count(agents) > 1})
    if twice:
        raise InputError(f"policy {name!r}: more than one part decides for {', '.join(twice)}")
    missing = sorted(classes - set(controlled))
    if missing:
        names = problem(task.name).shown(task) if task.name in problems() else ()
        example = f", as in {names[0]}" if names else ""
        raise InputError(f"policy {name!r}: nobody decides for {', '.join(missing)}; join a part that does with '+'{example}")
    if len(parts) == 1 and not parts[0].controls:
        return parts[0]

    def init(key: jax.Array, view: View) -> Any:
        return tuple(part.init(jax.random.fold_in(key, index), view) for index, part in enumerate(parts))

    def act(carry: Any, view: View, key: jax.Array) -> tuple[Any, Any]:
        carries, fields = [], {}
        for index, part in enumerate(parts):
            after, decided = part.act(carry[index], view, jax.random.fold_in(key, index))
            carries.append(after)
            fields.update(decided)
        return tuple(carries), task.action(**fields)

    return Policy(
        name=name,
        task=task,
        act=act,
        init=init,
        information=max((part.information for part in parts), key=KNOWLEDGE.index),
        runs_on="host" if any(part.runs_on == "host" for part in parts) else "device",
        params=_params(parts),
    )


def _params(parts: list[Policy]) -> dict[str, Param]:
    """The knobs of all parts; one that several parts have is told apart by its part's name."""
    keys = [key for part in parts for key in part.params]
    return {
        key if keys.count(key) == 1 else f"{part.name.split('[')[0]}.{key}": value
        for part in parts
        for key, value in part.params.items()
    }


def _added(group: str, task: Task) -> dict[str, Any]:
    """What entry points of a group add to a task: those named TASK/NAME, by NAME."""
    points = [point for point in entry_points(group=group) if point.name.startswith(f"{task.name}/")]
    return {point.name.removeprefix(f"{task.name}/"): point.load() for point in points}


def _split(name: str) -> list[str]:
    """`a[x=1]+b` as its parts; a plus sign inside brackets belongs to a number."""
    return [part.strip() for part in re.split(r"\+(?![^\[]*\])", name)]


def parsed(part: str, known: Mapping[str, Callable[..., Any]], what: str = "policy") -> tuple[Callable[..., Any], dict[str, Any]]:
    """The factory and the knobs of one name; `what` it names is said in errors."""
    match = _PART.match(part)
    if match is None:
        joined = ", joined with '+'" if what == "policy" else ""
        raise InputError(f"{what} {part!r}: write a name, or name[knob=value,…]{joined}")
    name = match["name"]
    if name not in known:
        raise InputError(
            f"{what} {name!r} is not known: choose among {', '.join(sorted(known))}{did_you_mean(name, list(known))}"
        )
    factory = known[name]
    allowed = {
        key: parameter
        for key, parameter in inspect.signature(factory, eval_str=True).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    knobs = {key: parameter.default for key, parameter in allowed.items()}
    for setting in filter(None, (text.strip() for text in (match["params"] or "").split(","))):
        key, equals, value = (text.strip() for text in setting.partition("="))
        if key not in allowed:
            having = f"its knobs are {', '.join(allowed)}" if allowed else "it has none"
            raise InputError(f"{what} {name!r} has no knob {key!r}: {having}{did_you_mean(key, list(allowed))}")
        if not equals or not value:
            raise InputError(f"{what} {name!r}: write {key}=VALUE")
        kind = allowed[key].annotation
        knobs[key] = _converted(what, name, key, value, type(knobs[key]) if kind is inspect.Parameter.empty else kind, knobs[key])
    missing = [key for key, value in knobs.items() if value is inspect.Parameter.empty]
    if missing:
        raise InputError(f"{what} {name!r} needs {', '.join(missing)}: write {name}[{missing[0]}=VALUE]")
    return factory, knobs


def _converted(what: str, name: str, key: str, value: str, kind: Any, default: Any) -> Any:
    """A knob's value as its kind; an infinite number only where that is the default."""
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise InputError(f"{what} {name!r}: {key} = {value}: must be true or false")
        return value.lower() == "true"
    try:
        number = kind(value)
    except ValueError:
        raise InputError(f"{what} {name!r}: {key} = {value}: must be {'a whole number' if kind is int else 'a number'}") from None
    if kind is float and not (abs(number) < float("inf") or number == default):
        raise InputError(f"{what} {name!r}: {key} = {value}: must be a finite number")
    return number


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{target}: cannot be loaded ({error})") from None
