"""`train`, and `demo`, which trains and shows what came of it."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from edgetwin.cli.shared import INTERRUPTED, Json, Seed, Setting, app, compared, console, dumped, show_comparison, task_on
from edgetwin.errors import InputError
from edgetwin.files import check_writable, replacing

if TYPE_CHECKING:
    from edgetwin.learning.trainer import Stopped

EPISODES = 64


@app.command
def demo(*, out: Path = Path("edgetwin-demo"), seed: Seed = 0, json: Json = False) -> int:
    """Train a policy on the real Melbourne network, compare it with every rule and the bound, and write a report.

    What was stopped goes on where it was when the same command is given again.

    Parameters
    ----------
    out
        Folder for report.html, comparison.json and the run.
    """
    from edgetwin import demo, registry
    from edgetwin.learning import trainer
    from edgetwin.tables import training_bar

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    check_writable(out / "report.html")
    task = demo.demo_task(say)
    learner = demo.demo_learner(task)
    bar, tell = training_bar(demo.SLOTS, task.spec)
    try:
        with bar:
            run = demo.learned(learner, demo.SLOTS, seed, out, say, lambda slots, budget, line: tell(line))
    except trainer.Stopped as stopped:
        return _stopped(stopped, task.name)
    problem = registry.problem(task.name)
    say(f"Comparing it with every rule on {EPISODES} networks that it has not met.")
    comparison = compared(task, problem, [*problem.shown(task), str(run.folder)], EPISODES, None, seed)
    report = comparison.report(out / "report.html", (run.name, *demo.FILM))
    with replacing(out / "comparison.json") as file:
        file.write(dumped(comparison.to_json()) + "\n")
    if json:
        print(dumped(comparison.to_json()))
        return 0
    show_comparison(comparison)
    print("\n".join([*demo.conclusion(comparison, run), f"Report: {report}"]))
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
    source: Annotated[list[Path] | None, Parameter(name="--from", consume_multiple=True, negative=())] = None,
    transfer: str | None = None,
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
    source
        The folder of a run on another network to begin from; for --transfer aggregate several, in their order.
    transfer
        What is carried over: warm, experience, aggregate, pull[rho=0.3,decay=0.7], printed[rho=0.1]; by default warm.
    """
    from edgetwin import registry
    from edgetwin.learning import runs, trainer
    from edgetwin.learning.transfer import begun_as, begun_from
    from edgetwin.tables import training_bar

    if resume is not None:
        asked = {"--seed": seed, "--budget": budget, "--out": out, "--from": source, "--transfer": transfer}
        given = [name for name, value in asked.items() if value is not None]
        if given:
            raise InputError(f"{given[0]}: goes with a new training; --resume goes on as the run in {resume} was asked for")
        about = runs.read_run(resume)
        chosen, problem = task_on(task, scenario, set, None if scenario or set else runs.scenario_of(about))
        learner = registry.learner(chosen, algo or about["algorithm"], registry.learner_factories(chosen, problem))
        learner = begun_as(learner, about)
        slots = about["budget"]
    else:
        chosen, problem = task_on(task, scenario, set)
        known = registry.learner_factories(chosen, problem)
        if algo is None:
            raise InputError(f"--algo is missing: choose one of {', '.join(known) or 'none, since this task has no algorithms'}")
        learner = registry.learner(chosen, algo, known)
        slots = trainer.slots_of(learner, budget or "quick")
        learner = begun_from(learner, source or [], transfer)
        called = algo if learner.origin is None else f"{algo}-{learner.origin['transfer']}"
        out = out or Path("edgetwin-runs") / runs.folder_name(task, called, seed or 0)
    bar, tell = training_bar(slots, chosen.spec)
    try:
        with bar:
            if resume is not None:
                run = trainer.resume(learner, resume, lambda slots, budget, line: tell(line))
            else:
                run = trainer.train(learner, seed or 0, slots, out, progress=lambda slots, budget, line: tell(line))
    except trainer.Stopped as stopped:
        return _stopped(stopped, task)
    if json:
        print(dumped(runs.to_json(run)))
    else:
        from edgetwin.tables import run_table

        console().print(run_table(run))
        print(f"Run: {run.folder}; compare it with: edgetwin compare {task} --policy {shlex.quote(str(run.folder))} ...")
    return 0


def _stopped(stopped: "Stopped", task: str) -> int:
    again = f"edgetwin train {task} --resume {shlex.quote(str(stopped.folder))}"
    print(f"edgetwin: {stopped}; go on with: {again}", file=sys.stderr)
    return INTERRUPTED
