"""An approximate dynamic programme: the best decision when all that is known of the future is how S and C tend to go on.

State: the twin's mean squared error S, what a sync costs now C, and the slots left. How S goes on without a sync, how it stands one slot after
one, and how C goes on are counted on other episodes, by levels. What is left out (who errs where, whose rate is lost) makes it approximate.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.network_sync import optimum
from edgetwin.network_sync.observation import Knowledge
from edgetwin.problem import episode_keys

if TYPE_CHECKING:
    from edgetwin.network_sync.task import NetworkSyncTask

FIT_SEED, EPISODES, LEVELS, PRICES = 0x9D7, 512, 96, 24


class Values(NamedTuple):
    """error: (levels,), S at the middle of each level, rising. price_limits: (prices − 1,) between levels of C. weight λ. Expected cost of what
    follows a slot, by slots left after it: `stay`, without a sync, (slots + 1, levels, prices), and `fresh`, with one, (slots + 1, prices)."""

    error: jax.Array
    price_limits: jax.Array
    weight: float
    stay: jax.Array
    fresh: jax.Array


def syncs(values: Values, known: Knowledge) -> jax.Array:
    """Whether a sync is the cheaper choice: C + fresh(C) ≤ λ·S + stay(S, C). ()"""
    error, after = known.squared_error.mean(), known.slots_left - 1
    price = jnp.searchsorted(values.price_limits, known.sync_loss)
    trust = values.weight * error + jnp.interp(error, values.error, values.stay[after, :, price])
    return known.sync_loss + values.fresh[after, price] <= trust


def solve(task: "NetworkSyncTask") -> Values:
    """Backwards over the slots left:

    V_n(S, C) = min(C + E[V_{n−1}(S₁, C')|C], λS + E[V_{n−1}(S', C')|S, C]),  V_0 = 0,  S₁ the error one slot after a sync.

    Raises InputError where packets are partial or the twin's error depends on more than the last sync.
    """
    if task.partial or not optimum.is_exact(task):
        raise InputError(
            'policy "causal": needs network_sync.refresh = "all", and network_sync.packet = "history" or a forecaster without memory'
        )
    errors, losses = _samples(task)
    move, begin, middle = _error_chain(errors, _edges(task, losses))
    follows, price, limits = _price_chain(losses)
    weight = 1 - task.section.rate_weight
    value, stay, fresh = np.zeros((LEVELS, len(price))), [], []
    for _ in range(task.section.slots + 1):
        stay.append(move @ value @ follows.T)
        fresh.append(begin @ value @ follows.T)
        value = np.minimum(price + fresh[-1], weight * middle[:, None] + stay[-1])
    return Values(jnp.asarray(middle), jnp.asarray(limits), weight, jnp.asarray(np.array(stay)), jnp.asarray(np.array(fresh)))


def _error_chain(errors: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How S moves between levels without a sync, (levels, levels), where it stands one slot after one, (levels,), and each level's mean S.

    errors: (episodes, slots + 1, slots), S by last sync and slot.
    """
    now, after = errors[:, :, :-1], errors[:, :, 1:]
    running = np.arange(now.shape[2])[None] >= np.arange(now.shape[1])[:, None]
    before, then = now[:, running].ravel(), after[:, running].ravel()
    fresh = np.concatenate([errors[:, sync, sync] for sync in range(errors.shape[2])])
    level, following, restart = (np.searchsorted(edges, sample) for sample in (before, then, fresh))
    met = np.bincount(level, minlength=LEVELS)
    limits = np.concatenate([[0], edges, edges[-1:] * 1.1])
    middle = np.where(met > 0, np.bincount(level, before, LEVELS) / np.maximum(met, 1), (limits[1:] + limits[:-1]) / 2)
    return _chain(level, following, LEVELS), np.bincount(restart, minlength=LEVELS) / len(restart), middle


def _price_chain(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How C moves between levels, (prices, prices), each level's mean C, and the limits between them; the last level holds infinite prices.

    losses: (episodes, slots).
    """
    finite = losses[np.isfinite(losses)]
    inner = np.quantile(finite, np.linspace(0, 1, PRICES)[1:-1]) if len(finite) else np.zeros(PRICES - 2)
    limits = np.append(inner, np.finfo(np.float32).max)
    level = np.searchsorted(limits, losses)
    met = np.bincount(level.ravel(), np.where(np.isfinite(losses), losses, 0).ravel(), PRICES)
    price = met / np.maximum(np.bincount(level.ravel(), minlength=PRICES), 1)
    price[-1] = np.inf
    return _chain(level[:, :-1].ravel(), level[:, 1:].ravel(), PRICES), price, limits


def _chain(before: np.ndarray, after: np.ndarray, levels: int) -> np.ndarray:
    """The share of each level that goes to each, (levels, levels), from counts; a level never met stays."""
    count = 1e-9 * np.eye(levels)
    np.add.at(count, (before, after), 1)
    return count / count.sum(axis=1, keepdims=True)


def _edges(task: "NetworkSyncTask", losses: np.ndarray) -> np.ndarray:
    """Limits between levels of S, (levels − 1,), evenly spaced in √S up to where a single slot costs twice what the dearest sync does."""
    dearest = losses[np.isfinite(losses)].max(initial=0.0)
    highest = 2 * max(dearest / max(1 - task.section.rate_weight, 1e-12), float(task.step_error.mean()))
    return np.linspace(0, 1, LEVELS)[1:] ** 2 * highest


def _samples(task: "NetworkSyncTask") -> tuple[np.ndarray, np.ndarray]:
    """S by last sync and slot, (episodes, slots + 1, slots), and C, (episodes, slots), of episodes that no comparison uses."""

    @jax.jit
    def episode(key):
        history = task.model.start(task.model.streams(key))[1]
        trace = task.trace(key, task.section.slots)
        return optimum.errors_since_sync(task, history, trace).mean(axis=-1), jax.vmap(task.sync_loss)(trace)

    keys = jax.vmap(lambda key: jax.random.fold_in(key, FIT_SEED))(episode_keys(FIT_SEED, EPISODES))
    errors, losses = jax.lax.map(episode, keys, batch_size=64)
    return np.asarray(errors, float), np.asarray(losses, float)
