"""Movement: the Gauss-Markov process has the mean and spread it should, walls are mirrors, and tracks are walked to and fro."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.physical import mobility
from edgetwin.physical.mobility import GaussMarkov, TrackReplay

WIDTH, SLOT, MEMORY = 50.0, 0.5, 0.8
USERS = 4
step = jax.jit(partial(mobility.gauss_markov_step, slot_s=SLOT, width_m=WIDTH, speed_memory=MEMORY, direction_memory=MEMORY))


def numbers(low, high):
    return st.lists(st.floats(low, high, width=32), min_size=USERS, max_size=USERS).map(np.array)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_remember_keeps_mean_and_variance(memory):
    """The stationary law of (1) has the noise's own variance, whatever the memory, and correlation μ from slot to slot."""
    mean, deviation, walks = 5.0, 2.0, 40_000

    @jax.jit
    def walk(key):
        def slot(value, slot_key):
            after = mobility.remember(value, mean, memory, deviation * jax.random.normal(slot_key, (walks,)))
            return after, None

        value, _ = jax.lax.scan(slot, jnp.full(walks, -20.0), jax.random.split(key, 150))
        return value, mobility.remember(value, mean, memory, deviation * jax.random.normal(jax.random.key(9), (walks,)))

    now, then = np.asarray(walk(jax.random.key(0)), float)
    assert now.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(walks))
    assert now.var() == pytest.approx(deviation**2, abs=4 * deviation**2 * np.sqrt(2 / walks))
    assert np.corrcoef(now, then)[0, 1] == pytest.approx(memory, abs=4 / np.sqrt(walks))


def test_remember_by_hand():
    assert mobility.remember(4.0, 9.0, 0.6, 0.5) == pytest.approx(0.6 * 4 + 0.4 * 9 + 0.8 * 0.5)
    assert mobility.remember(4.0, 9.0, 1.0, 0.5) == 4.0
    assert mobility.remember(4.0, 9.0, 0.0, 0.5) == 9.5


def test_advance_by_hand():
    position = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    after = mobility.advance(position, np.array([6.0, 6.0, 0.0]), np.array([0.0, 2 * np.pi / 3, 1.0]), 0.5)
    assert np.allclose(after, [[4.0, 2.0], [1.0 - 1.5, 2.0 + 1.5 * np.sqrt(3)], [1.0, 2.0]], atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    x=numbers(0, WIDTH),
    y=numbers(0, WIDTH),
    speed=numbers(0, 0.99 * WIDTH / SLOT),
    direction=numbers(-7, 7),
    mean_speed=numbers(0, 30),
    mean_direction=numbers(-7, 7),
    noise=numbers(-40, 40),
)
def test_walls_are_mirrors(x, y, speed, direction, mean_speed, mean_direction, noise):
    """Against a free step in double precision: what leaves comes back as from a mirror, direction and mean direction with it."""
    position = np.stack([x, y], axis=1)
    after = step(GaussMarkov(position, speed, direction, mean_speed, mean_direction), noise, noise / 10)
    assert (after.position_m >= 0).all() and (after.position_m <= WIDTH).all()
    assert (after.speed_mps >= 0).all()

    free = position + SLOT * speed[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)
    mirrored = np.where(free < 0, -free, np.where(free > WIDTH, 2 * WIDTH - free, free))
    assert np.allclose(after.position_m, mirrored, atol=1e-4)
    assert np.allclose(after.speed_mps, np.maximum(MEMORY * speed + (1 - MEMORY) * mean_speed + 0.6 * noise, 0), atol=1e-4)

    sure = (np.abs(free) > 1e-4) & (np.abs(free - WIDTH) > 1e-4)
    flip = np.where((free < 0) | (free > WIDTH), -1.0, 1.0)
    remembered = MEMORY * direction + (1 - MEMORY) * mean_direction + 0.6 * noise / 10
    for turned, before in ((after.direction_rad, remembered), (after.mean_direction_rad, mean_direction)):
        heading = flip * np.stack([np.cos(before), np.sin(before)], axis=1)
        assert np.allclose(np.stack([np.cos(turned), np.sin(turned)], axis=1)[sure], heading[sure], atol=1e-4)
    assert (after.mean_speed_mps == mean_speed.astype(np.float32)).all()


def test_users_stay_inside_when_a_step_is_longer_than_the_square():
    away = np.array([[10.0, 20.0]] * USERS)
    speed = np.array([1.0, 2.6, 4.4, 9.0]) * WIDTH / SLOT
    after = step(
        GaussMarkov(away, speed, np.array([0.3, 2.0, 3.3, 5.0]), speed, np.zeros(USERS)), np.zeros(USERS), np.zeros(USERS)
    )
    assert (after.position_m >= 0).all() and (after.position_m <= WIDTH).all()


def test_users_do_not_press_against_the_walls():
    """Mean directions turn at walls, so a long walk spends in the outer tenths about what their area says, 36 % of its time."""
    users = 400

    @jax.jit
    def walk(key):
        place, heading, noise = jax.random.split(key, 3)
        direction = jax.random.uniform(heading, (users,), maxval=2 * jnp.pi)
        speed = jnp.full(users, 6.0)
        start = GaussMarkov(jax.random.uniform(place, (users, 2), maxval=WIDTH), speed, direction, speed, direction)

        def slot(state, slot_key):
            speed_noise, direction_noise = jax.random.normal(slot_key, (2, users))
            state = step(state, speed_noise, 0.3 * direction_noise)
            return state, state.position_m

        return jax.lax.scan(slot, start, jax.random.split(noise, 1500))[1]

    positions = np.asarray(walk(jax.random.key(0)))
    assert positions.min() >= 0 and positions.max() <= WIDTH
    outer = (np.abs(positions - WIDTH / 2) > 0.4 * WIDTH).any(axis=-1)
    assert outer.mean() == pytest.approx(0.36, abs=0.04)


