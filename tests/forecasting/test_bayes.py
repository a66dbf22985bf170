"""Closed forms and floors against the numbers of the paper's ladder, enumeration of every sequence of moves, and drawn paths."""

from itertools import product

import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.forecasting import bayes
from forecasting.paths import MOVES, ladder, persistent_walk

UNEVEN = np.array([[0.1, 0.4, 0.2, 0.3, 0.0], [0.0, 0.9, 0.05, 0.05, 0.0]])


def enumerated_floor(probability, repeat, k):
    """Mean over the last move's law of the variance of the sum of k moves, by enumeration of all sequences."""
    total = 0.0
    for of in probability:
        law = repeat * np.eye(5) + (1 - repeat) * of
        for last in range(5):
            sequences = list(product(range(5), repeat=k))
            chance = [np.prod([law[a, b] for a, b in zip((last, *moves), moves, strict=False)]) for moves in sequences]
            ends = np.array([MOVES[list(moves)].sum(axis=0) for moves in sequences])
            mean = chance @ ends
            total += of[last] * (chance @ (ends**2).sum(axis=1) - mean @ mean)
    return total / len(probability)


def test_numbers_of_the_ladder():
    assert bayes.random_walk_floor(ladder(), 1) == pytest.approx(0.434, abs=5e-4)
    assert bayes.random_walk_last_value(ladder(), 1) == pytest.approx(0.936, abs=5e-4)
    assert bayes.random_walk_linear(ladder(), 1, 5) == pytest.approx(0.542, abs=5e-4)
    assert bayes.random_walk_floor(ladder(), [2, 5], step=3.0) == pytest.approx(9 * np.array([0.8679, 2.1697]), rel=1e-3)


@pytest.mark.parametrize("repeat", [0.0, 0.3, 0.8, 1.0])
def test_the_persistent_floor_equals_enumeration(repeat):
    floors = bayes.persistent_walk_floor(UNEVEN, repeat, [1, 2, 4])
    assert floors == pytest.approx([enumerated_floor(UNEVEN, repeat, k) for k in (1, 2, 4)], abs=1e-12)


def test_without_memory_it_is_the_random_walk():
    assert bayes.persistent_walk_floor(ladder(), 0.0, [1, 6], 2.0) == pytest.approx(
        bayes.random_walk_floor(ladder(), [1, 6], 2.0)
    )


def test_the_best_forecast_of_drawn_paths_attains_the_floor():
    """The posterior mean given the last move, on 4,000 drawn paths, errs by the floor, within 3 %."""
    paths, k = persistent_walk(4000, 7, seed=5, probability=UNEVEN), 4
    last = paths[:, 3] - paths[:, 2]
    faded = (0.8 ** np.arange(1, k + 1)).sum()
    forecast = paths[:, 3] + faded * last + (k - faded) * (UNEVEN @ MOVES)
    error = ((paths[:, 3 + k] - forecast) ** 2).sum(axis=-1).mean()
    assert error == pytest.approx(bayes.persistent_walk_floor(UNEVEN, 0.8, k), rel=0.03)


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(InputError, match="user 1 .* sum to 1"):
        bayes.random_walk_floor([[1, 0, 0, 0, 0], [0.5, 0, 0, 0, 0.4]], 1)
    with pytest.raises(InputError, match=r"needs \(users, 5\)"):
        bayes.random_walk_last_value([[0.5, 0.5]], 1)
    with pytest.raises(InputError, match="repeat = 1.2"):
        bayes.persistent_walk_floor(UNEVEN, 1.2, 1)
