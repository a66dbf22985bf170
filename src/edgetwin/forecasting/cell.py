"""The gated recurrent unit of network-sync, one function per equation, (6) to (10), with the biases that the printed form lacks.

The printed equations multiply a matrix for one state (2U numbers) with all M states at once; here the unit reads one state per step, M
steps. Everything acts on the last axis, so leading axes are free.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Cell(NamedTuple):
    """w_*: (hidden, inputs), u_*: (hidden, hidden), b_*: (hidden,) of reset gate r, candidate h and update gate z; w_o, b_o: the output."""

    w_r: jax.Array
    u_r: jax.Array
    b_r: jax.Array
    w_h: jax.Array
    u_h: jax.Array
    b_h: jax.Array
    w_z: jax.Array
    u_z: jax.Array
    b_z: jax.Array
    w_o: jax.Array
    b_o: jax.Array


def reset_gate(cell: Cell, x, hidden):
    """r = σ(W^r·x + U^r·h + b).     network-sync (6)"""
    return jax.nn.sigmoid(x @ cell.w_r.T + hidden @ cell.u_r.T + cell.b_r)


def candidate(cell: Cell, x, hidden, reset):
    """h̃ = tanh(W^h̃·x + U^h̃·(h ⊙ r) + b).     network-sync (7)"""
    return jnp.tanh(x @ cell.w_h.T + (hidden * reset) @ cell.u_h.T + cell.b_h)


def update_gate(cell: Cell, x, hidden):
    """z = σ(W^z·x + U^z·h + b).     network-sync (8)"""
    return jax.nn.sigmoid(x @ cell.w_z.T + hidden @ cell.u_z.T + cell.b_z)


def next_hidden(cell: Cell, x, hidden):
    """h' = (1 − z) ⊙ h̃ + z ⊙ h.     network-sync (9)"""
    update = update_gate(cell, x, hidden)
    return (1 - update) * candidate(cell, x, hidden, reset_gate(cell, x, hidden)) + update * hidden


def output(cell: Cell, hidden):
    """ŝ = W^o·h + b.     network-sync (10)"""
    return hidden @ cell.w_o.T + cell.b_o


def read(cell: Cell, inputs):
    """The hidden state after inputs (steps, …, inputs), from h = 0. Returns (…, hidden)."""
    hidden = jnp.zeros((*inputs.shape[1:-1], len(cell.b_r)), inputs.dtype)
    return jax.lax.scan(lambda h, x: (next_hidden(cell, x, h), None), hidden, inputs)[0]


def as_type(cell: Cell, dtype) -> Cell:
    """The same weights in another dtype."""
    return Cell(*(jnp.asarray(weights, dtype) for weights in cell))


def initial(rng: np.random.Generator, inputs: int, hidden: int, outputs: int, dtype) -> Cell:
    """W drawn uniformly in ±1/√inputs, U in ±1/√hidden, no biases yet, output 0: an untrained residual forecast is no motion."""
    w, u = rng.uniform(-1, 1, (3, hidden, inputs)) / inputs**0.5, rng.uniform(-1, 1, (3, hidden, hidden)) / hidden**0.5
    bias = np.zeros(hidden)
    weights = (w[0], u[0], bias, w[1], u[1], bias, w[2], u[2], bias, np.zeros((outputs, hidden)), np.zeros(outputs))
    return Cell(*(jnp.asarray(part, dtype) for part in weights))
