"""Placement as a task: what a placement costs, what scores stand for, and the contract."""

import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgetwin as et
from association.nets import make, plain
from edgetwin.association import projection, rules
from edgetwin.association.instance import assignment, load_limit, outcome
from edgetwin.evaluation.check import check_policy, check_task
from edgetwin.registry import policy

pytestmark = pytest.mark.usefixtures("quick_compilation")

OPENED, ASSOCIATED = jax.jit(projection.opened), jax.jit(projection.associated)


def failed(clauses):
    return [clause for clause in clauses if not clause.passed]


def by_hand(task, state, host):
    """J and the share of users over their limit, from the paper's lines and nothing else."""
    section, world, episode = task.section, state.world, state.episode
    users, total = len(host), 0.0
    bits = episode.data_bits + section.horizon_s / section.update_gap_s * episode.update_bits
    work = section.cycles_per_bit * bits
    late = 0
    limit = plain(task.model.limit_s(episode, world))
    for i in range(users):
        others = [j for j in range(users) if host[j] == host[i]]
        weight = {"square-root": np.sqrt(work), "equal": np.ones(users), "proportional": work}[section.compute_share]
        f = world.cpu_hz[host[i]] * weight[i] / sum(weight[j] for j in others)
        hop = world.wire_m[i, host[i]]
        parts = [
            d / world.rate_bps[i] + section.wire_s_per_bit_m * d * hop + section.cycles_per_bit * d / f
            for d in (episode.data_bits[i], episode.update_bits[i])
        ]
        total += parts[0] + section.horizon_s * parts[1] / section.update_gap_s
        late += parts[1] > limit[i]
    energy = np.mean(section.tx_power_w * episode.data_bits / world.rate_bps)
    cost = section.latency_weight * total / users + section.cost_weight * (section.open_cost_s * len(set(host)) + energy)
    return cost, late / users


@pytest.mark.parametrize("share", ["square-root", "equal", "proportional"])
def test_costs_by_hand(share):
    task = make(association__compute_share=share, association__wire_s_per_bit_m=5e-10)
    state = jax.jit(task.reset)(jax.random.key(1))
    step, generator = jax.jit(task.step), np.random.default_rng(0)
    for _ in range(5):
        host = generator.integers(0, 3, 7)
        told = step(state, task.action_of(jnp.asarray(host)))[1]
        cost, late = by_hand(task, plain(state), host)
        assert float(told.metrics.cost) == pytest.approx(cost, rel=1e-4)
        assert float(told.metrics.violations) / 7 == pytest.approx(late)
        assert (np.asarray(told.rewards.servers) == -float(told.metrics.cost)).all()
        instance, _ = task.instance(plain(state))
        assert outcome(instance, host).cost == pytest.approx(cost, rel=1e-5)


def test_a_soft_limit_has_its_price():
    settings = {"association__wire_s_per_bit_m": 2e-9, "association__violation_price_s": 3.0}
    off, soft = make(**settings), make(delay_limits="soft", **settings)
    host = jnp.zeros(7, int)
    costs = []
    for task in (off, soft):
        state = jax.jit(task.reset)(jax.random.key(1))
        found = jax.jit(task.step)(state, task.action_of(host))[1].metrics
        costs.append((float(found.cost), float(found.violations) / 7))
    assert costs[0][1] > 0
    assert costs[1][0] - costs[0][0] == pytest.approx(3 * costs[0][1], rel=1e-4)


def test_j_is_the_minimisation_that_solvers_are_given():
    from edgetwin.association.assignment import cost, late

    task = make(users=9, sites=4, association__latency_limit_s=[0.2, 0.4], association__latency_floor_s=0.05)
    instance, _ = task.instance(plain(jax.jit(task.reset)(jax.random.key(2))))
    programme = assignment(instance, limited=True)
    for host in np.random.default_rng(1).integers(0, 4, (20, 9)):
        found = outcome(instance, host)
        assert cost(programme, host) == pytest.approx(found.cost, rel=1e-9)
        assert (late(programme, host) == found.violations).all()
    assert (load_limit(instance) > 0).any()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(1, 1), (6, 3), (9, 4)]), st.integers(0, 10_000))
