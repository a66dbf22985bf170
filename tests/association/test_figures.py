"""The figures of placement: what they say of results that are known, and that their jobs do what they say."""

import jax
import numpy as np
import pytest

import edgetwin as et
from edgetwin import registry
from edgetwin.association import figures, jobs, rules, study_jobs, time_figures
from edgetwin.association.instance import outcome
from edgetwin.association.studies import STUDIES
from edgetwin.association.study_jobs import LARGEST, LEARNED, PRINTED, SIZES, Size
from edgetwin.evaluation.rollout import rollout
from edgetwin.evaluation.study import Result, plain
from edgetwin.problem import episode_keys

TINY = {"users.count": 6, "sites.count": 3}
PICTURES = {
    "association/fig7": {"training", "opening-price", *(f"training-n{size.users}-m{size.stations}" for size in SIZES)},
    "association/fig8": {"steps"},
    "association/fig9": {"time", "cost"},
    "association/fig10": {"training-time"},
}
COST = {(80, 5): 17.0, (80, 10): 15.0, (100, 5): 21.0, (100, 10): 16.0}
"""Of the optimum."""
RULES = {"random": 2.0, "nearest": 1.5, "greedy": 1.2, "local-search": 1.0, "optimum": 1.0}
"""Times the optimum."""


def of_scenario(name):
    return next(size for size in SIZES if size.scenario == name)


def measures(cost, networks, steps=25):
    """The same in every step; networks differ by up to a tenth."""
    values = cost * np.linspace(0.95, 1.05, networks)[:, None] * np.ones(steps)
    return {"cost": values, "latency_s": values - 4, "energy_j": 0 * values, "open_servers": 4 + 0 * values}


def value_of(job, learned, first=1.0, cost=COST, settled=1.0):
    """What a job would return. learned: times the optimum's cost, which seeds exceed by 1 % each; first: times that in step 1; settled: what
    the curve comes to in the end, times the cost before."""
    settings = job.settings
    if "scenarios" in settings:
        return timings(settings)
    size = of_scenario(settings["scenario"])
    best, networks = cost[size], settings["episodes"]
    if settings["shown"] == "prices":
        priced = np.array(settings["prices"]) * np.ones((networks, 1))
        spread = np.linspace(0.99, 1.01, networks)[:, None]
        return {
            "optimum": best * spread + priced,
            "open_servers": 0 * priced + 4,
            "all_open": 12 * spread - size.stations / 10 + priced * size.stations,
        }
    if "policies" in settings:
        evaluated = {name: best * RULES[name] for name in settings["policies"]}
        found = {name: measures(best * RULES[name], networks, settings["steps"]) for name in settings["policies"]}
        return {"measures": found, "evaluated": evaluated}
    times = learned * (1 + 0.01 * settings["seed"]) if settings["shown"] == LEARNED else 1.9
    told = measures(best * times, networks)
    told["cost"][:, 0] *= first
    slots = np.linspace(0, settings["budget"], 9)
    curve = best * times * np.array([2.0, 1.5, 1.2, 1.1, 1.0, 1.0, 1.0, 1.0, settled])
    return {
        "curve": {"slots": slots, "seconds": slots / 500, "cost": curve},
        "seconds": 240.0 + settings["seed"],
        "updates": 1500,
        "decision_ms": 1.0 + 0.01 * settings["seed"],
        "measures": told,
    }


def timings(settings, milliseconds=None):
    """An update takes 1 ms per user and base station / 10, some 2 % more or less; slow while it warms up."""
    draw = np.random.default_rng(0)
    training = {}
    for algo, rounds in settings["rounds"].items():
        warming = time_figures.WARMING[algo]
        training[algo] = {}
        for name in settings["scenarios"]:
            size = of_scenario(name)
            each = (milliseconds or (lambda size: size.users * size.stations / 10))(size) / 1e3
            seconds = [50 * each * (99 if block < warming else draw.uniform(0.98, 1.02)) for block in range(rounds)]
            training[algo][name] = {"compile_s": 10.0, "seconds": seconds, "updates": [50] * rounds}
    decisions = {algo: {name: [1.0, 1.1, 1.05] for name in settings["scenarios"]} for algo in settings["rounds"]}
    return {"training": training, "decision_ms": decisions, "rules_ms": dict.fromkeys(settings["policies"], 2.0)}


def invented(name, scale="full", learned=1.03, **more):
    return {job.name: Result(job.settings, plain(value_of(job, learned, **more)), 1.0) for job in STUDIES[name].jobs(scale)}


