"""The recurrent forecasters: the cell against a plain loop, iteration against formulas, loss and descent by hand, what training reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edgetwin.errors import DataUnavailable, InputError
from edgetwin.forecasting import bayes, cell, drift, files, gru, gru_printed, gru_shared, kalman, last_value, linear, training
from edgetwin.forecasting.errors import k_step_errors
from edgetwin.forecasting.forecaster import ahead
from edgetwin.forecasting.growth import Growth
from forecasting.paths import goal_windows, ladder, persistent_walk, random_walk

ZERO = Growth(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
QUICK = {"hidden": 16, "slots": 2, "epochs": 4, "batch": 128, "learning_rate": 1e-2}


def weights(inputs, hidden, outputs, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(hidden, inputs), (hidden, hidden), (hidden,)] * 3 + [(outputs, hidden), (outputs,)]
    return cell.Cell(*(rng.normal(0, 0.5, shape) for shape in shapes))


def plain_read(c, inputs):
    """(6)-(9) unit by unit, with Python's own arithmetic. inputs: (steps, inputs). Returns (hidden,)."""
    size = len(c.b_r)
    hidden = [0.0] * size

    def row(w, u, b, j, x, h):
        return sum(w[j][i] * x[i] for i in range(len(x))) + sum(u[j][i] * h[i] for i in range(size)) + b[j]

    for x in inputs:
        r = [1 / (1 + np.exp(-row(c.w_r, c.u_r, c.b_r, j, x, hidden))) for j in range(size)]
        z = [1 / (1 + np.exp(-row(c.w_z, c.u_z, c.b_z, j, x, hidden))) for j in range(size)]
        kept = [h * gate for h, gate in zip(hidden, r, strict=True)]
        new = [np.tanh(row(c.w_h, c.u_h, c.b_h, j, x, kept)) for j in range(size)]
        hidden = [(1 - z[j]) * new[j] + z[j] * hidden[j] for j in range(size)]
    return np.array(hidden)


def test_the_cell_is_the_equations():
    c, inputs = weights(4, 5, 3), np.random.default_rng(1).normal(0, 1, (6, 4))
    hidden = plain_read(c, inputs)
    assert np.allclose(cell.read(c, jnp.asarray(inputs)), hidden, atol=1e-5)
    assert np.allclose(cell.output(c, hidden), c.w_o @ hidden + c.b_o)


def test_one_unit_by_hand():
    """All weights 1, no biases, x = 1, h = 2: r = z = σ(3), h̃ = tanh(1 + 2σ(3)), h' = (1 − z)·h̃ + 2z."""
    c = cell.Cell(*(np.ones(shape) for shape in [(1, 1), (1, 1)]), np.zeros(1), *([np.ones((1, 1))] * 2), np.zeros(1),
                  *([np.ones((1, 1))] * 2), np.zeros(1), np.ones((1, 1)), np.zeros(1))  # fmt: skip
    gate = 1 / (1 + np.exp(-3))
    expected = (1 - gate) * np.tanh(1 + 2 * gate) + 2 * gate
    assert cell.next_hidden(c, jnp.ones(1), jnp.full(1, 2.0))[0] == pytest.approx(expected, rel=1e-6)


def test_the_residual_forecast_iterates_its_own_displacements():
    c, history = weights(6, 5, 6), np.random.default_rng(2).normal(0, 3, (4, 3, 2))
    forecast = ahead(gru.forecaster(gru.Parameters(c, jnp.array(2.0), ZERO)), jnp.asarray(history), 3).mean
    inputs, position = list(np.diff(history, axis=0).reshape(3, 6) / 2), history[-1]
    for k in range(3):
        change = c.w_o @ plain_read(c, inputs) + c.b_o
        inputs, position = [*inputs, change], position + 2 * change.reshape(3, 2)
        assert np.allclose(forecast[k], position, atol=1e-4)


def test_the_printed_one_reads_its_last_states_anew():
    c, history = weights(4, 5, 4), np.random.default_rng(3).normal(0, 1, (3, 2, 2))
    forecast = ahead(gru_printed.forecaster(gru_printed.Parameters(c, ZERO)), jnp.asarray(history), 3).mean
    states = list(history)
    for k in range(3):
        states.append((c.w_o @ plain_read(c, [state.ravel() for state in states[-3:]]) + c.b_o).reshape(2, 2))
        assert np.allclose(forecast[k], states[-1], atol=1e-5)


