"""Learned migration: what agents compute from what they see, credit and returns against plain loops, and that learning learns."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from association.nets import make, plain
from association.test_migration import utility_of
from edgetwin.association import sharing
from edgetwin.association.migration_actor import FEATURES, decide
from edgetwin.association.migration_credit import worth
from edgetwin.association.migration_learner import Settings, fitted
from edgetwin.association.migration_returns import Played, later
from edgetwin.association.migration_sight import look, nearest, price
from edgetwin.errors import InputError
from edgetwin.evaluation.rollout import rollout
from edgetwin.learning import arrays
from edgetwin.learning.networks import MLP, mlp
from edgetwin.problem import episode_keys, random_action
from edgetwin.registry import learner as by_name
from edgetwin.registry import policy

SMALL = Settings(environments=2, slots_per_update=40, minibatches=8, hidden=(16,), anneal_slots=0, learning_rate=3e-3)
BUDGET = 40 * SMALL.slots_per_update


def small(share="equal", **settings):
    return make("migration", users=8, sites=4, migration__slots=12, migration__compute_share=share, capacity=3, **settings)


def walked(task, slots=3, seed=0):
    """A state after some slots of random moves, and the positions of the slot before."""

    @jax.jit
    def walk(key):
        state = task.reset(key)
        for slot in range(slots):
            before = state.world.position_m
            state, _ = task.step(state, random_action(task, jax.random.key(slot)))
        return state, before

    return walk(jax.random.key(seed))


def seen_of(task):
    """What is seen of a state, compiled."""
    return jax.jit(lambda state: (look(task, task.observe(state).users), task.prospects(state)))


def decided(task):
    """The users' turns in a state, compiled."""
    return jax.jit(lambda network, state: decide(task, network, 0.9, look(task, task.observe(state).users)))


def silent():
    """A network that expects nothing."""
    return MLP((jnp.zeros((FEATURES, 1)),), (jnp.zeros(1),))


@pytest.mark.parametrize("share", ["equal", "reserved", "square-root"])
def test_agents_see_all_that_the_task_computes(share, quick_compilation):
    """Utilities' parts, prices of transfers, loads and ways, out of the observation alone."""
    task = small(share)
    state, before = walked(task)
    seen, known = seen_of(task)(state)
    for name, found in seen.prospects._asdict().items():
        assert np.asarray(found) == pytest.approx(np.asarray(getattr(known, name)), rel=1e-3, abs=1e-4), name
    assert (np.asarray(seen.host) == np.asarray(state.host)).all()
    assert np.asarray(seen.moved_m) == pytest.approx(np.asarray(state.world.position_m - before), abs=0.01)
    held = np.bincount(np.asarray(state.host), minlength=4)
    assert (np.asarray(seen.free) == task.capacity - held).all()
    assert (np.asarray(nearest(seen, 0.0)) == np.asarray(state.world.home)).all()
    costs = np.asarray(price(task, seen))[:, None] * np.asarray(seen.between_m)[np.asarray(state.host)]
    assert costs == pytest.approx(np.asarray(task.transfer_cost(known)), rel=1e-3, abs=1e-4)


def test_deep_shadow_is_seen_whole(quick_compilation):
    """Where a limit leaves the observation's range, it follows from the rate."""
    task = small()
    state, _ = walked(task)
    state = state._replace(world=state.world._replace(rate_bps=state.world.rate_bps.at[0].set(5e4)))
    seen, known = seen_of(task)(state)
    assert float(known.limit_s[0]) > 10
    assert float(seen.prospects.limit_s[0]) == pytest.approx(float(known.limit_s[0]), rel=1e-3)


