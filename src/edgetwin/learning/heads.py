"""Heads: what a network's outputs mean as a distribution over actions. Bounded real numbers by Beta (35) or Gaussian, choices by softmax.

An action has `components`; the network gives each of them `parameters` numbers. Random numbers are drawn ahead for many slots at once
(`noise`) and made into actions slot by slot (`draw`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.learning import beta

CONCENTRATION = (2.0, 2000.0)
"""Least and largest κ of `beta_by_mode`: standard deviations from about .22 down to .011 around one half."""


class Head(NamedTuple):
    """A distribution per component of an action.

    `noise(key, slots, shape)` draws for actions of `shape` in `slots` slots, slots first. `draw(outputs, noise)` makes one slot's actions,
    `best(outputs)` the deterministic ones. outputs: (…, components, parameters); actions, `log_prob(outputs, action)` and
    `entropy(outputs)`: (…, components). `bound(action)` is what the environment gets of an action.
    """

    parameters: int
    noise: Callable[[jax.Array, int, tuple[int, ...]], Any]
    draw: Callable[[jax.Array, Any], jax.Array]
    best: Callable[[jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    entropy: Callable[[jax.Array], jax.Array]
    bound: Callable[[jax.Array], jax.Array] = lambda action: action


def _flat(draw: Callable[..., jax.Array], key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return draw(key, (math.prod(shape),)).reshape(shape)


def _beta(shape_of: Callable[[jax.Array], tuple[jax.Array, jax.Array]], best: Callable[[jax.Array], jax.Array]) -> Head:
    return Head(
        parameters=2,
        noise=lambda key, slots, shape: _flat(jax.random.bits, key, (slots, *shape)),
        draw=lambda outputs, noise: beta.draw(noise, *shape_of(outputs)),
        best=best,
        log_prob=lambda outputs, action: beta.log_prob(action, *shape_of(outputs)),
        entropy=lambda outputs: beta.entropy(*shape_of(outputs)),
    )


@jax.custom_vjp
def _halves(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Outputs (…, 2) as two arrays (…). The gradient that JAX makes of that pads and adds, and takes three times as long as all else here."""
    return outputs[..., 0], outputs[..., 1]


def _joined(_: None, cotangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array]:
    first, second = (each[..., None] for each in cotangents)
    return (jnp.where(jnp.arange(2) == 0, first, second),)


_halves.defvjp(lambda outputs: (_halves(outputs), None), _joined)


def softplus_shape(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ϑ, χ = 1 + softplus of the outputs (decision 33). Returns two arrays (…, components)."""
    first, second = _halves(outputs)
    return 1 + jax.nn.softplus(first), 1 + jax.nn.softplus(second)


def mode_shape(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ϑ = 1 + κm, χ = 1 + κ(1−m): the mode m = sigmoid of the first output, the concentration κ exponential in the second, from 2 to 2000."""
    low, high = (math.log(end) for end in CONCENTRATION)
    first, second = _halves(outputs)
    mode = jax.nn.sigmoid(first)
    concentration = jnp.exp(jnp.clip(math.log(10.0) + second, low, high))
    return 1 + concentration * mode, 1 + concentration * (1 - mode)


def _mean_of_softplus(outputs: jax.Array) -> jax.Array:
    first, second = softplus_shape(outputs)
    return first / (first + second)


def gaussian() -> Head:
    """A normal distribution whose draws are clipped to [0, 1] by the environment: the biased baseline. Mean = sigmoid, σ from .01 to .5."""

    def shape_of(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_deviation = _halves(outputs)
        return jax.nn.sigmoid(mean), jnp.clip(log_deviation - 1.5, math.log(0.01), math.log(0.5))

    def draw(outputs: jax.Array, noise: jax.Array) -> jax.Array:
        mean, log_deviation = shape_of(outputs)
        return mean + jnp.exp(log_deviation) * noise

    def log_prob(outputs: jax.Array, action: jax.Array) -> jax.Array:
        mean, log_deviation = shape_of(outputs)
        return -0.5 * ((action - mean) * jnp.exp(-log_deviation)) ** 2 - log_deviation - 0.5 * math.log(2 * math.pi)

    return Head(
        parameters=2,
        noise=lambda key, slots, shape: _flat(jax.random.normal, key, (slots, *shape)),
        draw=draw,
        best=lambda outputs: shape_of(outputs)[0],
        log_prob=log_prob,
        entropy=lambda outputs: shape_of(outputs)[1] + 0.5 * math.log(2 * math.pi * math.e),
        bound=lambda action: jnp.clip(action, 0, 1),
    )


def categorical(choices: int) -> Head:
    """One of `choices`, by softmax; drawn by inverting the distribution function."""

    def draw(outputs: jax.Array, noise: jax.Array) -> jax.Array:
        below = jnp.cumsum(jax.nn.softmax(outputs), axis=-1) <= noise[..., None]
        return jnp.minimum(jnp.sum(below, axis=-1), choices - 1)

    def log_prob(outputs: jax.Array, action: jax.Array) -> jax.Array:
        chosen = action[..., None] == jnp.arange(choices)
        return jnp.sum(jnp.where(chosen, jax.nn.log_softmax(outputs), 0), axis=-1)

    def entropy(outputs: jax.Array) -> jax.Array:
        return -jnp.sum(jax.nn.softmax(outputs) * jax.nn.log_softmax(outputs), axis=-1)

    return Head(
        parameters=choices,
        noise=lambda key, slots, shape: _flat(jax.random.uniform, key, (slots, *shape)),
        draw=draw,
        best=lambda outputs: jnp.argmax(outputs, axis=-1),
        log_prob=log_prob,
        entropy=entropy,
    )


def beta_by_softplus() -> Head:
    """Beta with ϑ, χ = 1 + softplus; decides by its mean."""
    return _beta(softplus_shape, _mean_of_softplus)


def beta_by_mode() -> Head:
    """Beta by mode and concentration; decides by its mode."""
    return _beta(mode_shape, lambda outputs: jax.nn.sigmoid(outputs[..., 0]))
