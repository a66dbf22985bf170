"""The main job in one command: a policy learned on the real Melbourne network beside every rule and the bound, with a report to look at.

Without the data sets (no `EDGETWIN_DATA`, no cache, no network) it runs on `two-timescale/physical` and says so.
"""

import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from edgetwin import api, registry
from edgetwin.errors import DataUnavailable, InputError
from edgetwin.evaluation.compare import Comparison, Row
from edgetwin.learning import runs, trainer
from edgetwin.learning.learner import Learner
from edgetwin.learning.runs import Run
from edgetwin.problem import Task

SCENARIO, FALLBACK = "melbourne", "two-timescale/physical"
SLOTS, EVALUATIONS, EVALUATION_EPISODES = 204_800, 8, 16
BASELINE = "inversion[snr=5]+nearest"
FILM = ("full-power+nearest", "distance-rule+sticky")

Say = Callable[[str], None]


def demo_task(say: Say) -> Task:
    """The demo's task; `say` is told which data it runs on."""
    try:
        return api.task("two-timescale", SCENARIO)
    except DataUnavailable as missing:
        say(f"The real Melbourne data is not to be had here: {missing}")
        say(f"So this runs on the synthetic scenario {FALLBACK} instead.")
        return api.task("two-timescale", FALLBACK)


def demo_learner(task: Task) -> Learner:
    """Beta-HAPPO with an actor per class, its learning rate falling to 0 over the demo's slots."""
    return registry.learner(task, f"beta-happo-shared[anneal_slots={SLOTS}]")


def learned(learner: Learner, slots: int, seed: int, out: Path, say: Say, progress: trainer.Progress) -> Run:
    """The trained policy of a run below `out`. A run of this very training that is there is used again, or gone on with.

    Raises Stopped on ^C.
    """
    wanted = runs.plain({**runs.identity(learner, seed), "budget": slots})
    folder = next(each for each in _run_folders(out) if not each.exists() or _is_run_of(wanted, each))
    if not folder.exists():
        say(f"Training {learner.name} on {learner.task.scenario.name} for {slots:,} slots; ^C stops it, and it can go on later.")
        return trainer.train(learner, seed, slots, folder, EVALUATIONS, EVALUATION_EPISODES, progress)
    lines = runs.read_metrics(folder) if (folder / runs.METRICS).exists() else []
    done = lines[-1]["slots"] if lines else 0
    say(f"{folder} holds this very training: " + ("used again." if done >= slots else f"going on after {done:,} slots."))
    return trainer.resume(learner, folder, progress)


def _run_folders(out: Path) -> Iterator[Path]:
    """run, run-2, run-3, …: what holds another run is left alone."""
    yield out / "run"
    yield from (out / f"run-{number}" for number in itertools.count(2))


def _is_run_of(wanted: dict[str, object], folder: Path) -> bool:
    try:
        about = runs.read_run(folder)
    except InputError:
        return False
    return all(about.get(key) == value for key, value in wanted.items())


def conclusion(comparison: Comparison, run: Run) -> list[str]:
    """What came of it, in sentences: the learned policy beside rules and bound, where it is kept, and what to do with it."""
    mine, baseline = comparison.rows[run.name], comparison.rows[BASELINE]
    rules = [row for row in comparison.rows.values() if row is not mine and not row.policy.reference]
    least = min(rules, key=_energy)
    where = f"--scenario {comparison.task.scenario.name} --policy {shlex.quote(str(run.folder))} {shlex.quote(least.policy.name)}"
    return [
        f"Learned in {run.metrics[-1]['seconds']:.0f} s: {_place(mine)}, {_energy(baseline) / _energy(mine):.1f} times less than "
        f"{_place(baseline)} under {BASELINE}. The least among the rules: {_place(least)} under {least.policy.name}. "
        f"No policy that fails as often as what was learned can need less than {mine.bound['energy_mj_per_slot']:.3g} mJ.",
        f"The run is kept in {run.folder}. On other networks: edgetwin compare two-timescale {where} --seed {comparison.seed + 1}",
    ]


def _energy(row: Row) -> float:
    return row.metrics["energy_mj_per_slot"].mean


def _place(row: Row) -> str:
    return f"{_energy(row):.3g} mJ per user and slot at {row.metrics['failure_per_request'].mean:.1%} failed requests"
