"""The Beta distribution as a policy over bounded actions: two-timescale (35).

The paper's ϑ and χ are `a` and `b`, both at least 1, so that the density has one mode and stays finite.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma

TRIES = 3
"""How many pairs of candidates `sample` is given; in fewer than 2 of a million draws they do not suffice."""

CLOSEST = 1e-6
"""How near to 0 and 1 a sample may come, so that its log-density stays finite."""


def log_prob(x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """The logarithm of the density at x in (0, 1), elementwise.                                    (35)"""
    return (a - 1) * jnp.log(x) + (b - 1) * jnp.log1p(-x) - betaln(a, b)


def entropy(a: jax.Array, b: jax.Array) -> jax.Array:
    """The differential entropy, in nats, elementwise: 0 for the uniform distribution, below it for any other."""
    return betaln(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (a + b - 2) * digamma(a + b)


def mean(a: jax.Array, b: jax.Array) -> jax.Array:
    """a/(a + b)."""
    return a / (a + b)


def mode(a: jax.Array, b: jax.Array) -> jax.Array:
    """(a − 1)/(a + b − 2), and the middle where a = b = 1 and all is equally likely."""
    weight = a + b - 2
    return jnp.where(weight > 0, (a - 1) / jnp.where(weight > 0, weight, 1.0), 0.5)


def sample(normals: jax.Array, uniforms: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """A draw per pair of parameters, made of random numbers drawn beforehand.

    X/(X + Y) with X of Gamma(a) and Y of Gamma(b), each by Marsaglia and Tsang (ACM Trans. Math. Softw. 26, 2000): d(1 + z/√(9d))³ with
    d = shape − 1/3 and z normal, accepted more than 95 times in 100. X is the first candidate accepted, Y the first after it.
    Where the candidates run out, the last one stands in.

    normals, uniforms: (TRIES, 2, …), a, b: (…). Returns (…), within [CLOSEST, 1 − CLOSEST].
    """
    normals, uniforms = normals.reshape(-1, *a.shape), uniforms.reshape(-1, *a.shape)
    found = jnp.zeros(a.shape, jnp.int32)
    x = y = jnp.ones_like(a)
    for z, u in zip(normals, uniforms, strict=True):
        d = jnp.where(found == 0, a, b) - 1 / 3
        v = (1 + z / jnp.sqrt(9 * d)) ** 3
        accepted = (v > 0) & (jnp.log(u) < 0.5 * z * z + d * (1 - v + jnp.log(jnp.maximum(v, 1e-30))))
        x = jnp.where(found == 0, d * jnp.maximum(v, 1e-30), x)
        y = jnp.where(found == 1, d * jnp.maximum(v, 1e-30), y)
        found = found + accepted
    return jnp.clip(x / (x + y), CLOSEST, 1 - CLOSEST)
