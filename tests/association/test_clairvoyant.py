"""The bound on migration is above all that can be done and the plan below it, by brute force; the world follows the plan; nobody beats the bound."""

import functools
from itertools import combinations, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from edgetwin.association import migration_bound as dual
from edgetwin.association.clairvoyant import one_better, planned, priced_hosts, two_better
from edgetwin.association.foresight import Foresight, best_way, best_ways, foresee, net_utility
from edgetwin.association.migration_rules import POLICIES
from edgetwin.errors import InputError
from edgetwin.evaluation.check import check_policy
from edgetwin.problem import Policy, episode_keys, random_action

ROUNDING = 2e-6
"""What single precision may take a policy above the bound, relative"""
SHARES = ("equal", "reserved", "square-root")
LIVELY = {
    "users.waypoint_speed_mps": [200.0, 500.0],
    "association.data_bits": [4e6, 12e6],
    "association.update_share": [0.5, 1.0],
    "association.cpu_noise": 0.5,
}
"""Users so fast, updates so large and CPUs so changing that moving pays within few slots"""


@functools.cache
def make(share, users, servers, slots, capacity):
    chosen = {"users.count": users, "sites.count": servers, "migration.slots": slots, "association.capacity": capacity}
    return et.task(
        "migration",
        et.scenario("association/n100-m10", {**LIVELY, **chosen, "migration.compute_share": share}),
    )


class Begun(NamedTuple):
    """Episodes as they start, their traces, and what `priced` and the plan do in them, (episodes, slots, users)."""

    state: Any
    trace: Any
    known: Any
    priced: Any
    planned: Any


def begin(task, keys):
    states = jax.jit(jax.vmap(task.reset))(keys)
    traces = jax.jit(jax.vmap(lambda key: task.trace(key, task.spec.slots)))(keys)

    def plan(state, worlds):
        known, priced = foresee(task, state, worlds), priced_hosts(task, state, worlds)
        return Begun(state, worlds, known, priced, planned(known, priced))

    return jax.jit(jax.vmap(plan))(states, traces)


def earned(task, states, hosts):
    """Net utility of sequences of hosts in every episode, by the task's own steps. hosts: (episodes, sequences, slots, users). What is not
    admitted is denied. Returns (episodes, sequences)."""

    def episode(state, sequence):
        def slot(state, wanted):
            state, outcome = task.step(state, task.action(wanted[:, None]))
            return state, outcome.metrics.utility - outcome.metrics.transfer

        return jax.lax.scan(slot, state, sequence)[1].sum()

    run = jax.jit(jax.vmap(jax.vmap(episode, in_axes=(None, 0))))
    return np.asarray(run(states, jnp.asarray(hosts)), float)


def everything(task, states):
    """Net utility of every sequence of hosts: (episodes, sequences)."""
    choices = np.array(list(product(range(task.servers), repeat=task.users)), np.int32)
    sequences = choices[np.array(list(product(range(len(choices)), repeat=task.spec.slots)))]
    return earned(task, states, np.broadcast_to(sequences, (len(states.slot), *sequences.shape)))


def reached(policy, begun):
    """Net utility of a policy in every episode: (episodes,)."""
    task, slots = policy.task, policy.task.spec.slots

    def slot(loop, number):
        state, carry, trace = loop
        carry, action = policy.act(carry, policy.view(task.observe(state), state, trace), jax.random.key(number))
        state, outcome = task.step(state, action)
        return (state, carry, trace), outcome.metrics.utility - outcome.metrics.transfer

    def episode(state, trace):
        carry = policy.init(jax.random.key(0), policy.view(task.observe(state), state, trace))
        return jax.lax.scan(slot, (state, carry, trace), jnp.arange(slots))[1].sum()

    if policy.runs_on == "device":
        return np.asarray(jax.jit(jax.vmap(episode))(begun.state, begun.trace), float)
    step, totals = jax.jit(task.step), []
    for number in range(len(begun.state.slot)):
        state, total = jax.tree.map(lambda leaf: leaf[number], begun.state), 0.0  # noqa: B023
        for _ in range(slots):
            seen = state._replace(streams=None, **{name: jax.tree.map(np.asarray, getattr(state, name)) for name in SEEN})
            state, outcome = step(state, policy.act((), policy.view(None, seen, None), None)[1])
            total += float(outcome.metrics.utility - outcome.metrics.transfer)
        totals.append(total)
    return np.array(totals)


SEEN = ("slot", "episode", "process", "world", "host", "is_open")


def bounds(begun):
    """The bound on every episode: (episodes,)."""
    known, priced = jax.tree.map(np.asarray, (begun.known, begun.priced))
    each = [(Foresight(*(leaf[number] for leaf in known)), hosts) for number, hosts in enumerate(priced)]
    return np.array([dual.episode_bound(one, hosts, len(one.is_open)) for one, hosts in each])


def below(value, bound):
    return (value <= bound + ROUNDING * np.abs(bound)).all()


TIGHT, TIGHTER, ROOMY = (3, 2, 4, 2), (2, 3, 3, 1), (3, 2, 4, 3)
"""Users, servers, slots, and how many twins a server holds"""


