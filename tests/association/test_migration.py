"""Migration as a task: what a slot brings, who may move, the rules against plain loops, and the contract."""

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
from edgetwin.association import projection
from edgetwin.evaluation.check import check_policy, check_task
from edgetwin.problem import View
from edgetwin.registry import policy

pytestmark = pytest.mark.usefixtures("quick_compilation")

POLICIES = ["never", "nearest", "algorithm-3", "algorithm-3-literal", "priced", "slot-optimum"]
needs_data = pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="reads data sets: EDGETWIN_DATA is not set")


ADMITTED = jax.jit(projection.admitted)


def failed(clauses):
    return [clause for clause in clauses if not clause.passed]


def utility_of(task, state, user, server, host):
    """(20) of one user whose twin is at `server` while the others' are at `host`, from the paper's lines."""
    section, world, episode = task.section, state.world, state.episode
    update, share = episode.update_bits[user], task.migration.compute_share
    at = [j for j in range(len(host)) if (host[j] if j != user else server) == server and world.present[j]]
    work = np.sqrt(section.cycles_per_bit * (episode.data_bits + section.horizon_s / section.update_gap_s * episode.update_bits))
    part = {"equal": 1 / len(at), "reserved": 1 / task.capacity[server], "square-root": work[user] / sum(work[j] for j in at)}[
        share
    ]
    latency = (
        update / world.rate_bps[user]
        + section.wire_s_per_bit_m * update * world.wire_m[user, server]
        + section.cycles_per_bit * update / (world.cpu_hz[server] * part)
    )
    limit = max(episode.limit_s[user], section.latency_floor_s + section.latency_margin * update / world.rate_bps[user])
    energy = section.tx_power_w * update / world.rate_bps[user]
    beta = task.migration.utility_weight
    return beta * np.exp(limit - latency) - (1 - beta) * energy


def transfer_of(task, state, user, server):
    sites, source = state.episode.sites_m, state.host[user]
    metres = np.linalg.norm(sites[task.network.server_sites[source]] - sites[task.network.server_sites[server]])
    return task.migration.utility_weight * task.section.wire_s_per_bit_m * state.episode.data_bits[user] * metres


def small(share="equal", **settings):
    return make("migration", users=8, sites=4, migration__slots=6, migration__compute_share=share, capacity=3, **settings)


@pytest.mark.parametrize("share", ["equal", "reserved", "square-root"])
def test_a_slot_by_hand(share):
    task = small(share)
    state = jax.jit(task.reset)(jax.random.key(1))
    step, generator = jax.jit(task.step), np.random.default_rng(0)
    for _ in range(4):
        wanted = generator.integers(0, 4, 8)
        before = plain(state)
        state, told = step(state, task.action(jnp.asarray(wanted)[:, None]))
        host = np.asarray(state.host)
        expected = [utility_of(task, before, user, host[user], host) for user in range(8)]
        paid = [transfer_of(task, before, user, host[user]) for user in range(8)]
        assert float(told.metrics.utility) == pytest.approx(sum(expected), rel=1e-4)
        assert np.asarray(told.rewards.users) == pytest.approx(np.array(expected) - paid, rel=1e-3, abs=1e-4)
        assert int(told.metrics.moves) == (host != before.host).sum()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([(1, 1), (6, 3), (10, 4)]), st.integers(0, 10_000))
def test_moves_never_overfill_a_server(sizes, seed):
    """(21a); who asks for a place that is there gets it: nobody is denied while all wishes together fit."""
    (users, servers), generator = sizes, np.random.default_rng(seed)
    host = generator.integers(0, servers, users)
    capacity = np.bincount(host, minlength=servers) + generator.integers(0, 2, servers)
    wanted = generator.integers(0, servers, users)
    after = np.asarray(ADMITTED(jnp.asarray(host), jnp.asarray(wanted), jnp.asarray(capacity)))
    assert (np.bincount(after, minlength=servers) <= capacity).all()
    assert ((after == host) | (after == wanted)).all()
    if (np.bincount(wanted, minlength=servers) <= capacity).all():
        assert (after == wanted).all()


def test_two_full_servers_may_exchange_twins():
    assert projection.admitted(jnp.array([0, 1]), jnp.array([1, 0]), jnp.array([1, 1])).tolist() == [1, 0]


def test_twins_do_not_move_to_closed_servers():
    task = make("migration", users=6, sites=6, capacity=40, association__open_cost_s=50.0)
    state = jax.jit(task.reset)(jax.random.key(0))
    closed = int(np.flatnonzero(~np.asarray(state.is_open))[0])
    after, _ = jax.jit(task.step)(state, task.action(jnp.full((6, 1), closed)))
    assert (np.asarray(after.host) == np.asarray(state.host)).all()


def one_by_one(task, state, price):
    """Algorithm 3 in plain Python: users in turn, fresh loads, capacities."""
    host = state.host.copy()
    for user in range(len(host)):
        best, value = host[user], utility_of(task, state, user, host[user], host)
        for server in range(task.servers):
            room = (host == server).sum() < task.capacity[server]
            if server == state.host[user] or not (room and state.is_open[server]):
                continue
            gain = utility_of(task, state, user, server, host) - price(user, server)
            if gain > value:
                best, value = server, gain
        host[user] = best
    return host


