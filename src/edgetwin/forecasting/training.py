"""Training of the recurrent forecasters: loss (11) over mini-batches, and an end when validation no longer improves."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from edgetwin.errors import InputError

VALIDATION_SHARE = 0.1


class Trained(NamedTuple):
    """The parameters of the best epoch, and the losses of all: training and validation, (epochs,)."""

    parameters: Any
    loss: np.ndarray
    validation_loss: np.ndarray


def loss(forecast, truth):
    """L = |ŝ − s|²/(2U), averaged over all leading axes. forecast, truth: (…, users, 2). A scalar.     network-sync (11)"""
    return jnp.mean(jnp.sum((forecast - truth) ** 2, axis=-1)) / 2


def split(paths, rng: np.random.Generator):
    """(training, validation): one path in ten, at least one, held back whole. paths: (paths, …). Raises InputError for fewer than 2."""
    if len(paths) < 2:
        raise InputError(
            f"{len(paths)} path to train on: there must be at least 2 paths, one is held back to decide when to stop"
        )
    order = rng.permutation(len(paths))
    held = max(1, round(VALIDATION_SHARE * len(paths)))
    return paths[order[held:]], paths[order[:held]]


def windows(paths, memory: int, slots: int):
    """All windows (windows, memory + slots, users, 2) of paths (paths, time, users, 2)."""
    length = memory + slots
    starts = range(paths.shape[1] - length + 1)
    return jnp.concatenate([paths[:, start : start + length] for start in starts])


def train(
    objective: Callable,
    parameters,
    training,
    validation,
    *,
    optimiser: optax.GradientTransformation,
    batch: int,
    epochs: int,
    patience: int,
    rng: np.random.Generator,
) -> Trained:
    """Minimises the mean of objective(parameters, windows) over mini-batches of `training` (windows, …) in random order.

    Stops after `epochs`, or when `validation` (the objective over it) has not improved for `patience` epochs.
    """
    steps = max(1, len(training) // batch)
    batch = min(batch, len(training))

    @jax.jit
    def epoch(parameters, memory, training, order):
        def step(carry, rows):
            parameters, memory = carry
            value, gradient = jax.value_and_grad(objective)(parameters, training[rows])
            change, memory = optimiser.update(gradient, memory, parameters)
            return (optax.apply_updates(parameters, change), memory), value

        carry, values = jax.lax.scan(step, (parameters, memory), order)
        return *carry, jnp.mean(values)

    judge = jax.jit(objective)
    memory = optimiser.init(parameters)
    best, losses, judged = parameters, [], []
    for number in range(epochs):
        order = rng.permutation(len(training))[: steps * batch].reshape(steps, batch)
        parameters, memory, value = epoch(parameters, memory, training, order)
        losses.append(float(value))
        judged.append(float(judge(parameters, validation)))
        if judged[-1] <= min(judged):
            best = parameters
        elif number - int(np.argmin(judged)) >= patience:
            break
    return Trained(best, np.array(losses), np.array(judged))
