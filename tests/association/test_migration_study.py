"""The study of learned migration: what it says of results that are known, and that its jobs do what they say."""

import jax
import numpy as np
import pytest

import edgetwin as et
from edgetwin import registry
from edgetwin.association import migration_jobs
from edgetwin.association.migration_study import (
    BASE,
    BOUND,
    CLAIRVOYANT,
    LEARNED,
    REFERENCE_NETWORKS,
    SCENARIO,
    SLOT_OPTIMUM,
    gains_by_seed,
    share_of_the_way,
)
from edgetwin.evaluation.study import Result, plain
from edgetwin.problem import episode_keys

NAME = "association/migration"
LEVELS = {
    "never": -0.1,
    "nearest": -0.5,
    "algorithm-3": -0.2,
    BASE: 0.0,
    LEARNED: 0.02,
    SLOT_OPTIMUM: -0.3,
    CLAIRVOYANT: 0.1,
    BOUND: 0.16,
}
"""Net utility over that of `priced`."""
TINY = {"users.count": 6, "sites.count": 3, "migration.slots": 5}


def networks(level, count):
    """Networks differ by far more than policies do; a policy's gain differs by a tenth of it."""
    wave = np.cos(np.arange(count))
    return 1.4 + wave + level * (1 + 0.1 * np.sin(np.arange(count)))


def measures(level, count):
    found = networks(level, count)
    return {
        "net_utility": found,
        "utility": found + 0.01,
        "migrations_per_100_users": 0 * found + 2,
        "delay_violations": 0 * found,
    }


def value_of(settings, levels):
    count = settings["episodes"]
    if settings["shown"] == LEARNED:
        told = measures(levels[LEARNED] * (1 + 0.1 * settings["seed"]), count)
        return {"knows": "observation", "seconds": 300.0 + settings["seed"], "decision_ms": 1.1, "measures": told}
    if settings["shown"] == "bound":
        return {"net_utility": networks(levels[BOUND], count)}
    return {name: {"knows": "state", "measures": measures(levels[name], count)} for name in settings["policies"]}


def invented(scale="full", **levels):
    levels = {**LEVELS, **{name.replace("_", "-"): level for name, level in levels.items()}}
    jobs = registry.study(NAME).jobs(scale)
    return {job.name: Result(job.settings, plain(value_of(job.settings, levels)), 1.0) for job in jobs}


def verdicts(results):
    return [claim.verdict for claim in registry.study(NAME).claims(results)]


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_it_draws_and_tells(scale):
    study, results = registry.study(NAME), invented(scale)
    assert set(study.draw(results)) == {"gains"}
    tables = {table.name: table for table in study.tables(results)}
    assert set(tables) == {"policies", "references", "gains"}
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    few = {row[0]: row[2].mean for row in tables["references"].rows}
    assert few[CLAIRVOYANT] == pytest.approx(networks(0.1, REFERENCE_NETWORKS).mean())
    assert few[BASE] == pytest.approx(networks(0.0, REFERENCE_NETWORKS).mean())


def test_gains_are_paired():
    """Networks differ by ±1, gains by a tenth of 0.02: only paired is there an interval that tells."""
    found = gains_by_seed(invented())
    assert list(found) == [*(f"seed {seed}" for seed in range(5)), "over seeds"]
    assert found["seed 0"].mean == pytest.approx(0.02, rel=0.02)
    assert found["seed 0"].ci95[0] > 0.019
    assert found["over seeds"].mean == pytest.approx(0.024, rel=0.02)
    spread = np.std(0.02 * np.array([1, 1.1, 1.2, 1.3, 1.4]), ddof=1)
    assert found["over seeds"].ci95[1] - found["over seeds"].mean == pytest.approx(2.776 * spread / np.sqrt(5), rel=0.02)
    assert list(gains_by_seed(invented("quick"))) == ["seed 0"]


def test_the_way_is_told_in_shares():
    """0.024 of 0.16 on all networks, of 0.1 on the first ones."""
    assert share_of_the_way(invented(), BOUND).mean == pytest.approx(0.15)
    assert share_of_the_way(invented(), CLAIRVOYANT).mean == pytest.approx(0.24)


def test_claims_follow_what_was_measured():
    assert verdicts(invented()) == ["reproduced", "reproduced", "reproduced", "partly"]
    assert verdicts(invented("quick")) == ["reproduced", "cannot be judged", "reproduced", "partly"]
    assert verdicts(invented(**{LEARNED: -0.01}))[0] == "not reproduced"
    assert verdicts(invented(slot_optimum=0.05))[2] == "not reproduced"


def test_one_seed_that_loses_is_not_hidden():
    results = invented()
    lost = next(result for result in results.values() if result.settings.get("seed") == 3)
    lost.value["measures"]["net_utility"] = list(networks(-0.01, 64))
    claim = registry.study(NAME).claims(results)[0]
    assert claim.measured["seed 3"].mean < 0 < claim.measured["seed 2"].mean
    assert claim.verdict == "partly"


def test_rules_and_bound_are_of_a_comparison_s_networks(quick_compilation):
    """`never`, played slot by slot, comes to what the job says in each network, and exceeds no bound."""
    settings = {"scenario": SCENARIO, "set": TINY, "episodes": 2}
    found = migration_jobs.rules({**settings, "policies": ["never"]}, None)["never"]
    task = et.task("migration", et.scenario(SCENARIO, TINY))
    reset, step = jax.jit(task.reset), jax.jit(task.step)
    for key, net_utility in zip(episode_keys(0, 2), found["measures"]["net_utility"], strict=True):
        state, played = reset(key), []
        for _ in range(5):
            state, outcome = step(state, task.action(state.host[:, None]))
            played.append(np.asarray(outcome.rewards.users))
        assert net_utility == pytest.approx(np.mean(played), rel=1e-5)
    assert found["knows"] == "state"
    assert (found["measures"]["migrations_per_100_users"] == 0).all()
    most = migration_jobs.bound(settings, None)["net_utility"]
    assert (found["measures"]["net_utility"] <= most + 1e-5).all()
    assert (most < found["measures"]["net_utility"] + 1).all()
