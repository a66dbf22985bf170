"""The behaviour model: what it learns of simple movements is known in closed form, and nothing that it is given or finds in a store breaks it."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.twin import behaviour
from edgetwin.twin.kinds import Kind, read_kinds
from edgetwin.twin.messages import Update
from edgetwin.twin.record import Twin, applied

KINDS = read_kinds()
CAR = KINDS["vehicle"]
BEGIN_S = 1.7e9


def twin_after(path, step_s=1.0, kind=CAR, twin=None, begin_s=BEGIN_S):
    """A twin that has reported a path (positions, 2) at even times."""
    twin = twin or Twin("car-1", "vehicle")
    for number, (x, y) in enumerate(np.asarray(path).tolist()):
        update = Update("car-1", 1, twin.seq + 1, begin_s + number * step_s, {"x_m": x, "y_m": y})
        twin, _ = applied(twin, update, behaviour.learned(kind, twin, update), update.time_s)
    return twin


def straight(seconds, velocity=(3.0, -4.0), step_s=1.0):
    return np.arange(0, seconds + 1e-9, step_s)[:, None] * np.array(velocity)


def learn(twin, x, y, time_s, kind=CAR):
    return behaviour.learned(kind, twin, Update("car-1", 1, twin.seq + 1, time_s, {"x_m": x, "y_m": y}))


@pytest.mark.parametrize("step_s", [0.1, 1.0, 3.0, 7.0])
def test_a_straight_line_is_learned_without_error(step_s):
    motion = behaviour.motion(CAR, twin_after(straight(300, step_s=step_s), step_s).model)
    assert motion.velocity_mps == pytest.approx((3.0, -4.0), abs=1e-3)
    assert len(motion.squared_error_m2) == 3
    assert max(motion.squared_error_m2) < 1e-4


def test_errors_are_those_at_1_4_and_16_silences_after_a_turn():
    turn = np.concatenate([straight(3), straight(3)[-1] + straight(200, (-3.0, 4.0))[1:]])
    motion = behaviour.motion(CAR, twin_after(turn).model)
    # The first forecast was made 3 s after the start, when the mean velocity was known, and at that moment the car turned round.
    ages_s = np.array([5.0, 20.0, 80.0])
    first = (10 * ages_s) ** 2
    found = behaviour.motion(CAR, twin_after(turn[:87]).model).squared_error_m2
    assert found == pytest.approx(first, rel=1e-4)
    assert all(now < then for now, then in zip(motion.squared_error_m2, first, strict=True)), "it forgets the turn"


def test_two_errors_count_alike_before_old_ones_fade():
    turn = np.concatenate([straight(3), straight(3)[-1] + straight(85, (-3.0, 4.0))[1:]])
    errors = behaviour.motion(CAR, twin_after(turn).model).squared_error_m2
    assert errors[0] == pytest.approx(50**2 / 2, rel=1e-3), "wrong by 50 m at first, then right"


def test_a_forecast_is_not_judged_before_its_time_and_then_on_the_line_between_two_positions():
    twin = twin_after(straight(3, (2.0, 0.0)))
    after = learn(twin, 6.0, 16.0, twin.measured_s + 16)
    assert behaviour.motion(CAR, after).squared_error_m2 == pytest.approx([(2 * 5) ** 2 + 5**2])


@pytest.mark.parametrize("step_s", [0.2, 1.0, 5.0])
def test_the_mean_velocity_of_noise_is_a_mean_over_half_a_silence(step_s):
    rng = np.random.default_rng(0)
    paths = np.cumsum(rng.normal(size=(300, 60, 2)), axis=1)
    velocities = [behaviour.motion(CAR, twin_after(path, step_s).model).velocity_mps for path in paths]
    share = step_s / (step_s + 2.5)
    assert np.var(velocities) == pytest.approx(share / (2 - share) / step_s**2, rel=0.2), "as of exponential smoothing"


def test_last_value_learns_how_far_devices_get():
    kind = CAR.model_copy(update={"forecaster": "last-value"})
    motion = behaviour.motion(kind, twin_after(straight(300), kind=kind).model)
    assert motion.squared_error_m2 == pytest.approx([(5 * age_s) ** 2 for age_s in (5, 20, 80)])


def test_a_random_walk_and_its_forecasts_errors_agree_with_theory():
    rng = np.random.default_rng(1)
    found = [behaviour.motion(CAR, twin_after(np.cumsum(rng.normal(size=(900, 2)), 0)).model) for _ in range(60)]
    mean = np.mean([one.squared_error_m2 for one in found], axis=0)
    share = 1 / 3.5
    theory = [2 * age_s + 2 * share / (2 - share) * age_s**2 for age_s in (5, 20, 80)]
    assert mean == pytest.approx(theory, rel=0.25)


def test_what_teaches_nothing_changes_nothing():
    twin = twin_after(straight(10))
    assert learn(twin, 1.0, 1.0, twin.measured_s) == twin.model
    assert learn(twin, 1.0, 1.0, twin.measured_s - 5) == twin.model
    station = Twin("w", "weather-station", revision=1, reported={"temperature_c": 3.0}, measured_s=BEGIN_S)
    assert behaviour.learned(KINDS["weather-station"], station, Update("w", 1, 2, BEGIN_S + 9, {"temperature_c": 4.0})) == {}


def test_an_update_without_a_position_does_not_make_the_last_position_younger():
    twin = twin_after(straight(10))
    update = Update("car-1", 1, twin.seq + 1, twin.measured_s + 4, {"occupied": True})
    between, _ = applied(twin, update, behaviour.learned(CAR, twin, update), update.time_s)
    assert behaviour.position_s(between) == twin.measured_s
    after = learn(between, 3.0 * 15, -4.0 * 15, twin.measured_s + 5)
    assert after == learn(twin, 3.0 * 15, -4.0 * 15, twin.measured_s + 5)
    assert behaviour.motion(CAR, after).velocity_mps == pytest.approx((3.0, -4.0))


def test_a_clock_that_is_set_back_costs_one_forecast_and_no_more():
    twin = twin_after(straight(60))
    twin = twin_after(straight(300), twin=twin, begin_s=BEGIN_S - 5000)
    assert twin.model["forecast"][0] < BEGIN_S
    assert max(behaviour.motion(CAR, twin.model).squared_error_m2) < 1e-4
    assert len(behaviour.motion(CAR, twin.model).squared_error_m2) == 3


def test_a_memory_of_another_forecaster_or_other_times_counts_for_nothing():
    twin = twin_after(straight(300))
    for other in ({"forecaster": "last-value"}, {"silent_after_s": 6.0}):
        kind = CAR.model_copy(update=other)
        assert behaviour.motion(kind, twin.model) is None
        anew = learn(twin, 0.0, 0.0, twin.measured_s + 1, kind)
        assert behaviour.motion(kind, anew).squared_error_m2 == ()
        assert learn(twin._replace(model=anew), 1.0, 1.0, twin.measured_s + 2, kind)["known_s"] > 1


BAD_VALUES = [
    None,
    "x",
    [],
    {},
    [None] * 5,
    ["a"] * 3,
    math.nan,
    math.inf,
    -1,
    10**400,
    [math.nan] * 5,
    [1e308] * 5,
    [1e308] * 2,
    True,
    1e308,
]


@pytest.mark.parametrize(
    "name", ["model", "velocity_mps", "known_s", "scores", "forecast", "squared_error_m2", "position_s", None]
)
def test_a_damaged_memory_is_ignored_and_learned_anew(name):
    whole = twin_after(straight(90))
    for value in BAD_VALUES:
        model = {**whole.model, name: value} if name else {"model": value}
        twin = whole._replace(model=model)
        behaviour.motion(CAR, model)
        assert math.isfinite(behaviour.position_s(twin))
        velocity = np.array([3.0, -4.0])
        for second in range(1, 400):
            x, y = whole.reported["x_m"] + second * velocity[0], whole.reported["y_m"] + second * velocity[1]
            update = Update("car-1", 1, twin.seq + 1, whole.measured_s + second, {"x_m": x, "y_m": y})
            twin, _ = applied(twin, update, behaviour.learned(CAR, twin, update), update.time_s)
        json.dumps(twin.model, allow_nan=False)
        motion = behaviour.motion(CAR, twin.model)
        assert motion.velocity_mps == pytest.approx((3.0, -4.0), abs=1e-3), (name, value)
        assert len(motion.squared_error_m2) == 3


wild = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6) | st.sampled_from([1e-300, 5e-324])
times = st.floats(BEGIN_S - 1e6, BEGIN_S + 1e6) | st.floats(0, 1e-300) | st.sampled_from([0.0, BEGIN_S])
states = st.fixed_dictionaries({}, optional={"x_m": wild | st.none(), "y_m": wild | st.none(), "occupied": st.booleans()})


@settings(deadline=None)
@given(
    st.lists(st.tuples(times, states), max_size=30), st.sampled_from(["drift", "last-value"]), st.sampled_from([1e-9, 5.0, 1e9])
)
def test_whatever_is_reported_the_memory_stays_finite_and_readable(reports, forecaster, silent_after_s):
    kind = CAR.model_copy(update={"forecaster": forecaster, "silent_after_s": silent_after_s})
    twin = Twin("car-1", "vehicle")
    for seq, (time_s, state) in enumerate(reports, 1):
        update = Update("car-1", 1, seq, time_s, state)
        before = json.dumps(twin.model)
        memory = behaviour.learned(kind, twin, update)
        assert json.dumps(twin.model) == before, "what is stored is never changed in place"
        assert json.loads(json.dumps(memory, allow_nan=False)) == memory
        assert memory.get("model") is None or behaviour.motion(kind, memory) is not None
        twin, _ = applied(twin, update, memory, time_s)


def test_learning_is_cheap():
    twin = twin_after(straight(30))
    update = Update("car-1", 1, 99, twin.measured_s + 1, {"x_m": 93.0, "y_m": -124.0})
    spent = []
    for _ in range(20):
        begun = time.perf_counter()
        for _ in range(100):
            behaviour.learned(CAR, twin, update)
        spent.append(time.perf_counter() - begun)
    assert min(spent) / 100 < 15e-6, "about 3 µs where nothing else runs"


def test_kinds_forecast_by_what_the_model_knows():
    assert {kind.forecaster for kind in KINDS.values()} <= {"drift", "last-value"}
    assert set(Kind.model_fields["forecaster"].annotation.__args__) == {"drift", "last-value"}