def test_scores_always_become_an_allowed_placement(sizes, seed):
    """(18a), (18b): everyone who is there has one open server, none holds more than it can."""
    (users, servers), generator = sizes, np.random.default_rng(seed)
    capacity = generator.integers(1, 5, servers)
    capacity[0] += max(0, users - capacity.sum())
    present = generator.random(users) < 0.8
    score = jnp.asarray(generator.uniform(-1, 1, (users, servers)))
    is_open = OPENED(jnp.asarray(generator.uniform(-1, 1, servers)), jnp.asarray(capacity), present.sum())
    host = np.asarray(ASSOCIATED(score, is_open, jnp.asarray(capacity), jnp.asarray(present)))
    assert ((host >= 0) == present).all()
    assert np.asarray(is_open)[host[present]].all()
    assert (np.bincount(host[present], minlength=servers) <= capacity).all()


def test_scores_of_a_placement_give_it_back():
    for host in itertools.product(range(3), repeat=4):
        if max(np.bincount(host)) <= 2:
            action = projection.scores_of(jnp.array(host), 3)
            capacity = jnp.array([2, 2, 2])
            is_open = projection.opened(action[:, 0], capacity, 4)
            assert projection.associated(action[:, 1:].T, is_open, capacity, jnp.ones(4, bool)).tolist() == list(host)


def test_the_best_servers_open_until_all_users_fit():
    is_open = projection.opened(jnp.array([-0.9, -0.1, -0.5, 0.2]), jnp.array([9, 2, 2, 2]), 5)
    assert is_open.tolist() == [False, True, True, True]


def test_rules_by_hand():
    """Three users, two servers with room for two each: nearest and greedy in the users' order."""
    task = make(users=3, sites=2, capacity=2)
    instance, _ = task.instance(plain(jax.jit(task.reset)(jax.random.key(0))))
    instance = instance._replace(distance_m=np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]))
    assert rules.nearest(instance).tolist() == [0, 0, 1]
    flat = instance._replace(wire_m=np.array([[0.0, 1e9], [0.0, 1e9], [0.0, 1e9]]))
    assert rules.greedy(flat).tolist() == [0, 0, 1]
    free = instance._replace(
        wire_m=np.zeros((3, 2)), cpu_hz=np.array([10e9, 10e9]), data_bits=np.full(3, 1e6), update_bits=np.full(3, 1e5)
    )
    assert sorted(rules.greedy(free).tolist()) in ([0, 0, 1], [0, 1, 1])
    assert len(set(rules.greedy(free)[:2])) == 2


def test_policies_rank_as_they_should():
    task = make(users=30, sites=6, capacity=12)
    table = et.compare(task, ["random", "nearest", "greedy", "local-search", "optimum"], episodes=4)
    cost = {name: row.metrics["cost"].mean for name, row in table.rows.items()}
    assert cost["optimum"] <= cost["local-search"] * (1 + 1e-6)
    assert cost["local-search"] < cost["greedy"] < cost["random"]
    assert all(row.gap["cost"] >= -1e-6 for row in table.rows.values())
    assert table.rows["optimum"].gap["cost"] < 0.02


@pytest.mark.parametrize(
    "variant", [pytest.param({}, marks=pytest.mark.slow), {"delay_limits": "soft", "placement__slots": 3}], ids=str
)
def test_the_contract_holds(variant):
    task = make(**variant)
    assert failed(check_task(task)) == []


@pytest.mark.parametrize(
    "name", ["random", "optimum", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nearest", "greedy", "local-search"))]
)
def test_policies_keep_the_contract(name):
    assert failed(check_policy(policy(make(users=5, placement__slots=2), name))) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="reads data sets: EDGETWIN_DATA is not set")
def test_melbourne_places_too():
    task = et.task("placement", et.scenario("melbourne", {"users.count": 10}))
    table = et.compare(task, ["nearest", "local-search"], episodes=2)
    assert table.rows["local-search"].metrics["cost"].mean <= table.rows["nearest"].metrics["cost"].mean


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"association.capacity": 3}, r"3 servers hold 9 twins: users.count = 10"),
        ({"association.delay_limits": "never"}, "association.delay_limits"),
        ({"association.data_bits": [5.0, 1.0]}, "association.data_bits"),
        ({"migration.slots": 0}, "migration.slots"),
        ({"association.capacty": 3}, "did you mean association.capacity"),
    ],
)
def test_bad_settings_are_named(settings, says):
    with pytest.raises(et.InputError, match=says):
        et.task("placement", et.scenario("association/n100-m10", {"users.count": 10, "sites.count": 3, **settings}))


def test_other_scenarios_say_that_they_have_no_placement():
    with pytest.raises(et.InputError, match=r"no section \[placement\]"):
        et.task("placement", "two-timescale/physical")


def test_the_optimum_needs_square_roots():
    with pytest.raises(et.InputError, match="square-root"):
        et.compare(make(association__compute_share="equal"), ["optimum"], episodes=1)
