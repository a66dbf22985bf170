"""What happens whatever is decided: walks follow their law, tracks run forwards, histories are whole, interference is as asked."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from edgetwin.network_sync import forecasts
from edgetwin.network_sync.instances import FIELDS
from edgetwin.physical import mobility
from edgetwin.physical.mobility import move_probability
from edgetwin.problem import episode_keys
from edgetwin.scenario import network, replace
from network_sync.test_instances import FOLDER
from network_sync.walks import make

pytestmark = pytest.mark.usefixtures("quick_compilation")

EPISODES, USERS = 3000, 4
MOVES = np.array(mobility.MOVES)


def positions(task, episodes=EPISODES):
    """Where users truly are, (episodes, M + slots, users, 2): the history, whose last is the synced start, then every slot."""

    def episode(key):
        streams = task.model.streams(key)
        movement, history = task.model.start(streams)

        def slot(carry, number):
            carry = task.model.move(*carry, task.model.noise(streams, number).movement, number)
            return carry, carry[1]

        return jnp.concatenate([history, jax.lax.scan(slot, (movement, history[-1]), jnp.arange(task.section.slots))[1]])

    return np.asarray(jax.jit(jax.vmap(episode))(episode_keys(0, episodes)), float)


def moves(path):
    """Which move each step was, (episodes, steps, users); −1 where it is none of the five."""
    steps = np.diff(path, axis=1)
    same = np.isclose(steps[..., None, :], MOVES, atol=1e-4).all(axis=-1)
    return np.where(same.any(axis=-1), same.argmax(axis=-1), -1)


def near(share, expected, samples):
    """Within four and a half standard errors of a share."""
    return np.abs(share - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / samples) + 1e-12


def frequencies(found):
    return np.stack([(found == move).mean(axis=(0, 1)) for move in range(5)], axis=-1)


def test_the_ladder_is_the_frozen_files_matrix():
    for name in "ab":
        assert np.allclose(
            move_probability(make(name).scenario.users), np.load(FOLDER / f"episodes-{name}.npz")["move_probability"]
        )
    assert "move_probability" in FIELDS


def test_the_ladder_by_hand():
    assert np.allclose(
        mobility.move_ladder(3, (0.8, 0.4)),
        [[0.05, 0.8, 0.05, 0.05, 0.05], [0.1, 0.1, 0.6, 0.1, 0.1], [0.15, 0.15, 0.15, 0.4, 0.15]],
    )
    assert np.allclose(mobility.move_ladder(6, (1, 0.5))[4:, 1:3], [[0.6, 0.1], [0.125, 0.5]])


def test_an_independent_walk_makes_each_move_as_often_as_its_law_says():
    rows = [[0.1, 0.5, 0.2, 0.15, 0.05], [0.0, 0.0, 0.0, 0.0, 1.0], [0.2, 0.2, 0.2, 0.2, 0.2], [0.7, 0.0, 0.3, 0.0, 0.0]]
    task = make(slots=6, users__count=USERS, users__move_probability=rows)
    path = positions(task)
    found = moves(path)
    assert (found >= 0).all()
    assert near(frequencies(found), np.array(rows), found.shape[0] * found.shape[1]).all()
    again = (found[:, 1:, 2] == found[:, :-1, 2]).mean()
    assert near(again, 0.2, EPISODES * (found.shape[1] - 1))
    outside = np.abs(path[:, -1]).max(axis=-1) > 50
    assert outside.mean() > 0.02
    start = path[:, task.section.history_slots - 1].ravel()
    assert stats.kstest(start, "uniform", args=(-50, 100)).pvalue > 1e-3


def test_a_persistent_walk_repeats_its_moves_and_keeps_their_law():
    rows = [[0.1, 0.5, 0.2, 0.15, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.5, 0.0, 0.5, 0.0], [0.4, 0.1, 0.1, 0.1, 0.3]]
    task = make(
        slots=6, users__count=USERS, users__mobility="persistent-walk", users__persistence=0.7, users__move_probability=rows
    )
    found = moves(positions(task))
    for step in range(found.shape[1]):
        assert near(frequencies(found[:, step : step + 1]), np.array(rows), EPISODES).all(), step
    law = 0.7 * np.eye(5) + 0.3 * np.array(rows[0])
    for step in range(found.shape[1] - 1):
        before, after = found[:, step, 0], found[:, step + 1, 0]
        for move in range(5):
            share = np.array([(after[before == move] == then).mean() for then in range(5)])
            assert near(share, law[move], (before == move).sum()).all(), (step, move)


@pytest.mark.parametrize("boundary", ["reflect", "clip"])
def test_walls_keep_users_in_a_small_area(boundary):
    width = 6.0
    task = make(slots=9, area__width_m=width, users__count=USERS, users__boundary=boundary, users__mobility="persistent-walk")
    path = positions(task, 400)
    assert np.abs(path).max() <= width / 2 + 1e-5
    assert (np.abs(np.diff(path, axis=1)).sum(axis=-1) <= 1 + 1e-4).all()
    at_wall = np.isclose(np.abs(path), width / 2, atol=1e-6).any(axis=-1)
    assert (at_wall.mean() > 0.2) if boundary == "clip" else (at_wall.mean() < 0.01)


def test_walls_by_hand():
    at, move = jnp.array([[9.5, 5.0], [0.25, 5.0], [5.0, 9.5]]), jnp.array([4, 3, 1])
    step = lambda boundary: np.asarray(mobility.walk_step(at, move, 1.0, 10.0, boundary)).tolist()  # noqa: E731
    assert step("none") == [[10.5, 5], [-0.75, 5], [5, 10.5]]
    assert step("reflect") == [[9.5, 5], [0.75, 5], [5, 9.5]]
    assert step("clip") == [[10, 5], [0, 5], [5, 10]]


def test_a_draw_stands_for_the_move_whose_share_it_falls_in():
    cumulative = np.cumsum([[0.1, 0.4, 0.0, 0.25, 0.25]], axis=1)
    drawn = np.array([[0.0], [0.0999], [0.1], [0.4999], [0.5], [0.7499], [0.75], [0.99999994]], np.float32)
    assert mobility.walk_moves(drawn, cumulative)[:, 0].tolist() == [0, 0, 1, 1, 3, 3, 4, 4]


def test_histories_are_the_last_true_positions_and_interference_is_log_uniform():
    """The range here is wide, so that a uniform draw would show."""
    task = make(slots=5, users__count=2, rb_count=4, interference_w=[1e-4, 1e-1], deadline_s=100.0)
    trace = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: task.trace(key, 5)))(episode_keys(0, 400)))
    path = positions(task, 400)
    memory = task.section.history_slots
    for slot in range(5):
        assert np.allclose(trace.history_blocks[:, slot], path[:, slot + 1 : slot + 1 + memory], atol=1e-4)
    drawn = trace.interference_w.astype(float).ravel()
    assert stats.kstest(np.log10(drawn), "uniform", args=(-4, 3)).pvalue > 1e-3
    assert len(set(drawn)) > 0.999 * drawn.size


@pytest.mark.parametrize(("kind", "shape"), [("rayleigh-user", (USERS,)), ("rayleigh-rb", (USERS, 3))])
def test_fading_is_exponential_with_mean_one(kind, shape):
    task = make(slots=4, users__count=USERS, rb_count=3, fading=kind)
    streams = jax.vmap(task.model.streams)(episode_keys(0, 500))
    users, cloud = jax.jit(
        jax.vmap(lambda own: jax.vmap(lambda slot: task.model.fading(task.model.noise(own, slot)))(jnp.arange(4)))
    )(streams)
    assert users.shape == (500, 4, *shape) and cloud.shape == (500, 4, *shape[1:])
    for drawn in (users, cloud):
        drawn = np.asarray(drawn, float)
        assert stats.kstest(drawn.ravel(), "expon").pvalue > 1e-3
        assert abs(np.corrcoef(drawn[:, 0].ravel(), drawn[:, 1].ravel())[0, 1]) < 4.5 / np.sqrt(drawn[:, 0].size)


def run_along(tracks, replay, slots, width_m, slot_s):
    """Where users on tracks are, in NumPy: time runs forwards from the phase, and a track never ends. (slots, users, 2), metres."""
    time_s = np.asarray(replay.phase_s)[None] + slot_s * np.arange(slots)[:, None]
    track = np.asarray(replay.track)
    assert (replay.phase_s >= 0).all() and (time_s <= tracks.duration_s[track] * (1 + 1e-6)).all()
    at = np.zeros((slots, len(track), 2))
    for user, row in enumerate(track):
        fixes = np.isfinite(tracks.time_s[row])
        x, y = (np.interp(time_s[:, user], tracks.time_s[row, fixes], tracks.xy_m[row, fixes, axis]) for axis in (0, 1))
        cos, sin = np.cos(replay.rotation_rad[user]), np.sin(replay.rotation_rad[user])
        at[:, user] = np.asarray(replay.place_m[user]) + np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    folded = np.mod(at, 2 * width_m)
    return np.where(folded > width_m, 2 * width_m - folded, folded)


def check_tracks(task, episodes):
    section, width_m = task.section, task.network.width_m
    path = positions(task, episodes)
    replays = jax.jit(jax.vmap(lambda key: task.model.start(task.model.streams(key))[0]))(episode_keys(0, episodes))
    for number in range(episodes):
        replay = jax.tree.map(lambda leaf: np.asarray(leaf)[number], replays)  # noqa: B023
        assert len(set(replay.track.tolist())) == min(len(replay.track), len(task.network.tracks.ids))
        expected_m = run_along(task.network.tracks, replay, len(path[0]), width_m, section.slot_s)
        assert np.allclose(path[number] * section.block_m, expected_m - width_m / 2, atol=0.05), number
    return replays


def test_own_tracks_stay_where_they_were_recorded(tmp_path):
    lines = [f"{name},{20 * fix},{x0 + fix},{30 + fix % 3}" for name, x0 in (("u", 10), ("v", 50)) for fix in range(8)]
    file = tmp_path / "tracks.csv"
    file.write_text("\n".join(["id,time_s,x_m,y_m", *lines]) + "\n")
    own = {"users__mobility": "file", "users__file": str(file), "users__count": 2, "forecaster": "last"}
    replays = check_tracks(make(slots=20, slot_s=4.0, users__track_duration_min_s=100.0, **own), 20)
    assert np.ptp(np.asarray(replays.phase_s)) > 10


@pytest.fixture(scope="module")
def goal():
    if "EDGETWIN_DATA" not in os.environ:
        pytest.skip("needs the GOAL tracks")
    return make("tracks", forecaster="last", slots=8)


def test_goal_tracks_run_forwards(goal):
    check_tracks(goal, 12)


def test_forecasters_learn_from_other_tracks_than_users_walk_on(goal):
    part = {name: network(replace(goal.scenario, {"users.track_part": name})).tracks.ids for name in ("all", "train", "test")}
    assert set(part["train"]) | set(part["test"]) == set(part["all"]) and not set(part["train"]) & set(part["test"])
    assert goal.network.tracks.ids == part["test"]
    learnt = replace(goal.scenario, {"users.track_part": "train"})
    training = np.asarray(forecasts.training_paths(goal.scenario))
    assert np.array_equal(training, forecasts.training_paths(learnt))
    assert not np.allclose(training[:20], forecasts.movement_paths(goal.scenario, 20, training.shape[1]))
