"""The studies of what is learned: what they say of results that are known, and that their jobs do what they say."""

from pathlib import Path

import jax
import numpy as np
import pytest

from edgetwin import registry
from edgetwin.evaluation.rollout import rollout
from edgetwin.evaluation.study import Result
from edgetwin.problem import episode_keys
from edgetwin.scenario import scenario
from edgetwin.two_timescale import ablation, figures, jobs, rules
from edgetwin.two_timescale.study_jobs import ENERGY, FAILURE
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = {"users.count": 5, "sites.count": 3, "two_timescale.frames": 2, "two_timescale.frame_slots": 30}
NETWORKS, REQUESTS, USER_SLOTS = 8, 1000.0, 2000.0
STUDIES = figures.STUDIES
PICTURES = {
    "learned": {"plane", "plane-near", "learning-energy", "learning-failures"},
    "ablation": set(),
    "migration": {"phases"},
}


def energy_of(failed):
    """The rule's energy at a share of failed requests: log-linear, so that interpolation is exact."""
    return 0.4 * 10 ** (-10 * failed)


def share(failed, energy):
    """A policy that fails this share of the requests of every network at this energy; networks differ in their requests."""
    requests = REQUESTS * np.linspace(0.8, 1.2, NETWORKS)
    slots = np.full(NETWORKS, USER_SLOTS)
    told = {
        FAILURE: (failed * requests, requests),
        "failure_per_slot": (failed * requests, slots),
        ENERGY: (energy * slots, slots),
        "failure_worst_user": (np.full(NETWORKS, 2 * failed), np.ones(NETWORKS)),
        "users_over_epsilon": (np.full(NETWORKS, 3.0), np.ones(NETWORKS)),
        "migrations_per_frame": (np.full(NETWORKS, 4.0), np.full(NETWORKS, 100.0)),
    }
    return {metric: [list(map(float, part)) for part in ratio] for metric, ratio in told.items()}


def invented(study, scale, learned):
    """Results of all of a study's jobs: rules on `energy_of`, trainings as learned(settings) → {policy: (failed, energy)}."""

    def value(job):
        settings = job.settings
        if "policies" in settings:
            failed = settings.get("target", 0.2)
            params = {name: {"a": 0.9, "t0": 0.02, "x": 4.0} for name in settings["policies"]}
            policies = {name: share(failed, energy_of(failed)) for name in settings["policies"]}
            return {"shares": policies, "params": params, "bound": [0.01] * len(jobs.BOUND_AT)}
        told = learned(settings)
        curve = {"slots": [0, settings["budget"]], ENERGY: [2.0, told["learned"][1]], FAILURE: [0.3, told["learned"][0]]}
        return {"shares": {name: share(*at) for name, at in told.items()}, "curve": curve, "seconds": 300.0, "updates": 150}

    return {job.name: Result(job.settings, value(job), 1.0) for job in study.jobs(scale)}


def learned_above(percent, failed=0.0475, parts=(0.0, 1.0)):
    """Policies so many % above the rule at what they fail, by 0.1 % more with every seed; with a rule's part in place of
    their own they fail `parts[0]` more at `parts[1]` times the energy."""

    def learned(settings):
        own = energy_of(failed) * (1 + (percent + 0.1 * settings["seed"]) / 100)
        changed = failed + parts[0], own * parts[1]
        return {"learned": (failed, own), **dict.fromkeys(("equal shares", "nearest", "sticky"), changed)}

    return learned


def verdicts(percent, failed=0.0475, parts=(0.0, 1.0), scale="full"):
    study = STUDIES["learned"]
    return {claim.says: claim for claim in study.claims(invented(study, scale, learned_above(percent, failed, parts)))}


def bar(claims, name, deployment="nearest"):
    return next(claim for says, claim in claims.items() if says.startswith(f"{name} needs") and deployment in says)


