"""How users move: the Gauss-Markov model of two-timescale (1)-(4), walks by steps, network-sync (1), random waypoints, and recorded tracks.

Users stay in a square of side `width_m`: what would leave it is reflected at the walls. Walks may also go on without walls, or stop there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.scenario.schema import Users
from edgetwin.scenario.tracks import Tracks


class GaussMarkov(NamedTuple):
    """Users under Gauss-Markov movement; all (users,) but `position_m` (users, 2). The means change only at walls."""

    position_m: jax.Array
    speed_mps: jax.Array
    direction_rad: jax.Array
    mean_speed_mps: jax.Array
    mean_direction_rad: jax.Array


class TrackReplay(NamedTuple):
    """Where each user's track lies: its row, its place on the ground, its turn, and the time at which the user joins it. (users, ...)."""

    track: jax.Array
    place_m: jax.Array
    rotation_rad: jax.Array
    phase_s: jax.Array


def remember(previous, mean, memory, noise):
    """One step of a Gauss-Markov process: μ·previous + (1−μ)·mean + √(1−μ²)·noise.     two-timescale (1), (2)

    The root covers 1−μ² only (in the printed (2) it runs over the noise as well). Returns the shape of `previous`.
    """
    return memory * previous + (1 - memory) * mean + jnp.sqrt(1 - memory**2) * noise


def advance(position_m, speed_mps, direction_rad, slot_s):
    """Position after a slot at the speed and direction held during it.     two-timescale (3), (4)

    position_m: (users, 2); speed_mps, direction_rad: (users,). Returns (users, 2).
    """
    heading = jnp.stack([jnp.cos(direction_rad), jnp.sin(direction_rad)], axis=-1)
    return position_m + (speed_mps * slot_s)[:, None] * heading


def gauss_markov_step(state, noise_speed, noise_direction, *, slot_s, width_m, speed_memory, direction_memory) -> GaussMarkov:
    """The next slot's positions, speeds and directions, reflected at the walls.     two-timescale (1)-(4)

    noise_speed (m/s), noise_direction (rad): (users,), Φ and Ψ. A wall turns direction and mean direction alike, else users would
    press against it. A step longer than the square ends at the far wall. Speeds stay at or above 0.
    """
    position = advance(state.position_m, state.speed_mps, state.direction_rad, slot_s)
    speed = jnp.maximum(remember(state.speed_mps, state.mean_speed_mps, speed_memory, noise_speed), 0)
    direction = remember(state.direction_rad, state.mean_direction_rad, direction_memory, noise_direction)
    outside = (position < 0) | (position > width_m)
    position = jnp.where(position < 0, -position, jnp.where(position > width_m, 2 * width_m - position, position))
    position = jnp.clip(position, 0, width_m)

    def turned(angle):
        angle = jnp.where(outside[:, 0], jnp.pi - angle, angle)
        return jnp.where(outside[:, 1], -angle, angle)

    return GaussMarkov(position, speed, turned(direction), state.mean_speed_mps, turned(state.mean_direction_rad))


def back_and_forth(value, length):
    """A triangle wave: 0 … length … 0 …, so that a track is run to its end and back, and a position is folded into an area."""
    turn = jnp.mod(value, 2 * length)
    return jnp.where(turn > length, 2 * length - turn, turn)


def fix_before(track, time_s, fix_time_s):
    """Index of the last fix at or before a time, by bisection. track, time_s: (users,); fix_time_s: (tracks, fixes), padded with inf.

    A handful of single look-ups per user; comparing with every fix would cost a slot more than its radio.
    """
    fixes = fix_time_s.shape[1]
    index = jnp.zeros_like(track)
    step = 1 << (fixes - 1).bit_length()
    while step := step // 2:
        ahead = index + step
        reached = (ahead < fixes) & (fix_time_s[track, jnp.minimum(ahead, fixes - 1)] <= time_s)
        index = jnp.where(reached, ahead, index)
    return index


def joined_tracks(tracks: Tracks, key, place_m, phase, turn) -> TrackReplay:
    """A track for each user, dealt from `key`, each joined at a time of its own, forwards or on the way back.

    Tracks recorded elsewhere are laid at `place_m` (users, 2) and turned; a user's own stay where they are. phase, turn: (users,), uniform.
    """
    users, count = len(place_m), len(tracks.ids)
    track = jax.random.permutation(key, count)[np.arange(users) % count]
    phase_s = 2 * phase * jnp.asarray(tracks.duration_s)[track]
    if tracks.place_m is not None:
        return TrackReplay(track, jnp.asarray(tracks.place_m)[track], jnp.zeros(users), phase_s)
    return TrackReplay(track, place_m, 2 * jnp.pi * turn, phase_s)


