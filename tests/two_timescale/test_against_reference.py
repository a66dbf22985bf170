"""The compiled task and the readable NumPy environment, written independently, agree over whole episodes on the same draws."""

import jax
import numpy as np
import pytest

from edgetwin.problem import random_action
from edgetwin.scenario import scenario
from edgetwin.two_timescale.reference import Reference
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHORT = {"two_timescale.frames": 3, "two_timescale.frame_slots": 25, "two_timescale.migration_slots": 6, "users.count": 12}

VARIANTS = {
    "physical": ("two-timescale/physical", {}),
    "paper-literal": ("two-timescale/paper-literal", {}),
    "literal, active only": ("two-timescale/physical", {"two_timescale.interference": "literal"}),
    "physical, all radiate": ("two-timescale/physical", {"two_timescale.transmitters": "all"}),
    "extended observation": ("two-timescale/physical", {"two_timescale.observation": "extended"}),
    "learned association": ("two-timescale/physical", {"two_timescale.association": "learned"}),
    "steeper path loss, fewer servers": (
        "two-timescale/physical",
        {"two_timescale.path_loss_exponent": 2.7, "servers.count": 3, "sites.count": 7},
    ),
    "small square, fast users": (
        "two-timescale/physical",
        {"area.width_m": 60.0, "users.mean_speed_mps": [10.0, 30.0], "two_timescale.frame_slots": 10},
    ),
}


def _compare(task, slots, close, actions_of=random_action):
    """Walks both environments side by side; `close(name, ours, theirs)` asserts on each quantity in each slot."""
    key = jax.random.key(3)
    streams = task.model.streams(key)
    start = jax.tree.map(np.asarray, task.model.start(streams))
    reference = Reference(task.scenario, task.network)

    def noise_of(slot):
        noise = jax.tree.map(np.asarray, draw(slot))
        return noise._replace(fading=np.moveaxis(noise.fading, 0, -1))

    draw = jax.jit(lambda slot: task.model.noise(streams, slot))
    act = jax.jit(lambda slot: actions_of(task, jax.random.fold_in(jax.random.key(9), slot)))
    step, observe, critics = jax.jit(task.step), jax.jit(task.observe), jax.jit(task.global_state)
    reference.reset(start, noise_of(0))
    state = task.reset(key)
    failures = migrations = 0
    for slot in range(slots):
        seen, theirs = observe(state), reference.observe()
        for name in ("users", "stations", "centre"):
            close(f"observation.{name}", getattr(seen, name), getattr(theirs, name))
        close("global state", critics(state), reference.global_state())
        action = jax.tree.map(np.asarray, act(slot))
        before = state
        state, outcome = step(state, action)
        record = reference.step(action, noise_of(slot + 1))
        close("position", before.world.position_m, record.position_m)
        close("gain", before.world.gain, record.gain)
        close("requests", outcome.metrics.requests, record.active)
        close("data", before.world.data_bits, record.data_bits)
        close("cycles", before.world.cycles_per_bit, record.cycles_per_bit)
        close("host", state.host, record.host)
        close("energy", outcome.metrics.energy_j, record.energy_j)
        close("failures", outcome.metrics.failures, record.failed)
        close("migrations", outcome.metrics.migrations, record.migrated)
        close("queue", state.queue, record.queue_after)
        close("global reward", outcome.rewards.users[0], record.reward_global)
        close("centre reward", outcome.rewards.centre[0], record.reward_centre)
        failures += record.failed.sum()
        migrations += record.migrated.sum()
    return failures, migrations


@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_episodes_agree_in_double_precision(variant):
    name, settings = VARIANTS[variant]
    with jax.enable_x64(True):
        task = TwoTimescale(scenario(name, {**SHORT, **settings}))

        def close(quantity, ours, theirs):
            np.testing.assert_allclose(
                np.asarray(ours, float), np.asarray(theirs, float), rtol=1e-8, atol=1e-12, err_msg=quantity
            )

        failures, migrations = _compare(task, task.spec.slots, close)
    assert failures > 0
    assert migrations > 0


@pytest.mark.slow
def test_single_precision_stays_close_over_a_whole_episode():
    """The task as it really runs, 5000 slots: float32 rounding may flip a request that just makes it or just misses, no more."""
    task = TwoTimescale(scenario("two-timescale/physical", {"users.count": 12, "two_timescale.request_probability": 0.9}))
    flips = {"failures": 0, "host": 0}

    def close(quantity, ours, theirs):
        ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
        if quantity == "failures":
            flips["failures"] += int((ours != theirs).sum())
        elif quantity == "position":
            np.testing.assert_allclose(ours, theirs, atol=0.05, err_msg=quantity)
        elif quantity == "energy":
            np.testing.assert_allclose(ours.sum(), theirs.sum(), rtol=2e-3, atol=1e-9, err_msg=quantity)
        elif quantity in ("requests", "host", "migrations"):
            assert (ours == theirs).all(), quantity

    failures, migrations = _compare(task, 5000, close)
    assert failures > 500
    assert migrations > 50
    assert flips["failures"] <= 1e-3 * failures


def test_recorded_tracks_agree():
    """Track replay, on made-up tracks of unequal length."""
    from edgetwin.scenario.network import network
    from edgetwin.scenario.tracks import Tracks

    random = np.random.default_rng(0)
    times = np.full((5, 9), np.inf)
    places = np.zeros((5, 9, 2))
    for track, fixes in enumerate([9, 4, 2, 6, 9]):
        times[track, :fixes] = np.concatenate([[0], np.cumsum(random.uniform(0.3, 2, fixes - 1))])
        places[track, :fixes] = random.uniform(-150, 150, (fixes, 2))
        places[track, fixes:] = places[track, fixes - 1]
    duration = np.array([row[np.isfinite(row)].max() for row in times])
    tracks = Tracks(tuple("abcde"), times, places, duration)
    network_of = network
    with jax.enable_x64(True):
        chosen = scenario("two-timescale/physical", {**SHORT, "users.count": 5})
        task = TwoTimescale(chosen)
        task.network = network_of(chosen)._replace(tracks=tracks)
        task.model.network = task.network

        def close(quantity, ours, theirs):
            np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=1e-8, atol=1e-9, err_msg=quantity)

        _compare(task, task.spec.slots, close)
