"""Policies that know the state and solve every slot to its optimum: powers, CPU and link shares for a given deployment and association.

`min-energy` serves as many requests as it can, or those worth a price; `drift-plus-penalty` those worth their energy by (19). They take
the hosts as they are before a frame's deployment takes effect: who moves is out in that slot, and the others only gain by it. Where twins
always follow their users for nothing (the reference `genie`), they count on the nearest server.
"""

import math

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.problem import Param, Policy, View
from edgetwin.two_timescale.admission import Admission, serve_most, serve_worthwhile
from edgetwin.two_timescale.lyapunov import queue_step
from edgetwin.two_timescale.min_energy import Limits, Slot, slot_of
from edgetwin.two_timescale.task import State, TwoTimescale

RESOURCES = ("users", "stations")
TIME_KEPT, POWER_KEPT = 3e-5, 2e-3
"""Parts of τ and P_max that plans leave free, so that rounding in single precision fails nobody."""


def limits_of(task: TwoTimescale) -> Limits:
    """The task's limits, a hair tighter."""
    radio = task.radio
    power_max, tau = radio.tx_power_max_w * (1 - POWER_KEPT), radio.latency_limit_s * (1 - TIME_KEPT)
    return Limits(radio.bandwidth_hz, radio.noise_power_w, power_max, tau)


def slot_now(task: TwoTimescale, state: State) -> tuple[Slot, jax.Array]:
    """The slot that a state is in, and which requests can be served in it, (users,) bool."""
    radio, world = task.radio, state.world
    serving = task.nearest_site(world.position_m)
    follows = radio.frame_slots == 1 and radio.migration_slots == 0
    gain = world.gain
    if radio.interference == "literal":
        gain = jnp.broadcast_to(jnp.take_along_axis(gain, serving[:, None], axis=1), gain.shape)
    slot = slot_of(
        gain,
        serving,
        task.nearest_server(world.position_m) if follows else state.host,
        task.server_sites,
        task.cpu_hz,
        world.data_bits,
        world.data_bits * world.cycles_per_bit,
        bandwidth_hz=radio.bandwidth_hz,
        link_rate_bps=task.link_rate_bps,
    )
    return slot, world.requesting & (state.migration_left == 0)


def action_of(task: TwoTimescale, slot: Slot, found: Admission) -> dict[str, jax.Array]:
    """Powers over P_max, and scores of which the proportional shares are the optimum's; who is not served keeps silent, without a share."""
    share = jnp.clip(jnp.where(found.served, found.optimum.power_w, 0) / task.radio.tx_power_max_w, 0, 1)[:, None]
    if task.learned_association:
        share = jnp.concatenate([share, jax.nn.one_hot(slot.serving, task.sites)], axis=1)
    scores = jnp.concatenate([jnp.where(found.served, each, 0) for each in (found.optimum.cpu_share, found.optimum.link_share)])
    return {"users": share, "stations": jnp.broadcast_to(jnp.clip(scores, 0, 1), (task.sites, 2 * task.users))}


def min_energy(task: TwoTimescale, *, price: float = math.inf, served: str = "own") -> Policy:
    """As many requests as can be served, at the least energy that serves them; at a finite price those worth it: the least of energy plus
    `price`, mJ, for every request that fails.

    Over prices these policies make the frontier of failures and energy, slot by slot. `served=file` is for frozen slots: serve whom the
    file says.
    """
    if served != "own":
        raise InputError(
            f"policy 'min-energy': served = {served}: only `edgetwin solve` takes whom to serve from a file; leave it out"
        )
    if not price > 0:
        raise InputError(
            f"policy 'min-energy': price = {price:g}: must be above 0, in mJ; leave it out to serve as many as can be"
        )
    limits = limits_of(task)

    def admitted(slot: Slot, active: jax.Array) -> Admission:
        if math.isinf(price):
            return serve_most(slot, active, limits)
        return serve_worthwhile(slot, active, jnp.full(task.users, 1e-3 * price), limits)

    def act(carry, view: View, key):
        slot, active = slot_now(task, view.state)
        return carry, action_of(task, slot, admitted(slot, active))

    return Policy(name="", task=task, act=act, information="state", controls=RESOURCES, params={"price": Param(price)})


def drift_plus_penalty(task: TwoTimescale, *, start: float = 10.0, queue: str = "slot", epsilon: float = math.nan) -> Policy:
    """The least of (19) in every slot: serves a request where that costs less energy than E0·η·Y_k, what failing costs.     (16), (19)

    start: Y_k[0] of the queue that prices failures; its failures per slot never exceed ε by more than (Y_k[n] − start)/n. queue: whether
    Y_k[n] of the slot is the price, as in Lemma 1, or Y_k[qT] of the frame, as in Lemma 2 and (19). epsilon: the ε to keep, by default the
    scenario's.
    """
    if not start >= 0:
        raise InputError(f"policy 'drift-plus-penalty': start = {start:g}: must be at least 0")
    if queue not in ("slot", "frame"):
        raise InputError(f"policy 'drift-plus-penalty': queue = {queue}: must be slot or frame")
    if not (math.isnan(epsilon) or 0 < epsilon < 1):
        raise InputError(f"policy 'drift-plus-penalty': epsilon = {epsilon:g}: must lie between 0 and 1")
    limits, radio = limits_of(task), task.radio
    epsilon = radio.failure_ratio_max if math.isnan(epsilon) else epsilon
    price_j = radio.control_factor * radio.energy_scale_j

    def act(carry, view: View, key):
        state, (own, sampled, seen) = view.state, carry
        own = jnp.where(state.slot > 0, queue_step(own, state.queue > seen, epsilon), own)
        sampled = own if queue == "slot" else jnp.where(state.slot % radio.frame_slots == 0, own, sampled)
        slot, active = slot_now(task, state)
        return (own, sampled, state.queue), action_of(task, slot, serve_worthwhile(slot, active, price_j * sampled, limits))

    def init(key, view: View):
        first = jnp.full(task.users, start)
        return first, first, view.state.queue

    params = {"start": Param(start), "queue": Param(queue), "epsilon": Param(epsilon)}
    return Policy(name="", task=task, act=act, init=init, information="state", controls=RESOURCES, params=params)
