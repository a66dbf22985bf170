"""The critic of `ddpg`: what a placement is worth, as a sum over servers of what each hosts, (28), (31). One network for all servers."""

import equinox as eqx
import jax
import jax.numpy as jnp

from edgetwin.association.placement_sight import Seen
from edgetwin.learning.networks import MLP, mlp

SUMS = 6
"""Sums over a server's users that are learned, beside their number, their √work and their wires"""


class Critic(eqx.Module):
    """Q: `looks` turns a user into numbers that are summed at its server, `squares` weighs the sums' squares by the server's CPU, `servers`
    values what is there, `users` what is so whoever hosts them."""

    looks: MLP
    squares: MLP
    servers: MLP
    users: MLP
    air_weight: jax.Array
    bias: jax.Array


def critic(key: jax.Array) -> Critic:
    """A fresh one, random."""
    looks, squares, servers, users = jax.random.split(key, 4)
    sums = SUMS + 2
    return Critic(
        mlp(looks, 3, (16,), SUMS),
        mlp(squares, 2, (16,), sums),
        mlp(servers, 2 * sums + 4, (64, 64), 1),
        mlp(users, 2, (32, 32), 1),
        jnp.zeros(()),
        jnp.zeros(()),
    )


def value(critic: Critic, seen: Seen, at: jax.Array, hosting: jax.Array) -> jax.Array:
    """Q(s, a), (…,), in `NEAR_S` seconds below 0.     association (28), (31)

    at: (…, users, servers), who is where, 0 or 1, or between where a derivative is asked for. hosting: (…, servers), who hosts anybody.
    """
    servers, users = seen.cpu.shape[-1], jnp.maximum(seen.present.sum(axis=-1), 1)
    share = servers / users[..., None, None]
    work, wire = seen.root_work, seen.wire
    looks = critic.looks(jnp.stack([work, work**2, wire.mean(axis=-1)], axis=-1))
    user = jnp.concatenate([jnp.ones_like(work)[..., None], work[..., None], looks], axis=-1)
    sums = jnp.einsum("...us,...ul->...sl", at, user) * share
    wired = (at * wire).sum(axis=-2)[..., None] * share
    speed = jnp.stack([seen.cpu, 1 / (3 * seen.cpu)], axis=-1)
    squares = sums**2 * jax.nn.softplus(critic.squares(speed))
    inputs = [sums, wired, squares, speed, hosting.astype(jnp.float32)[..., None]]
    hosted = critic.servers(jnp.concatenate(inputs, axis=-1))[..., 0]
    of_servers = (hosted - squares.sum(axis=-1) / 10 - wired[..., 0]).mean(axis=-1)
    air = jnp.where(seen.present, seen.air, 0)
    of_users = critic.users(jnp.stack([jnp.log1p(10 * air), work**2], axis=-1))[..., 0] * seen.present
    return of_servers + of_users.sum(axis=-1) / users + critic.air_weight * air.sum(axis=-1) / users + critic.bias
