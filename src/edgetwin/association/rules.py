"""Who places twins: hand rules on the numbers of one slot (`Instance`), the local search and the proven optimum, and as policies of the task.

They run on the host, a network at a time. All of them may know what the servers together observe, which is the state.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from edgetwin.association.assignment import Assignment, together
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
    return in_order(instance, "nearest")


def greedy(instance: Instance) -> Host:
    """Users, in their order, take the server with a free slot where their own latency would be least, given those already there.

    B/r + φ·B·d + s·(S + s)/F, S the sum of s over those there; what it costs to open a server is left out.
    """
    return in_order(instance, "greedy")


def in_order(instance: Instance, rule: Literal["nearest", "greedy"], asked: Assignment | None = None) -> Host:
    """Users one after another, each to the server that the rule prefers of those with a free slot. With pins, regions and anti-affinity of
    `asked`, those with the fewest allowed servers first; who finds no room left has -1, as do all after it."""
    users, own, path_s = len(instance.data_bits), instance.load, instance.path_s
    free, load = instance.capacity.copy(), np.zeros(len(instance.capacity))
    allowed = np.ones(path_s.shape, bool) if asked is None else asked.allowed.copy()
    apart = np.zeros((users, 0), bool) if asked is None else together(asked)
    host = np.full(users, -1)
    for user in np.argsort(allowed.sum(axis=1), kind="stable"):
        price = instance.distance_m[user]
        if rule == "greedy":
            price = path_s[user] + own[user] * (load + own[user]) / instance.cpu_hz
        price = np.where(allowed[user] & (free > 0), price, np.inf)
        chosen = price.argmin()
        if not np.isfinite(price[chosen]):
            break
        host[user] = chosen
        free[chosen] -= 1
        load[chosen] += own[user]
        allowed[np.flatnonzero(apart[user]), chosen] = False
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