def test_energy_is_compared_at_the_same_failures():
    measured = bar(verdicts(15), "beta-happo").measured
    assert measured["over seeds"].mean == pytest.approx(15.2)
    assert measured["over networks"].mean == pytest.approx(15.2)
    assert measured["over networks"].ci95 == pytest.approx((15.2, 15.2), abs=1e-6)


@pytest.mark.parametrize(
    ("percent", "own", "shared"),
    [
        (8, "reproduced", "reproduced"),
        (15, "reproduced", "not reproduced"),
        (30, "not reproduced", "not reproduced"),
    ],
)
def test_the_bars_are_25_and_10_percent(percent, own, shared):
    claims = verdicts(percent)
    assert bar(claims, "beta-happo").verdict == own
    assert bar(claims, "beta-happo-shared").verdict == shared


def test_one_seed_is_judged_over_networks_alone():
    assert set(bar(verdicts(8, scale="quick"), "beta-happo").measured) == {"over networks"}


def test_what_fails_less_than_the_rule_ever_does_is_compared_with_its_least_failures():
    at_least_failures = energy_of(0.01) / energy_of(0.03) - 1
    assert bar(verdicts(0, failed=0.01), "beta-happo").measured["over seeds"].mean == pytest.approx(
        100 * ((1 + at_least_failures) * 1.002 - 1)
    )


def test_parts_are_judged_by_what_they_change():
    better = verdicts(8, parts=(0.002, 1.01))
    worse = verdicts(8, parts=(-0.002, 0.98))
    for says in better:
        if "not worse" in says:
            assert better[says].verdict == "reproduced" and worse[says].verdict == "not reproduced", says
    failing = next(claim for says, claim in worse.items() if "shares" in says and "requests" in says)
    spent = next(claim for says, claim in worse.items() if "deployment" in says and "energy" in says)
    assert failing.measured["beta-happo"].mean == pytest.approx(0.2)
    assert spent.measured["beta-happo"].mean == pytest.approx(100 * (1 / 0.98 - 1))


def test_the_ablation_prices_failures_and_judges_each_part():
    """Taking a part away costs .1 mJ more, but for the one that costs nothing; seeds differ by 1e-4."""

    def learned(settings):
        more = 0.0 if settings["shown"] in (ablation.DEFAULT, "beta-happo[masked=false]") else 0.1
        return {"learned": (0.05, 0.1 + more + 1e-4 * settings["seed"] * (more > 0))}

    study = STUDIES["ablation"]
    results = invented(study, "full", learned)
    (table,) = study.tables(results)
    row = next(row for row in table.rows if row[0] == ablation.DEFAULT)
    assert row[4].mean == pytest.approx(0.1 + ablation.PRICE_MJ * 0.05 * REQUESTS / USER_SLOTS)
    said = {claim.says: claim.verdict for claim in study.claims(results)}
    assert len(said) == len(ablation.TAKEN_BACK)
    assert {verdict for says, verdict in said.items() if "masked" not in says} == {"reproduced"}
    assert any("linear" in says for says in said)
    (quick,) = study.tables(invented(study, "quick", learned))
    assert all(row[-1].ci95 is not None for row in quick.rows[-len(ablation.TAKEN_BACK) :]), "one seed: over networks"


@pytest.mark.parametrize(("planned", "verdict"), [(0.0, "reproduced"), (0.02, "not reproduced")])
def test_planning_is_judged_against_every_other_deployment(planned, verdict):
    """All deployments fail and spend the same, but for what `planned` fails more: 15 mJ for each request, twice the slack and more."""
    study = STUDIES["migration"]
    results = invented(study, "quick", None)
    for result in results.values():
        result.value["shares"]["min-energy+planned"] = share(0.2 + planned, energy_of(0.2))
    claims = study.claims(results)
    assert len(claims) == 2 and {claim.verdict for claim in claims} == {verdict}
    assert {name for claim in claims for name in claim.measured} == {"above static", "above nearest", "above sticky"}
    cells = next(table for table in study.tables(results) if table.name == "cells")
    assert len(cells.rows) == 27


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", ["quick", "full"])
def test_a_study_tells_and_draws_all_of_it(name, scale):
    study = STUDIES[name]
    results = invented(study, scale, learned_above(8))
    tables = study.tables(results)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert set(study.draw(results)) == PICTURES[name]
    assert registry.study(f"two-timescale/{name}") is study


