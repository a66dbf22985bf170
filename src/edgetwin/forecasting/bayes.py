"""What no forecaster can beat, where the law of movement is known, and what drift, last value and linear do on a random walk, in closed form.

Movement (1): each slot, user u makes one of the moves (stay, forward, backward, left, right) with the probabilities p_u, times `step`. On
the independent walk every move is drawn anew; on the persistent one the last move is repeated with probability `repeat`, else drawn
from p_u. Errors are squared distances, a mean over users.
"""

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError
from edgetwin.physical import mobility

MOVES = np.array(mobility.MOVES)


def random_walk_floor(probability, slots, step=1.0) -> NDArray[np.float64]:
    """k·v, the least error k slots ahead, v the trace of a move's covariance. probability: (users, 5); slots: any k. Like `slots`."""
    return np.asarray(slots) * _variance(probability, step).mean()


def random_walk_last_value(probability, slots, step=1.0) -> NDArray[np.float64]:
    """k·v + k²·|mean move|², the error of the last value. probability: (users, 5). Like `slots`."""
    slots = np.asarray(slots)
    return slots * _variance(probability, step).mean() + slots**2 * (_mean(probability, step) ** 2).sum(axis=1).mean()


def random_walk_linear(probability, slots, memory, step=1.0) -> NDArray[np.float64]:
    """(k + k²/(M − 1))·v, the error of going on at the mean of M − 1 moves. probability: (users, 5). Like `slots`."""
    slots = np.asarray(slots)
    return (slots + slots**2 / (memory - 1)) * _variance(probability, step).mean()


def persistent_walk_floor(probability, repeat, slots, step=1.0) -> NDArray[np.float64]:
    """The least error k slots ahead given the last move, a mean over its stationary law p_u. probability: (users, 5). Like `slots`.

    The move n slots ahead has the law ρⁿ·(last move) + (1 − ρⁿ)·p_u, from which follow the mean of a sum of moves and, by
    summing over pairs of slots, its second moment.
    """
    probability = _checked(probability)
    if not 0 <= repeat <= 1:
        raise InputError(f"repeat = {repeat:g}: the probability of repeating a move lies in [0, 1]")
    floors = np.array([_persistent(probability, repeat, k) for k in range(1, int(np.max(slots)) + 1)]) * step**2
    return floors[np.asarray(slots) - 1]


def _persistent(probability, repeat, k):
    """The floor k slots ahead for unit moves. All arrays (users, last move, …)."""
    mean, energy = probability @ MOVES, probability @ (MOVES**2).sum(axis=1)  # (users, 2), (users,)
    ahead = repeat ** np.arange(1, k + 1)
    first = ahead[:, None, None, None] * MOVES + (1 - ahead)[:, None, None, None] * mean[:, None]  # E[move n | last]
    square = ahead[:, None, None] * (MOVES**2).sum(axis=1) + (1 - ahead)[:, None, None] * energy[:, None]  # E[|move n|² | last]
    second = square.sum(axis=0)
    for n in range(k):
        for later in range(n + 1, k):
            again = repeat ** (later - n)
            second = second + 2 * (again * square[n] + (1 - again) * (first[n] * mean[:, None]).sum(axis=-1))
    return ((second - (first.sum(axis=0) ** 2).sum(axis=-1)) * probability).sum(axis=1).mean()


def _mean(probability, step):
    return step * (_checked(probability) @ MOVES)


def _variance(probability, step):
    return step**2 * (_checked(probability) @ (MOVES**2).sum(axis=1)) - (_mean(probability, step) ** 2).sum(axis=1)


def _checked(probability) -> NDArray[np.float64]:
    probability = np.asarray(probability, dtype=np.float64)
    if probability.ndim != 2 or probability.shape[1] != len(MOVES):
        raise InputError(f"probability of shape {probability.shape}: needs (users, {len(MOVES)}), stay and the four moves")
    wrong = (probability < 0).any(axis=1) | (np.abs(probability.sum(axis=1) - 1) > 1e-6)
    if wrong.any():
        user = int(wrong.argmax())
        raise InputError(f"probability of user {user} = {probability[user].tolist()}: must be 0 or more and sum to 1")
    return probability
