"""The uplink: SINR by closed forms, by hand and by its symmetries; rate and power are each other's inverse."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.physical import radio

NOISE = 1e-9
USERS, SITES = 5, 3
READINGS = {"physical": jax.jit(radio.uplink_sinr), "literal": jax.jit(radio.uplink_sinr_literal)}
readings = pytest.mark.parametrize("reading", READINGS)


def decibels(low, high, shape):
    """Positive single-precision numbers, their decades drawn evenly."""
    size = int(np.prod(shape))
    exponents = st.lists(st.floats(low, high), min_size=size, max_size=size)
    return exponents.map(lambda drawn: (10.0 ** np.array(drawn)).reshape(shape).astype(np.float32))


gains = decibels(-10, -5, (USERS, SITES))
powers = decibels(-4, 0, (USERS,))
silences = st.lists(st.booleans(), min_size=USERS, max_size=USERS).map(np.array)
choices = st.lists(st.integers(0, SITES - 1), min_size=USERS, max_size=USERS).map(np.array)


def by_hand(reading, gain, power, serving):
    """(7) in a loop and double precision, and how far single precision may be off: interference is a difference there."""
    gain, power = gain.astype(float), power.astype(float)
    sinr, tolerance = np.zeros(USERS), np.zeros(USERS)
    for k in range(USERS):
        site = serving[k]
        heard = sum(power[i] * gain[i, site if reading == "physical" else serving[i]] for i in range(USERS) if i != k)
        wanted = power[k] * gain[k, site]
        sinr[k] = wanted / (heard + NOISE)
        tolerance[k] = 1e-6 * (2 + (wanted + heard) / (heard + NOISE))
    return sinr, tolerance


@readings
def test_one_user_alone(reading):
    gain = np.array([[3e-8, 1e-9]])
    assert READINGS[reading](gain, np.array([0.2]), np.array([0]), NOISE) == pytest.approx(0.2 * 3e-8 / NOISE)
    silent = READINGS[reading](np.repeat(gain, 3, 0), np.array([0, 0.2, 0]), np.array([0, 0, 0]), NOISE)
    assert silent == pytest.approx([0, 6, 0])


@readings
def test_two_equal_users_at_one_site(reading):
    sinr = READINGS[reading](np.full((2, 1), 3e-8), np.full(2, 0.2), np.zeros(2, int), NOISE)
    assert sinr == pytest.approx([1 / (1 + NOISE / 6e-9)] * 2)


def test_two_users_at_two_sites():
    """Read physically, user 1 is heard at site 0 over its gain there; as printed, over the gain to its own site."""
    gain, power, serving = np.array([[4e-8, 1e-9], [2e-9, 8e-8]]), np.array([0.1, 0.5]), np.array([0, 1])
    physical, literal = (READINGS[reading](gain, power, serving, NOISE) for reading in ("physical", "literal"))
    assert physical == pytest.approx([4e-9 / (1e-9 + NOISE), 4e-8 / (1e-10 + NOISE)], rel=1e-5)
    assert literal == pytest.approx([4e-9 / (4e-8 + NOISE), 4e-8 / (4e-9 + NOISE)], rel=1e-5)


@readings
@settings(max_examples=100, deadline=None)
@given(gain=gains, power=powers, silent=silences, serving=choices)
def test_sinr_by_hand(reading, gain, power, silent, serving):
    power = np.where(silent, 0, power).astype(np.float32)
    expected, tolerance = by_hand(reading, gain, power, serving)
    assert (np.abs(READINGS[reading](gain, power, serving, NOISE) - expected) <= tolerance * expected).all()


@readings
@settings(max_examples=100, deadline=None)
@given(gain=gains, power=powers, serving=choices, added=st.integers(0, USERS - 1))
def test_another_user_never_raises_anyone_s_sinr(reading, gain, power, serving, added):
    before = np.where(np.arange(USERS) == added, 0, power).astype(np.float32)
    others = np.arange(USERS) != added
    alone = np.asarray(READINGS[reading](gain, before, serving, NOISE), float)
    together = np.asarray(READINGS[reading](gain, power, serving, NOISE), float)
    slack = by_hand(reading, gain, before, serving)[1] + by_hand(reading, gain, power, serving)[1]
    assert (together <= alone * (1 + slack))[others].all()
    assert together[added] > 0


@readings
@settings(max_examples=50, deadline=None)
@given(gain=gains, power=powers, serving=choices, octaves=st.integers(-8, 8))
def test_units_do_not_matter(reading, gain, power, serving, octaves):
    """Powers and noise, or gains and noise, in a unit that is a power of two: not a bit of the SINR changes."""
    unit = np.float32(2.0**octaves)
    sinr, noise = READINGS[reading], np.float32(NOISE)
    here = sinr(gain, power, serving, noise)
    assert (here == sinr(gain, power * unit, serving, noise * unit)).all()
    assert (here == sinr(gain * unit, power, serving, noise * unit)).all()


@readings
@settings(max_examples=50, deadline=None)
@given(gain=gains, power=powers, serving=choices, order=st.permutations(range(USERS)))
def test_the_order_of_users_does_not_matter(reading, gain, power, serving, order):
    order = np.array(order)
    here = np.asarray(READINGS[reading](gain, power, serving, NOISE))[order]
    there = READINGS[reading](gain[order], power[order], serving[order], NOISE)
    assert (np.abs(there - here) <= 2 * by_hand(reading, gain, power, serving)[1][order] * here).all()


def test_rate_by_hand():
    assert radio.rate(np.array([0.0, 1.0, 3.0, 1023.0]), 1e6) == pytest.approx([0, 1e6, 2e6, 1e7])


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0.05, 20), gain=st.floats(1e-10, 1e-4), bandwidth=st.floats(1e4, 1e9))
def test_power_and_rate_are_inverse(share, gain, bandwidth):
    """A lone user at the power for a rate has that rate."""
    wanted = share * bandwidth
    power = radio.power_for_rate(wanted, gain, bandwidth, NOISE)
    assert radio.rate(power * gain / NOISE, bandwidth) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("sinr", [1e-2, 1e-4, 1e-6, 1e-8])
def test_a_weak_signal_keeps_its_rate(sinr):
    """log2(1 + γ) → γ/ln 2: the sum must not swallow γ, in single precision too."""
    assert radio.rate(np.float32(sinr), 1e6) == pytest.approx(1e6 * np.log1p(sinr) / np.log(2), rel=1e-5)
    assert radio.power_for_rate(1e6 * np.log1p(sinr) / np.log(2), 1e-7, 1e6, NOISE) == pytest.approx(
        sinr * NOISE / 1e-7, rel=1e-5
    )
