"""The task, slot by slot: when deployments take effect, who radiates, what an episode's draws depend on, and what its sums come to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.problem import random_action
from edgetwin.scenario import scenario
from edgetwin.two_timescale.task import Slot, TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

FRAME, MIGRATION = 8, 3
SHORT = {"two_timescale.frames": 3, "two_timescale.frame_slots": FRAME, "two_timescale.migration_slots": MIGRATION}


def make(users, name="two-timescale/physical", **changes):
    own = {f"two_timescale.{key}": value for key, value in changes.items()}
    return TwoTimescale(scenario(name, {**SHORT, "users.count": users, **own}))


class World:
    """A task with its functions compiled once; `outcome` is `step` without the next slot's draws."""

    def __init__(self, task):
        self.task = task
        self.reset, self.step = jax.jit(task.reset), jax.jit(task.step)
        self.outcome = jax.jit(lambda state, action: task.step(state, action)[1])
        self.walk = jax.jit(self._walk)

    def act(self, power=1.0, centre=None, users=None):
        task = self.task
        share = jnp.broadcast_to(jnp.asarray(power, float), (task.users,))[:, None] if users is None else jnp.asarray(users)
        hosts = jnp.zeros(task.users, int) if centre is None else jnp.asarray(centre)
        return task.action(share, jnp.ones((task.sites, 2 * task.users)), hosts[None])

    def _walk(self, key, seed):
        """An episode's states, observations and outcomes under random actions drawn from `seed`, slots first."""

        def slot(state, number):
            action = random_action(self.task, jax.random.fold_in(seed, number))
            after, outcome = self.task.step(state, action)
            return after, (state._replace(streams=()), self.task.observe(state), outcome)

        return jax.lax.scan(slot, self.task.reset(key), jnp.arange(self.task.spec.slots))[1]


@pytest.fixture(scope="module")
def lone():
    """One user that always has a request, and power to spare."""
    return World(make(1, request_probability=1.0))


@pytest.fixture(scope="module")
def few():
    return World(make(6))


@pytest.fixture(scope="module")
def walks(few):
    """Two episodes of the same key under different actions, and one of another key."""
    seeds = {"first": (1, 1), "other actions": (1, 2), "other key": (2, 1), "again": (1, 1)}
    return {name: jax.tree.map(np.asarray, few.walk(*map(jax.random.key, pair))) for name, pair in seeds.items()}


def episode(world, key, deploy):
    """A lone user's failures, energies, hosts and migrations, slot by slot, where the centre says `deploy(slot)`."""
    state, rows = world.reset(key), []
    for slot in range(world.task.spec.slots):
        state, outcome = world.step(state, world.act(centre=[deploy(slot)]))
        metrics = outcome.metrics
        rows.append((int(metrics.failures[0]), float(metrics.energy_j[0]), int(state.host[0]), int(metrics.migrations[0])))
    return map(np.array, zip(*rows, strict=True))


@pytest.mark.parametrize("when", [FRAME, 2 * FRAME])
def test_a_migration_silences_a_user_for_exactly_its_slots(lone, when):
    """Its requests fail and cost nothing in slots qT … qT+G−1; before and after, at full power and alone, none fails."""
    key = jax.random.key(4)
    home = int(lone.reset(key).host[0])
    away = (home + 1) % 5
    failures, energies, hosts, migrations = episode(lone, key, lambda slot: away if slot >= when else home)
    out = np.zeros(lone.task.spec.slots, bool)
    out[when : when + MIGRATION] = True
    assert (failures == out).all()
    assert ((energies == 0) == out).all()
    assert (hosts == np.where(np.arange(len(hosts)) < when, home, away)).all()
    assert migrations.tolist() == [int(slot == when) for slot in range(len(hosts))]


def test_the_centre_is_heard_at_frame_starts_only_and_not_in_slot_0(lone):
    key = jax.random.key(4)
    home = int(lone.reset(key).host[0])
    failures, _, hosts, migrations = episode(lone, key, lambda slot: home if slot in (FRAME, 2 * FRAME) else (home + 1) % 5)
    assert (hosts == home).all()
    assert migrations.sum() == 0 and failures.sum() == 0


