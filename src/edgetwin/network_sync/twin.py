"""The network's twin: it forecasts where users are, and a sync packet puts it right (4).

Only the base station knows the truth, so it runs a copy of the twin's forecaster to know the twin's error. A packet carries the last
M true states; in the printed form it carries the current state alone, and the twin forecasts from its own history.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.forecasting.forecaster import Forecast, Forecaster


class Twin(NamedTuple):
    """carry: the forecaster's; forecast: ŝ_t, what it holds for this slot before the decision; age: (users,), slots since each was synced, 1 in the
    first slot after; history: (M, users, 2), its own states before this slot, the newest last, or None where packets bring a history."""

    carry: object
    forecast: Forecast
    age: jax.Array
    history: jax.Array | None


def started(forecaster: Forecaster, history_blocks: jax.Array, keeps_history: bool) -> Twin:
    """The twin in slot 0, synced one slot before with these true positions, (M, users, 2)."""
    carry, forecast = forecaster.step(forecaster.start(history_blocks))
    age = jnp.ones(history_blocks.shape[1], jnp.int32)
    return Twin(carry, forecast, age, history_blocks if keeps_history else None)


def advanced(twin: Twin, forecaster: Forecaster, truth_blocks: jax.Array, synced: jax.Array) -> Twin:
    """The twin one slot later: s' = s where synced, ŝ elsewhere, then one forecast further.     network-sync (4)

    truth_blocks: (M, users, 2), the last M true positions; synced: (users,) truth values, the same for all unless packets are partial.
    """
    history = None
    if twin.history is not None:
        state = jnp.where(synced[:, None], truth_blocks[-1], twin.forecast.mean)
        history = jnp.concatenate([twin.history[1:], state[None]])
    fresh = forecaster.start(truth_blocks if history is None else history)

    def chosen(new, old):
        mask = synced[0] if new.ndim == 0 or new.shape[0] != len(synced) else synced.reshape(-1, *[1] * (new.ndim - 1))
        return jnp.where(mask, new, old)

    carry, forecast = forecaster.step(jax.tree.map(chosen, fresh, twin.carry))
    return Twin(carry, forecast, jnp.where(synced, 1, twin.age + 1), history)


def squared_error(twin: Twin, position_blocks: jax.Array) -> jax.Array:
    """‖l_u − l̂_u‖² of every user before the decision; their mean over users is the gap S of (5), (15). (users,), blocks²."""
    return jnp.sum((position_blocks - twin.forecast.mean) ** 2, axis=-1)
