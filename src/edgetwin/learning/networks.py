"""Multi-layer perceptrons, alone or stacked so that several run as one."""

import math
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp


class MLP(eqx.Module):
    """Layers of weights (inputs, outputs) and biases (outputs,) with ReLU between them; a stack has a first axis of networks more.

    A call takes (…, inputs) and returns (…, outputs); a stack takes (batch, inputs) and returns (networks, batch, outputs).
    """

    weights: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]

    def __call__(self, inputs: jax.Array) -> jax.Array:
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs = inputs @ weight + bias[..., None, :]
            inputs = inputs if layer == last else jax.nn.relu(inputs)
        return inputs


def mlp(key: jax.Array, inputs: int, hidden: tuple[int, ...], outputs: int, stack: tuple[int, ...] = ()) -> MLP:
    """An MLP, or a stack of them, with weights and biases uniform in ±1/√inputs of their layer."""
    widths = list(zip((inputs, *hidden), (*hidden, outputs), strict=True))
    shapes = [shape for wide, out in widths for shape in ((*stack, wide, out), (*stack, out))]
    drawn = jax.random.uniform(key, (sum(map(math.prod, shapes)),), minval=-1.0, maxval=1.0)
    parts, place = [], 0
    for index, shape in enumerate(shapes):
        scale = 1 / math.sqrt(widths[index // 2][0])
        parts.append(scale * drawn[place : place + math.prod(shape)].reshape(shape))
        place += math.prod(shape)
    return MLP(tuple(parts[::2]), tuple(parts[1::2]))


Network = TypeVar("Network")


def towards(target: Network, network: Network, rate: float) -> Network:
    """The slowly updated copy of a network: θ̄ ← θ̄ + rate·(θ − θ̄)."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), target, network)


def rows_of(values: jax.Array, chosen: jax.Array) -> jax.Array:
    """values (…, batch, choices) at chosen (batch,): (…, batch)."""
    return jnp.sum(jnp.where(jnp.arange(values.shape[-1]) == chosen[:, None], values, 0), axis=-1)
