"""What the learner of placement looks at: the servers' observations (22), each number once, in units near 1."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association import latency
from edgetwin.association.placement import NEAR_BITS, NEAR_BPS, NEAR_HZ, NEAR_S
from edgetwin.scenario.schema import Association


class Seen(NamedTuple):
    """A slot, or a batch of them with its axes first. wire: (…, users, servers), φ·B·d. root_work: (…, users), s = √(c·B), so that a server
    with sum S of them computes S²/cpu seconds in all. air: (…, users), B/r. cpu, capacity: (…, servers), capacity as a share of all users.
    wire and air are in `NEAR_S` seconds, cpu in `NEAR_HZ`; who is absent has 0 everywhere."""

    wire: jax.Array
    root_work: jax.Array
    air: jax.Array
    cpu: jax.Array
    capacity: jax.Array

    @property
    def present(self) -> jax.Array:
        return self.root_work > 0


def seen(observation: jax.Array, section: Association) -> Seen:
    """Of what all servers observe, (…, servers, 3 + 6·users)."""
    servers = observation[..., :3]
    columns = observation[..., 3:].reshape(*observation.shape[:-1], 6, -1)
    data, update, rate = (columns[..., 0, column, :] for column in (2, 3, 4))
    bits = latency.system_bits(data * NEAR_BITS, update * 0.1 * NEAR_BITS, section)
    rate_bps = jnp.maximum(NEAR_BPS * jnp.expm1(rate), 1.0)
    return Seen(
        wire=jnp.where(bits[..., None] > 0, columns[..., 0, :].swapaxes(-1, -2), 0),
        root_work=jnp.sqrt(section.cycles_per_bit * bits / NEAR_HZ),
        air=latency.air_time(bits, rate_bps) / NEAR_S,
        cpu=servers[..., 0],
        capacity=servers[..., 1],
    )
