"""What the users' agents can compute from what they observe in a migration's slot: utilities (20) everywhere, prices of moves, the way ahead.

Everything here comes from `migration.Observation` and the scenario's constants; nothing from the state.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association import latency
from edgetwin.association.migration import NEAR_STEP, OF_PAIR, OF_USER, MigrationTask, Prospects
from edgetwin.association.placement import NEAR_BITS, NEAR_BPS, NEAR_HZ

ABSENT_BPS = 1e6
"""In place of the rate of users who are away, of whom nothing is observed and nothing used"""


class Seen(NamedTuple):
    """A slot as observed. present: (users,), there with a twin; host: (users,), 0 for the others; is_open, cpu_hz: (servers,); free:
    (servers,), places, with those of absent users' twins; data_bits, update_bits: (users,); away_m: (users, servers, 2), from the user to
    the server; moved_m: (users, 2), since the slot before; between_m: (servers, servers); prospects: as the task has them."""

    present: jax.Array
    host: jax.Array
    is_open: jax.Array
    cpu_hz: jax.Array
    free: jax.Array
    data_bits: jax.Array
    update_bits: jax.Array
    away_m: jax.Array
    moved_m: jax.Array
    between_m: jax.Array
    prospects: Prospects


def look(task: MigrationTask, observation: jax.Array) -> Seen:
    """The slot that users observe, (users, OF_USER + OF_PAIR·servers)."""
    section, width_m = task.section, task.network.width_m
    data, update, rate, limit_s, there, *moved = observation[:, :OF_USER].T
    pairs = observation[:, OF_USER:].reshape(task.users, OF_PAIR, task.servers)
    here = there > 0
    wired_s, at, load, cpu, is_open = (pairs[:, part] for part in range(5))
    of_servers = jnp.argmax(here)
    away_m = pairs[:, 5:].transpose(0, 2, 1) * width_m
    from_one = away_m[of_servers]
    between_m = jnp.linalg.norm(from_one[:, None] - from_one[None], axis=-1)
    cpu_hz = jnp.where(here.any(), cpu[of_servers] * NEAR_HZ, NEAR_HZ)
    data_bits, update_bits = data * NEAR_BITS, update * 0.1 * NEAR_BITS
    rate_bps = jnp.where(here, jnp.expm1(rate) * NEAR_BPS, ABSENT_BPS)
    air_s = latency.air_time(update_bits, rate_bps)
    weight = jnp.ones(task.users)
    if task.migration.compute_share == "square-root":
        weight = jnp.sqrt(section.cycles_per_bit * latency.system_bits(data_bits, update_bits, section))
    capacity = jnp.asarray(task.capacity)
    prospects = Prospects(
        fixed_s=air_s[:, None] + wired_s,
        work_s=latency.compute_time(update_bits[:, None], section.cycles_per_bit, cpu_hz),
        move_s=latency.wired_time(data_bits[:, None], at @ between_m, section.wire_s_per_bit_m),
        weight=weight,
        limit_s=jnp.maximum(limit_s, section.latency_floor_s + section.latency_margin * air_s),
        energy_j=latency.energy(update_bits, rate_bps, section.tx_power_w),
    )
    return Seen(
        present=here & (at > 0).any(axis=1),
        host=jnp.argmax(at, axis=1),
        is_open=is_open[of_servers] > 0,
        cpu_hz=cpu_hz,
        free=capacity - jnp.round(load[of_servers] * capacity).astype(capacity.dtype),
        data_bits=data_bits,
        update_bits=update_bits,
        away_m=away_m,
        moved_m=jnp.stack(moved, axis=1) * NEAR_STEP * width_m,
        between_m=between_m,
        prospects=prospects,
    )


def price(task: MigrationTask, seen: Seen) -> jax.Array:
    """What a transfer over a metre costs each user in utility, (users,)."""
    return task.migration.utility_weight * latency.wired_time(seen.data_bits, 1.0, task.section.wire_s_per_bit_m)


def nearest(seen: Seen, slots: float) -> jax.Array:
    """The server nearest to each user if it goes on for `slots` slots as it went in the last, (users,)."""
    return jnp.argmin(jnp.sum((seen.away_m - slots * seen.moved_m[:, None]) ** 2, axis=-1), axis=1)
