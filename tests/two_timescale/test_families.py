"""Families whose frontiers are drawn: their names are policies, their knobs do what they trade, and mistakes are said in a line."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgetwin import registry
from edgetwin.errors import InputError
from edgetwin.evaluation.check import check_policy
from edgetwin.evaluation.rollout import rollout
from edgetwin.problem import KNOWLEDGE, View, episode_keys
from edgetwin.registry import policy
from edgetwin.scenario import scenario
from edgetwin.two_timescale import families, tuning
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {
    "users.count": 8,
    "two_timescale.frames": 3,
    "two_timescale.frame_slots": 15,
    "two_timescale.migration_slots": 4,
    "two_timescale.tx_power_max_w": 0.1,
}


def task_with(**changes):
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return TwoTimescale(scenario("two-timescale/physical", {**SMALL, **dotted}))


@pytest.mark.parametrize("observation", ["paper", "extended"])
@pytest.mark.parametrize("deployment", [None, "static", "sticky[move=0.5]", "genie"])
def test_every_name_is_a_policy_and_knobs_are_in_order(monkeypatch, observation, deployment):
    monkeypatch.setattr(tuning, "tuned", lambda task, failure, fading=False: {"a": 0.9, "t0": 0.01, "x": 2.0})
    task = task_with(two_timescale__observation=observation)
    found = registry.families(task, deployment)
    assert ("fading-rule" in found) == (observation == "extended")
    for family, names in found.items():
        made = [policy(task, name) for name in names]
        assert all(each.name.endswith(deployment or "nearest") for each in made)
        assert len({each.information for each in made}) == 1
        assert KNOWLEDGE.index(made[0].information) == (family in ("min-energy", "drift-plus-penalty"))


def totals_of(task, *names, seed=3):
    """Energy and failures of policies on the same six episodes."""
    keys = episode_keys(seed, 6)
    found = [rollout(policy(task, name), keys, task.spec.slots, task.spec.slots).metrics for name in names]
    return [SimpleNamespace(energy=each.energy_j.sum(), failures=each.failures.sum(), all=each) for each in found]


@pytest.mark.slow
def test_a_lower_price_of_failures_serves_fewer_for_less():
    """Without a price as many as can be are served; with a price above any request's the same."""
    most, free, dear, cheap = totals_of(
        task_with(),
        "min-energy+static",
        "min-energy[price=inf]+static",
        "min-energy[price=0.3]+static",
        "min-energy[price=0.06]+static",
    )
    assert np.array_equal(most.all.energy_j, free.all.energy_j) and np.array_equal(most.all.failures, free.all.failures)
    assert most.energy > 1.05 * dear.energy > 1.05 * 1.5 * cheap.energy
    assert most.failures < dear.failures < cheap.failures


@pytest.mark.slow
def test_drift_plus_penalty_keeps_the_epsilon_it_is_told():
    tight, loose = totals_of(
        task_with(two_timescale__frames=16),
        "drift-plus-penalty[start=0.3,epsilon=0.02]+static",
        "drift-plus-penalty[start=0.3,epsilon=0.2]+static",
    )
    user_slots = 6 * 8 * 240
    assert tight.failures / user_slots < 0.03
    assert 0.1 < loose.failures / user_slots < 0.2
    assert loose.energy < 0.8 * tight.energy


def test_fading_rule_reckons_with_the_gain_that_users_see():
    """Γ = 2^{D/(B·t0)} − 1, p = min(P_max, Γ·x·(σ²/g_e)·(g_e/g)^a) with the true gain to the serving site."""
    task = task_with(two_timescale__observation="extended")
    rule = policy(task, "fading-rule[a=0.8,t0=0.01,x=3]+nearest")
    assert rule.information == "observation"
    key = episode_keys(0, 1)[0]
    state = task.reset(key)
    view = View(task.observe(state))
    action = rule.act(rule.init(key, view), view, key)[1]
    gain = np.asarray(state.world.gain, float)[np.arange(8), np.asarray(state.serving)]
    target = 2 ** (np.asarray(state.world.data_bits, float) / (10e6 * 0.01)) - 1
    edge = 1e-3 / 400**2
    wanted = np.minimum(target * 3 * (1e-9 / edge) * (edge / gain) ** 0.8 / 0.1, 1)
    asked = np.asarray(state.world.requesting)
    assert np.allclose(np.asarray(action.users)[asked, 0], wanted[asked], rtol=3e-4)
    assert 0 < wanted[asked].min() < 1


@pytest.mark.slow
def test_fading_rule_is_tuned_to_its_own_gain_and_gains_by_it(monkeypatch):
    """On the episodes whose snapshots it is tuned on, in all their slots: it fails what it is tuned for, for less energy."""
    for name, value in {"EPISODES": 6, "SLOTS": 200, "EVERY": 20, "_TUNED": {}}.items():
        monkeypatch.setattr(tuning, name, value)
    episodes = {"two_timescale__frames": 1, "two_timescale__frame_slots": 200}
    task = task_with(users__count=20, two_timescale__observation="extended", two_timescale__tx_power_max_w=0.5, **episodes)
    seen, blind = (policy(task, f"{rule}[failure=0.05]+genie") for rule in ("fading-rule", "distance-rule"))
    assert {name: param.tuned for name, param in seen.params.items()} == {"a": True, "t0": True, "x": True, "failure": False}
    with_fading, without = totals_of(task, seen.name, blind.name, seed=tuning.SEED)
    assert with_fading.energy < 0.75 * without.energy
    for each in (with_fading, without):
        assert each.failures / each.all.requests.sum() == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("min-energy[price=0]", "price = 0: must be above 0"),
        ("min-energy[price=-2]", "price = -2: must be above 0"),
        ("min-energy[price=nan]", "price = nan: must be a finite number"),
        ("inversion[snr=inf]", "snr = inf: must be a finite number"),
        ("drift-plus-penalty[epsilon=0]", "epsilon = 0: must lie between 0 and 1"),
        ("drift-plus-penalty[epsilon=1]", "epsilon = 1: must lie between 0 and 1"),
        ("fading-rule", "two_timescale.observation = paper: must be extended"),
        ("fading-rule[a=0.9,t0=0.01,x=2]", "two_timescale.observation = paper: must be extended"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(name, said):
    with pytest.raises(InputError) as refused:
        policy(task_with(), f"{name}+nearest")
    assert said in str(refused.value)


def test_a_task_without_families_is_told_who_has_them():
    with pytest.raises(InputError, match="'placement' has no families of policies to draw frontiers of: two-timescale has"):
        registry.families(SimpleNamespace(name="placement"))


@pytest.mark.parametrize("name", ["min-energy", "min-energy[price=0.2]", "drift-plus-penalty"])
def test_optimal_policies_keep_their_contract(name):
    broken = [clause for clause in check_policy(policy(task_with(), f"{name}+nearest")) if not clause.passed]
    assert not broken


def test_the_default_deployment_is_the_nearest():
    assert families.families(task_with(), "nearest") == families.families(task_with())
