"""What agents see: the sizes of the decisions, nothing of idle users, always within its limits, and readable back into metres and bits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.problem import random_action
from edgetwin.scenario import scenario
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {
    "users.count": 7,
    "sites.count": 6,
    "servers.count": 3,
    "two_timescale.frames": 5,
    "two_timescale.frame_slots": 12,
    "two_timescale.migration_slots": 5,
}


class Walk(NamedTuple):
    """An episode under random actions: the task, and its states and observations, slots first."""

    task: TwoTimescale
    states: object
    seen: object
    critics: np.ndarray


@pytest.fixture(scope="module")
def walk():
    task = TwoTimescale(scenario("two-timescale/physical", {**SMALL, "two_timescale.observation": "extended"}))

    @jax.jit
    def run(key):
        def slot(state, number):
            action = random_action(task, jax.random.fold_in(jax.random.key(5), number))
            action = action._replace(users=jnp.where(action.users < 0.5, 0, action.users))
            shown = state._replace(streams=()), task.observe(state), task.global_state(state)
            return task.step(state, action)[0], shown

        return jax.lax.scan(slot, task.reset(key), jnp.arange(task.spec.slots))[1]

    return Walk(task, *jax.tree.map(np.asarray, run(jax.random.key(2))))


@pytest.mark.parametrize(("observation", "user_size"), [("paper", 18), ("extended", 21)])
def test_sizes_of_the_paper_s_network(observation, user_size):
    task = TwoTimescale(scenario("two-timescale/physical", {"two_timescale.observation": observation}))
    assert (task.users, task.sites) == (30, 5)
    state = jax.eval_shape(task.reset, jax.random.key(0))
    seen = jax.eval_shape(task.observe, state)
    assert (seen.users.shape, seen.stations.shape, seen.centre.shape) == ((30, user_size), (5, 401), (1, 400))
    assert jax.eval_shape(task.global_state, state).shape == (511,)
    assert [agents.observation_size for agents in task.spec.agents.values()] == [user_size, 401, 400]
    assert task.spec.state_size == 511


def test_users_can_be_read_back(walk):
    world = walk.states.world
    sight = jax.vmap(walk.task.observer.read_users)(walk.seen)
    asked = world.requesting
    assert 0.3 < asked.mean() < 0.7
    assert (sight.requesting == asked).all()
    assert np.allclose(sight.position_m, world.position_m, atol=1e-3)
    assert np.allclose(sight.data_bits, np.where(asked, world.data_bits, 0), rtol=1e-6)
    assert np.allclose(sight.cycles_per_bit, np.where(asked, world.cycles_per_bit, 0), rtol=1e-6)


def test_the_centre_can_be_read_back(walk):
    sight = jax.vmap(walk.task.observer.read_centre)(walk.seen)
    assert walk.states.queue_frame.max() > 1 and len(np.unique(walk.states.host)) == 3
    assert (sight.serving == walk.states.serving).all()
    assert (sight.host == walk.states.host).all()
    assert np.allclose(sight.position_m, walk.states.world.position_m, atol=1e-3)
    assert np.allclose(sight.queue_frame, walk.states.queue_frame, rtol=1e-5, atol=1e-6)


def test_indices_tell_agents_apart(walk):
    assert np.allclose(walk.seen.users[:, :, 0], np.arange(1, 8) / 7)
    assert np.allclose(walk.seen.stations[:, :, 0], np.arange(1, 7) / 6)
    sites = 2 * np.asarray(walk.task.network.sites_xy_m).reshape(-1) / 1000 - 1
    for where in (walk.seen.users[..., 3:15], walk.seen.stations[..., 1:13], walk.seen.centre[..., :12]):
        assert np.allclose(where, sites, atol=1e-6)


def test_idle_users_show_no_request(walk):
    """Zeros wherever D, C, τ and the flag stand, and only there: τ and the flag of a request never are."""
    asked = walk.states.world.requesting
    of_users = walk.seen.users[..., 15:19]
    of_stations = walk.seen.stations[..., 13:].reshape(*walk.seen.stations.shape[:2], 7, 14)[..., [11, 12, 13, 0]]
    of_critics = walk.critics[..., :-1].reshape(len(walk.critics), 7, -1)[..., 2:5]
    for shown in (of_users, np.moveaxis(of_stations, 1, 0), of_critics):
        assert (shown[..., ~asked, :] == 0).all()
        assert (shown[..., asked, :] > 0).all()
    assert (of_users[asked][:, 2] == np.float32(0.03 / 0.05)).all()


def test_stations_know_whom_they_serve_and_host(walk):
    own = walk.seen.stations[..., 13:].reshape(*walk.seen.stations.shape[:2], 7, 14)[..., 1:3]
    host_site = np.asarray(walk.task.network.server_sites)[walk.states.host]
    for station in range(6):
        assert (own[:, station, :, 0] == (walk.states.serving == station)).all()
        assert (own[:, station, :, 1] == (host_site == station)).all()


def test_critics_know_who_migrates_and_how_far_the_frame_is(walk):
    slots = len(walk.critics)
    migrating = walk.critics[:, :-1].reshape(slots, 7, -1)[..., 6]
    assert (migrating == (walk.states.migration_left > 0)).all() and 0 < migrating.mean() < 1
    assert np.allclose(walk.critics[:, -1], np.arange(slots) % 12 / 12)


def test_extended_adds_the_fading_and_the_crowd(walk):
    fading, in_all, at_site = np.moveaxis(walk.seen.users[..., 20:], -1, 0)
    world, sites = walk.states.world, np.asarray(walk.task.network.sites_xy_m)
    for slot in range(0, len(fading), 9):
        for user in range(7):
            site = walk.states.serving[slot, user]
            metres = np.linalg.norm(world.position_m[slot, user] - sites[site])
            assert fading[slot, user] == pytest.approx(world.gain[slot, user, site] / (1e-3 / metres**2), rel=1e-4)
            there = world.requesting[slot] & (walk.states.serving[slot] == site)
            assert at_site[slot, user] == pytest.approx(there.sum() / 7)
            assert in_all[slot, user] == pytest.approx(world.requesting[slot].sum() / 7)


def test_the_paper_s_observation_is_the_extended_one_without_the_extras(walk):
    task = TwoTimescale(scenario("two-timescale/physical", SMALL))
    paper = jax.jit(jax.vmap(task.observe))(walk.states)
    assert (paper.users == walk.seen.users[..., :20]).all()
    assert (paper.stations == walk.seen.stations).all() and (paper.centre == walk.seen.centre).all()


@pytest.mark.parametrize("rician_factor", [10.0, 0.0])
def test_every_slot_of_an_episode_stays_within_the_limits(rician_factor):
    """With queues as long as they can get when every request of an episode fails; and with no line of sight at all."""
    changes = {"two_timescale.observation": "extended", "two_timescale.rician_factor": rician_factor}
    task = TwoTimescale(scenario("two-timescale/physical", changes))
    longest = jnp.full(task.users, 0.98 * task.spec.slots)

    @jax.jit
    def widest(key):
        begin = task.reset(key)._replace(queue_frame=longest)

        def largest(world):
            seen = task.observe(begin._replace(world=world, serving=task.nearest_site(world.position_m)))
            return jax.tree.map(lambda shown: jnp.max(jnp.abs(shown)), seen)

        return jax.tree.map(jnp.max, jax.lax.map(largest, task.trace(key, task.spec.slots)))

    found = widest(jax.random.key(1))
    for name, agents in task.spec.agents.items():
        assert getattr(found, name) <= agents.observation_limit, name
