"""Silent devices: forecasts equal those of the forecasters they are named after, and the error that is promised is the error that is made."""

import math
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.forecasting.forecaster import ahead
from edgetwin.physical.mobility import GaussMarkov, gauss_markov_step
from edgetwin.twin import behaviour, silence
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import Update
from edgetwin.twin.record import Twin, applied

KINDS = read_kinds()
CAR = KINDS["vehicle"]
BEGIN_S = 1.7e9


def fleet_after(paths, step_s, kind="vehicle", kinds=KINDS):
    """Twins that have reported paths (times, users, 2) at even times."""
    twins = [Twin(f"car-{user}", kind) for user in range(paths.shape[1])]
    for number, positions in enumerate(paths.tolist()):
        time_s = BEGIN_S + number * step_s
        for user, (x, y) in enumerate(positions):
            update = Update(f"car-{user}", 1, number + 1, time_s, {"x_m": x, "y_m": y})
            twins[user], _ = applied(twins[user], update, behaviour.learned(kinds[kind], twins[user], update), time_s)
    return twins


def gauss_markov(users, times, slot_s, seed=0):
    """Movement of two-timescale (1)-(4), (times, users, 2), on ground so wide that nobody meets a wall."""
    rng = np.random.default_rng(seed)
    direction = rng.uniform(0, 2 * np.pi, users)
    state = GaussMarkov(np.full((users, 2), 5e4), np.full(users, 10.0), direction, np.full(users, 10.0), direction)
    step = jax.jit(
        lambda state, speed, turn: gauss_markov_step(
            state, speed, turn, slot_s=slot_s, width_m=1e5, speed_memory=0.9, direction_memory=0.9
        )
    )
    path = []
    for _ in range(times):
        path.append(np.asarray(state.position_m, float))
        state = step(state, 2.0 * rng.normal(size=users), 0.5 * rng.normal(size=users))
    return np.stack(path)


def random_walk(users, times, slot_s, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(size=(times, users, 2)) * math.sqrt(slot_s), axis=0)


def noisy_lines(users, times, slot_s, seed=0):
    rng = np.random.default_rng(seed)
    return np.arange(times)[:, None, None] * slot_s * 10 * rng.normal(size=(users, 2)) + rng.normal(size=(times, users, 2))


def waypoints(users, times, slot_s, seed=0):
    """From one point of a square of 1 km to the next at 10 m/s."""
    rng = np.random.default_rng(seed)
    position, goal, path = rng.uniform(0, 1000, (users, 2)), rng.uniform(0, 1000, (users, 2)), []
    for _ in range(times):
        path.append(position)
        way = goal - position
        far = np.linalg.norm(way, axis=1, keepdims=True)
        arrived = far <= 10 * slot_s
        position = np.where(arrived, goal, position + way / np.maximum(far, 1e-9) * 10 * slot_s)
        goal = np.where(arrived, rng.uniform(0, 1000, (users, 2)), goal)
    return np.stack(path)


def made_and_promised(paths, step_s, kind, known, ages_s):
    """Mean squared error of forecasts after `known` reports and what was promised, at each age, m²."""
    twins = fleet_after(paths[:known], step_s, kind)
    made, promised = [], []
    for age_s in ages_s:
        found = silence.forecasts(twins, KINDS, twins[0].measured_s + age_s)
        truth = paths[known - 1 + round(age_s / step_s)]
        off = [[found[twin.id].reported["x_m"], found[twin.id].reported["y_m"]] for twin in twins] - truth
        made.append(np.mean(np.sum(off**2, axis=1)))
        promised.append(np.mean([found[twin.id].standard_error_m ** 2 for twin in twins]))
    return np.array(made), np.array(promised)


@pytest.mark.parametrize("movement", [gauss_markov, random_walk, noisy_lines, waypoints])
@pytest.mark.parametrize(("kind", "step_s"), [("vehicle", 1.0), ("mobile-user", 2.0)])
def test_the_promised_error_is_the_error_made_within_a_factor_of_two(movement, kind, step_s):
    ages_s = np.array([10, 20, 40, 80, 160])
    known = int(400 / step_s)
    paths = movement(100, known + int(ages_s[-1] / step_s) + 1, step_s)
    made, promised = made_and_promised(paths, step_s, kind, known, ages_s)
    ratio = np.sqrt(promised / made)
    assert np.all((ratio > 0.5) & (ratio < 2)), f"promised by made, in metres: {ratio.round(2)}"