def test_an_episode_begins_at_the_nearest_server(walks, few):
    states = walks["first"][0]
    sites = np.asarray(few.task.network.sites_xy_m)
    nearest = np.linalg.norm(states.world.position_m[:, :, None] - sites, axis=-1).argmin(axis=-1)
    assert (states.host[0] == nearest[0]).all()
    assert (states.serving == nearest).all()
    assert (states.queue[0] == 0).all() and (states.migration_left[0] == 0).all()


def test_the_frame_s_queue_is_that_of_its_first_slot(walks):
    states, _, outcomes = walks["first"]
    queue = np.zeros(6)
    for slot in range(len(states.slot)):
        assert np.allclose(states.queue[slot], queue, atol=1e-5)
        assert (states.queue_frame[slot] == states.queue[slot - slot % FRAME]).all()
        queue = np.maximum(queue + outcomes.metrics.failures[slot] - 0.02, 0)
    assert states.queue_frame[-1].max() > 0


@pytest.fixture(scope="module")
def crowd(few):
    """A state with all users at one place, so that they surely disturb each other."""
    state = few.reset(jax.random.key(0))
    world = state.world
    world = world._replace(gain=jnp.broadcast_to(world.gain[:1], world.gain.shape), requesting=jnp.ones(6, bool))
    return state._replace(world=world, serving=jnp.full(6, jnp.argmax(world.gain[0])), host=jnp.zeros(6, int))


def energy_of_user_0(world, state, requesting, migrating, power):
    """In a slot where only some have requests, some migrate, and user 1 has a power of its own."""
    state = state._replace(
        world=state.world._replace(requesting=jnp.array(requesting)), migration_left=jnp.where(jnp.array(migrating), 2, 0)
    )
    return world.outcome(state, world.act(power=[0.1, power, 0, 0, 0, 0])).metrics.energy_j


def test_only_active_users_that_do_not_migrate_radiate(few, crowd):
    nobody, second = [False] * 6, [False, True] + [False] * 4
    both, first = [True, True] + [False] * 4, [True] + [False] * 5
    alone = energy_of_user_0(few, crowd, first, nobody, 0.0)
    assert alone[0] > 0
    idle = energy_of_user_0(few, crowd, first, nobody, 1.0)
    migrating = energy_of_user_0(few, crowd, both, second, 1.0)
    sending = energy_of_user_0(few, crowd, both, nobody, 1.0)
    assert idle[0] == alone[0] and idle[1] == 0
    assert migrating[0] == alone[0] and migrating[1] == 0
    assert sending[0] > 1.5 * alone[0] and sending[1] > 0


def test_as_printed_idle_users_radiate_too_but_not_migrating_ones(crowd):
    world = World(make(6, transmitters="all"))
    nobody, second, first = [False] * 6, [False, True] + [False] * 4, [True] + [False] * 5
    alone = energy_of_user_0(world, crowd, first, nobody, 0.0)
    idle = energy_of_user_0(world, crowd, first, nobody, 1.0)
    assert idle[0] > 1.5 * alone[0]
    assert idle[1] == 0
    assert energy_of_user_0(world, crowd, first, second, 1.0)[0] == alone[0]


def test_learned_association_follows_the_scores(few):
    """The site with the best score, the lowest index on ties, and the rate is that of the channel to it."""
    world = World(make(6, association="learned"))
    state = few.reset(jax.random.key(0))
    state = state._replace(world=state.world._replace(requesting=jnp.ones(6, bool)))
    scores = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    scores[1, [0, 3]] = 2.0
    chosen = scores.argmax(axis=1)
    assert chosen[1] == 0 and (chosen != state.serving).any()

    def decide(state, action):
        after, outcome = world.task.step(state, action)
        return after.serving, outcome.metrics.energy_j

    action = world.act(users=np.concatenate([np.full((6, 1), 0.5, np.float32), scores], axis=1))
    serving, energy = jax.jit(decide)(state, action)
    assert (serving == chosen).all()
    gain, power = np.asarray(state.world.gain, float), 0.5 * 0.5
    for user in range(6):
        heard = sum(power * gain[i, chosen[user]] for i in range(6) if i != user)
        rate = 10e6 * np.log2(1 + power * gain[user, chosen[user]] / (heard + 1e-9))
        assert energy[user] == pytest.approx(power * min(float(state.world.data_bits[user]) / rate, 0.03), rel=1e-4)


