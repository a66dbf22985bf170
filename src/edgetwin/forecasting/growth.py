"""How the expected error of a forecast grows with the slots since the last true state: a table by slots ahead, fitted to residuals."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.forecasting.paths import Residuals

ROUNDS = 20


class Growth(NamedTuple):
    """Expected squared error k slots ahead: level[k−1] + slope[k−1]·motion, both (horizon, users), or (horizon, 1) for all users alike.

    motion is the mean squared displacement in the last packet: who moved fast will be missed by more.
    """

    level: jax.Array
    slope: jax.Array


def none(like) -> Growth:
    """No error at all, in the dtype of `like`: what a forecaster expects before its residuals are known."""
    return Growth(jnp.zeros((1, 1), like.dtype), jnp.zeros((1, 1), like.dtype))


def squared_error(growth: Growth, slots_ahead, motion):
    """Expected squared error, (users,). slots_ahead: scalar, 1 or more; motion: (users,). Past the table it grows in proportion to k."""
    level, slope = (jnp.asarray(part, motion.dtype) for part in growth)
    horizon = len(level)
    if horizon == 1:
        return slots_ahead.astype(motion.dtype) * (level[0] + slope[0] * motion)
    row = jnp.minimum(slots_ahead, horizon) - 1
    beyond = jnp.maximum(slots_ahead, horizon).astype(motion.dtype) / horizon
    return beyond * (level[row] + slope[row] * motion)


def fit(residuals: Residuals, shared: bool) -> Growth:
    """The growth that residuals show: their mean for each user and k, or where users are alike (`shared`), a line in `motion` for each k.

    The line fits relative errors (a gamma regression with identity link, by reweighted least squares, both coefficients ≥ 0), and is
    then scaled so that expected and actual errors have equal means.
    """
    weight = residuals.known[:, None, :, None]
    if not shared:
        level = jnp.sum(residuals.squared * weight, axis=(0, 1)) / jnp.sum(weight * jnp.ones_like(residuals.squared), axis=(0, 1))
        return Growth(level, jnp.zeros_like(level))
    each_k = jnp.moveaxis(residuals.squared, 2, 0)
    level, slope = jax.lax.map(lambda of: line(of[0], residuals.motion, of[1][:, None, None]), (each_k, residuals.known.T))
    return Growth(level[:, None], slope[:, None])


def line(squared, motion, known):
    """level, slope ≥ 0 with squared ≈ level + slope·motion in relative terms, where `known`. squared, motion, known broadcast."""
    mean = jnp.mean(squared, where=known)
    typical = jnp.mean(jnp.broadcast_to(motion, squared.shape), where=known)
    x = motion / jnp.where(typical > 0, typical, 1)
    y = squared / jnp.where(mean > 0, mean, 1)

    def reweighted(found, _):
        weight = known / (found[0] + found[1] * x + 1e-3) ** 2
        s0, s1, s2 = jnp.sum(weight), jnp.sum(weight * x), jnp.sum(weight * x * x)
        r0, r1 = jnp.sum(weight * y), jnp.sum(weight * x * y)
        determinant = s0 * s2 - s1 * s1
        solvable = determinant > 1e-6 * s0 * s2
        safe = jnp.where(solvable, determinant, 1)
        slope = jnp.where(solvable, (s0 * r1 - s1 * r0) / safe, 0)
        slope = jnp.clip(slope, 0, jnp.where(s1 > 0, r1 / jnp.where(s2 > 0, s2, 1), 0))
        level = jnp.maximum((r0 - slope * s1) / s0, 0)
        return jnp.stack([level, slope]), None

    found = jax.lax.scan(reweighted, jnp.array([0.5, 0.5], y.dtype), length=ROUNDS)[0]
    expected = jnp.mean(jnp.broadcast_to(found[0] + found[1] * x, squared.shape), where=known)
    scale = mean / jnp.where(expected > 0, expected, 1)
    return found[0] * scale, found[1] * scale / jnp.where(typical > 0, typical, 1)
