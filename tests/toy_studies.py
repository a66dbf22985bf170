"""Toy studies whose jobs leave tracks of every call in their folders, so that tests can count what was done and how often."""

import json
import os
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from edgetwin.evaluation.claims import Claim, at_least
from edgetwin.evaluation.statistics import seed_mean
from edgetwin.evaluation.study import Job, Study, Table, chosen
from edgetwin.problem import Problem

STEPS = 30


def _called(folder):
    with open(folder / "calls", "a") as calls:
        calls.write(f"{os.getpid()}\n")


def draw_number(settings, folder):
    """A number by its seed; prints, as careless code does."""
    _called(folder)
    print("drawing")
    time.sleep(settings.get("seconds", 0.0))
    return {"number": float(np.random.default_rng(settings["seed"]).normal(settings["mean"])), "lost": float("nan")}


def training(settings, folder):
    """Steps that each leave a checkpoint, from which a second call goes on."""
    _called(folder)
    checkpoint = folder / "checkpoint"
    step = int(checkpoint.read_text()) if checkpoint.exists() else 0
    while step < settings["steps"]:
        time.sleep(settings["seconds"])
        step += 1
        with open(folder / "steps", "a") as steps:
            steps.write(f"{step}\n")
        (folder / "half").write_text(str(step))
        os.replace(folder / "half", checkpoint)
    return {"steps": step}


def fail_unless_mended(settings, folder):
    _called(folder)
    if not Path(settings["mended"]).exists():
        raise ZeroDivisionError("nothing\nto divide by")
    return {"number": 1.0}


def die(settings, folder):
    _called(folder)
    os._exit(3)


def write_a_set(settings, folder):
    return {1, 2}


def numbers(scale):
    return [
        Job(f"{algo} seed {seed}", "toy_studies:draw_number", {"algo": algo, "seed": seed, "mean": mean})
        for algo, mean in (("good", 9.0), ("poor", 1.0))
        for seed in range(2 if scale == "quick" else 4)
    ]


def values(results, algo):
    return np.array([value["number"] for value in chosen(results, algo=algo)])


def picture(results):
    figure = Figure()
    figure.subplots().plot(values(results, "good"))
    return {"toy1": figure}


def table(results):
    rows = [(algo, seed_mean(values(results, algo)), len(values(results, algo))) for algo in ("good", "poor")]
    return [Table("toy1", "Means", ("algorithm", "number", "seeds"), rows)]


def claims(results):
    difference = seed_mean(values(results, "good") - values(results, "poor"))
    return [
        Claim("good beats poor by 4", "Fig. 1", {"good − poor": difference}, at_least(4.0), paper=4.0, unit="points"),
        Claim("good beats poor by 40", "Fig. 1", {"good − poor": difference}, at_least(40.0)),
    ]


def slow(scale):
    return [
        *(Job(f"number {n}", "toy_studies:draw_number", {"seed": n, "mean": 0.0, "seconds": 0.02}) for n in range(3)),
        Job("training", "toy_studies:training", {"steps": STEPS, "seconds": 0.1}),
        *(Job(f"number {n}", "toy_studies:draw_number", {"seed": n, "mean": 0.0, "seconds": 0.02}) for n in range(3, 6)),
    ]


def failing(scale):
    names = json.loads(os.environ["TOY_FAILING"])
    return [
        Job(name, f"toy_studies:{function}", {"seed": number, "mean": 0.0, "mended": os.environ.get("TOY_MENDED", "nowhere")})
        for number, (name, function) in enumerate(names.items())
    ]


STUDIES = {
    "toy1": Study("Good against poor", "Fig. 1", "Numbers by seed.", numbers, picture, table, claims, {"quick": 0.1}),
    "slow": Study("Slow", "Fig. 2", "A training among numbers.", slow),
    "failing": Study("Failing", "Fig. 3", "Some of it fails.", failing),
    "other-paper/toy4": Study("Elsewhere", "Fig. 4", "Of another paper.", numbers),
}
PROBLEM = Problem("toys", "toy", lambda scenario: None, {}, studies="toy_studies:STUDIES")
