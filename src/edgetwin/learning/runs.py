"""What a training leaves behind: a folder, and in it the policy, which is loaded without the trainer and competes as any other.

run.json             what was asked for: task, scenario with all values and digest, algorithm, settings, seed, budget, versions
metrics.jsonl        a line per block: slots, seconds, figures of the training; and of the evaluations
checkpoint.safetensors   the learner's whole state, from which training goes on
policy.safetensors   the parameters that decide
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
from pydantic import ValidationError

from edgetwin import registry
from edgetwin.errors import InputError
from edgetwin.learning import arrays
from edgetwin.learning.learner import Learner
from edgetwin.problem import Param, Policy, Task, View
from edgetwin.scenario import Scenario, digest

RUN, METRICS, CHECKPOINT, POLICY = "run.json", "metrics.jsonl", "checkpoint.safetensors", "policy.safetensors"
WORDS_ONLY = ("name", "summary", "notes", "sources")


@dataclass(frozen=True)
class Run(Policy):
    """A trained policy: what it was trained for (`about`, as in run.json), the lines of its metrics, and its folder if it has one."""

    about: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    metrics: tuple[Mapping[str, Any], ...] = ()
    folder: Path | None = None


def identity(learner: Learner, seed: int) -> dict[str, Any]:
    """What a policy's file says of where it comes from; plain data."""
    origin = {} if learner.origin is None else {"origin": plain(learner.origin)}
    return {
        "format": arrays.FORMAT,
        "task": learner.task.name,
        "scenario": scenario_identity(learner.task.scenario),
        "observation": observation_mode(learner.task),
        "algorithm": learner.name,
        "settings": plain(learner.settings._asdict()),
        **origin,
        "seed": seed,
        "versions": {"edgetwin": version("edgetwin"), "jax": jax.__version__},
    }


def scenario_identity(scenario: Any) -> dict[str, Any]:
    """A scenario's name, digest and values; the name alone where it is not one of edgetwin's."""
    if isinstance(scenario, Scenario):
        return {"name": scenario.name, "digest": digest(scenario), "values": scenario.model_dump(mode="json")}
    return {"name": scenario.name, "digest": scenario.name, "values": {}}


def observation_mode(task: Task) -> str | None:
    """What the scenario says of what agents see, if it does: `observation` in the problem's section."""
    return getattr(getattr(task.scenario, task.name.replace("-", "_"), None), "observation", None)


def plain(value: Any) -> Any:
    """As JSON gives it back: tuples as lists."""
    return json.loads(json.dumps(value))


def trained(learner: Learner, params: Any, about: Mapping[str, Any], metrics: Any = (), folder: Path | None = None) -> Run:
    """The policy that parameters make of a learner, named after the algorithm and the seed."""

    def act(carry: Any, view: View, key: jax.Array) -> tuple[Any, Any]:
        return carry, learner.act(params, view.observation, key)

    settings = {key: "x".join(map(str, value)) if isinstance(value, list) else value for key, value in about["settings"].items()}
    knobs = {**settings, "seed": about["seed"], "trained_slots": about["trained_slots"]}
    return Run(
        name=f"{about['algorithm']}@seed{about['seed']}",
        task=learner.task,
        act=act,
        params={key: Param(value) for key, value in knobs.items()},
        about=about,
        metrics=tuple(metrics),
        folder=folder,
    )


def is_run(name: str) -> bool:
    """Does a name mean a run's folder or a policy's file, rather than a registered policy?"""
    path = _path_of(name)[0]
    return path.suffix == ".safetensors" or (path / RUN).is_file() or len(path.parts) > 1 or name.startswith(("/", "."))