lengths, places = st.floats(0.5, 1000), st.floats(-5000, 5000, width=32, allow_subnormal=False)


@settings(max_examples=100, deadline=None)
@given(value=places, length=lengths, periods=st.integers(-4, 4), share=st.floats(0, 1))
def test_back_and_forth(value, length, periods, share):
    """A triangle wave between 0 and `length`: the identity there, even, of period 2·length, never faster than its argument."""
    folded = float(mobility.back_and_forth(value, length))
    slack = 1e-6 * (abs(value) + 10 * length) + 1e-6
    assert 0 <= folded <= length * (1 + 1e-6)
    assert mobility.back_and_forth(share * length, length) == pytest.approx(share * length, rel=1e-6, abs=1e-6)
    assert mobility.back_and_forth(-value, length) == pytest.approx(folded, abs=slack)
    assert mobility.back_and_forth(value + 2 * periods * length, length) == pytest.approx(folded, abs=slack)
    assert abs(mobility.back_and_forth(value + share, length) - folded) <= share + slack


TIMES = np.array([[0.0, 10.0, 30.0, np.inf], [0.0, 5.0, 20.0, 40.0]])
FIXES = np.array([[[-30, -40], [0, 20], [30, 20], [30, 20]], [[8, 0], [-8, 4], [0, -4], [0, 0]]], float)
ENDS = np.array([30.0, 40.0])


def along(elapsed, track=0, place=(500.0, 500.0), rotation=0.0, phase=0.0):
    """Where one user on a track is, in a square of 1 km."""
    replay = TrackReplay(np.array([track]), np.array([place]), np.array([rotation]), np.array([phase]))
    return np.asarray(position_of(replay, elapsed))[0]


position_of = jax.jit(
    lambda replay, elapsed: mobility.track_position(replay, *map(jnp.array, (TIMES, FIXES, ENDS)), elapsed, 1000.0)
)


@pytest.mark.parametrize(("track", "fixes"), [(0, 3), (1, 4)])
def test_a_track_meets_its_fixes_and_is_straight_between(track, fixes):
    for fix in range(fixes):
        assert np.allclose(along(TIMES[track, fix], track), 500 + FIXES[track, fix], atol=1e-3)
    for fix in range(fixes - 1):
        for share in (0.25, 0.9):
            time = (1 - share) * TIMES[track, fix] + share * TIMES[track, fix + 1]
            between = (1 - share) * FIXES[track, fix] + share * FIXES[track, fix + 1]
            assert np.allclose(along(time, track), 500 + between, atol=1e-3)


@pytest.mark.parametrize("track", [0, 1])
@pytest.mark.parametrize("since", [0.0, 3.0, 17.0, 29.0])
def test_past_its_end_a_track_runs_backwards_and_then_again(track, since):
    assert np.allclose(along(ENDS[track] + since, track), along(ENDS[track] - since, track), atol=1e-3)
    assert np.allclose(along(2 * ENDS[track] + since, track), along(since, track), atol=1e-3)
    assert np.allclose(along(since, track, phase=7.0), along(since + 7, track), atol=1e-3)


def test_a_track_is_turned_moved_and_folded():
    assert np.allclose(along(0, place=(200, 300)), (170, 260), atol=1e-3)
    assert np.allclose(along(0, place=(200, 300), rotation=np.pi / 2), (200 + 40, 300 - 30), atol=1e-3)
    assert np.allclose(along(0, place=(200, 300), rotation=np.pi), (230, 340), atol=1e-3)
    assert np.allclose(along(0, place=(10, 20)), (20, 20), atol=1e-3)
    assert np.allclose(along(30, place=(990, 995)), (980, 985), atol=1e-3)


@pytest.mark.parametrize("fixes", [1, 2, 3, 8, 9, 17])
def test_a_long_track_against_numpy(fixes):
    """Tracks of unequal length in one table, at their fixes, just beside them and anywhere."""
    rng = np.random.default_rng(fixes)
    lengths = [fixes, max(fixes // 2, 1), fixes]
    times, places = np.full((3, fixes), np.inf), np.zeros((3, fixes, 2))
    for track, length in enumerate(lengths):
        times[track, :length] = np.concatenate([[0], np.cumsum(rng.integers(1, 9, length - 1))])
        places[track, :length] = rng.uniform(-100, 100, (length, 2))
        places[track, length:] = places[track, length - 1]
    ends = np.array([times[track, length - 1] for track, length in enumerate(lengths)])
    users = np.repeat(np.arange(3), 40)
    when = rng.uniform(0, 1, 120) * ends[users]
    when[::3] = np.round(when[::3])
    replay = TrackReplay(users, np.full((120, 2), 500.0), np.zeros(120), when)
    found = np.asarray(mobility.track_position(replay, *map(jnp.array, (times, places, np.maximum(ends, 1e-3))), 0.0, 1000.0))
    for user, track in enumerate(users):
        on = np.isfinite(times[track])
        for axis in (0, 1):
            wanted = 500 + np.interp(when[user], times[track, on], places[track, on, axis])
            assert found[user, axis] == pytest.approx(wanted, abs=1e-2)


def test_users_on_one_track_do_not_disturb_each_other():
    replay = TrackReplay(np.array([1, 0, 1]), np.full((3, 2), 500.0), np.array([0.0, 1.0, 2.0]), np.array([0.0, 4.0, 11.0]))
    together = np.asarray(position_of(replay, 6.0))
    for user in range(3):
        assert np.allclose(
            together[user], along(6.0, replay.track[user], (500, 500), replay.rotation_rad[user], replay.phase_s[user])
        )
