"""Who places twins: hand rules on the numbers of one slot (`Instance`), the local search and the proven optimum, and as policies of the task.

They run on the host, a network at a time. All of them may know what the servers together observe, which is the state.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from edgetwin.association.instance import Instance, assignment
from edgetwin.association.local_search import local_search
from edgetwin.association.optimum import Solved, optimum
from edgetwin.association.placement import PlacementTask
from edgetwin.errors import InputError
from edgetwin.problem import Policy, View

Host = NDArray[np.int64]


def random(instance: Instance, generator: np.random.Generator) -> Host:
    """Each server opens with probability ½, drawn again until all users fit; users choose among the open ones with a free slot."""
    users, capacity = len(instance.data_bits), instance.capacity
    while True:
        is_open = generator.random(len(capacity)) < 0.5
        if capacity[is_open].sum() >= users:
            break
    free, host = np.where(is_open, capacity, 0), np.empty(users, np.int64)
    for user in range(users):
        host[user] = generator.choice(np.flatnonzero(free > 0))
        free[host[user]] -= 1
    return host


def nearest(instance: Instance) -> Host:
    """Users, in their order, take the nearest server with a free slot."""
    return _in_order(instance, lambda user, load: instance.distance_m[user])


def greedy(instance: Instance) -> Host:
    """Users, in their order, take the server with a free slot where their own latency would be least, given those already there.

    B/r + φ·B·d + s·(S + s)/F, S the sum of s over those there; what it costs to open a server is left out.
    """
    path_s, own = instance.path_s, instance.load
    return _in_order(instance, lambda user, load: path_s[user] + own[user] * (load + own[user]) / instance.cpu_hz)


def _in_order(instance: Instance, price: Callable[[int, NDArray[np.float64]], NDArray[np.float64]]) -> Host:
    free, load = instance.capacity.copy(), np.zeros(len(instance.capacity))
    host = np.empty(len(instance.data_bits), np.int64)
    for user in range(len(host)):
        host[user] = np.argmin(np.where(free > 0, price(user, load), np.inf))
        free[host[user]] -= 1
        load[host[user]] += instance.load[user]
    return host


def searched(instance: Instance) -> Host:
    """The local search on J, with delay limits where they are hard."""
    return local_search(assignment(instance))


def exact(instance: Instance, gap: float) -> Solved:
    """The minimum of J, proven within `gap`, with delay limits where they are hard. Raises InputError for shares with which J is not convex."""
    if not 0 < gap < 1:
        raise InputError(f"policy 'optimum': gap = {gap:g}: must be above 0 and below 1")
    if instance.section.compute_share != "square-root":
        raise InputError(
            f'policy optimum: association.compute_share = "{instance.section.compute_share}": must be "square-root", for which the cost is convex'
        )
    return optimum(assignment(instance), gap)


def _policy(task: PlacementTask, place: Callable[[Instance, Any], Host]) -> Policy:
    """A policy that places with `place(instance, generator)`."""
    to_action = jax.jit(task.action_of)

    def act(carry: Any, view: View, key: jax.Array) -> tuple[Any, Any]:
        instance, who = task.instance(view.state)
        host = np.full(task.users, -1)
        if len(who):
            host[who] = place(instance, np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist()))
        return carry, jax.tree.map(np.asarray, to_action(host))

    return Policy(name="", task=task, act=act, information="state", runs_on="host")


def _random(task: PlacementTask) -> Policy:
    return _policy(task, random)


def _nearest(task: PlacementTask) -> Policy:
    return _policy(task, lambda instance, _: nearest(instance))


def _greedy(task: PlacementTask) -> Policy:
    return _policy(task, lambda instance, _: greedy(instance))


def _searched(task: PlacementTask) -> Policy:
    return _policy(task, lambda instance, _: searched(instance))


def _optimum(task: PlacementTask, *, gap: float = 1e-3) -> Policy:
    return _policy(task, lambda instance, _: exact(instance, gap).host)


POLICIES: Mapping[str, Callable[..., Policy]] = {
    "random": _random,
    "nearest": _nearest,
    "greedy": _greedy,
    "local-search": _searched,
    "optimum": _optimum,
}