def test_every_algorithm_of_the_studies_can_be_made():
    task = TwoTimescale(scenario("two-timescale/physical", TINY))
    algorithms = {job.settings["algo"] for study in STUDIES.values() for job in study.jobs("full") if "algo" in job.settings}
    assert len(algorithms) == 3 + 1 + len(ablation.TAKEN_BACK)
    for algorithm in algorithms:
        learner = registry.learner(task, algorithm)
        state = jax.eval_shape(learner.init, jax.random.key(0))
        jax.eval_shape(
            learner.act, jax.eval_shape(learner.policy, state), task.observe(task.reset(jax.random.key(0))), jax.random.key(0)
        )


def test_a_part_decides_for_its_own_class_alone():
    """inversion's users with another's deployment are what their names join; with equal shares, nothing changes."""
    task = TwoTimescale(scenario("two-timescale/physical", {**TINY, "two_timescale.frames": 30}))
    whole, other = (registry.policy(task, f"inversion[snr=5]+{deployment}") for deployment in ("nearest", "sticky"))
    as_named = registry.only(whole, "users", "stations"), registry.only(other, "centre")
    evened = registry.only(whole, "users"), rules.equal_shares(task), registry.only(whole, "centre")
    policies = [whole, other, *(registry.join(task, list(parts), "joined") for parts in (as_named, evened))]
    first, second, third, fourth = (rollout(policy, episode_keys(0, 3), 900, 900).metrics for policy in policies)
    assert np.array_equal(third.migrations, second.migrations) and np.array_equal(third.energy_j, second.energy_j)
    assert np.array_equal(fourth.failures, first.failures) and np.array_equal(fourth.energy_j, first.energy_j)
    assert not np.array_equal(first.migrations, second.migrations)


@pytest.mark.slow
def test_a_training_job_goes_on_with_its_run(tmp_path):
    """Done again in the same folder, it trains nothing and says the same."""
    settings = {
        "scenario": "two-timescale/physical",
        "set": TINY,
        "algo": "beta-happo-shared[anneal_slots=5120]",
        "budget": 5120,
        "seed": 0,
        "episodes": 4,
        "evaluations": 1,
        "evaluation_episodes": 4,
        "parts": True,
    }
    first = jobs.training(settings, Path(tmp_path))
    assert first["updates"] == 1 and first["curve"]["slots"] == [0, 5120]
    assert set(first["shares"]) == {"learned", "equal shares", "nearest", "sticky"}
    again = jobs.training(settings, Path(tmp_path))
    assert again["seconds"] == first["seconds"] and again["curve"] == first["curve"]
    for policy, told in first["shares"].items():
        for metric, ratio in told.items():
            assert np.array_equal(ratio, again["shares"][policy][metric]), (policy, metric)


@pytest.mark.slow
def test_rules_are_measured_on_the_networks_of_a_comparison(tmp_path):
    settings = {"scenario": "two-timescale/physical", "set": TINY, "episodes": 4, "policies": ["inversion[snr=5]+nearest"]}
    told = jobs.rule_policies(settings, tmp_path)
    task = TwoTimescale(scenario("two-timescale/physical", TINY))
    totals = rollout(registry.policy(task, settings["policies"][0]), episode_keys(0, 4), 60, 60).metrics
    measured = jobs.shares(told, settings["policies"][0])
    assert measured[FAILURE].numerator.tolist() == totals.failures.sum(axis=(1, 2)).tolist()
    assert measured[ENERGY].numerator == pytest.approx(1e3 * totals.energy_j.sum(axis=(1, 2)))
    assert told["bound"][0] >= told["bound"][10] >= told["bound"][-1] > 0
