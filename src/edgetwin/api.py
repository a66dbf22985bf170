"""The Python API: a scenario, a task on it, policies by name or trained, and a comparison.

import edgetwin as et
network = et.scenario("melbourne", {"users.count": 20})
task = et.task("two-timescale", network)
table = et.compare(task, ["full-power+nearest", "inversion[snr=5]+nearest"], episodes=64)
table.report("report.html")
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetwin.errors import InputError
from edgetwin.scenario import Scenario
from edgetwin.scenario import scenario as load_scenario

if TYPE_CHECKING:
    from edgetwin.association.place import Plan, Rule
    from edgetwin.association.plan_input import Limits
    from edgetwin.evaluation.check import Clause
    from edgetwin.evaluation.compare import Comparison
    from edgetwin.evaluation.study import Scale
    from edgetwin.evaluation.study_run import Reproduction
    from edgetwin.evaluation.study_workers import State
    from edgetwin.evaluation.sweep import Frontier
    from edgetwin.learning.learner import Learner
    from edgetwin.learning.runs import Run
    from edgetwin.problem import Policy, Task


def scenario(name: str | Path, settings: Mapping[str, Any] | None = None) -> Scenario:
    """The built-in scenario called `name`, or that of a TOML file, with dotted `settings` changed.

    Raises InputError with one line that names the key, the value and what is allowed.
    """
    return load_scenario(name, settings)


def task(name: str, on: Scenario | str | Path | None = None) -> "Task":
    """The decision problem `name` on a scenario, or on its default one. Raises InputError where the scenario does not support it."""
    from edgetwin.registry import problem

    chosen = problem(name)
    if on is None:
        on = chosen.scenario
    return chosen.task(on if isinstance(on, Scenario) else load_scenario(on))


def policy(task: "Task", name: str) -> "Policy":
    """The policy that `name` describes for a task, such as `inversion[snr=5]+nearest`; or that of a run's folder or policy file."""
    from edgetwin.learning.runs import is_run
    from edgetwin.registry import policy as by_name

    return load(name, task) if is_run(name) else by_name(task, name)


def train(
    task: "Task",
    algorithm: "str | Learner",
    budget: int | str = "quick",
    seed: int = 0,
    out: str | Path | None = None,
    evaluations: int = 10,
    progress: Callable[[int, int, Mapping[str, Any]], None] = lambda slots, budget, line: None,
    source: str | Path | Sequence[str | Path] = (),
    transfer: str | None = None,
) -> "Run":
    """Trains an algorithm, by name as in `sac[discount=0.8]` or as a `Learner`, and returns the trained policy.

    budget: "quick", "paper", or slots. out: a folder for the run, which `resume` goes on with and `load` reads. The policy is evaluated
    at the start and `evaluations` times after. progress(slots, budget, line) is told every line of the run's metrics. source: the folder
    of a run on another network to begin from, or several, and `transfer` what is carried over, by default "warm" (docs/learning.md).
    Raises InputError for an unknown algorithm, knob or transfer, one that the task or the source does not suit, or a folder that holds a
    run.
    """
    from edgetwin.learning.trainer import train as run
    from edgetwin.learning.transfer import begun_from

    sources = [Path(each) for each in ([source] if isinstance(source, str | Path) else source)]
    learner = begun_from(_learner(task, algorithm), sources, transfer)
    return run(learner, seed, budget, None if out is None else Path(out), evaluations, progress=progress)


def resume(
    folder: str | Path,
    task: "Task | None" = None,
    algorithm: "str | Learner | None" = None,
    progress: Callable[[int, int, Mapping[str, Any]], None] = lambda slots, budget, line: None,
) -> "Run":
    """Goes on with a run that was stopped or killed; the result is that of one that never was, bit for bit.

    The task and the algorithm are those of the run; where they are given, they must be the same. The runs it began from, if any, must be
    where they were.
    """
    from edgetwin.learning.runs import read_run, task_of
    from edgetwin.learning.trainer import resume as run
    from edgetwin.learning.transfer import begun_as

    about = read_run(Path(folder))
    learner = _learner(task or task_of(about), algorithm or about["algorithm"])
    return run(begun_as(learner, about), Path(folder), progress)