@pytest.mark.parametrize("movement", [gauss_markov, random_walk, noisy_lines])
def test_little_experience_promises_no_less_than_half_of_the_error_made(movement):
    paths = movement(100, 200, 1.0)
    for known in (3, 10, 30):
        made, promised = made_and_promised(paths, 1.0, "vehicle", known, [10, 40, 160])
        assert np.all(np.sqrt(promised / made) > 0.5), (known, np.sqrt(promised / made))


def test_what_was_not_seen_yet_is_no_better_than_what_was():
    """Before longer forecasts are judged: as a velocity that may be all wrong, and at least as what was found goes on as the square."""
    (twin,) = fleet_after(np.arange(6)[:, None, None] * np.array([[2.0, 0.0]]), 1.0)

    def error_m(model, age_s):
        return silence.forecasts([twin._replace(model={**twin.model, **model})], KINDS, twin.measured_s + age_s)[
            "car-0"
        ].standard_error_m

    assert [error_m({}, age_s) for age_s in (5, 20, 200)] == pytest.approx([10, 40, 400])
    assert [error_m({"squared_error_m2": [9.0]}, age_s) for age_s in (5, 20, 80)] == pytest.approx([3, 40, 160])
    stopped = {"velocity_mps": [0.0, 0.0], "squared_error_m2": [9.0]}
    assert [error_m(stopped, age_s) for age_s in (5, 20, 80)] == pytest.approx([3, 12, 48])


def test_a_straight_line_is_forecast_to_the_centimetre_and_says_so():
    velocity = np.random.default_rng(0).normal(size=(20, 2)) * 15
    paths = np.arange(700)[:, None, None] * velocity
    made, promised = made_and_promised(paths, 1.0, "vehicle", 300, [5, 20, 80, 320])
    assert np.all(np.sqrt(made) < [0.01, 0.01, 0.01, 0.04])
    assert np.all(np.sqrt(promised) < [0.05, 0.05, 0.05, 0.2])


@pytest.mark.parametrize("name", ["drift", "last-value"])
def test_forecasts_are_those_of_the_forecaster_they_are_named_after(name):
    kinds = {"vehicle": CAR.model_copy(update={"forecaster": name})}
    twins = fleet_after(gauss_markov(12, 200, 1.0), 1.0, kinds=kinds)
    history = np.array([[[twin.reported["x_m"], twin.reported["y_m"]] for twin in twins]])
    with jax.enable_x64(True):
        theirs = ahead(silence.forecaster(twins, kinds["vehicle"], 2.5, 40), history, 40)
    for k in (2, 7, 40):
        ours = silence.forecasts(twins, kinds, twins[0].measured_s + 2.5 * k)
        assert {one.forecaster for one in ours.values()} == {name}
        mean = [[ours[twin.id].reported["x_m"], ours[twin.id].reported["y_m"]] for twin in twins]
        assert np.allclose(mean, theirs.mean[k - 1], rtol=1e-12)
        assert np.allclose([ours[twin.id].standard_error_m ** 2 for twin in twins], theirs.squared_error[k - 1], rtol=1e-9)


def test_one_alone_is_as_among_many():
    twins = fleet_after(random_walk(9, 50, 1.0), 1.0)
    now_s = twins[0].measured_s + 33
    together = silence.forecasts(twins, KINDS, now_s)
    assert together == {twin.id: silence.forecasts([twin], KINDS, now_s)[twin.id] for twin in twins}


def test_a_twin_is_predicted_while_it_is_silent_and_real_at_its_next_message():
    (twin,) = fleet_after(np.arange(30)[:, None, None] * np.array([[2.0, 0.0]]), 1.0)
    assert silence.forecasts([twin], KINDS, twin.received_s + 4.9) == {}
    forecast = silence.forecasts([twin], KINDS, twin.received_s + 5)["car-0"]
    assert (forecast.forecaster, forecast.age_s) == ("drift", 5.0)
    assert forecast.reported == pytest.approx({"x_m": 58 + 10.0, "y_m": 0.0})
    update = Update("car-0", 1, 31, twin.measured_s + 60, {"x_m": 70.0, "y_m": 1.0})
    heard, _ = applied(twin, update, behaviour.learned(CAR, twin, update), update.time_s)
    assert silence.forecasts([heard], KINDS, update.time_s + 1) == {}