def load(name: str | Path, task: Task, known: Mapping[str, Callable[..., Learner]] | None = None, elsewhere: bool = False) -> Run:
    """The policy of a run's folder, or of a policy file, for a task. `known` are the algorithms (by default all of the task's).

    One that was trained on another scenario is refused unless `elsewhere`, which the name can say as well: `RUN[elsewhere=true]`.
    Raises InputError for a file that is missing or damaged, and for another task, or sizes that do not fit.
    """
    path, knobs = _path_of(str(name))
    elsewhere = elsewhere or _elsewhere(str(name), knobs)
    folder = path if path.is_dir() else None
    if folder is not None:
        path = folder / POLICY
        if not path.is_file():
            why = "the run was stopped before its first checkpoint; --resume it" if (folder / RUN).is_file() else "is not a run"
            raise InputError(f"{folder}: holds no {POLICY} ({why})")
    found, about = arrays.read(path)
    if about["task"] != task.name and not elsewhere:
        raise InputError(f"{path}: was trained for {about['task']}, not for {task.name}")
    here = scenario_identity(task.scenario)
    if about["scenario"]["digest"] != here["digest"] and not elsewhere:
        raise InputError(
            f"{path}: was trained on another scenario: {differences(about['scenario'], here)}; "
            f"to use it all the same, write {str(name)}[elsewhere=true]"
        )
    learner = registry.learner(task, about["algorithm"], known)
    like = jax.eval_shape(lambda: learner.policy(learner.init(jax.random.key(0))))
    try:
        params = arrays.restore(like, found)
    except ValueError as error:
        raise InputError(f"{path}: does not fit {task.name} on {here['name']}: {error}") from None
    run = trained(learner, params, about, read_metrics(folder) if folder else (), folder)
    if not elsewhere:
        return run
    return replace(run, name=f"{run.name}[elsewhere=true]", params={**run.params, "elsewhere": Param(True)})


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics; one that a kill cut short is left out."""
    try:
        whole = (folder / METRICS).read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / METRICS}: cannot be read ({error})") from None


def read_run(folder: Path) -> dict[str, Any]:
    """What a run's folder says was asked for. Raises InputError where there is no run, or run.json is damaged."""
    try:
        about = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{folder}: holds no run (there is no {RUN} in it)") from None
    except ValueError:
        raise InputError(f"{folder / RUN}: is damaged: train again into another folder") from None
    if not isinstance(about, dict) or about.get("format") != arrays.FORMAT:
        raise InputError(f"{folder / RUN}: is damaged or of another edgetwin: train again into another folder")
    return about


def scenario_of(about: Mapping[str, Any]) -> Scenario | None:
    """The scenario that a run was trained on, from its values; None where it is not one of edgetwin's."""
    values = about["scenario"]["values"]
    try:
        return Scenario.model_validate(values) if values else None
    except ValidationError as error:
        raise InputError(f"the run's scenario {about['scenario']['name']!r} is none for this edgetwin ({error})") from None


def task_of(about: Mapping[str, Any]) -> Task:
    """The task that a run was trained on, made anew from what its folder says. Raises InputError where that cannot be."""
    scenario = scenario_of(about)
    if scenario is None:
        raise InputError(f"the run's scenario {about['scenario']['name']!r} is not one of edgetwin's: give its task")
    return registry.problem(about["task"]).task(scenario)


def folder_name(task: str, algorithm: str, seed: int) -> str:
    """A folder's name for a run, of letters, digits, points, hyphens and underscores."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", f"{task}-{algorithm}").strip("-") + f"-seed{seed}"


def to_json(run: Run) -> dict[str, Any]:
    """What a run has come to, as `train --json` prints it."""
    last = run.metrics[-1]
    return {
        "policy": run.name,
        **{key: run.about[key] for key in ("task", "algorithm", "settings", "seed", "trained_slots")},
        **({"origin": run.about["origin"]} if "origin" in run.about else {}),
        "scenario": run.about["scenario"]["name"],
        "seconds": last["seconds"],
        "training": last.get("training"),
        "evaluation": last["evaluation"],
        "run": None if run.folder is None else str(run.folder),
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In which values two scenarios differ, the first three of them: `users.count is 20 there, 10 here`."""
    one, other = (
        _dotted({key: value for key, value in each["values"].items() if key not in WORDS_ONLY}) for each in (there, here)
    )
    keys = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    if not keys:
        same = there["name"] == here["name"]
        return "the files that it names have changed" if same else f"{there['name']} there, {here['name']} here"
    more = [f"and {len(keys) - 3} more"] if len(keys) > 3 else []
    return ", ".join([*(f"{key} is {one.get(key)} there, {other.get(key)} here" for key in keys[:3]), *more])


def _dotted(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {above + key: value}
    return found


def _path_of(name: str) -> tuple[Path, str | None]:
    """A run's path, and what follows it in brackets."""
    match = re.fullmatch(r"(?P<path>.+?)(\[(?P<knobs>[^\[\]]*)\])?", name)
    if match is None or Path(name).exists():
        return Path(name), None
    return Path(match["path"]), match["knobs"]


def _elsewhere(name: str, knobs: str | None) -> bool:
    if not knobs:
        return False
    key, _, value = (part.strip() for part in knobs.partition("="))
    if key != "elsewhere" or value not in ("true", "false"):
        raise InputError(f"{name}: a run has one knob: write [elsewhere=true] to use it on a scenario that it was not trained on")
    return value == "true"