@pytest.mark.parametrize("share", ["equal", "reserved", pytest.param("square-root", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["algorithm-3", "priced[horizon_slots=3]"])
def test_algorithm_3_and_priced_are_the_plain_loop(share, name):
    task = small(share, association__open_cost_s=0.01)
    chosen = policy(task, name)
    step = jax.jit(task.step)
    moved = 0
    for seed in range(3):
        state = jax.jit(task.reset)(jax.random.key(seed))
        for _ in range(4):
            plainly = plain(state)

            def price(user, server, plainly=plainly):
                return transfer_of(task, plainly, user, server) / 3 if "priced" in name else 0.0

            wanted = one_by_one(task, plainly, price)
            _, action = chosen.act((), View(None, state), None)
            assert (np.asarray(action.users[:, 0]) == wanted).all()
            moved += (wanted != plainly.host).sum()
            state, _ = step(state, action)
            assert (np.asarray(state.host) == wanted).all()
    assert moved > 0


def test_the_printed_form_takes_the_last_server_that_is_no_worse():
    task = small(association__open_cost_s=0.01)
    state = jax.jit(task.reset)(jax.random.key(2))
    plainly = plain(state)
    expected = plainly.host.copy()
    for user in range(8):
        now = utility_of(task, plainly, user, plainly.host[user], plainly.host)
        for server in range(4):
            other = server != plainly.host[user] and plainly.is_open[server]
            if other and utility_of(task, plainly, user, server, plainly.host) >= now:
                expected[user] = server
    _, action = policy(task, "algorithm-3-literal").act((), View(None, state), None)
    assert (np.asarray(action.users[:, 0]) == expected).all()


@pytest.mark.parametrize("share", ["reserved", "equal"])
def test_the_slot_optimum_against_all_associations(share):
    task = make("migration", users=5, sites=3, capacity=2, migration__compute_share=share, association__open_cost_s=0.01)
    chosen = policy(task, "slot-optimum")
    for seed in range(4):
        state = plain(jax.jit(task.reset)(jax.random.key(seed)))
        allowed = [
            host
            for host in itertools.product(np.flatnonzero(state.is_open), repeat=5)
            if (np.bincount(host, minlength=3) <= task.capacity).all()
        ]

        def total(host, state=state):
            return sum(utility_of(task, state, user, host[user], np.array(host)) for user in range(5))

        best = max(map(total, allowed))
        _, action = chosen.act((), View(None, state), None)
        found = total(np.asarray(action.users)[:, 0])
        if share == "reserved":
            assert found == pytest.approx(best, rel=1e-5)
        else:
            assert total(state.host) - 1e-9 <= found <= best * (1 + 1e-6)


@pytest.mark.slow
def test_priced_is_best_net_of_transfers_and_the_printed_form_oscillates():
    task = et.task("migration", et.scenario("association/n100-m10", {"migration.slots": 100, "association.capacity": 100}))
    table = et.compare(task, ["never", "nearest", "algorithm-3", "algorithm-3-literal", "priced"], episodes=4)
    net = {name: row.metrics["net_utility"].mean for name, row in table.rows.items()}
    moves = {name: row.metrics["migrations_per_100_users"].mean for name, row in table.rows.items()}
    assert max(net, key=net.get) == "priced"
    assert moves["never"] == 0
    assert moves["algorithm-3-literal"] > 50
    assert moves["priced"] < moves["algorithm-3"] < 10


@pytest.mark.slow
@pytest.mark.parametrize("share", ["equal", "reserved"])
def test_the_contract_holds(share):
    assert failed(check_task(small(share))) == []


@pytest.mark.parametrize(
    "name", ["priced", *(pytest.param(name, marks=pytest.mark.slow) for name in POLICIES if name != "priced")]
)
def test_policies_keep_the_contract(name):
    assert failed(check_policy(policy(small(), name))) == []


@needs_data
def test_taxis_that_are_away_neither_count_nor_move():
    task = et.task("migration", et.scenario("sf-taxis", {"users.count": 60, "migration.slots": 30}))
    chosen, step = policy(task, "priced"), jax.jit(task.step)
    state = jax.jit(task.reset)(jax.random.key(0))
    act = jax.jit(chosen.act)
    met = 0
    for slot in range(30):
        present, host = np.asarray(state.world.present), np.asarray(state.host)
        assert (present == (task.network.visits[slot] >= 0)).all()
        assert (host[present] >= 0).all()
        met += (host >= 0).sum()
        state, told = step(state, act((), View(None, state), None)[1])
        after = np.asarray(state.host)
        gone = ~present & (host >= 0)
        assert (after[gone] == host[gone]).all()
        assert int(told.metrics.users) == present.sum()
        assert (np.asarray(told.rewards.users)[~present] == 0).all()
        assert (np.bincount(after[after >= 0], minlength=209) <= task.capacity).all()
    assert met > 0
