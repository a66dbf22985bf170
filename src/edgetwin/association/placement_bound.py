"""What no policy can beat: the proven bound on the mean cost of placements, slot by slot."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.association.bounds import quick_bound
from edgetwin.association.instance import assignment


def placement_bound(task: Any, keys: jax.Array, slots: int) -> float:
    """The mean over episodes and slots of a lower bound on J under any shares, open set and association. Delay limits are left out:
    the bound holds with and without them."""
    worlds = jax.jit(jax.vmap(lambda key: task.trace(key, slots)))(keys)
    resets = jax.jit(jax.vmap(task.reset))(keys)
    found = []
    for number in range(len(keys)):
        state = jax.tree.map(np.asarray, _of(resets, number))
        for slot in range(slots):
            world = jax.tree.map(lambda leaf: np.asarray(leaf[number, slot]), worlds)  # noqa: B023
            instance, who = task.instance(state._replace(world=world))
            found.append(quick_bound(assignment(instance, limited=False)) if len(who) else 0.0)
    return float(np.mean(found))


def _of(resets: Any, number: int) -> Any:
    """One episode's state of many; random keys are left out, since NumPy has none."""
    return jax.tree.map(lambda leaf: leaf[number], resets._replace(streams=jnp.zeros(len(resets.slot))))
