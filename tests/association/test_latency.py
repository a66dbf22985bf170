"""Equations (3) to (13), (19), (20) against numbers worked out by hand, and the readings that make (13) one line."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgetwin as et
from edgetwin.association import latency, sharing

SECTION = et.scenario("association/n100-m10").association
positive = st.floats(1e-3, 1e3)


def test_path_gain_at_one_kilometre_and_a_decade_nearer():
    flat = SimpleNamespace(path_loss_1km_db=128.1, path_loss_decade_db=37.6)
    assert latency.path_gain(1000.0, 0.0, flat) == pytest.approx(10**-12.81, rel=1e-5)
    assert latency.path_gain(100.0, 0.0, flat) == pytest.approx(10 ** (-9.05), rel=1e-5)
    assert latency.path_gain(1000.0, 10.0, flat) == pytest.approx(10**-13.81, rel=1e-5)


def test_rate_with_a_signal_as_strong_as_noise_is_the_bandwidth():
    """log2(1 + 1) = 1."""
    assert latency.uplink_rate(2e-10, 1e6, 1e-3, 2e-19) == pytest.approx(1e6, rel=1e-6)


def test_times_by_hand():
    """8 Mbit at 4 Mbit/s: 2 s. Over 500 m at 1e-9 s/(bit·m): 4 s. At 200 cycles a bit and 1.6 GHz: 1 s. At .2 W: .4 J."""
    section = SimpleNamespace(wire_s_per_bit_m=1e-9, cycles_per_bit=200.0)
    assert latency.air_time(8e6, 4e6) == 2
    assert latency.wired_time(8e6, 500.0, 1e-9) == pytest.approx(4)
    assert latency.compute_time(8e6, 200.0, 1.6e9) == pytest.approx(1)
    assert latency.transfer_time(8e6, 4e6, 500.0, 1e-9) == pytest.approx(6)
    assert latency.construction_time(8e6, 4e6, 500.0, 1.6e9, section) == pytest.approx(7)
    assert latency.energy(8e6, 4e6, 0.2) == pytest.approx(0.4)


@settings(deadline=None)
@given(positive, positive, positive, positive, positive)
def test_system_latency_is_construction_and_all_updates_of_the_horizon(data, update, rate, wire_m, cpu):
    """(13): T^ini + η·T^syn with T^syn = T^upd/Δt."""
    whole = latency.system_latency(data, update, rate, wire_m, cpu, SECTION)
    built = latency.construction_time(data, rate, wire_m, cpu, SECTION)
    synced = latency.update_time(update, rate, wire_m, cpu, SECTION) / SECTION.update_gap_s
    assert whole == pytest.approx(built + SECTION.horizon_s * synced, rel=1e-9)


def test_utility_at_its_limit_is_the_weight_less_energy():
    assert latency.utility(1.5, 1.5, 0.2, 0.25) == pytest.approx(0.25 - 0.75 * 0.2)


def _shares(rule, work, host, cpu, capacity):
    at = sharing.hosts(np.array(host), len(cpu), np.ones(len(host), bool))
    return np.asarray(sharing.share(rule, np.array(work), at, np.array(cpu), np.array(capacity))), np.asarray(at)


def test_each_rule_by_hand():
    work, host, cpu, capacity = [1.0, 9.0, 4.0], [0, 0, 1], [8.0, 6.0], [4, 2]
    assert _shares("square-root", work, host, cpu, capacity)[0] == pytest.approx([2, 6, 6])
    assert _shares("equal", work, host, cpu, capacity)[0] == pytest.approx([4, 4, 6])
    assert _shares("proportional", work, host, cpu, capacity)[0] == pytest.approx([0.8, 7.2, 6])
    assert _shares("reserved", work, host, cpu, capacity)[0] == pytest.approx([2, 2, 3])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 2)), min_size=6, max_size=6),
    st.sampled_from(["square-root", "equal", "proportional"]),
)
def test_shares_use_a_server_up_and_square_roots_are_best(users, rule):
    work, host = [each[0] for each in users], [each[1] for each in users]
    cpu, capacity = [5.0, 7.0, 11.0], [8, 8, 8]
    given_, at = _shares(rule, work, host, cpu, capacity)
    used = given_ @ at
    assert used == pytest.approx(np.where(at.any(axis=0), cpu, 0), rel=1e-4)
    best = _shares("square-root", work, host, cpu, capacity)[0]
    assert (np.array(work) / best).sum() <= (np.array(work) / given_).sum() * (1 + 1e-5)


def test_who_is_away_computes_nothing():
    at = np.asarray(sharing.hosts(np.array([0, 0, -1]), 2, np.array([True, False, True])))
    assert at.tolist() == [[1, 0], [0, 0], [0, 0]]