def test_a_device_heard_of_now_is_not_silent_however_old_what_it_tells():
    (twin,) = fleet_after(random_walk(1, 10, 1.0), 1.0)
    now_s = twin.measured_s + 3600
    assert silence.forecasts([twin._replace(received_s=now_s - 1)], KINDS, now_s) == {}


def test_a_device_that_never_spoke_has_no_forecast_and_one_that_spoke_once_stays_with_no_error_known():
    assert silence.forecasts([Twin("a", "vehicle")], KINDS, BEGIN_S) == {}
    once = Twin("a", "vehicle", revision=1, reported={"x_m": 1.0, "y_m": 2.0}, measured_s=BEGIN_S, received_s=BEGIN_S)
    assert silence.forecasts([once], KINDS, BEGIN_S + 60) == {
        "a": silence.Forecast({"x_m": 1.0, "y_m": 2.0}, "last-value", 60.0, None)
    }


def test_kinds_without_a_position_go_on_at_their_last_values():
    station = Twin("w", "weather-station", revision=1, reported={"temperature_c": 3.0}, measured_s=BEGIN_S, received_s=BEGIN_S)
    assert silence.forecasts([station], KINDS, BEGIN_S + 899) == {}
    assert silence.forecasts([station], KINDS, BEGIN_S + 1000) == {"w": silence.Forecast({}, "last-value", 1000.0, None)}


def test_a_memory_that_is_damaged_or_of_another_version_is_ignored():
    (twin,) = fleet_after(np.arange(100)[:, None, None] * np.array([[2.0, 0.0]]), 1.0)
    now_s = twin.measured_s + 10
    for model in (
        {"model": "drift/0/5.0"},
        {**twin.model, "velocity_mps": "fast"},
        {**twin.model, "squared_error_m2": [math.nan]},
    ):
        forecast = silence.forecasts([twin._replace(model=model)], KINDS, now_s)["car-0"]
        assert forecast == silence.Forecast({"x_m": 198.0, "y_m": 0.0}, "last-value", 10.0, None)


@given(
    st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=30),
    st.lists(st.floats(0, 1e10), min_size=2, max_size=8).map(sorted),
    st.sampled_from(["drift", "last-value"]),
)
def test_positions_are_finite_and_allowed_and_errors_never_shrink_with_age(moves, ages_s, forecaster):
    kinds = {"vehicle": CAR.model_copy(update={"forecaster": forecaster})}
    twin, time_s = Twin("a", "vehicle"), BEGIN_S
    for seq, (step_s, x, y) in enumerate(moves, 1):
        time_s += step_s
        update = Update("a", 1, seq, time_s, {"x_m": x, "y_m": y})
        twin, _ = applied(twin, update, behaviour.learned(kinds["vehicle"], twin, update), time_s)
    found = [silence.forecasts([twin], kinds, time_s + 5 + age_s)["a"] for age_s in ages_s]
    assert all(-1e6 <= value <= 1e6 for one in found for value in one.reported.values())
    errors = [one.standard_error_m for one in found]
    assert all(math.isfinite(error) for error in errors)
    assert all(later >= earlier * (1 - 1e-12) for earlier, later in zip(errors, errors[1:], strict=False))


def test_errors_pass_through_what_was_learned_and_go_on_as_the_square():
    learned = np.array([[4.0, 36.0, 900.0]])
    at = [silence.squared_error(np.array([age_s]), 10.0, learned)[0] for age_s in (5, 10, 20, 40, 160, 1600)]
    assert at == pytest.approx([2.0, 4.0, 12.0, 36.0, 900.0, 90_000.0])
    shrinking = [silence.squared_error(np.array([age_s]), 10.0, np.array([[4.0, 1.0, 2.0]]))[0] for age_s in (10, 40, 160)]
    assert shrinking == pytest.approx([4.0, 4.0, 4.0])


def test_nothing_on_the_way_of_a_read_brings_in_jax():
    run = "import sys, edgetwin.twin.service_twins.services, edgetwin.twin.silence, edgetwin.twin.host; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", run]).returncode == 0
