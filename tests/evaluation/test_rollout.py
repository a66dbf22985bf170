"""Rollouts against a plain loop, on the device and on the host, and what a comparison promises."""

import jax
import numpy as np
import pytest

import small
import toys
from edgetwin import registry
from edgetwin.errors import InputError
from edgetwin.evaluation.compare import compare
from edgetwin.evaluation.film import film
from edgetwin.evaluation.rollout import rollout
from edgetwin.problem import Policy, episode_keys
from edgetwin.scenario import scenario
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")


def toy(problem, name):
    return registry.policy(problem.task(None), name, problem.policies)


def plain_loop(policy, key, slots):
    """The costs of an episode, slot by slot, without scan, vmap or jit."""
    task = policy.task
    state, costs = task.reset(key), []
    trace = task.trace(key, slots) if policy.information == "trace" else None
    carry = policy.init(key, policy.view(task.observe(state), state, trace))
    for _ in range(slots):
        carry, action = policy.act(carry, policy.view(task.observe(state), state, trace), key)
        state, outcome = task.step(state, action)
        costs.append(float(outcome.metrics["cost"]))
    return np.array(costs)


@pytest.mark.parametrize("name", ["follow[gain=0.5]", "foresee"])
def test_a_device_rollout_is_the_plain_loop(name):
    policy, keys = toy(toys.TRACK, name), episode_keys(4, 3)
    totals = rollout(policy, keys, 25, 10).metrics["cost"]
    assert totals.shape == (3, 3)
    for episode, key in enumerate(keys):
        costs = plain_loop(policy, key, 25)
        np.testing.assert_allclose(totals[episode], [costs[:10].sum(), costs[10:20].sum(), costs[20:].sum()], rtol=1e-5)


def test_a_host_policy_meets_the_same_world():
    device = toy(toys.TRACK, "follow")

    def act(carry, view, key):
        assert isinstance(view.observation.agents, np.ndarray)
        target, place = view.observation.agents[0]
        return carry, toys.Agents(np.clip(target - place, -1, 1).reshape(1, 1))

    host = Policy(name="host", task=device.task, act=act, runs_on="host")
    keys = episode_keys(0, 2)
    np.testing.assert_allclose(
        rollout(host, keys, 20, 10).metrics["cost"], rollout(device, keys, 20, 10).metrics["cost"], rtol=1e-5, atol=1e-7
    )


def test_an_episode_that_terminated_counts_no_more():
    task = toys.Assign()
    policy = registry.policy(task, "cheapest", toys.ASSIGN.policies)
    once, thrice = (rollout(policy, episode_keys(0, 4), slots, 1) for slots in (1, 3))
    assert once.terminated.all()
    np.testing.assert_array_equal(once.metrics["cost"][:, 0], thrice.metrics["cost"].sum(axis=1))


def test_the_solver_on_the_host_beats_the_rule_and_neither_the_bound():
    """The one-shot toy through compare: SciPy's optimum, a greedy rule, and a bound that ignores that machines are taken."""
    task = toys.Assign()
    policies = [registry.policy(task, name, toys.ASSIGN.policies) for name in ("hungarian", "cheapest")]
    rows = compare(task, policies, episodes=40).rows
    optimum, greedy = rows["hungarian"], rows["cheapest"]
    assert optimum.bound["cost"] <= optimum.metrics["cost"].mean <= greedy.metrics["cost"].mean
    assert optimum.gap["cost"] == pytest.approx(optimum.metrics["cost"].mean / optimum.bound["cost"] - 1)
    assert optimum.policy.runs_on == "host"


@pytest.fixture(scope="module")
def task():
    return TwoTimescale(scenario("two-timescale/physical", small.SETTINGS))


@pytest.fixture(scope="module")
def compared(task):
    return compare(task, small.POLICIES, small.EPISODES, small.SLOTS, small.SEED)


def test_the_same_seed_gives_the_same_bits(task, compared):
    again, other = (compare(task, small.POLICIES, small.EPISODES, small.SLOTS, seed) for seed in (small.SEED, 1))
    for name in small.POLICIES:
        assert compared.rows[name].metrics == again.rows[name].metrics
        assert compared.rows[name].metrics != other.rows[name].metrics


def test_networks_do_not_depend_on_how_many_there_are(task):
    """Episode 2 of 3 is episode 2 of 5: what is drawn follows from seed and index alone."""
    policy = registry.policy(task, "inversion[snr=5]+nearest")
    few, many = (rollout(policy, episode_keys(0, episodes), 40, 20).metrics for episodes in (3, 5))
    np.testing.assert_array_equal(few.requests, many.requests[:3])
    np.testing.assert_allclose(few.energy_j, many.energy_j[:3], rtol=1e-6)


def test_comparison_as_plain_data_has_the_promised_shape(compared):
    data = compared.to_json()
    assert {key: data[key] for key in ("task", "scenario", "seed", "episodes", "slots")} == {
        "task": "two-timescale",
        "scenario": "two-timescale/physical",
        "seed": 0,
        "episodes": 3,
        "slots": 80,
    }
    row = data["policies"]["full-power+nearest"]
    assert set(row) == {"metrics", "bound", "gap", "information", "runs_on", "reference", "params", "decision_us"}
    energy = row["metrics"]["energy_mj_per_slot"]
    assert energy["ci95"][0] <= energy["mean"] <= energy["ci95"][1]
    assert row["bound"]["failure_per_request"] is None
    assert row["gap"]["energy_mj_per_slot"] == pytest.approx(energy["mean"] / row["bound"]["energy_mj_per_slot"] - 1)
    assert not row["reference"]
    assert data["policies"]["full-power+genie"]["reference"]


def test_a_comparison_that_makes_no_sense_is_refused(task):
    for wrong, said in [
        ({"policies": []}, "no policy"),
        ({"policies": ["full-power+nearest"] * 2}, "named twice"),
        ({"policies": ["full-power+nearest"], "episodes": 0}, "episodes = 0"),
        ({"policies": ["full-power+nearest"], "slots": 10_000}, "an episode of this scenario has 80"),
        ({"policies": ["full-power+nearest"], "seed": -1}, "seed = -1"),
    ]:
        with pytest.raises(InputError, match=said):
            compare(task, **wrong)


def test_a_film_shows_what_the_rollout_counts(task):
    policy = registry.policy(task, "full-power+nearest")
    key = episode_keys(0, 1)[0]
    scene = film(policy, key, 60)
    totals = rollout(policy, key[None], 60, 60).metrics
    assert scene.users_m.shape == (60, 4, 2)
    assert scene.failed.sum() == totals.failures.sum()
    assert scene.requesting.sum() == totals.requests.sum()
    assert (np.diff(scene.host_site, axis=0) != 0).sum() == totals.migrations.sum()
    assert film(toy(toys.TRACK, "follow"), key, 5) is None


def test_a_reference_decides_in_a_relaxed_copy(task):
    genie = registry.policy(task, "full-power+genie")
    assert genie.reference
    assert genie.task.radio.frame_slots == 1
    worlds = [jax.jit(lambda key, which=which: which.trace(key, 20))(episode_keys(0, 1)[0]) for which in (task, genie.task)]
    assert all((np.asarray(one) == np.asarray(two)).all() for one, two in zip(*map(jax.tree.leaves, worlds), strict=True))
