"""The world of association: what an episode and its slots draw, whoever decides."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from association.nets import make, plain
from edgetwin.physical import mobility

pytestmark = pytest.mark.usefixtures("quick_compilation")

needs_data = pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="reads data sets: EDGETWIN_DATA is not set")


def test_draws_lie_where_the_scenario_says():
    task = make(users=200, sites=10)
    state = plain(jax.jit(jax.vmap(task.reset))(jax.random.split(jax.random.key(0), 8)))
    section, episode = task.section, state.episode
    assert (episode.data_bits >= section.data_bits[0]).all()
    assert (episode.data_bits <= section.data_bits[1]).all()
    share = episode.update_bits / episode.data_bits
    assert share.min() >= 0.05 - 1e-6
    assert share.max() <= 0.15 + 1e-6
    assert share.mean() == pytest.approx(0.1, abs=0.003)
    assert episode.cpu_hz.min() >= 8e9
    assert episode.cpu_hz.max() <= 24e9
    assert np.ptp(episode.sites_m) > 1000
    assert (state.world.position_m >= 0).all()
    assert (state.world.position_m <= 1500).all()


def test_hotspots_crowd_users():
    """Four users in five stand around two places: their mean distance to the nearest of the others is far below that of a uniform crowd."""

    def spread(**settings):
        task = make(users=100, **settings)
        position = np.asarray(jax.jit(task.reset)(jax.random.key(3)).world.position_m)
        apart = np.linalg.norm(position[:, None] - position, axis=-1) + 1e9 * np.eye(100)
        return np.median(apart.min(axis=1))

    assert spread() < 0.5 * spread(users__hotspots=0)


def test_home_rate_and_wires_are_those_of_the_nearest_site():
    task = make(users=30, sites=6)
    state = plain(jax.jit(task.reset)(jax.random.key(1)))
    world, episode = state.world, state.episode
    distance = np.maximum(np.linalg.norm(world.position_m[:, None] - episode.sites_m, axis=-1), 10)
    assert (world.home == distance.argmin(axis=1)).all()
    users = np.arange(30)
    loss_db = 128.1 + 37.6 * np.log10(distance[users, world.home] / 1e3) + state.process.shadowing_db[users, world.home]
    snr = 0.2 * 10 ** (-loss_db / 10) / (task.section.noise_density_w_per_hz * 20e6)
    assert world.rate_bps == pytest.approx(20e6 * np.log2(1 + snr), rel=1e-3)
    between = np.linalg.norm(episode.sites_m[:, None] - episode.sites_m, axis=-1)
    assert world.wire_m == pytest.approx(between[world.home], abs=1e-2)


def test_a_shared_band_is_shared_by_those_at_a_site():
    task, alone = make(users=30), make(users=30, association__bandwidth_use="per-user")
    shared = make(users=30, association__bandwidth_use="shared")
    key = jax.random.key(2)
    one, other = (jax.jit(each.reset)(key).world for each in (alone, shared))
    crowd = np.bincount(np.asarray(one.home), minlength=3)[np.asarray(one.home)]
    busy = crowd > 1
    assert (np.asarray(other.rate_bps)[busy] < np.asarray(one.rate_bps)[busy]).all()
    assert task.section.bandwidth_use == "per-user"


def test_limits_never_fall_below_the_time_on_air():
    task = make(users=50)
    state = jax.jit(task.reset)(jax.random.key(5))
    limit = np.asarray(task.model.limit_s(state.episode, state.world))
    air = np.asarray(state.episode.update_bits / state.world.rate_bps)
    assert (limit >= 0.5 + 1.1 * air - 1e-5).all()
    assert (limit >= 1).all()


def test_processes_keep_their_long_run_spread():
    """Shadowing of 8 dB and the logarithm of CPU of .15, after 50 slots as at the start (CPU starts at 0)."""
    task = make(users=60, sites=10, placement__slots=60)
    model = task.model
    streams = model.streams(jax.random.key(7))
    episode = model.episode(streams)

    def advance(process, slot):
        process = model.move(streams, episode, process, slot)
        return process, (jnp.std(process.shadowing_db), process.log_cpu)

    spread, log_cpu = jax.lax.scan(advance, model.begin(streams, episode), jnp.arange(1, 400))[1]
    assert np.mean(spread) == pytest.approx(8, rel=0.05)
    assert np.std(log_cpu[100:]) == pytest.approx(0.15, rel=0.25)


def test_users_keep_their_speed_and_stay_inside():
    task = make(users=50, placement__slots=100)
    worlds = np.asarray(jax.jit(lambda key: task.trace(key, 100))(jax.random.key(4)).position_m)
    step_m = np.linalg.norm(np.diff(worlds, axis=0), axis=-1)
    assert step_m.max() <= 20 + 1e-3
    assert (worlds >= 0).all()
    assert (worlds <= 1500).all()
    assert step_m.mean() > 5


def test_a_waypoint_is_reached_and_the_next_one_taken():
    position, target = jnp.array([[0.0, 0.0], [0.0, 0.0]]), jnp.array([[3.0, 4.0], [30.0, 40.0]])
    onward = jnp.array([[9.0, 9.0], [9.0, 9.0]])
    speed, faster = jnp.array([5.0, 5.0]), jnp.array([7.0, 7.0])
    place, goal, pace = mobility.waypoint_step(position, target, speed, onward, faster, 1.0)
    assert np.asarray(place) == pytest.approx(np.array([[3, 4], [3, 4]]))
    assert np.asarray(goal) == pytest.approx(np.array([[9, 9], [30, 40]]))
    assert np.asarray(pace) == pytest.approx([7, 5])


def test_the_trace_is_what_the_slots_will_show():
    task = make(users=6, placement__slots=5)
    key = jax.random.key(9)
    ahead = jax.jit(lambda key: task.trace(key, 5))(key)
    state, step = jax.jit(task.reset)(key), jax.jit(task.step)
    for slot in range(5):
        jax.tree.map(
            lambda seen, told, slot=slot: np.testing.assert_allclose(seen, told[slot], rtol=1e-6), task.world(state), ahead
        )
        state, _ = step(state, task.action(jnp.ones((3, 7))))


@needs_data
def test_taxis_are_where_the_trace_says():
    scenario = et.scenario("sf-taxis")
    task = et.task("migration", scenario)
    visits = task.network.visits
    assert visits.shape == (1441, 536)
    assert (visits[0] >= 0).sum() == 319
    assert (visits < 0).mean() == pytest.approx(0.516, abs=1e-3)
    assert ((visits < 0).all(axis=0)).sum() == 51
    worlds = jax.jit(lambda key: task.trace(key, 40))(jax.random.key(0))
    assert (np.asarray(worlds.present) == (visits[:40] >= 0)).all()
    there = visits[:40] >= 0
    assert (np.asarray(worlds.home)[there] == visits[:40][there]).all()
    sites = task.network.sites_xy_m
    apart = np.linalg.norm(sites[:, None] - sites, axis=-1) + 1e9 * np.eye(209)
    away = np.linalg.norm(np.asarray(worlds.position_m)[there] - sites[visits[:40][there]], axis=-1)
    assert (away <= apart.min(axis=1)[visits[:40][there]] / 2 + 5).all()
    same = (visits[1:40] == visits[:39]) & there[1:40]
    assert np.abs(np.diff(np.asarray(worlds.position_m), axis=0))[same].max() == 0


@needs_data
def test_fewer_taxis_may_be_used_but_not_more():
    assert et.task("migration", et.scenario("sf-taxis", {"users.count": 40})).network.visits.shape == (1441, 40)
    with pytest.raises(et.InputError, match="536 taxis"):
        et.task("migration", et.scenario("sf-taxis", {"users.count": 600}))
    with pytest.raises(et.InputError, match="209"):
        et.task("migration", et.scenario("sf-taxis", {"sites.count": 20}))
    with pytest.raises(et.InputError, match="go together"):
        et.scenario("sf-taxis", {"users.mobility": "random-waypoint"})