@pytest.mark.parametrize("share", ["equal", "reserved", "square-root"])
def test_credit_is_the_sum_of_utilities_with_the_twin_less_without(share, quick_compilation):
    task = small(share)
    state, _ = walked(task)
    world, host = plain(state), np.asarray(state.host)
    at = sharing.hosts(state.host, task.servers, state.world.present)
    given = jax.jit(lambda user: worth(task, task.prospects(state), at, user))

    def total(hosts):
        """Sum of (20) over twins that are anywhere; -1: nowhere."""
        return sum(utility_of(task, world, user, hosts[user], hosts) for user in range(8) if hosts[user] >= 0)

    for user, server in itertools.product(range(0, 8, 3), range(4)):
        there, nowhere = host.copy(), host.copy()
        there[user], nowhere[user] = server, -1
        found = given(user)
        assert float(found.own[server]) == pytest.approx(utility_of(task, world, user, server, there), rel=1e-3)
        assert float(found.own[server] + found.others[server]) == pytest.approx(total(there) - total(nowhere), rel=1e-3, abs=1e-4)


def returns_by_hand(played, discount, trace_decay, slot, user, server):
    """G of one user and start, as written."""
    last = len(played.worth) - 1
    if played.ended[slot] or slot == last:
        return played.value[slot, user, server]
    after = slot + 1
    if not played.present[after, user]:
        return discount * returns_by_hand(played, discount, trace_decay, after, user, server)
    best, value = None, -np.inf
    for other in range(played.worth.shape[-1]):
        paid = played.price[after, user] * played.between_m[after, server, other]
        expected = played.worth[after, user, other] - paid + discount * played.value[after, user, other]
        if (other == server or played.may[after, user, other]) and expected > value:
            best, value = other, expected
    paid = played.price[after, user] * played.between_m[after, server, best]
    on = returns_by_hand(played, discount, trace_decay, after, user, best)
    mixed = (1 - trace_decay) * played.value[after, user, best] + trace_decay * on
    return played.worth[after, user, best] - paid + discount * mixed


def test_returns_are_the_plain_recursion():
    slots, users, servers = 6, 3, 4
    draw = np.random.default_rng(0)
    played = Played(
        worth=draw.normal(size=(slots, users, servers)),
        value=draw.normal(size=(slots, users, servers)),
        may=draw.random((slots, users, servers)) < 0.7,
        price=draw.random((slots, users)),
        between_m=draw.random((slots, servers, servers)) * (1 - np.eye(servers)),
        present=draw.random((slots, users)) < 0.8,
        ended=np.array([False, False, True, False, False, False]),
    )
    found = np.asarray(later(jax.tree.map(jnp.asarray, played), 0.9, 0.7))
    for slot, user, server in itertools.product(range(slots - 1), range(users), range(servers)):
        assert found[slot, user, server] == pytest.approx(returns_by_hand(played, 0.9, 0.7, slot, user, server), abs=1e-5)


def test_without_expectations_the_best_of_each_turn_is_taken(quick_compilation):
    """Nothing expected: every user in turn maximises the sum of utilities less its transfer, with what others did before it."""
    task = small(association__wire_s_per_bit_m=1e-12, association__open_cost_s=0.01)
    state, _ = walked(task)
    hosts = np.asarray(decided(task)(silent(), state).host)
    world, now = plain(state), np.asarray(state.host).copy()
    between = np.asarray(state.episode.hop_m)[np.asarray(task.network.server_sites)]
    moved = 0
    for user in range(8):
        values = {}
        for server in range(4):
            if server != now[user] and not (world.is_open[server] and (now == server).sum() < task.capacity[server]):
                continue
            there = now.copy()
            there[user] = server
            transfer = task.migration.utility_weight * 1e-12 * world.episode.data_bits[user] * between[now[user], server]
            values[server] = sum(utility_of(task, world, each, there[each], there) for each in range(8)) - transfer
        best = max(values, key=values.get)
        moved += best != now[user]
        now[user] = best
    assert (hosts == now).all()
    assert moved > 0