def claims(name, *args, **more):
    return {claim.says: claim for claim in STUDIES[name].claims(invented(name, *args, **more))}


def one(claims, start):
    found = [claim for says, claim in claims.items() if says.startswith(start)]
    assert len(found) == 1, start
    return found[0]


def test_they_are_listed_under_the_papers_name():
    assert set(PICTURES) <= set(registry.studies())
    assert registry.study("association/fig7") is STUDIES["association/fig7"]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("scale", ["quick", "full"])
def test_everything_is_drawn_and_told(name, scale):
    study, results = STUDIES[name], invented(name, scale)
    assert set(study.draw(results)) == PICTURES[name]
    for table in study.tables(results):
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(claim.judgement.reason for claim in study.claims(results))


def test_what_several_figures_need_is_the_same_job():
    by_figure = [{job.key: job.name for job in STUDIES[f"association/fig{number}"].jobs("full")} for number in (7, 8, 9)]
    trainings = {job.key for size in SIZES for job in study_jobs.training_jobs(size, "full")}
    assert len(trainings) == 20
    assert all(trainings <= set(each) for each in by_figure)
    assert len({job.key for job in STUDIES["association/fig9"].jobs("full")} - set(by_figure[0])) == 0


def test_where_fewer_base_stations_cost_more_fig8_is_right_and_fig7_is_not():
    told = claims("association/fig7")
    assert one(told, "The cost increases with the number of base stations").verdict == "not reproduced"
    assert one(told, "The fewer base stations").verdict == "reproduced"
    assert one(told, "The cost increases with the number of users").verdict == "reproduced"
    turned = claims("association/fig7", cost={size: 40 - cost for size, cost in COST.items()})
    assert one(turned, "The cost increases with the number of base stations").verdict == "reproduced"
    assert one(turned, "The cost increases with the number of users").verdict == "not reproduced"


def test_with_all_servers_open_base_stations_cost_where_opening_is_dear():
    measured = one(claims("association/fig7"), "Where all servers stay open").measured
    assert measured["N = 80"].mean == pytest.approx(100 * ((12 - 1 + 40) / (12 - 0.5 + 20) - 1))


def test_much_more_is_a_tenth():
    close = {size: cost * (1 if size[0] == 100 else 20 / 17) for size, cost in COST.items()}
    assert one(claims("association/fig7"), "With M = 5, N = 100").verdict == "reproduced"
    assert one(claims("association/fig7", cost=close), "With M = 5, N = 100").verdict != "reproduced"


def test_training_that_still_changes_has_not_converged():
    assert one(claims("association/fig7"), "Training converges").verdict == "reproduced"
    assert one(claims("association/fig7", settled=0.9), "Training converges").verdict == "not reproduced"


def test_users_against_base_stations_by_hand():
    each = {size: np.full(4, COST[size]) for size in SIZES}
    assert figures.users_over_stations(each, by_percent=False).mean == pytest.approx((4 + 1) / 2 - (2 + 5) / 2)
    users = (np.log(21 / 17) + np.log(16 / 15)) / 2 / np.log(1.25)
    stations = (np.log(17 / 15) + np.log(21 / 16)) / 2 / np.log(2)
    assert figures.users_over_stations(each, by_percent=True).mean == pytest.approx(users - stations)


def test_intervals_of_independent_samples():
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        first, second = draw.normal(12, 2, 40), draw.normal(10, 2, 40)
        low, high = study_jobs.more(first, second).ci95
        held += low <= 20 <= high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize(
    ("first", "falls", "at_once"), [(1.3, "reproduced", "not reproduced"), (1.0, "not reproduced", "reproduced")]
)
def test_steps_count_only_where_the_first_costs_more(first, falls, at_once):
    told = claims("association/fig8", first=first)
    assert one(told, "The cost is minimised").verdict == falls
    assert one(told, "No steps are needed").verdict == at_once


@pytest.mark.parametrize(("learned", "verdict"), [(1.03, "reproduced"), (1.2, "not reproduced")])
def test_the_bar_is_8_percent(learned, verdict):
    claim = one(claims("association/fig9", learned=learned), "At N = 100, M = 10 the learned policy is within")
    assert claim.verdict == verdict
    assert claim.measured["over seeds"].mean == pytest.approx(100 * (learned * 1.02 - 1))
    assert claim.measured["over networks"].mean == pytest.approx(100 * (learned * 1.02 - 1))


def test_one_seed_is_judged_over_networks_alone():
    claim = one(claims("association/fig9", "quick"), "At N = 100, M = 10 the learned policy is within")
    assert set(claim.measured) == {"over networks"}


