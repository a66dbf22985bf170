"""Who moves twins: never, nearest, Algorithm 3 in its printed and its mended form, the same with transfers priced, and the best of one slot.

Users decide one after another and see the loads as those before them left them; printed, all decide at once. Everything but the slot's
optimum compiles into the world's own loop. All may know what the users' agents together observe, which is the state.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from edgetwin.association import sharing
from edgetwin.association.migration import MigrationTask, State
from edgetwin.errors import InputError
from edgetwin.problem import Param, Policy, View


class Loads(NamedTuple):
    """Servers as those who have decided left them: sum of weights that compute there, and free places. (servers,)."""

    computing: jax.Array
    free: jax.Array


def _policy(task: MigrationTask, decide: Callable[[State], jax.Array]) -> Policy:
    """A policy whose users' twins should be at `decide(state)`, (users,)."""

    def act(carry: Any, view: View, key: jax.Array) -> tuple[Any, Any]:
        return carry, task.action(jnp.maximum(decide(view.state), 0)[:, None])

    return Policy(name="", task=task, act=act, information="state")


def never(task: MigrationTask) -> Policy:
    """Every twin stays where it was placed."""
    return _policy(task, lambda state: state.host)


def nearest(task: MigrationTask) -> Policy:
    """Users, in their order, take the nearest open server with a free slot."""

    def decide(state: State) -> jax.Array:
        present, world = state.world.present, state.world
        sites = state.episode.sites_m[task.model.server_sites]
        squared = jnp.sum((world.position_m[:, None] - sites[None]) ** 2, axis=-1)
        away = sharing.hosts(state.host, task.servers, ~present)

        def take(free: jax.Array, user: jax.Array) -> tuple[jax.Array, jax.Array]:
            server = jnp.argmin(jnp.where(state.is_open & (free > 0), squared[user], jnp.inf))
            return free.at[server].add(-present[user].astype(free.dtype)), server

        free = jnp.asarray(task.capacity) - jnp.sum(away, axis=0).astype(jnp.int32)
        _, chosen = jax.lax.scan(take, free, jnp.arange(task.users))
        return jnp.where(present, chosen, state.host)

    return _policy(task, decide)


def one_by_one(task: MigrationTask, state: State, price: jax.Array) -> jax.Array:
    """Algorithm 3 as it is meant: each user in turn takes the server where its own utility less `price` is greatest, with fresh loads and
    free places; it stays where nothing is better. price: (users, servers), 0 at the present host. Returns (users,)."""
    prospects, capacity = task.prospects(state), jnp.asarray(task.capacity)
    at = sharing.hosts(state.host, task.servers, state.world.present)
    placed = sharing.hosts(state.host, task.servers, jnp.ones(task.users, bool))
    begun = Loads(task.load(prospects, at), capacity - jnp.sum(placed, axis=0).astype(jnp.int32))
    own = jnp.zeros(task.users) if task.reserved else prospects.weight

    def turn(loads: Loads, user: jax.Array) -> tuple[Loads, jax.Array]:
        host, present = state.host[user], state.world.present[user]
        here = jnp.arange(task.servers) == host
        load = loads.computing + jnp.where(here, 0, own[user])
        utility = task.utilities(jax.tree.map(lambda leaf: leaf[user][None], prospects), load)[0] - price[user]
        best = jnp.argmax(jnp.where(here | (state.is_open & (loads.free > 0)), utility, -jnp.inf))
        best = jnp.where(present & (utility[best] > utility[host]), best, host)
        change = (jnp.arange(task.servers) == best).astype(jnp.int32) - here
        return Loads(loads.computing + change * own[user], loads.free - change), best

    return jax.lax.scan(turn, begun, jnp.arange(task.users))[1]


def algorithm_3(task: MigrationTask) -> Policy:
    """Algorithm 3 with the best candidate instead of the last better one, users in turn, within capacities."""
    return _policy(task, lambda state: one_by_one(task, state, jnp.zeros((task.users, task.servers))))


def priced(task: MigrationTask, *, horizon_slots: int = 0) -> Policy:
    """The same, but a twin moves only for a gain that pays for its transfer within `horizon_slots` (0: the scenario's)."""
    if horizon_slots < 0:
        raise InputError(f"policy 'priced': horizon_slots = {horizon_slots}: must be at least 1, or 0 for the scenario's")
    slots = horizon_slots or task.migration.horizon_slots
    made = _policy(task, lambda state: one_by_one(task, state, task.transfer_cost(task.prospects(state)) / slots))
    return Policy(**{**vars(made), "params": {"horizon_slots": Param(slots)}})