def test_the_loss_and_the_descent_by_hand():
    assert training.loss(jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [3.0, 0.0]])) == pytest.approx((5 + 9) / 4)
    parameters, gradient = weights(4, 3, 4), weights(4, 3, 4, seed=9)
    rule = gru_printed.descent(0.05)
    change, _ = rule.update(gradient, rule.init(parameters))
    moved = optax.apply_updates(parameters, change)
    for name, before, slope, after in zip(cell.Cell._fields, parameters, gradient, moved, strict=True):
        assert np.allclose(after, before if name in gru_printed.BIASES else before - 0.05 * slope, atol=1e-6), name


def test_frames_turn_and_scale_and_come_back():
    rng = np.random.default_rng(4)
    steps = rng.normal(0, 5, (4, 6, 2))
    frame = gru_shared.frame_of(jnp.asarray(steps), 3.0)
    seen = gru_shared.into(frame, jnp.asarray(steps))
    assert np.allclose(gru_shared.out_of(frame, seen), steps, atol=1e-5)
    assert np.allclose(seen[-1, :, 1], 0, atol=1e-6) and (np.asarray(seen[-1, :, 0]) > 0).all()
    assert np.allclose((np.asarray(seen) ** 2).sum(axis=-1).mean(axis=0), 1, atol=1e-3)


def test_the_shared_forecast_turns_and_moves_with_the_user_and_needs_no_identity():
    model = gru_shared.forecaster(gru_shared.Parameters(weights(3, 8, 2), jnp.array(1.5), ZERO))
    history = np.random.default_rng(5).normal(0, 3, (5, 4, 2))
    angle = 0.7
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    forecast = np.asarray(ahead(model, jnp.asarray(history), 4).mean)
    turned = ahead(model, jnp.asarray(history @ turn + [7, -2]), 4).mean
    assert np.allclose(turned, forecast @ turn + [7, -2], atol=1e-3)
    assert np.allclose(ahead(model, jnp.asarray(history[:, ::-1]), 4).mean[:, ::-1], forecast, atol=1e-4)


def test_who_stands_still_is_forecast_without_nan():
    model = gru_shared.forecaster(gru_shared.Parameters(weights(3, 8, 2), jnp.array(1.5), ZERO))
    assert np.isfinite(ahead(model, jnp.ones((5, 3, 2)), 4).mean).all()
    found = gru_shared.fit(np.ones((10, 6, 1, 2), np.float32), 4, hidden=4, slots=1, epochs=1)
    assert np.allclose(ahead(gru_shared.forecaster(found), jnp.ones((6, 3, 2)), 2).mean, 1, atol=0.2)


@pytest.mark.parametrize(
    "parameters",
    [
        gru.Parameters(weights(6, 5, 6), np.float32(2), ZERO),
        gru_shared.Parameters(weights(3, 5, 2), np.float32(2), ZERO),
        gru_printed.Parameters(weights(6, 5, 6), ZERO),
    ],
    ids=[gru.NAME, gru_shared.NAME, gru_printed.NAME],
)
def test_the_history_decides_the_dtype(parameters, request):
    model = files.forecaster(request.node.callspec.id, parameters)
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            forecast = jax.jit(lambda past: ahead(model, past, 2))(jnp.ones((4, 3, 2), dtype))
            assert forecast.mean.dtype == forecast.squared_error.dtype == dtype


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    paths = random_walk(60, 8, seed=0).astype(np.float32)
    first, again, other = (gru.fit(paths, 4, hidden=8, slots=1, epochs=2, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True))
    assert not np.array_equal(first.cell.w_r, other.cell.w_r)