def track_position(replay: TrackReplay, fix_time_s, fix_xy_m, duration_s, elapsed_s, width_m):
    """Where users are `elapsed_s` after the start, on the straight line between the two fixes around that time.

    fix_time_s: (tracks, fixes), from 0, padded with inf; fix_xy_m: (tracks, fixes, 2), centred on each track's mean; duration_s:
    (tracks,). Past the end a track is run backwards. Each is turned, moved to its place and folded into the square. Returns (users, 2).
    """
    time = back_and_forth(replay.phase_s + elapsed_s, duration_s[replay.track])
    before = fix_before(replay.track, time, fix_time_s)
    after = jnp.minimum(before + 1, fix_time_s.shape[1] - 1)
    start = fix_time_s[replay.track, before]
    span = fix_time_s[replay.track, after] - start
    share = jnp.where(span > 0, (time - start) / jnp.where(span > 0, span, 1), 0)[:, None]
    local = (1 - share) * fix_xy_m[replay.track, before] + share * fix_xy_m[replay.track, after]
    cos, sin = jnp.cos(replay.rotation_rad), jnp.sin(replay.rotation_rad)
    turned = jnp.stack([cos * local[:, 0] - sin * local[:, 1], sin * local[:, 0] + cos * local[:, 1]], axis=-1)
    return back_and_forth(replay.place_m + turned, width_m)


MOVES = ((0.0, 0.0), (0.0, 1.0), (0.0, -1.0), (-1.0, 0.0), (1.0, 0.0))
"""Stay, forward, backward, left, right, in steps.     network-sync (1)"""


def move_ladder(users, dominant):
    """Probabilities of the five moves for users who differ: the dominant move's falls evenly from `dominant[0]` to `dominant[1]`.

    User u's dominant move cycles through forward, backward, left and right; the others, staying included, share the rest evenly.
    Returns (users, 5), NumPy.                                      network-sync II-A, decision 6
    """
    main = np.linspace(dominant[0], dominant[1], users)
    probability = np.repeat((1 - main)[:, None] / 4, 5, axis=1)
    probability[np.arange(users), 1 + np.arange(users) % 4] = main
    return probability


def move_probability(users: Users) -> np.ndarray:
    """p_u of (1): (users, 5), as the scenario states it or by its ladder.     network-sync (1)"""
    if users.move_probability is not None:
        return np.array(users.move_probability)
    return move_ladder(users.count, users.dominant_probability)


def walk_moves(uniform, cumulative):
    """The move that a uniform draw stands for, by user. uniform: (..., users) in [0, 1); cumulative: (users, 5) → (..., users), 0 … 4."""
    return jnp.minimum(jnp.sum(uniform[..., None] >= cumulative, axis=-1), len(MOVES) - 1)


def walk_step(position, move, step, width, boundary):
    """Positions one slot later.                                    network-sync (1)

    position: (users, 2); move: (users,), index into MOVES; step, width: lengths. Walls as in `bounded`.
    """
    return bounded(position + step * jnp.asarray(MOVES, position.dtype)[move], width, boundary)


def bounded(position, width, boundary):
    """Positions held by walls: "none" lets users leave the square (0, width)², "reflect" folds them back, "clip" stops them at the wall."""
    if boundary == "reflect":
        return back_and_forth(position, width)
    return jnp.clip(position, 0, width) if boundary == "clip" else position


def waypoint_step(position_m, target_m, speed_mps, next_target_m, next_speed_mps, slot_s):
    """Random waypoints: straight to the target at one speed; who arrives stays for the rest of the slot, then turns to the next.

    position_m, target_m, next_target_m: (users, 2); speed_mps, next_speed_mps: (users,). Returns position, target and speed one slot later.
    """
    way = target_m - position_m
    left_m = jnp.sqrt(jnp.sum(way**2, axis=1))
    arrives = speed_mps * slot_s >= left_m
    share = jnp.where(arrives, 1, speed_mps * slot_s / jnp.where(left_m > 0, left_m, 1))
    position = jnp.where(arrives[:, None], target_m, position_m + share[:, None] * way)
    return position, jnp.where(arrives[:, None], next_target_m, target_m), jnp.where(arrives, next_speed_mps, speed_mps)
