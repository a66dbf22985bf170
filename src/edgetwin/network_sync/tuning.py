"""The number of a rule that costs least, found on other episodes than any comparison's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.problem import Policy, episode_keys

if TYPE_CHECKING:
    from edgetwin.network_sync.task import NetworkSyncTask

TUNING_SEED, EPISODES = 0x7E11, 512


def best(task: "NetworkSyncTask", rule: Callable[[Any], Policy], tried: np.ndarray) -> float:
    """The entry of `tried` (values,) for which `rule(value)` has the least mean cost; all are tried on the same episodes in one program."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, TUNING_SEED))(episode_keys(TUNING_SEED, EPISODES))

    def cost(value, key):
        policy = rule(value)

        def slot(state, number):
            view = policy.view(task.observe(state), state, None)
            action = policy.act((), view, jax.random.fold_in(key, number))[1]
            state, outcome = task.step(state, action)
            return state, outcome.metrics.cost

        return jax.lax.scan(slot, task.reset(key), jnp.arange(task.spec.slots))[1].sum()

    costs = jax.jit(lambda value: jax.vmap(lambda key: cost(value, key))(keys).mean())
    return float(tried[int(np.argmin([float(costs(value)) for value in tried]))])
