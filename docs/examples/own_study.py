"""A study of one's own, explained in docs/reproduce.md. Run it: PYTHONPATH=docs/examples edgetwin reproduce own_study:PROBLEM/power"""

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

import edgetwin as et
from edgetwin.evaluation.claims import Claim, gain_of
from edgetwin.evaluation.statistics import seed_mean, seed_saving
from edgetwin.evaluation.study import Job, Study, Table, chosen
from edgetwin.registry import problem

RULES = ("full-power+nearest", "inversion[snr=5]+nearest")


def energies(settings, folder):
    """The energy of both rules on the networks of a seed, mJ per user and slot."""
    network = et.scenario("two-timescale/physical", {"users.count": settings["users"]})
    table = et.compare(et.task("two-timescale", network), RULES, settings["episodes"], 200, seed=settings["seed"])
    return [table.rows[name].metrics["energy_mj_per_slot"].mean for name in RULES]


def jobs(scale):
    seeds, episodes = (3, 4) if scale == "quick" else (10, 64)
    return [
        Job(f"{users} users, seed {seed}", "own_study:energies", {"users": users, "seed": seed, "episodes": episodes})
        for users in (5, 10)
        for seed in range(seeds)
    ]


def by_users(results):
    return {users: np.array(chosen(results, users=users)).T for users in (5, 10)}


def draw(results):
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, row in zip(RULES, (0, 1), strict=True):
        axes.plot([5, 10], [energy[row].mean() for energy in by_users(results).values()], marker="o", label=name)
    axes.set(xlabel="users", ylabel="energy [mJ per user and slot]", ylim=(0, None))
    axes.legend()
    return {"power": figure}


def tables(results):
    rows = [(users, *map(seed_mean, energy)) for users, energy in by_users(results).items()]
    return [Table("power", "Energy, mJ per user and slot", ("users", *RULES), rows)]


def claims(results):
    saved = {f"{users} users": seed_saving(energy[1], energy[0]) for users, energy in by_users(results).items()}
    return [Claim("Channel inversion saves at least a third of the energy", "Our notes", saved, gain_of(1 / 3), paper=1 / 3)]


STUDIES = {"power": Study("Inversion against full power", "our notes", "Energy by users.", jobs, draw, tables, claims)}
PROBLEM = replace(problem("two-timescale"), studies="own_study:STUDIES")
