"""Replay: a ring of the latest experience, from which minibatches are drawn uniformly."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Replay(NamedTuple):
    """Rows in stacked arrays, (capacity, …) each. `added` counts all rows ever written; row n is at place n modulo capacity."""

    rows: Any
    added: jax.Array


def empty(row: Any, capacity: int) -> Replay:
    """A ring for `capacity` rows like `row`."""
    return Replay(jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), row), jnp.zeros((), jnp.int32))


def add(replay: Replay, rows: Any) -> Replay:
    """Writes rows, (count, …) each, over the oldest; count must not exceed the capacity."""
    capacity, count = (jax.tree.leaves(tree)[0].shape[0] for tree in (replay.rows, rows))
    places = (replay.added + jnp.arange(count)) % capacity
    return Replay(jax.tree.map(lambda ring, new: ring.at[places].set(new), replay.rows, rows), replay.added + count)


def sample(replay: Replay, bits: jax.Array) -> Any:
    """A uniform minibatch, with replacement. bits: (batch,) random uint32. At least one row must have been added."""
    capacity = jax.tree.leaves(replay.rows)[0].shape[0]
    places = bits % jnp.minimum(replay.added, capacity).astype(jnp.uint32)
    return jax.tree.map(lambda ring: ring[places], replay.rows)