def algorithm_3_literal(task: MigrationTask) -> Policy:
    """Algorithm 3 as printed: every user at once, against the loads of the slot before, the last other server that is no worse than its own."""

    def decide(state: State) -> jax.Array:
        prospects = task.prospects(state)
        at = sharing.hosts(state.host, task.servers, state.world.present)
        here = state.host[:, None] == jnp.arange(task.servers)
        joined = 0 if task.reserved else jnp.where(here, 0, prospects.weight[:, None])
        utility = task.utilities(prospects, task.load(prospects, at) + joined)
        present = jnp.sum(jnp.where(here, utility, 0), axis=1, keepdims=True)
        no_worse = ~here & state.is_open & (utility >= present)
        return jnp.where(no_worse.any(axis=1), task.servers - 1 - jnp.argmax(no_worse[:, ::-1], axis=1), state.host)

    return _policy(task, decide)


def slot_optimum(task: MigrationTask) -> Policy:
    """The greatest utility of this slot alone, transfers left out: exact where compute is reserved (an assignment of users to places), else
    moves and swaps from the present association until none helps, the best known."""
    prospects = jax.jit(task.prospects)

    def act(carry: Any, view: View, key: Any) -> tuple[Any, Any]:
        state = view.state
        found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), prospects(state))
        who = np.flatnonzero(state.world.present & (state.host >= 0))
        away = np.flatnonzero(~state.world.present & (state.host >= 0))
        room = np.where(state.is_open, task.capacity - np.bincount(state.host[away], minlength=task.servers), 0)
        host = np.maximum(state.host, 0)
        mine = jax.tree.map(lambda leaf: leaf[who], found)
        if task.reserved:
            utility = np.asarray(task.utilities(mine, jnp.asarray(task.capacity, jnp.float32)))
            host[who] = _assigned(utility, room)
        else:
            host[who] = _climbed(task, mine, host[who], room)
        return carry, task.action(host[:, None].astype(np.int32))

    return Policy(name="", task=task, act=act, information="state", runs_on="host")


def clairvoyant(task: MigrationTask) -> Policy:
    """A plan made with the whole trace known: what can be achieved."""
    from edgetwin.association.clairvoyant import clairvoyant as planned

    return planned(task)


def _assigned(utility: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The assignment of users to servers with the greatest sum; no server gets more than its room. (users,)"""
    place = np.repeat(np.arange(len(room)), np.minimum(room, len(utility)))
    user, column = linear_sum_assignment(utility[:, place], maximize=True)
    host = np.empty(len(utility), np.int64)
    host[user] = place[column]
    return host


def _climbed(task: MigrationTask, prospects: Any, host: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The best single move of a user, as long as one raises the sum of utilities; everyone's loads count. (users,)"""
    weight, beta = prospects.weight, task.migration.utility_weight
    start = beta * np.exp(prospects.limit_s[:, None] - prospects.fixed_s)
    rate = prospects.work_s / weight[:, None]
    host, users = host.copy(), np.arange(len(host))

    def sums(load: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Sum of utilities at each server, were its load the last axis's: (servers, …)."""
        return np.array([start[at == k, k] @ np.exp(-rate[at == k, k, None] * load[k]) for k in range(len(room))])

    while True:
        load = np.bincount(host, weight, len(room))
        count = np.bincount(host, minlength=len(room))
        now = sums(load[:, None], host)[:, 0]
        joined = sums(load[:, None] + weight[None, :], host) + start.T * np.exp(-rate.T * (load[:, None] + weight[None, :]))
        left = sums(load[:, None] - weight[None, :], host)[host, users]
        own = start[users, host] * np.exp(-rate[users, host] * (load[host] - weight))
        gain = (joined - now[:, None]).T + (left - own - now[host])[:, None]
        gain[:, count >= room] = -np.inf
        gain[users, host] = 0
        best = np.unravel_index(np.argmax(gain), gain.shape)
        if gain[best] <= 1e-9 * now.sum():
            return host
        host[best[0]] = best[1]


POLICIES: Mapping[str, Callable[..., Policy]] = {
    "never": never,
    "nearest": nearest,
    "algorithm-3": algorithm_3,
    "algorithm-3-literal": algorithm_3_literal,
    "priced": priced,
    "slot-optimum": slot_optimum,
    "clairvoyant": clairvoyant,
}
