"""Training of the recurrent forecasters: loss (11) over mini-batches, and an end when validation no longer improves."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

VALIDATION_SHARE = 0.1


class Trained(NamedTuple):
    """The parameters of the best epoch, and the losses of all: training and validation, (epochs,)."""

    parameters: Any
    loss: np.ndarray
    validation_loss: np.ndarray


def loss(forecast, truth):
    """L = |ŝ − s|²/(2U), averaged over all leading axes. forecast, truth: (…, users, 2). A scalar.     network-sync (11)"""
    return jnp.mean(jnp.sum((forecast - truth) ** 2, axis=-1)) / 2


def split(paths, key):
    """(training, validation): one path in ten, at least one, held back whole. paths: (paths, …), two or more."""
    order = jax.random.permutation(key, len(paths))
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
    key,
) -> Trained:
    """Minimises the mean of objective(parameters, windows, key) over mini-batches of `training` (windows, …) in random order.

    Stops after `epochs`, or when `validation` (the objective over it) has not improved for `patience` epochs.
    """
    steps = max(1, len(training) // batch)
    batch = min(batch, len(training))

    @jax.jit
    def epoch(parameters, memory, training, key):
        order_key, batch_key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(training))[: steps * batch].reshape(steps, batch)

        def step(carry, each):
            parameters, memory = carry
            rows, key = each
            value, gradient = jax.value_and_grad(objective)(parameters, training[rows], key)
            change, memory = optimiser.update(gradient, memory, parameters)
            return (optax.apply_updates(parameters, change), memory), value

        carry, values = jax.lax.scan(step, (parameters, memory), (order, jax.random.split(batch_key, steps)))
        return *carry, jnp.mean(values)

    judge = jax.jit(lambda parameters, validation: objective(parameters, validation, key))
    memory = optimiser.init(parameters)
    best, losses, judged = parameters, [], []
    for number in range(epochs):
        parameters, memory, value = epoch(parameters, memory, training, jax.random.fold_in(key, number))
        losses.append(float(value))
        judged.append(float(judge(parameters, validation)))
        if judged[-1] <= min(judged):
            best = parameters
        elif number - int(np.argmin(judged)) >= patience:
            break
    return Trained(best, np.array(losses), np.array(judged))
