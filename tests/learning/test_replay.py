"""Replay against a plain Python ring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.learning import replay

pytestmark = pytest.mark.usefixtures("quick_compilation")


@given(capacity=st.integers(3, 12), counts=st.lists(st.integers(1, 3), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_it_holds_what_a_ring_would(capacity, counts):
    ring, held, number = replay.empty({"a": jnp.zeros(2), "b": jnp.zeros((), jnp.int32)}, capacity), [], 0
    for count in counts:
        rows = np.arange(number, number + count)
        ring = replay.add(ring, {"a": jnp.stack([rows, -rows], axis=1).astype(float), "b": jnp.array(rows)})
        held, number = (held + list(rows))[-capacity:], number + count
    kept = np.asarray(ring.rows["b"])[: min(number, capacity)]
    assert sorted(kept) == held
    assert (np.asarray(ring.rows["a"])[: len(kept)] == np.stack([kept, -kept], axis=1)).all()
    assert int(ring.added) == number


def test_samples_are_uniform_over_what_was_added_and_rows_stay_together():
    ring = replay.add(
        replay.empty({"a": jnp.zeros(()), "b": jnp.zeros(())}, 100), {"a": jnp.arange(1.0, 11), "b": -jnp.arange(1.0, 11)}
    )
    batch = replay.sample(ring, jax.random.bits(jax.random.key(0), (20_000,)))
    found, counts = np.unique(np.asarray(batch["a"]), return_counts=True)
    assert list(found) == list(range(1, 11)), "no row that was never written"
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.9)
    assert (batch["a"] == -batch["b"]).all()
