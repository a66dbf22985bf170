"""Paths to forecast: the paper's independent random walk (1), a walk that repeats its last move, and real tracks held by track."""

import numpy as np

from edgetwin.scenario import schema, tracks

MOVES = np.array([[0, 0], [0, 1], [0, -1], [-1, 0], [1, 0]], float)  # stay, forward, backward, left, right of (1)


def ladder(users=10, most=0.99, least=0.5):
    """p_u of every user: the probability of the dominant move falls evenly, the rest is shared evenly. (users, 5)."""
    dominant = np.linspace(most, least, users)
    probability = np.repeat((1 - dominant)[:, None] / 4, 5, axis=1)
    probability[np.arange(users), 1 + np.arange(users) % 4] = dominant
    return probability


def draw(rng, probability, shape):
    """Indices of moves, (*shape, users)."""
    return (rng.random((*shape, len(probability), 1)) > probability.cumsum(axis=1)[:, :-1]).sum(axis=-1)


def random_walk(count, slots, seed, probability=None):
    """(count, slots + 1, users, 2)."""
    return persistent_walk(count, slots, seed, 0.0, probability)


def persistent_walk(count, slots, seed, repeat=0.8, probability=None):
    """The last move is repeated with probability `repeat`, else drawn from p_u. (count, slots + 1, users, 2)."""
    rng = np.random.default_rng(seed)
    probability = ladder() if probability is None else probability
    move = draw(rng, probability, (slots, count))
    again = rng.random(move.shape) < repeat
    for slot in range(1, slots):
        move[slot] = np.where(again[slot], move[slot - 1], move[slot])
    start = rng.uniform(-50, 50, (count, 1, len(probability), 2))
    steps = np.moveaxis(MOVES[move], 0, 1).cumsum(axis=1)
    return np.concatenate([start, start + steps], axis=1)


def goal_windows(slot_s=5.0, slots=34):
    """Windows of `slots` + 1 states of the GOAL tracks, one user each: (train, test), every fourth track is test, whole."""
    found = tracks.goal_tracks(schema.Users(count=1, mobility="goal-tracks"))
    names = sorted({name.rsplit(".", 1)[0] for name in found.ids})
    held_out, parts = set(names[3::4]), ([], [])
    for track, name in enumerate(found.ids):
        fixes = np.isfinite(found.time_s[track])
        time_s = np.arange(0, found.duration_s[track] + 1e-9, slot_s)
        xy = [np.interp(time_s, found.time_s[track][fixes], found.xy_m[track][fixes][:, axis]) for axis in (0, 1)]
        path = np.stack(xy, axis=-1)[:, None]
        whole = [path[i : i + slots + 1] for i in range(0, len(path) - slots, slots + 1)]
        parts[name.rsplit(".", 1)[0] in held_out].extend(whole)
    return np.stack(parts[0]), np.stack(parts[1])
