"""The work of the study of transfer: for a seed, a user's way through regions and all ways to begin in the next one, trained one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetwin.association.placement import PlacementTask
from edgetwin.learning import trainer
from edgetwin.learning.learner import Learner
from edgetwin.learning.runs import Run
from edgetwin.learning.transfer import begun_from
from edgetwin.registry import learner as learner_of
from edgetwin.scenario import scenario

SCRATCH, MEAN = "scratch", "aggregate"


def lineage_and_arms(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Trains in every region of the `way`, a list of {region, set, slots}, each time from what was learned in the one before; then for `slots` in
    the region with the values `target` in all `arms`: "scratch", "aggregate" of all regions, or another transfer from the last region.

    Returns, by arm, the curve of its evaluations, after each block: slots, updates so far, cost, ‖θ‖ where it is told, and seconds.
    """
    way: list[Path] = []
    for place in settings["way"]:
        run_folder = folder / f"{len(way)}-{place['region']}"
        learner = begun_from(_learner(settings, place["set"]), way[-1:])
        trainer.train_or_resume(learner, settings["seed"], place["slots"], run_folder, 1, settings["evaluation_episodes"])
        way.append(run_folder)
    learner, slots = _learner(settings, settings["target"]), settings["slots"]
    curves = {}
    for arm in settings["arms"]:
        sources = {SCRATCH: [], MEAN: way}.get(arm, way[-1:])
        begun = begun_from(learner, sources, None if arm == SCRATCH else arm)
        times = -(-slots // learner.block_slots)
        run = trainer.train_or_resume(begun, settings["seed"], slots, folder / arm, times, settings["evaluation_episodes"])
        curves[arm] = _curve(run)
    return curves


def _learner(settings: Mapping[str, Any], values: Mapping[str, Any]) -> Learner:
    return learner_of(PlacementTask(scenario(settings["scenario"], dict(values))), settings["algo"])


def _curve(run: Run) -> dict[str, Any]:
    updates, found = 0, []
    for line in run.metrics:
        training = line.get("training", {})
        updates += int(training.get("updates", 0))
        cost = line["evaluation"]["cost"]["mean"]
        found.append((line["slots"], updates, cost, training.get("parameter_norm"), line["seconds"]))
    return dict(zip(("slots", "updates", "cost", "parameter_norm", "seconds"), map(list, zip(*found, strict=True)), strict=True))