def test_savings_and_the_way_to_the_optimum():
    results = invented("association/fig9")
    saved = time_figures.saved(results, LARGEST, "nearest", "cost")["over networks"].mean
    assert saved == pytest.approx(100 * (1 - 1.03 * 1.02 / 1.5))
    assert time_figures.way(results, LARGEST).mean == pytest.approx(100 * (1.5 - 1.03 * 1.02) / 0.5)


def test_training_times_are_compared_once_everything_is_learned():
    found = timings(STUDIES["association/fig10"].jobs("full")[0].settings)
    assert time_figures.longer(found, LEARNED, LARGEST, Size(80, 10)).mean == pytest.approx(25, abs=1)
    assert time_figures.longer(found, PRINTED, LARGEST, Size(100, 5)).mean == pytest.approx(100, abs=2)
    assert time_figures.stations_over_users(found, LEARNED).mean == pytest.approx(0, abs=0.05)
    slower = timings(STUDIES["association/fig10"].jobs("full")[0].settings, lambda size: size.stations**2)
    assert time_figures.stations_over_users(slower, LEARNED).mean == pytest.approx(2, abs=0.05)


def test_the_paper_s_ratios_are_its_own():
    found = claims("association/fig10")
    assert one(found, "Training on N = 100, M = 10 takes 25 %").verdict == "reproduced"
    assert one(found, "Training on N = 100, M = 10 takes 95 %").verdict == "not reproduced"


SETTINGS = {"scenario": "association/n80-m5", "set": TINY, "episodes": 3}


def test_rules_meet_the_same_networks_in_the_first_of_25_slots_as_in_one():
    short = jobs.rule_policies({**SETTINGS, "policies": ["greedy"], "steps": 1, "evaluation_episodes": 2}, None)
    long = jobs.rule_policies({**SETTINGS, "policies": ["greedy"], "steps": 3}, None)
    first, every = (found["measures"]["greedy"]["cost"] for found in (short, long))
    assert (first.shape, every.shape) == ((3, 1), (3, 3))
    np.testing.assert_array_equal(first[:, 0], every[:, 0])
    assert short["evaluated"]["greedy"] > 0
    assert long["evaluated"] == {}


def test_prices_are_those_of_the_task():
    """The optimum at the scenario's own price is the policy `optimum` in the task; all open costs what it says."""
    found = jobs.opening_prices({**SETTINGS, "prices": [0.0, 1.0, 3.0]}, None)
    task = et.task("placement", et.scenario("association/n80-m5", TINY))
    costs = rollout(registry.policy(task, "optimum"), episode_keys(0, 3), 1, 1).metrics.cost[:, 0]
    optimum, all_open = np.array(found["optimum"]), np.array(found["all_open"])
    np.testing.assert_allclose(optimum[:, 1], costs, rtol=2e-3)
    np.testing.assert_allclose(all_open, optimum[:, :1] + 3 * np.array([0.0, 1.0, 3.0]), rtol=1e-9)
    assert (np.diff(optimum, axis=1) >= 0).all()
    state = jax.jit(task.reset)(episode_keys(0, 1)[0])
    instance, _ = task.instance(jax.tree.map(np.asarray, state._replace(streams=None)))
    assert optimum[0, 1] <= outcome(instance, rules.nearest(instance)).cost


@pytest.mark.slow
def test_a_training_tells_its_curve_and_the_steps_of_what_it_learned(tmp_path):
    settings = {**SETTINGS, "algo": PRINTED, "budget": 500, "seed": 1, "evaluations": 1, "evaluation_episodes": 2, "steps": 3}
    told = plain(jobs.training(settings, tmp_path))
    assert told["curve"]["slots"] == [0, 500]
    assert np.shape(told["measures"]["cost"]) == (3, 3)
    again = plain(jobs.training(settings, tmp_path))
    assert again["curve"] == told["curve"]
    assert again["measures"] == told["measures"]


@pytest.mark.slow
def test_timing_tells_every_block_and_decision():
    names = ["association/n80-m5", "association/n100-m5"]
    settings = {"scenarios": names, "set": TINY, "rounds": {PRINTED: 2}, "policies": ["greedy"], "rule_decisions": 3}
    told = jobs.timing(settings, None)
    for name in names:
        timed = told["training"][PRINTED][name]
        assert timed["updates"][1] == 500
        assert len(timed["seconds"]) == 2
        assert min(timed["seconds"]) > 0
        assert len(told["decision_ms"][PRINTED][name]) == jobs.GROUPS
    assert told["rules_ms"]["greedy"] > 0
