"""Planned deployment: shortest plans by brute force, what time is worth, and what the policy does in the environment."""

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.evaluation.check import check_policy
from edgetwin.evaluation.rollout import rollout
from edgetwin.problem import episode_keys
from edgetwin.registry import policy
from edgetwin.scenario import scenario
from edgetwin.two_timescale.planned import best_plans, request_times, time_worth
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

FRAMES, SITES, LAMBDA = 4, 3, 0.5
SERVER_SITES = np.array([0, 2])
CPU_S, LINK_S = np.array([1.2e-3, 1.9e-3]), 2.1e-3


def drawn(seed, users):
    draw = np.random.default_rng(seed)
    return draw.dirichlet(np.full(SITES, 0.4), (users, FRAMES)), draw.integers(0, 2, users)


def plans_of(served, host, move_s):
    found = best_plans(
        jnp.asarray(served),
        jnp.asarray(host),
        server_sites=jnp.asarray(SERVER_SITES),
        cpu_s=jnp.asarray(CPU_S),
        link_s=LINK_S,
        request_probability=LAMBDA,
        move_s=move_s,
    )
    return np.asarray(found)


def network_cost(served, host, plans, move_s):
    """What all requests of all frames take, every pair of users on a server or a link counted once for each, and moves."""
    total = move_s * sum(np.sum(np.diff([start, *plan]) != 0) for start, plan in zip(host, plans, strict=True))
    for frame in range(plans.shape[1]):
        for user, server in enumerate(plans[:, frame]):
            mates = sum(other != user and plans[other, frame] == server for other in range(len(plans)))
            total += CPU_S[server] * (1 + LAMBDA * mates)
            for site in range(SITES):
                if site != SERVER_SITES[server]:
                    beside = sum(
                        served[other, frame, site]
                        for other in range(len(plans))
                        if other != user and plans[other, frame] == server
                    )
                    total += served[user, frame, site] * LINK_S * (1 + LAMBDA * beside)
    return total


@pytest.mark.parametrize("move_s", [0.0, 5e-4, 3e-3, 1.0])
def test_one_user_s_plan_is_the_cheapest_of_all(move_s):
    for seed in range(6):
        served, host = drawn(seed, 1)
        best = min(network_cost(served, host, np.array([plan]), move_s) for plan in product(range(2), repeat=FRAMES))
        found = plans_of(served, host, move_s)
        assert network_cost(served, host, found, move_s) == pytest.approx(best, rel=1e-5)
        if move_s == 1.0:
            assert (found == host[:, None]).all()


def test_nobody_gains_by_another_plan_of_its_own_for_long_and_all_gain_by_turns():
    """A turn makes the cost of all requests less, by exactly what the user's plan is better: after two turns each little is left."""
    gained, left = [], []
    for seed in range(8):
        served, host = drawn(seed, 5)
        still = np.repeat(host[:, None], FRAMES, axis=1)
        found, move_s = plans_of(served, host, 1e-3), 1e-3
        now = network_cost(served, host, found, move_s)
        gained.append(network_cost(served, host, still, move_s) - now)
        for user in range(5):
            best = now
            for plan in product(range(2), repeat=FRAMES):
                other = found.copy()
                other[user] = plan
                best = min(best, network_cost(served, host, other, move_s))
            left.append((now - best) / now)
    assert min(gained) >= -1e-9 and np.mean(np.array(gained) > 1e-4) > 0.8
    assert max(left) < 0.03 and np.mean(np.array(left) < 1e-6) > 0.8


SMALL = {
    "users.count": 8,
    "sites.count": 3,
    "two_timescale.frames": 6,
    "two_timescale.frame_slots": 20,
    "two_timescale.migration_slots": 2,
    "users.mean_speed_mps": [10, 30],
    "area.width_m": 300,
}


def moves_of(task, name, slots=120):
    metrics = rollout(policy(task, f"inversion+{name}"), episode_keys(0, 6), slots, slots).metrics
    return np.asarray(metrics.migrations).sum()


def test_what_is_worth_nothing_moves_nobody_and_the_dearer_time_is_the_more_is_moved():
    task = TwoTimescale(scenario("two-timescale/physical", SMALL))
    moves = [moves_of(task, f"planned[worth={worth}]") for worth in (0, 10, 1000)]
    assert 0 == moves[0] < 1.2 * moves[1] < moves[2]


@pytest.mark.slow
def test_it_keeps_the_contract_of_policies():
    task = TwoTimescale(scenario("two-timescale/physical", SMALL))
    check = check_policy(policy(task, "inversion+planned[worth=5,horizon=3]"))
    assert [clause for clause in check if not clause.passed] == []


def test_what_a_request_takes_alone():
    """Means of D·C/f and D/w."""
    task = TwoTimescale(scenario("two-timescale/physical"))
    assert request_times(task) == pytest.approx((20e3 * 625 / 10e9, 20e3 / 10e6))


@pytest.mark.slow
def test_time_is_worth_more_in_a_crowd():
    few, many = (TwoTimescale(scenario("two-timescale/physical", {"users.count": users})) for users in (10, 45))
    assert 0 < time_worth(few, 15.0) < 0.3 < time_worth(many, 15.0)
    assert time_worth(few, 1.5) == pytest.approx(10 * time_worth(few, 15.0), rel=0.2), "nobody fails: all of it is energy"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("planned[horizon=0]", "horizon = 0, price = 15: must be at least 1 and above 0"),
        ("planned[price=0]", "horizon = 12, price = 0: must be at least 1 and above 0"),
        ("planned[worth=-1]", "worth = -1: must be at least 0"),
    ],
)
def test_knobs_without_sense_are_refused(name, says):
    task = TwoTimescale(scenario("two-timescale/physical", SMALL))
    with pytest.raises(InputError, match=says):
        policy(task, f"inversion+{name}")