def test_any_network_keeps_capacities_and_closed_servers_closed(quick_compilation):
    task = small(association__open_cost_s=0.01)
    act, step = decided(task), jax.jit(task.step)
    state, moved = jax.jit(task.reset)(jax.random.key(5)), 0
    state = state._replace(is_open=state.is_open.at[int(state.host[0])].set(True))
    for slot in range(8):
        wild = jax.tree.map(lambda leaf: 30 * leaf, mlp(jax.random.key(slot), FEATURES, (16,), 1))
        host = np.asarray(act(wild, state).host)
        assert (np.bincount(host, minlength=4) <= task.capacity).all()
        assert np.asarray(state.is_open)[host].all()
        moved += int((host != np.asarray(state.host)).sum())
        state, _ = step(state, task.action(jnp.asarray(host)[:, None]))
        assert (np.asarray(state.host) == host).all()
    assert moved > 8


def test_only_differences_between_servers_decide(quick_compilation):
    task = small()
    state, _ = walked(task)
    act, constant = decided(task), MLP((jnp.zeros((FEATURES, 1)),), (jnp.full(1, 7.0),))
    turn = act(silent(), state)
    assert np.isfinite(turn.features).all()
    assert (np.asarray(act(constant, state).host) == np.asarray(turn.host)).all()


@pytest.fixture(scope="module")
def learner():
    return fitted("afterstate-td", make("migration", users=12, sites=4, migration__slots=40, capacity=6), SMALL)


@pytest.fixture(scope="module")
def run(learner, tmp_path_factory):
    return et.train(learner.task, learner, BUDGET, 3, tmp_path_factory.mktemp("runs") / "whole", evaluations=2)


@pytest.mark.slow
def test_it_learns_to_move_and_beats_never(learner, run):
    """Without expectations a transfer must pay within a slot, so hardly anybody moves; what is learned moves more and earns more than never."""
    keys = episode_keys(7, 32)
    first, last = run.metrics[0]["evaluation"], run.metrics[-1]["evaluation"]
    assert last["migrations_per_100_users"]["mean"] > first["migrations_per_100_users"]["mean"]
    moving, staying = (rollout(each, keys, 40, 40).metrics for each in (run, policy(learner.task, "never")))
    gain = np.sum(moving.utility - moving.transfer - staying.utility, axis=1)
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


@pytest.mark.slow
def test_seeds_reproduce_and_differ(learner, run):
    same, other = (et.train(learner.task, learner, BUDGET, seed, evaluations=1) for seed in (3, 4))
    assert same.metrics[-1]["evaluation"] == run.metrics[-1]["evaluation"]
    assert other.metrics[-1]["training"] != run.metrics[-1]["training"]


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_never_was(learner, run, tmp_path):
    def stop(slots, budget, line):
        if slots >= BUDGET // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        et.train(learner.task, learner, BUDGET, 3, tmp_path / "cut", evaluations=2, progress=stop)
    et.resume(tmp_path / "cut", learner.task, learner)
    for file in ("checkpoint.safetensors", "policy.safetensors"):
        (whole, _), (cut, _) = arrays.read(run.folder / file), arrays.read(tmp_path / "cut" / file)
        assert whole.keys() == cut.keys()
        for name, leaf in whole.items():
            plainly = jax.random.key_data if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.asarray
            assert np.asarray(plainly(leaf)).tobytes() == np.asarray(plainly(cut[name])).tobytes(), name


def test_by_name_with_knobs():
    made = by_name(small(), "afterstate-td[discount=0.9]")
    assert made.settings.discount == 0.9
    assert made.budgets["quick"] < made.budgets["paper"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trace_decay": 1.5}, "trace_decay = 1.5: must be from 0 to 1"),
        ({"error_limit": 0.0}, "error_limit = 0.0: must be above 0"),
        ({"slots_per_update": 3}, "slots_per_update = 3: must be at least 2 of each of 2 environments"),
        ({"minibatches": 1000}, "minibatches = 1000: an update has only 304 users and slots to learn from"),
        ({"discount": 1.0}, "discount = 1.0: must be at least 0 and below 1"),
    ],
)
def test_settings_without_sense(change, said):
    with pytest.raises(InputError, match=f"afterstate-td: {said}"):
        fitted("afterstate-td", small(), SMALL._replace(**change))