QUICK = [("square-root", *TIGHT), ("reserved", *TIGHTER)]
SLOW = [(share, *size) for share in SHARES for size in (TIGHT, TIGHTER, ROOMY) if (share, *size) not in QUICK]


@pytest.mark.parametrize(
    ("share", "users", "servers", "slots", "capacity"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_the_optimum_lies_between_plan_and_bound(share, users, servers, slots, capacity):
    task = make(share, users, servers, slots, capacity)
    begun = begin(task, episode_keys(1, 12))
    best = everything(task, begun.state).max(axis=1)
    plan, priced = earned(task, begun.state, jnp.stack([begun.planned, begun.priced], axis=1)).T
    bound = bounds(begun)
    assert below(best, bound) and below(plan, best) and below(priced, plan)
    assert priced.sum() < best.sum() * 0.999
    assert bound.sum() < best.sum() * (1.1 if share == "square-root" else 1.02)
    assert plan.sum() > best.sum() * 0.97
    if share == "reserved" and capacity >= users:
        assert np.allclose(bound, best, rtol=ROUNDING) and np.allclose(plan, best, rtol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
def test_the_plan_happens_as_planned_and_no_policy_exceeds_the_bound(share):
    task, keys = make(share, 24, 5, 30, 8), episode_keys(7, 4)
    begun = begin(task, keys)
    bound = bounds(begun)
    value = {name: reached(et.policy(task, name), begun) for name in POLICIES}
    for name in POLICIES:
        assert below(value[name], bound), name
    assert below(reached(wandering(task), begun), bound)
    assert value["clairvoyant"].sum() > bound.sum() * (0.95 if share == "square-root" else 0.97)
    for name, hosts in (("clairvoyant", begun.planned), ("priced", begun.priced)):
        assert np.allclose(value[name], jax.vmap(net_utility)(begun.known, hosts), rtol=ROUNDING), name
    assert (value["clairvoyant"] > value["priced"]).all()
    state, step = jax.tree.map(lambda leaf: leaf[0], begun.state), jax.jit(task.step)
    for wanted in begun.planned[0]:
        state, _ = step(state, task.action(wanted[:, None]))
        assert (state.host == wanted).all()
        assert np.bincount(state.host, minlength=task.servers).max() <= 8
    assert task.bound(keys, 30)({})["net_utility"] == pytest.approx(bound.mean() / (30 * 24), rel=1e-4)


def wandering(task):
    return Policy("wandering", task, lambda carry, view, key: (carry, random_action(task, key)))


def test_any_payments_prove_a_bound():
    """However bad the payments, no sequence of hosts is above what they prove; and steps make the bound smaller."""
    task = make("equal", 3, 2, 4, 2)
    begun = begin(task, episode_keys(1, 12))
    best = everything(task, begun.state).max(axis=1)
    for number in range(4):
        known, hosts = jax.tree.map(lambda leaf: np.asarray(leaf[number]), (begun.known, begun.priced))  # noqa: B023
        parted, energy = dual.parted_of(known, np.arange(2), np.arange(2)), known.energy.sum(dtype=float)
        with jax.enable_x64(True):
            start = dual.first_payments(parted, hosts)[0]
            first = float(dual.proven(parted, start)[0]) - energy
            for seed in range(20):
                pay = start + np.random.default_rng(seed).normal(size=start.shape) * 0.3
                assert float(dual.proven(parted, pay)[0]) - energy >= best[number] * (1 - ROUNDING)
        assert dual.episode_bound(known, hosts, 2) < first


def test_servers_in_the_bound_by_brute_force():
    """With whole loads, the worth of a server is that of its best set of users exactly."""
    generator = np.random.default_rng(3)
    slots, servers, users = 3, 2, 6
    scale, decay = generator.uniform(0.5, 2, (2, slots, servers, users))
    pay, most = generator.uniform(-0.2, 0.6, (slots, servers, users)), np.array([2.0, 5.0])
    free = np.zeros((servers, servers, users))
    parted = dual.Parted(scale, 0.2 * decay, free, np.ones(users), np.zeros(users, int), np.ones(servers), most, 0.0, 1.0)
    sets = np.array(list(product([0, 1], repeat=users)))
    size = sets.sum(axis=1)
    worth = np.zeros((slots, servers))
    for slot, server in product(range(slots), range(servers)):
        left = scale[slot, server] * np.exp(-0.2 * decay[slot, server] * size[:, None]) - pay[slot, server]
        worth[slot, server] = (sets * left).sum(axis=1)[size <= most[server]].max()
    with jax.enable_x64(True):
        proven, ranges = dual.proven(parted, pay)
        paid = float(dual.ways(parted, pay)[0])
        hosted = np.asarray(dual.guests(parted, pay, ranges[None]))
    assert paid == pytest.approx(pay.max(axis=1).sum())
    assert float(proven) - paid == pytest.approx(worth.sum(), rel=1e-5) and float(proven) - paid >= worth.sum() - 1e-12
    assert (ranges[0] == ranges[1]).all()
    assert np.allclose(hosted.sum(axis=-1), ranges[1])


def test_the_best_way_by_brute_force():
    generator = np.random.default_rng(5)
    reward, move = generator.normal(size=(5, 3)), generator.uniform(0, 1, (3, 3)) * (1 - np.eye(3))
    worth = {
        way: sum(reward[slot, host] for slot, host in enumerate(way))
        - sum(move[one, two] for one, two in zip((1, *way), way, strict=False))
        for way in product(range(3), repeat=5)
    }
    value, hosts = best_way(jnp.asarray(reward), jnp.asarray(move), jnp.asarray(1))
    assert float(value) == pytest.approx(max(worth.values()), rel=1e-5)
    assert tuple(hosts.tolist()) == max(worth, key=worth.get)


def test_the_best_ways_of_two_by_brute_force():
    generator = np.random.default_rng(6)
    reward, move = generator.normal(size=(3, 3, 3)), generator.uniform(0, 0.7, (2, 3, 3)) * (1 - np.eye(3))
    start = (2, 0)
    worth = {}
    for ways in product(product(range(3), repeat=2), repeat=3):
        moves = sum(move[user, one[user], two[user]] for user in (0, 1) for one, two in zip((start, *ways), ways, strict=False))
        worth[ways] = sum(reward[slot, *hosts] for slot, hosts in enumerate(ways)) - moves
    value, hosts = best_ways(jnp.asarray(reward), jnp.asarray(move), jnp.asarray(start))
    assert float(value) == pytest.approx(max(worth.values()), rel=1e-5)
    assert tuple(map(tuple, hosts.tolist())) == max(worth, key=worth.get)


@pytest.mark.parametrize("together", [1, 2])
def test_best_ways_past_the_others_by_brute_force(together):
    """One user or two of five take, of all their ways, those with the greatest sum of everybody's net utilities that fit."""
    generator = np.random.default_rng(8)
    slots, users, servers = 3, 5, 3
    ways = np.array(list(product(range(servers), repeat=slots * together))).reshape(-1, slots, together)
    worth = jax.jit(jax.vmap(net_utility, in_axes=(None, 0)))
    better = jax.jit(one_better if together == 1 else two_better)
    capacity, changed = np.array([2, 3, 4]), 0
    for _ in range(8):
        hosts = np.stack([generator.permutation([0, 0, 1, 1, 2, 2, 2])[:users] for _ in range(slots)])
        scale, decay, move, weight = (
            generator.uniform(*between, shape).astype(np.float32)
            for between, shape in (
                ((0.5, 3), (slots, users, servers)),
                ((0.1, 0.6), (slots, users, servers)),
                ((0, 1), (users, servers, servers)),
                ((0.5, 1.5), users),
            )
        )
        move, free = move * (1 - np.eye(servers, dtype=np.float32)), np.zeros((slots, users), np.float32)
        known = Foresight(scale, decay, free, weight, move, hosts[0], np.ones(servers, bool), capacity)
        known = jax.tree.map(jnp.asarray, known)
        for chosen in combinations(range(users), together):
            every = np.broadcast_to(hosts, (len(ways), *hosts.shape)).copy()
            every[:, :, chosen] = ways
            fits = ((every[..., None] == np.arange(servers)).sum(axis=2) <= capacity).all(axis=(1, 2))
            best = np.where(fits, worth(known, jnp.asarray(every)), -np.inf).argmax()
            found, took = better(known, jnp.asarray(hosts), jnp.asarray(chosen if together == 2 else chosen[0]))
            assert (found == every[best]).all()
            assert bool(took) == (found != hosts).any()
            changed += bool(took)
    assert changed > 20


def test_users_change_places_on_full_servers():
    """Two users, each at the server that suits the other, and no free place: only together can they move."""
    suits = np.array([[[1.0, 3.0], [3.0, 1.0]]] * 5, np.float32)
    move = np.broadcast_to(np.float32(0.5) * (1 - np.eye(2, dtype=np.float32)), (2, 2, 2))
    known = Foresight(
        suits, 0 * suits, 0 * suits[..., 0], np.ones(2, np.float32), move, np.arange(2), np.ones(2, bool), np.ones(2, int)
    )
    hosts = planned(jax.tree.map(jnp.asarray, known), jnp.broadcast_to(jnp.arange(2), (5, 2)))
    assert (hosts == jnp.array([1, 0])).all()
    assert float(net_utility(jax.tree.map(jnp.asarray, known), hosts)) == pytest.approx(5 * 6 - 2 * 0.5)


@pytest.mark.slow
def test_the_policy_keeps_its_contract():
    assert [clause for clause in check_policy(et.policy(make("equal", 6, 3, 12, 4), "clairvoyant")) if not clause.passed] == []


def test_what_is_too_large_is_refused():
    task = make("equal", 100, 10, 1000, 40)
    assert task.bound(episode_keys(0, 1), 1000) is None
    with pytest.raises(InputError, match="1000000 = users times servers times slots: must be at most 500000"):
        et.policy(task, "clairvoyant")
