"""The command line. Every command ends with 0 when it did its job, 1 when a check failed, 2 when its input was wrong (one line says why)."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import edgetwin
from edgetwin.errors import InputError
from edgetwin.files import check_writable, replacing
from edgetwin.scenario import Scenario, names, network, parse_setting
from edgetwin.scenario import scenario as load_scenario

app = App(
    name="edgetwin",
    help="Where digital twins live, when they sync and when they migrate in a wireless edge network.",
    version=edgetwin.__version__,
    help_format="plaintext",
)
scenario_app = App(name="scenario", help="List, show and check networks.")
app.command(scenario_app)

Setting = Annotated[
    list[str], Parameter(name="--set", consume_multiple=True, negative=(), help="key=value, any setting of the scenario.")
]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print the answer as JSON.")]
Seed = Annotated[int, Parameter(help="Which networks: a whole number from 0 to 2^32 - 1.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    try:
        _keep_compiled_programs()
        return (
            app(
                list(sys.argv[1:] if arguments is None else arguments),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
            or 0
        )
    except (InputError, CycloptsError) as error:
        print(f"edgetwin: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("edgetwin: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


@app.command
def demo(*, out: Path = Path("edgetwin-demo"), seed: Seed = 0, json: Json = False) -> int:
    """Compare every rule with the bound on the real Melbourne network and write a report.

    Parameters
    ----------
    out
        Folder for report.html and comparison.json.
    """
    from edgetwin import registry
    from edgetwin.demo import FILM, best_rule, demo_task

    check_writable(out / "report.html")
    task = demo_task(lambda line: print(line, file=sys.stderr))
    comparison = _compared(task, registry.problem(task.name), None, 64, None, seed)
    report = comparison.report(out / "report.html", FILM)
    with replacing(out / "comparison.json") as file:
        file.write(_dumped(comparison.to_json()) + "\n")
    if json:
        print(_dumped(comparison.to_json()))
        return 0
    _show_comparison(comparison)
    print(f"{best_rule(comparison)}\nReport: {report}")
    return 0


@app.command
def compare(
    task: str,
    *,
    policy: Annotated[list[str], Parameter(consume_multiple=True, negative=())] | None = None,
    scenario: str | None = None,
    set: Setting | None = None,
    episodes: int = 64,
    slots: int | None = None,
    seed: Seed = 0,
    report: Path | None = None,
    json: Json = False,
) -> int:
    """Run policies on the same networks and show metrics with 95 % intervals beside the bound.

    Parameters
    ----------
    task
        The decision problem, for example two-timescale.
    policy
        Names such as inversion[snr=5]+nearest; by default the problem's own choice.
    scenario
        A built-in scenario or a .toml file; by default the problem's own.
    episodes
        How many networks.
    slots
        Slots per network; by default what the task compares on (ten frames, or an episode).
    report
        Also write an HTML report to this file.
    """
    chosen, known = _task(task, scenario, set)
    if report is not None:
        check_writable(report)
    comparison = _compared(chosen, known, policy, episodes, slots, seed)
    if report is not None:
        comparison.report(report)
    if json:
        print(_dumped(comparison.to_json()))
    else:
        _show_comparison(comparison)
        if report is not None:
            print(f"Report: {report}")
    return 0


@app.command
def train(
    task: str,
    *,
    algo: str | None = None,
    scenario: str | None = None,
    set: Setting | None = None,
    seed: Seed | None = None,
    budget: str | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    json: Json = False,
) -> int:
    """Train a policy. ^C leaves a run that --resume continues; compare takes its folder as a policy.

    Parameters
    ----------
    task
        The decision problem, for example network-sync.
    algo
        An algorithm with its knobs, such as sac[discount=0.8].
    scenario
        A built-in scenario or a .toml file; by default the problem's own.
    budget
        quick, paper, or how many slots to learn from; by default quick.
    out
        Folder for the run; by default edgetwin-runs/TASK-ALGO-seedN.
    resume
        The folder of a run to go on with, as it was asked for then.
    """
    from edgetwin import registry
    from edgetwin.learning import runs, trainer
    from edgetwin.tables import training_bar

    if resume is not None:
        given = [name for name, value in {"--seed": seed, "--budget": budget, "--out": out}.items() if value is not None]
        if given:
            raise InputError(f"{given[0]}: goes with a new training; --resume goes on as the run in {resume} was asked for")
        about = runs.read_run(resume)
        chosen, problem = _task(task, scenario, set, None if scenario or set else runs.scenario_of(about))
        learner = registry.learner(chosen, algo or about["algorithm"], registry.learner_factories(chosen, problem))
        slots = about["budget"]
    else:
        chosen, problem = _task(task, scenario, set)
        known = registry.learner_factories(chosen, problem)
        if algo is None:
            raise InputError(f"--algo is missing: choose one of {', '.join(known) or 'none, since this task has no algorithms'}")
        learner = registry.learner(chosen, algo, known)
        slots = trainer.slots_of(learner, budget or "quick")
        out = out or Path("edgetwin-runs") / runs.folder_name(task, algo, seed or 0)
    bar, tell = training_bar(slots, chosen.spec.metrics)
    try:
        with bar:
            if resume is not None:
                run = trainer.resume(learner, resume, lambda slots, budget, line: tell(line))
            else:
                run = trainer.train(learner, seed or 0, slots, out, progress=lambda slots, budget, line: tell(line))
    except trainer.Stopped as stopped:
        again = f"edgetwin train {task} --resume {shlex.quote(str(stopped.folder))}"
        print(f"edgetwin: {stopped}; go on with: {again}", file=sys.stderr)
        return 130
    if json:
        print(_dumped(runs.to_json(run)))
    else:
        from edgetwin.tables import run_table

        _console().print(run_table(run))
        print(f"Run: {run.folder}; compare it with: edgetwin compare {task} --policy {shlex.quote(str(run.folder))} ...")
    return 0


@app.command
def reproduce(
    study: str | None = None,
    *,
    list: Annotated[bool, Parameter(negative=())] = False,
    scale: Literal["quick", "full"] = "quick",
    workers: int = 1,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Draw a figure of a paper anew, with intervals, and judge what the paper says about it.

    What was stopped goes on where it was when the same command is given again.

    Parameters
    ----------
    study
        The figure, PAPER/FIGURE, for example network-sync/fig3.
    list
        Show every figure there is.
    scale
        quick takes minutes, with fewer seeds or slots; full is the paper's.
    workers
        How many processes share the work.
    out
        Folder for pictures, tables, claims and results; by default edgetwin-reproduce/PAPER-FIGURE-SCALE.
    """
    from edgetwin import api

    if list:
        if study is not None:
            raise InputError(f"--list shows every figure: leave {study} out")
        return _list_studies(json)
    if study is None:
        raise InputError("name a figure, PAPER/FIGURE; edgetwin reproduce --list shows all")
    from edgetwin.tables import claims_table, study_bar

    bar, tell = study_bar()
    try:
        with bar:
            done = api.reproduce(study, scale, out, workers, tell)
    except KeyboardInterrupt:
        print("edgetwin: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    for job, error in done.failed.items():
        print(f"edgetwin: job {job!r} failed: {error}", file=sys.stderr)
    if json:
        print(_dumped(done.to_json()))
    elif not done.failed:
        if done.claims:
            _console().print(claims_table(done))
        print(f"Pictures, tables and claims: {done.folder}")
    return 1 if done.failed else 0


def _list_studies(as_json: bool) -> int:
    from edgetwin import registry
    from edgetwin.tables import studies_table

    known = registry.studies()
    if as_json:
        fields = ("title", "reproduces", "summary")
        described = {
            name: {**{field: getattr(study, field) for field in fields}, "minutes": dict(study.minutes)}
            for name, study in known.items()
        }
        print(_dumped(described))
    else:
        _console().print(studies_table(known))
    return 0


@app.command
def solve(task: str, instances: list[Path], *, policy: str, json: Json = False) -> int:
    """Solve frozen benchmark instances with one policy, in float64.

    Parameters
    ----------
    task
        The decision problem, for example network-sync.
    instances
        Files (.npz), or folders of them.
    policy
        A policy's name, such as index.
    """
    from edgetwin import api
    from edgetwin.tables import instances_table

    rows = api.solve(task, instances, policy)
    if json:
        print(_dumped({"policy": policy, "instances": rows}))
    else:
        _console().print(instances_table(task, policy, rows))
    return 0


@app.command
def check(
    task: str, *, policy: str | None = None, scenario: str | None = None, set: Setting | None = None, json: Json = False
) -> int:
    """Run a task, or a policy on it, through every clause of its contract.

    Parameters
    ----------
    task
        A task by name, or the problem of a module of yours as package.module:PROBLEM.
    policy
        A policy to check instead of the task.
    """
    from edgetwin import api, registry

    chosen, problem = _task(task, scenario, set)
    known = None if task in registry.problems() else problem.policies
    subject = chosen if policy is None else registry.policy(chosen, policy, known)
    clauses = api.check(subject)
    if json:
        print(_dumped([clause._asdict() for clause in clauses]))
    else:
        from edgetwin.tables import clause_table

        _console().print(clause_table(f"{chosen.name} on {chosen.scenario.name}" if policy is None else policy, clauses))
    return 0 if all(clause.passed for clause in clauses) else 1


@app.command
def bench(*, json: Json = False) -> int:
    """Measure speed on this machine: environments, one beside readable NumPy, and training, cold and warm; and peak memory."""
    from edgetwin.bench import bench as run
    from edgetwin.tables import bench_table

    result = run(lambda name: print(f"measuring {name} …", file=sys.stderr))
    if json:
        print(_dumped(result))
    else:
        for problem in result["problems"]:
            _console().print(bench_table(problem))
            if "speedup_over_numpy" in problem:
                print(f"{problem['speedup_over_numpy']:.0f} × the readable NumPy environment, side by side (median of ratios)")
        print(f"peak memory {result['peak_memory_mb']:,.0f} MB; JAX {result['jax']}")
    return 0


@scenario_app.command(name="list")
def list_scenarios(*, json: Json = False) -> int:
    """The built-in networks."""
    known = {name: load_scenario(name).summary for name in names()}
    if json:
        print(_dumped(known))
    else:
        for name, summary in known.items():
            print(f"{name:<{max(map(len, known))}}  {summary}")
    return 0


@scenario_app.command
def show(name: str, *, set: Setting | None = None, json: Json = False) -> int:
    """Every value of a network, with its unit and its source.

    Parameters
    ----------
    name
        A built-in scenario or a .toml file.
    """
    from edgetwin.tables import scenario_table

    shown = _scenario(name, set)
    if json:
        print(_dumped(shown.model_dump(mode="json")))
    else:
        _console().print(scenario_table(shown))
        for note in shown.notes:
            print(f"* {note}")
    return 0


@scenario_app.command(name="check")
def check_scenario(file: str, *, set: Setting | None = None, json: Json = False) -> int:
    """Read a network and the files it names, and say what was found.

    Parameters
    ----------
    file
        A .toml file or a built-in scenario.
    """
    checked = _scenario(file, set)
    resolved = network(checked)
    tracks = 0 if resolved.tracks is None else len(resolved.tracks.ids)
    found = {
        "name": checked.name,
        "sites": len(resolved.site_ids),
        "servers": len(resolved.server_sites),
        "users": checked.users.count,
        "tracks": tracks,
    }
    if json:
        print(_dumped(found))
    else:
        models = {
            "gauss-markov": "by the Gauss-Markov model",
            "random-walk": "on random walks",
            "persistent-walk": "on persistent walks",
        }
        moves = f"along {tracks} tracks" if tracks else models[checked.users.mobility]
        print(
            f"{checked.name}: {found['sites']} sites, {found['servers']} servers, {found['users']} users who move {moves}: all is well"
        )
    return 0


def _scenario(name: str, settings: list[str] | None) -> Scenario:
    return load_scenario(name, dict(parse_setting(text) for text in settings or []))


def _task(name: str, scenario: str | None, settings: list[str] | None, on: Scenario | None = None) -> tuple[Any, Any]:
    """The task, on a scenario by name or `on` one that is there, and the problem it belongs to."""
    from edgetwin import registry

    problem = registry.problem(name)
    return problem.task(on or _scenario(scenario or problem.scenario, settings)), problem


def _compared(task: Any, problem: Any, policies: list[str] | None, episodes: int, slots: int | None, seed: int) -> Any:
    from edgetwin import api, registry
    from edgetwin.learning import runs
    from edgetwin.tables import progress_bar

    known = {**problem.policies, **(registry.factories(task) if task.name in registry.problems() else {})}
    chosen = [
        runs.load(name, task, registry.learner_factories(task, problem))
        if runs.is_run(name)
        else registry.policy(task, name, known)
        for name in policies or problem.shown(task)
    ]
    with progress_bar(len(chosen), "policies") as bar:
        return api.compare(task, chosen, episodes, slots, seed, progress=lambda name: bar.advance(bar.task_ids[0]))


def _show_comparison(comparison: Any) -> None:
    from edgetwin.tables import comparison_table

    _console().print(comparison_table(comparison))


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=160)


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)


def _keep_compiled_programs() -> None:
    """JAX keeps compiled programs in the user's cache, so that only the first run waits for the compiler."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgetwin" / "compiled"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