def load(path: str | Path, task: "Task", elsewhere: bool = False) -> "Run":
    """The trained policy in a run's folder or a policy file. `elsewhere` allows a scenario that it was not trained on."""
    from edgetwin.learning.runs import load as read

    return read(path, task, elsewhere=elsewhere)


def _learner(task: "Task", algorithm: "str | Learner") -> "Learner":
    from edgetwin.registry import learner

    return learner(task, algorithm) if isinstance(algorithm, str) else algorithm


def compare(
    task: "Task",
    policies: "Sequence[str | Policy] | None" = None,
    episodes: int = 64,
    slots: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> "Comparison":
    """Policies on the same networks, with intervals and bounds: names, folders or files of runs, `Policy` objects; by default the
    problem's own choice."""
    from edgetwin.evaluation.compare import compare as run
    from edgetwin.registry import problem

    chosen = problem(task.name).shown(task) if policies is None else policies
    return run(task, [policy(task, each) if isinstance(each, str) else each for each in chosen], episodes, slots, seed, progress)


def frontier(
    task: "Task",
    policies: "Sequence[str | Policy]" = (),
    deployment: str | None = None,
    episodes: int = 64,
    slots: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> "Frontier":
    """Every family of policies swept over its own knob, and further `policies` as single points, on the same networks.

    policies: names, folders or files of runs, `Policy` objects. deployment: what every family is joined with, by default the problem's
    choice. The result draws itself (`figure`) and writes its files (`write`). Raises InputError for a task without families.
    """
    from edgetwin.evaluation.sweep import sweep
    from edgetwin.registry import families

    names = families(task, deployment)
    points = [policy(task, each) if isinstance(each, str) else each for each in policies]
    swept = {family: [policy(task, name) for name in members] for family, members in names.items()}
    return sweep(task, swept, points, episodes, slots, seed, progress)


def reproduce(
    study: str,
    scale: "Scale" = "quick",
    out: str | Path | None = None,
    workers: int = 1,
    progress: "Callable[[str, State, int], None]" = lambda job, state, jobs: None,
) -> "Reproduction":
    """The study of a paper's figure, such as "network-sync/fig3": its claims with verdicts, its tables, and pictures in a folder.

    What was done before in that folder is not done again. progress(job, state, jobs) is told about every job. In a script, more than
    one worker needs the script's own work under `if __name__ == "__main__":`.
    """
    from edgetwin.evaluation.study_run import run_study
    from edgetwin.registry import study as by_name

    return run_study(study, by_name(study), scale, None if out is None else Path(out), workers, progress)


def solve(task: str, instances: "Sequence[str | Path] | str | Path", policy: str) -> list[dict[str, Any]]:
    """Frozen instances (.npz files, or folders of them) solved in float64: a row for each, with its value and a proven lower bound.

    Raises InputError for a task without instances, a file that holds none, or an unknown policy.
    """
    from edgetwin.registry import solver

    solved = solver(task)
    named = [Path(instances)] if isinstance(instances, str | Path) else [Path(each) for each in instances]
    return solved([file for each in named for file in _instance_files(each)], policy)


def place(
    sites: str | Path,
    users: str | Path,
    candidates: str | Path | None = None,
    on: Scenario | str | Path = "association/n100-m10",
    policy: "Rule" = "optimum",
    limits: "Limits" = "hard",
    seconds: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> "Plan":
    """A plan for the sites and users in CSV files, docs/place.md: who opens, whose twin lives where, who misses its limit and why, the proven
    gap, and what to change.

    candidates: a CSV file of sites that could be built. on: whose constants hold where the files are silent. seconds: how long the optimum
    may take, and again the advice; progress(done, of) is told every change tried. Raises InputError that names what is wrong.
    """
    from edgetwin.association import advice, place, plan_input

    base = on if isinstance(on, Scenario) else load_scenario(on)
    request = plan_input.read(Path(sites), Path(users), None if candidates is None else Path(candidates), base, limits)
    made = place.plan(request, policy, seconds)
    return made._replace(advice=advice.advise(made, seconds, progress))


def _instance_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.npz"))
    if not found:
        raise InputError(f"{path}: holds no instances, no .npz file")
    return found


def check(checked: "Task | Policy") -> "list[Clause]":
    """Runs a task or a policy through every clause of its contract."""
    from edgetwin.evaluation.check import check_policy, check_task
    from edgetwin.problem import Policy

    return check_policy(checked) if isinstance(checked, Policy) else check_task(checked)
