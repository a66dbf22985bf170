"""Networks of one shape as rows of a matrix, a row for each agent or critic: one instruction takes out a network or steps its optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree


class Stack(NamedTuple):
    """Networks and their Adam states, networks first."""

    rows: jax.Array
    optimiser: Any


class Shape(NamedTuple):
    """What the rows of a stack mean: `network(row)` is the pytree of parameters; `start(key)` makes a fresh stack of `count`."""

    networks: int
    network: Callable[[jax.Array], Any]
    start: Callable[[jax.Array], Stack]


_ADAM = optax.scale_by_adam()


def shape(init: Callable[[jax.Array], Any], count: int) -> Shape:
    """The shape of `count` networks that `init(key)` makes."""
    example = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(init, jax.random.key(0)))
    network = ravel_pytree(example)[1]

    def start(key: jax.Array) -> Stack:
        rows = jax.vmap(lambda own: ravel_pytree(init(own))[0])(jax.random.split(key, count))
        return Stack(rows, jax.vmap(_ADAM.init)(rows))

    return Shape(count, network, start)


def row(stack: Stack, index: jax.Array) -> Stack:
    """One network of a stack with its optimiser."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), stack)


def with_row(stack: Stack, index: jax.Array, one: Stack) -> Stack:
    """The stack with one network replaced."""
    return jax.tree.map(lambda leaf, new: jax.lax.dynamic_update_index_in_dim(leaf, new, index, 0), stack, one)


def descend(one: Stack, gradient: jax.Array, learning_rate: jax.Array | float) -> Stack:
    """One step of Adam down the gradient.     two-timescale (33), (34)"""
    change, optimiser = _ADAM.update(gradient, one.optimiser)
    return Stack(one.rows - learning_rate * change, optimiser)


def with_spare_row(stack: Stack) -> Stack:
    """The stack with a row more, where what belongs to no network can be written."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), stack)