def test_of_many_users_alike_some_paths_are_drawn():
    paths = np.arange(3 * 4 * 900 * 2).reshape(3, 4, 900, 2)
    drawn = np.asarray(gru_shared._alone(jnp.asarray(paths), np.random.default_rng(0)))
    assert drawn.shape == (gru_shared.MOST_PATHS, 4, 1, 2) and len(np.unique(drawn[:, 0, 0, 0])) == len(drawn)
    path, user = divmod(int(drawn[7, 0, 0, 0]) // 2, 900)
    assert np.array_equal(drawn[7, :, 0], paths[path // 4, :, user])
    assert len(gru_shared._alone(jnp.asarray(paths[:, :, :5]), np.random.default_rng(0))) == 15


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best():
    """A single number is dragged to the training mean 1, past the validation mean 0.5: the best epoch is the one nearest to it."""
    trained = training.train(
        lambda value, rows: jnp.mean((value - rows) ** 2), jnp.array(0.0), jnp.ones(8), jnp.full(3, 0.5),
        optimiser=optax.sgd(0.05), batch=8, epochs=50, patience=3, rng=np.random.default_rng(0),
    )  # fmt: skip
    values = 1 - 0.9 ** np.arange(1, 51)
    best = np.abs(values - 0.5).argmin()
    assert len(trained.loss) == best + 1 + 3
    assert float(trained.parameters) == pytest.approx(values[best], rel=1e-5)


def test_input_that_does_not_fit():
    paths = random_walk(20, 8, seed=0).astype(np.float32)
    with pytest.raises(InputError, match="paths of 9 states: with M = 9"):
        gru.fit(paths, 9)
    with pytest.raises(InputError, match="M = 1"):
        gru_shared.fit(paths, 1)
    with pytest.raises(InputError, match="at least 2 paths"):
        gru.fit(paths[:1], 4)
    model = gru.forecaster(gru.Parameters(weights(20, 4, 20), np.float32(1), ZERO))
    with pytest.raises(InputError, match="history of 3 users: this gru was fitted to 10"):
        model.start(paths[0, :4, :3])


def test_a_small_training_comes_near_the_floor():
    """400 short paths, 16 units: within 8 % of the floor one slot ahead, where the last value is 115 % off."""
    found = gru.fit(random_walk(400, 12, seed=0).astype(np.float32), 5, **QUICK)
    error = k_step_errors(gru.forecaster(found), random_walk(400, 12, seed=1).astype(np.float32), 5, [1])[0]
    assert 0.97 < error.squared_error.mean / bayes.random_walk_floor(ladder(), 1) < 1.08


@pytest.mark.slow
def test_the_residual_gru_attains_the_floor_of_the_random_walk_and_the_printed_one_does_not():
    paths, unseen = (random_walk(count, 30, seed).astype(np.float32) for seed, count in ((0, 2000), (1, 1000)))
    error = k_step_errors(gru.forecaster(gru.fit(paths, 5)), unseen, 5, [1, 2, 5])
    floor = k_step_errors(drift.drift(ladder() @ bayes.MOVES, 1.0), unseen, 5, [1, 2, 5])
    for mine, least in zip(error, floor, strict=True):
        assert mine.squared_error.mean < 1.02 * least.squared_error.mean
        assert abs(mine.calibration.mean - 1) < 0.03
    printed = k_step_errors(gru_printed.forecaster(gru_printed.fit(paths, 5)), unseen, 5, [1])[0]
    assert printed.squared_error.mean > 100


@pytest.mark.slow
def test_the_residual_gru_on_the_persistent_walk():
    """Within 6 % of the floor 1, 2 and 5 slots ahead, and far below drift, last value and linear."""
    paths, unseen = (persistent_walk(count, 30, seed).astype(np.float32) for seed, count in ((0, 2000), (1, 1000)))
    error = k_step_errors(gru.forecaster(gru.fit(paths, 5)), unseen, 5, [1, 2, 5])
    floor = bayes.persistent_walk_floor(ladder(), 0.8, [1, 2, 5])
    for mine, least in zip(error, floor, strict=True):
        assert least * 0.97 < mine.squared_error.mean < 1.06 * least
    for kind in (drift, last_value, linear):
        other = k_step_errors(kind.forecaster(kind.fit(paths, 5, shared=False)), unseen, 5, [1, 2, 5])
        assert all(mine.squared_error.mean < theirs.squared_error.mean for mine, theirs in zip(error, other, strict=True))


@pytest.mark.slow
def test_the_shared_gru_is_the_best_on_held_out_tracks():
    try:
        paths, unseen = (part.astype(np.float32) for part in goal_windows())
    except DataUnavailable as missing:
        pytest.skip(str(missing))
    error = k_step_errors(gru_shared.forecaster(gru_shared.fit(paths, 5)), unseen, 5, [1, 2, 5])
    for kind in (drift, last_value, linear, kalman):
        other = k_step_errors(kind.forecaster(kind.fit(paths, 5, shared=True)), unseen, 5, [1, 2, 5])
        assert all(mine.squared_error.mean < theirs.squared_error.mean for mine, theirs in zip(error, other, strict=True)), (
            kind.NAME
        )
    assert all(abs(each.calibration.mean - 1) < 0.1 for each in error)
