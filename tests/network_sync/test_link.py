"""Rates by hand, both assignments against SciPy's, and the block that goes to the cloud is the one that costs the users least."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from edgetwin.network_sync import link
from edgetwin.scenario import scenario
from edgetwin.scenario.schema import NetworkSync

pytestmark = pytest.mark.usefixtures("quick_compilation")

SIZES = [(1, 1), (1, 3), (3, 1), (2, 4), (5, 3)]
SECTION = scenario("network-sync/a").network_sync


def section(**changes) -> NetworkSync:
    return SECTION.model_copy(update=changes)


def best(table):
    users, rbs = linear_sum_assignment(table, maximize=True)
    return table[users, rbs].sum()


def both_best(table, without):
    return best(table), best(np.delete(table, without, axis=1))


numbers = st.one_of(st.floats(1e-4, 1e3), st.sampled_from([0.25, 1.0, 7.0]))
"""Any, and some that come often, so that there are ties."""


@st.composite
def slots(draw, values=numbers):
    """(gain (users,), noise (rbs,), a block to give up)."""
    users, rbs = draw(st.sampled_from(SIZES))
    gain, noise = (np.array(draw(st.lists(values, min_size=size, max_size=size))) for size in (users, rbs))
    return gain, noise, draw(st.integers(0, rbs - 1))


compiled_sorted = jax.jit(link.sorted_assignment)
compiled_hungarian = jax.jit(link.hungarian_assignment)


@settings(max_examples=150, deadline=None)
@given(slot=slots())
def test_the_sorted_assignment_is_the_hungarian_optimum_where_fading_has_rank_one(slot):
    gain, noise, without = slot
    expected = both_best(np.log2(1 + gain[:, None] / noise), without)
    with jax.enable_x64(True):
        assert np.allclose(compiled_sorted(gain, noise, without), expected, rtol=1e-10, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_hungarian_assignment_is_scipy_s(data):
    users, rbs = data.draw(st.sampled_from(SIZES))
    values = data.draw(st.lists(numbers, min_size=users * rbs, max_size=users * rbs))
    table, without = np.log2(1 + np.array(values).reshape(users, rbs)), data.draw(st.integers(0, rbs - 1))
    with jax.enable_x64(True):
        assert np.allclose(compiled_hungarian(table, without), both_best(table, without), rtol=1e-10, atol=1e-13)


def test_rates_by_hand():
    """(2), (3): a user 3, 4 blocks away, so h = 1/25; P = 2, B = 3, N_0 = .01, I = .05: SINR = (2/25)/.08 = 1."""
    own = section(tx_power_w=2.0, bandwidth_hz=3.0, noise_density_w_per_hz=0.01)
    assert float(link.distance_blocks(jnp.array([3.0, -4.0]), own)) == pytest.approx(5)
    assert float(link.rate(5.0**-2, 0.05, own)) == pytest.approx(3.0)
    assert float(link.rate(3 * 5.0**-2, 0.05, own)) == pytest.approx(6.0)


def test_distances_as_printed_and_near_the_base_station():
    literal = section(distance="literal", distance_min_blocks=1.0)
    assert float(link.distance_blocks(jnp.array([0.0, 16.0]), literal)) == pytest.approx(4)
    for own in (literal, SECTION):
        assert link.distance_blocks(jnp.array([[0.0, 0.0], [0.3, 0.3]]), own).tolist() == [1, 1]


def test_the_deadline_decides_which_blocks_can_carry_a_packet():
    """R of III-C 7): delays 4, 1, 2 and 2.5 s; at γ = 2.5 the slowest strictly below is the third; at γ = 1 there is none."""
    rates = jnp.array([0.25, 1.0, 0.5, 0.4])
    for deadline_s, chosen in ((2.5, 2), (2.6, 3), (9.0, 0), (1.5, 1)):
        block, feasible = link.cloud_rb(rates, 1.0, deadline_s)
        assert (int(block), bool(feasible)) == (chosen, True)
    assert not link.cloud_rb(rates, 1.0, 1.0)[1]


def test_a_partial_packet_has_its_share_of_the_bits():
    assert link.packet_bits(SECTION, 10) == SECTION.data_bits
    assert link.packet_bits(section(refresh="partial", packet_users=3), 10) == pytest.approx(0.3 * SECTION.data_bits)


def slot_of(key, users, rbs, fading):
    """Random positions, interference, and fading of a kind as the world gives it."""
    place, noise, fade = jax.random.split(key, 3)
    positions = jax.random.uniform(place, (users, 2), minval=-50, maxval=50)
    interference_w = jnp.exp(jax.random.uniform(noise, (rbs,), minval=np.log(5e-3), maxval=np.log(6e-2)))
    if fading == "none":
        return positions, interference_w, jnp.ones(users), jnp.ones(())
    if fading == "rayleigh-user":
        drawn = jax.random.exponential(fade, (users + 1,))
        return positions, interference_w, drawn[:users], drawn[users]
    drawn = jax.random.exponential(fade, (users + 1, rbs))
    return positions, interference_w, drawn[:users], drawn[users]


def tables(positions, interference_w, fading, cloud_fading, own):
    """Users' rates (users, rbs) and the cloud's (rbs,), NumPy."""
    gain = np.maximum(np.hypot(*np.asarray(positions, float).T), own.distance_min_blocks) ** -2
    fading = np.asarray(fading, float)
    users = (fading * gain)[:, None] if fading.ndim == 1 else fading * gain[:, None]
    noise_w = np.asarray(interference_w, float) + own.bandwidth_hz * own.noise_density_w_per_hz
    cloud = np.asarray(cloud_fading, float) / (np.hypot(*own.cloud_blocks) ** 2 * noise_w)
    return np.log2(1 + users / noise_w), np.broadcast_to(np.log2(1 + cloud), interference_w.shape)


@pytest.mark.parametrize("fading", ["none", "rayleigh-user", "rayleigh-rb"])
def test_a_slot_s_rates_are_the_best_and_the_block_given_up_costs_least(fading):
    """By brute force over the blocks that meet the deadline; with fading by block, the block is the slowest, as the paper says."""
    own = section(deadline_s=1.0) if fading == "none" else SECTION
    run = jax.jit(partial(link.rates, section=own))
    infeasible = 0
    for seed in range(40):
        slot = slot_of(jax.random.key(seed), 5, 3, fading)
        found = run(*slot)
        users, cloud = tables(*slot, own)
        allowed = [n for n in range(3) if own.data_bits / cloud[n] < own.deadline_s]
        assert bool(found.feasible) == bool(allowed)
        assert float(found.serving) == pytest.approx(best(users), rel=1e-5)
        if not allowed:
            infeasible += 1
            continue
        left = {n: best(np.delete(users, n, axis=1)) for n in allowed}
        assert float(found.syncing) == pytest.approx(left[int(found.cloud_rb)], rel=1e-5)
        assert float(found.serving) >= float(found.syncing)
        if fading == "rayleigh-rb":
            assert int(found.cloud_rb) == min(allowed, key=lambda n: cloud[n])
        else:
            assert left[int(found.cloud_rb)] == pytest.approx(max(left.values()), rel=1e-6)
    assert infeasible > 0


@settings(max_examples=100, deadline=None)
@given(slot=slots(st.one_of(st.floats(2**-10, 10, width=32), st.just(0.5))))
def test_a_sync_never_pays_in_rates(slot):
    """Also where it costs nothing, since there are more blocks than users or a block carries next to nothing."""
    gain, noise, without = slot
    users, rbs = len(gain), len(noise)
    serving, syncing = compiled_sorted(gain.astype(np.float32), noise.astype(np.float32), without)
    assert float(serving) >= float(syncing) - 1e-6 * float(serving)
    if users < rbs and without == np.argsort(noise, kind="stable")[-1]:
        assert float(serving) == float(syncing)


def test_the_sorted_assignment_is_taken_where_fading_has_rank_one_and_the_hungarian_elsewhere(monkeypatch):
    taken = []
    for name in ("sorted_assignment", "hungarian_assignment"):
        monkeypatch.setattr(link, name, lambda *_, name=name: taken.append(name) or (jnp.ones(()), jnp.ones(())))
    for fading in ("none", "rayleigh-user", "rayleigh-rb"):
        link.rates(*slot_of(jax.random.key(0), 4, 3, fading), SECTION)
    assert taken == ["sorted_assignment", "sorted_assignment", "hungarian_assignment"]
