"""What a twin's being at a server is worth to everybody: its user's utility, and what the others there lose by its load.

A *difference reward*: the sum of all utilities (21) with the user's twin at the server, less the sum without its twin anywhere. While the
others stay where they are, what raises it raises the sum by as much.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.association.migration import MigrationTask, Prospects


class Worth(NamedTuple):
    """Of one user's twin at each server, (servers,): its user's utility, what the others gain (≤ 0), and the load with it."""

    own: jax.Array
    others: jax.Array
    load: jax.Array


def worth(task: MigrationTask, prospects: Prospects, at: jax.Array, user: jax.Array) -> Worth:
    """What one user's twin is worth at each server.     association (20), (21)

    at: (users, servers), whose twins compute where; the user's own row does not matter.
    """
    others_at = at.at[user].set(0.0)
    without = task.load(prospects, others_at)
    with_it = without if task.reserved else without + prospects.weight[user]
    own = task.utilities(jax.tree.map(lambda leaf: leaf[user][None], prospects), with_it)[0]
    if task.reserved:
        return Worth(own, jnp.zeros(task.servers), with_it)
    change = task.utilities(prospects, with_it) - task.utilities(prospects, without)
    return Worth(own, jnp.sum(others_at * change, axis=0), with_it)
