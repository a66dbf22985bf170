"""Migrations planned over several frames: each move's failed requests on the way against the time it saves later.

Users are taken to go on straight. A plan is a server for each of the next frames; in each of them a request takes its share of a
server's CPU and, where its user is not served there, of a wired link, both with the twins that others plan to have there, and moving costs the
requests of G slots. One user's best plan, all others' given, is a shortest path over frames and servers; users choose in turn, twice.
The first step of a plan is carried out, and the next frame plans anew.
"""

import math

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.problem import Param, Policy, View
from edgetwin.two_timescale import tuning
from edgetwin.two_timescale.admission import serve_most
from edgetwin.two_timescale.optimal import limits_of, slot_now
from edgetwin.two_timescale.task import TwoTimescale

ROUNDS = 2
EVERY = 10
"""Slots between two predicted positions, at most."""
LESS_TIME = 0.1
"""Part of τ that is taken away to see what time is worth."""


def request_times(task: TwoTimescale) -> tuple[float, float]:
    """Mean seconds that a request takes on the fastest server and on a wired link, alone."""
    limits = task.radio
    bits = sum(limits.data_bits) / 2
    return bits * sum(limits.cycles_per_bit) / 2 / float(task.cpu_hz.max()), bits / task.link_rate_bps


_WORTH: dict[tuple[str, float], float] = {}


def time_worth(task: TwoTimescale, price_mj: float) -> float:
    """Failed requests (with energy, at `price_mj` a failure) that a second less for a request is worth, per request, 1/s.

    By how much failures and energy of the slots' optimum rise where all requests have a tenth less time: snapshots of other episodes,
    twins at the nearest server.
    """
    key = tuning.timeless(task), price_mj
    if key not in _WORTH:
        limits, state = limits_of(task), task.reset(jax.random.key(0))

        @jax.jit
        @jax.vmap
        def cost(world, latency_limit_s):
            now = state._replace(world=world, host=task.nearest_server(world.position_m))
            slot, active = slot_now(task, now)
            found = serve_most(slot, active, limits._replace(latency_limit_s=latency_limit_s))
            energy = jnp.sum(jnp.where(found.served, found.optimum.energy_j, 0))
            return jnp.sum(active & ~found.served) + energy / (price_mj / 1e3), jnp.sum(active)

        worlds = tuning.snapshots(task)
        ones = jnp.ones(len(worlds.requesting))
        (usual, requests), (short, _) = (cost(worlds, part * limits.latency_limit_s * ones) for part in (1.0, 1 - LESS_TIME))
        _WORTH[key] = float((short.sum() - usual.sum()) / jnp.maximum(requests.sum(), 1) / (LESS_TIME * limits.latency_limit_s))
    return _WORTH[key]


def best_plans(served, host, *, server_sites, cpu_s, link_s, request_probability, move_s):
    """Each user's server in each frame, chosen in turn: least time of requests, its own and what it adds to others', and moves.

    served: (users, frames, sites), share of a frame in which each site serves; host: (users,); cpu_s: (servers,) and link_s: s of a request
    alone; move_s: s of a request for a whole frame that moving is like. Returns (users, frames) servers.
    """
    users, frames, sites = served.shape
    servers = len(server_sites)
    away = jnp.arange(sites)[:, None] != server_sites[None, :]
    moving = jnp.where(jnp.eye(servers, dtype=bool), 0.0, move_s)

    def shortest(costs, start):
        def back(later, cost):
            onwards = moving + (cost + later)[None, :]
            return jnp.min(onwards, axis=1), jnp.argmin(onwards, axis=1)

        following = jax.lax.scan(back, jnp.zeros(servers), costs, reverse=True)[1]
        return jax.lax.scan(lambda server, to: (to[server], to[server]), start, following)[1]

    def choose(carry, user):
        plans, twins, crossing = carry
        mine = jax.nn.one_hot(plans[user], servers)
        across = served[user][:, :, None] * away
        twins, crossing = twins - mine, crossing - across * mine[:, None, :]
        computing = cpu_s * (1 + 2 * request_probability * twins)
        wired = jnp.sum(across * link_s * (1 + 2 * request_probability * crossing), axis=1)
        plan = shortest(computing + wired, host[user])
        chosen = jax.nn.one_hot(plan, servers)
        return (plans.at[user].set(plan), twins + chosen, crossing + across * chosen[:, None, :]), None

    plans = jnp.broadcast_to(host[:, None], (users, frames))
    staying = jax.nn.one_hot(plans, servers)
    crossing = jnp.einsum("kfs,sm,kfm->fsm", served, away.astype(served.dtype), staying)
    turns = jnp.tile(jnp.arange(users), ROUNDS)
    return jax.lax.scan(choose, (plans, staying.sum(axis=0), crossing), turns)[0][0]


def planned(task: TwoTimescale, *, horizon: int = 12, price: float = 15.0, worth: float = math.nan) -> Policy:
    """Plans over `horizon` frames along the way each user went in the frame before; failed requests on a move against time saved later.

    price: mJ of a failed request, for what time is worth in energy. worth: failed requests that a second less is worth, 1/s; by default
    found for the network and slots served at their optimum.
    """
    if horizon < 1 or not price > 0:
        raise InputError(f"policy 'planned': horizon = {horizon}, price = {price:g}: must be at least 1 and above 0")
    found = time_worth(task, price) if math.isnan(worth) else worth
    if not found >= 0:
        raise InputError(f"policy 'planned': worth = {found:g}: must be at least 0")
    limits, (cpu_s, link_s) = task.radio, request_times(task)
    frame_s, width_m = limits.frame_slots * limits.slot_s, task.network.width_m
    move_s = limits.migration_slots / limits.frame_slots / max(found, 1e-9)
    looks = math.ceil(limits.frame_slots / EVERY)
    ahead_s = frame_s * (jnp.arange(horizon)[:, None] + (jnp.arange(looks) + 0.5) / looks)
    cpu = cpu_s * jnp.max(task.cpu_hz) / task.cpu_hz

    def choose(sight, before):
        velocity = (sight.position_m - before) / frame_s
        future = sight.position_m[:, None, None] + ahead_s[None, :, :, None] * velocity[:, None, None]
        inside = width_m - jnp.abs(width_m - jnp.abs(future) % (2 * width_m))
        sites = jax.nn.one_hot(task.nearest_site(inside.reshape(-1, 2)), task.sites).reshape(*inside.shape[:3], task.sites)
        plans = best_plans(
            sites.mean(axis=2),
            sight.host,
            server_sites=task.server_sites,
            cpu_s=cpu,
            link_s=link_s,
            request_probability=limits.request_probability,
            move_s=move_s,
        )
        return plans[:, 0]

    def act(carry, view: View, key):
        before, slot = carry
        sight = task.observer.read_centre(view.observation)
        starts = (slot % limits.frame_slots == 0) & (slot > 0)
        chosen = jax.lax.cond(starts, lambda: choose(sight, before), lambda: sight.host)
        return (jnp.where(starts, sight.position_m, before), slot + 1), {"centre": chosen[None]}

    def init(key, view: View):
        return task.observer.read_centre(view.observation).position_m, jnp.zeros((), jnp.int32)

    params = {"horizon": Param(horizon), "price": Param(price), "worth": Param(found, tuned=math.isnan(worth))}
    return Policy(name="", task=task, act=act, init=init, controls=("centre",), params=params)