def test_a_scenario_without_the_section_is_refused():
    bare = scenario("two-timescale/physical").model_copy(update={"two_timescale": None})
    with pytest.raises(InputError, match=r"two-timescale/physical has no section \[two_timescale\]"):
        TwoTimescale(bare)


def test_silence_costs_nothing_and_fails_every_request(few):
    state = few.reset(jax.random.key(8))
    outcome = few.outcome(state, few.act(power=0.0))
    assert 0 < state.world.requesting.sum() == outcome.metrics.failures.sum()
    assert (outcome.metrics.energy_j == 0).all()
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(outcome))


def test_all_scores_zero_fail_every_request_and_stay_finite(few):
    state = few.reset(jax.random.key(8))
    outcome = few.outcome(state, few.act()._replace(stations=jnp.zeros((5, 12))))
    assert (outcome.metrics.failures == state.world.requesting).all()
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(outcome))


def test_episodes_are_truncated_at_their_end_and_never_terminate(walks, few):
    outcomes = walks["first"][2]
    slots = few.task.spec.slots
    assert slots == 3 * FRAME
    assert outcomes.truncated.tolist() == [False] * (slots - 1) + [True]
    assert not outcomes.terminated.any()


def same(left, right):
    return all((one == other).all() for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


def test_a_seed_gives_the_same_episode_bit_for_bit_and_another_a_different_one(walks):
    assert same(walks["first"], walks["again"])
    here, there = walks["first"][0].world, walks["other key"][0].world
    for one, other in zip(here, there, strict=True):
        assert (one != other).mean() > 0.2


def test_the_world_does_not_depend_on_actions(walks):
    assert same(walks["first"][0].world, walks["other actions"][0].world)
    assert not same(walks["first"][2].metrics.energy_j, walks["other actions"][2].metrics.energy_j)
    assert not same(walks["first"][0].host, walks["other actions"][0].host)


@pytest.fixture(scope="module")
def traces(few):
    """The worlds of many episodes ahead of time; the first is that of the walks."""
    keys = jax.vmap(jax.random.key)(jnp.arange(1, 401))
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: few.task.trace(key, few.task.spec.slots)))(keys))


def test_the_trace_is_the_worlds_that_are_met(walks, traces, few):
    """Slot by slot, but for rounding, which is the compiler's choice in each program."""
    for episode, name in enumerate(("first", "other key")):
        met = walks[name][0].world
        assert (traces.requesting[episode] == met.requesting).all()
        for ahead, then in zip(traces, met, strict=True):
            assert np.allclose(ahead[episode], then, rtol=1e-4, atol=0)
    state = few.reset(jax.random.key(1))
    assert same(few.task.world(state), state.world)


def test_worlds_have_the_distributions_of_the_scenario(traces):
    requests, start = traces.requesting, traces.position_m[:, 0]
    assert requests.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(requests.size))
    for values, (low, high) in ((traces.data_bits, (15e3, 25e3)), (traces.cycles_per_bit, (550.0, 700.0))):
        values = values.astype(float)
        assert values.min() >= low and values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * values.size))
        assert np.corrcoef(values.ravel(), requests.ravel())[0, 1] == pytest.approx(0, abs=4 / np.sqrt(values.size))
    assert start.mean() == pytest.approx(500, abs=4 * 1000 / np.sqrt(12 * start.size))
    assert ((start > 0) & (start < 1000)).all()


def test_summary_by_hand():
    """Two users, ten slots: 12 requests of which 3 failed, all of them user 0's; ε = 0.02."""
    task = make(2)
    totals = Slot(
        energy_j=np.array([2e-3, 4e-3]),
        requests=np.array([5, 7]),
        failures=np.array([3, 0]),
        migrations=np.array([1, 1]),
        reward=np.array(-5.0),
        centre_reward=np.array(-1.0),
        slots=np.array(10),
    )
    metrics = {name: share.numerator / share.denominator for name, share in task.summary(totals).items()}
    assert metrics == pytest.approx(
        {
            "energy_mj_per_slot": 6 / 20,
            "energy_mj_per_request": 6 / 12,
            "failure_per_request": 3 / 12,
            "failure_per_slot": 3 / 20,
            "failure_worst_user": 0.3,
            "users_over_epsilon": 1,
            "migrations_per_frame": 2 / (2 * 10 / FRAME),
            "reward": -0.5,
        }
    )
    assert set(metrics) == set(task.spec.metrics)
