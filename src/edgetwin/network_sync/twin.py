"""The network's twin: it forecasts where users are, and a sync packet puts it right (4).

Only the base station knows the truth, so it runs a copy of the twin's forecaster to know the twin's error. A packet carries the last
M true states; in the printed form it carries the current state alone, and the twin forecasts from its own history.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.forecasting.forecaster import Forecast, Forecaster


class Twin(NamedTuple):
    """carry: the forecaster's, a copy for each user where users are synced apart, else one, (copies, …); forecast: ŝ_t, what the twin holds for
    this slot before the decision; age: (users,), slots since each was synced, 1 in the first slot after; history: (M, users, 2), its own
    states before this slot, the newest last, or None where packets bring a history."""

    carry: Any
    forecast: Forecast
    age: jax.Array
    history: jax.Array | None


def started(forecaster: Forecaster, history_blocks: jax.Array, *, apart: bool, keeps_history: bool) -> Twin:
    """The twin in slot 0, synced one slot before with these true positions, (M, users, 2). `apart`: users may be synced one by one."""
    users = history_blocks.shape[1]
    copies = users if apart else 1
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (copies, *leaf.shape)), forecaster.start(history_blocks))
    carry, forecast = _step(forecaster, carry)
    return Twin(carry, forecast, jnp.ones(users, jnp.int32), history_blocks if keeps_history else None)


def advanced(twin: Twin, forecaster: Forecaster, truth_blocks: jax.Array, synced: jax.Array) -> Twin:
    """The twin one slot later: s' = s where synced, ŝ elsewhere, then one forecast further.     network-sync (4)

    truth_blocks: (M, users, 2), the last M true positions; synced: (users,) truth values, the same for all unless users are synced apart.
    """
    history = None
    if twin.history is not None:
        state = jnp.where(synced[:, None], truth_blocks[-1], twin.forecast.mean)
        history = jnp.concatenate([twin.history[1:], state[None]])
    fresh = forecaster.start(truth_blocks if history is None else history)

    def chosen(new, old):
        return jnp.where(synced[: len(old)].reshape(-1, *[1] * new.ndim), new, old)

    carry, forecast = _step(forecaster, jax.tree.map(chosen, fresh, twin.carry))
    return Twin(carry, forecast, jnp.where(synced, 1, twin.age + 1), history)


def _step(forecaster: Forecaster, carry: Any) -> tuple[Any, Forecast]:
    """All copies one slot further; each user's forecast is that of its own copy."""
    carry, forecast = jax.vmap(forecaster.step)(carry)
    copies, users = forecast.squared_error.shape
    own = jnp.arange(users) if copies == users else 0
    return carry, jax.tree.map(lambda leaf: leaf[own, jnp.arange(users)], forecast)


def squared_error(twin: Twin, position_blocks: jax.Array) -> jax.Array:
    """‖l_u − l̂_u‖² of every user before the decision; their mean over users is the gap S of (5), (15). (users,), blocks²."""
    return jnp.sum((position_blocks - twin.forecast.mean) ** 2, axis=-1)
