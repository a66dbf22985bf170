"""The least energy that serves given requests in a slot: powers, CPU shares and link shares at once, the global optimum.

Served requests use up their time limit, t_k = τ − computing − wired. With q_k = 1 − 2^{−D_k/(B·t_k)}, the share of all power heard at its
site that request k must have there, the least powers are p_k = q_k·H_{s(k)}/g_{k,s(k)}, where H_m = σ² + Σ_k p_k·g_{k,m} is what site m
hears: a linear system of one equation a *site*, H = σ²·1 + A·H, with a positive solution where A's spectral radius is below 1. Its adjoint
λ = (I − Aᵀ)⁻¹ b gives every request's worth of time, m_k = −∂E/∂t_k, and resources are shared ∝ √(cycles·m) and ∝ √(bits·m): a damped
fixed point. In logarithms the problem is convex (2^x − 1 has a power series with positive coefficients: a generalised geometric
program), so where the conditions of Karush, Kuhn and Tucker hold is the global optimum. Powers at P_max get multipliers.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

TIME_MIN = 0.02
"""A request whose shares leave it less than this part of τ is reckoned as if it had that much, until its shares grow."""

LOAD_KEPT = 0.95
"""Where no powers suffice (spectral radius ρ ≥ 1), shares move as if interference were this much over ρ times what it is."""

PRESSURE_MAX = 8.0
"""A user whose weight rose by e^this and who still needs more than P_max is given up."""

POWER_STEP, SETTLED = 2.0, 0.01
"""Weights move this much per logarithm of the excess, once shares have settled to this logarithm: on the way powers pass P_max."""

EXCESS_LOG = (-2.0, 0.5)
STEP, STEP_MIN, STEP_LOG_MAX = 0.75, 0.2, 1.0
SQUARINGS = 3


class Limits(NamedTuple):
    """What all slots share: B, σ², P_max, τ."""

    bandwidth_hz: float
    noise_power_w: float
    tx_power_max_w: float
    latency_limit_s: float


class Slot(NamedTuple):
    """A slot's requests, whoever is served. (users,) where no shape is given.

    gain: (users, sites), to every site; serving: site index. nats_s: D·ln 2/B. cpu_s, wire_s: computing and wired time if it had its
    server and its link to itself; wire_s is 0 where the serving site hosts the twin. server_mates, link_mates: (users, users), 1 where
    two users draw on the same server or link (itself included; an own site's path is no link), else 0.
    """

    gain: jax.Array
    serving: jax.Array
    nats_s: jax.Array
    cpu_s: jax.Array
    wire_s: jax.Array
    server_mates: jax.Array
    link_mates: jax.Array


class Start(NamedTuple):
    """Where the iteration is: CPU and link shares, and log-weights of powers that press against P_max. (users,)."""

    cpu_share: jax.Array
    link_share: jax.Array
    pressure: jax.Array


class Loop(NamedTuple):
    """The iteration: where it is, its damping, what it last saw there, and whether it goes on."""

    now: Start
    step: jax.Array
    residual: jax.Array
    seen: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    running: jax.Array
    steps: jax.Array


class Optimum(NamedTuple):
    """A slot's optimum. (users,), scalars from `feasible` on.

    energy_j: p·t. price_j: energy that all would save, to first order, if the user were not served (its own power, what others send
    because of it, and the shares it takes). time_s: t. pressure: ln(1 + ν/t), ν the multiplier of p ≤ P_max. feasible: powers exist and
    none exceeds P_max; the rest is an optimum only there. residual: scaled violation of the optimality conditions. iterations: count.
    """

    power_w: jax.Array
    cpu_share: jax.Array
    link_share: jax.Array
    time_s: jax.Array
    energy_j: jax.Array
    price_j: jax.Array
    pressure: jax.Array
    feasible: jax.Array
    residual: jax.Array
    iterations: jax.Array

    @property
    def start(self) -> Start:
        """Where to begin for a set of requests that is nearly the same: without pressure, which another set may not have."""
        return Start(self.cpu_share, self.link_share, jnp.zeros_like(self.pressure))


def slot_of(gain, serving, host, server_sites, cpu_hz, data_bits, cycles, *, bandwidth_hz, link_rate_bps) -> Slot:
    """A slot's requests. gain: (users, sites); serving: (users,) sites; host: (users,) servers; server_sites, cpu_hz: (servers,);
    data_bits, cycles (= D·C): (users,)."""
    host_site = server_sites[host]
    crossing = host_site != serving
    path = serving * gain.shape[1] + host_site
    together = (path[:, None] == path[None, :]) & crossing[:, None]
    return Slot(
        gain=gain,
        serving=serving,
        nats_s=data_bits * (math.log(2.0) / bandwidth_hz),
        cpu_s=cycles / cpu_hz[host],
        wire_s=jnp.where(crossing, data_bits / link_rate_bps, 0),
        server_mates=(host[:, None] == host[None, :]).astype(gain.dtype),
        link_mates=together.astype(gain.dtype),
    )


def tolerance(dtype) -> float:
    """Where the iteration stops: the energy's relative error is about the residual squared."""
    return 1e-10 if dtype == jnp.float64 else 1e-4


def minimal_power(share, gain, serving, noise_power_w):
    """Least powers with which every request has a given share of the power heard at its site, W.     two-timescale (6)-(8), inverted

    p = (I − ΓF)⁻¹Γu for the SINR targets Γ = q/(1−q). share: (users,), q, 0 for silent users; gain: (users, sites); serving: (users,).
    Returns powers (users,) and the spectral radius's upper bound ρ̂ (scalar); powers mean something where ρ̂ < 1 only.
    """
    own, at = gain_and_site(gain, serving)
    coupling = site_coupling(share, gain / own[:, None], at)
    load = spectral_bound(coupling)
    heard = noise_power_w * jnp.sum(inverse_of(jnp.eye(gain.shape[1], dtype=gain.dtype) - coupling), axis=1)
    return share * (at @ heard) / own, load


def least_energy(slot: Slot, served: jax.Array, limits: Limits, start: Start | None = None, iterations: int = 100) -> Optimum:
    """The global optimum for the requests `served`, (users,) bool. float64 inputs reach a residual of 1e-10, float32 1e-4."""
    own, at = gain_and_site(slot.gain, slot.serving)
    heard = slot.gain / own[:, None]
    linked = served & (slot.wire_s > 0)
    identity = jnp.eye(slot.gain.shape[1], dtype=slot.gain.dtype)
    tau, power_max = limits.latency_limit_s, limits.tx_power_max_w
    stop = tolerance(slot.gain.dtype)

    def shared(cpu, link):
        return _normalised(cpu, slot.server_mates, served), _normalised(link, slot.link_mates, linked)

    def started(cpu, link, pressure):
        cpu_share, link_share = shared(cpu, link)
        return Start(cpu_share, link_share, pressure)

    def look(at_now: Start):
        cpu, wire = slot.cpu_s / at_now.cpu_share, slot.wire_s / at_now.link_share
        left = jnp.where(served, tau - cpu - wire, tau)
        time = jnp.maximum(left, TIME_MIN * tau)
        decay = jnp.exp(-slot.nats_s / time)
        share = jnp.where(served, -jnp.expm1(-slot.nats_s / time), 0)
        coupling = site_coupling(share, heard, at)
        load = spectral_bound(coupling)
        possible = load < 1
        slope = jnp.where(served, jnp.where(possible, decay, 1) * slot.nats_s / time**2, 0)
        kept = jnp.where(possible, 1, LOAD_KEPT / jnp.maximum(load, 1))
        inverse = inverse_of(identity - kept * coupling)
        at_site = at @ (limits.noise_power_w * jnp.sum(inverse, axis=1)) / own
        power = share * at_site
        weight = time * jnp.exp(at_now.pressure)
        adjoint = jnp.sum((weight * share / own)[:, None] * at, axis=0) @ inverse
        burden = weight + kept * (slot.gain @ adjoint)
        worth = jnp.where(served, at_site * (slope * burden - jnp.where(possible, share, 0)), 0)
        cpu_share, link_share = shared(jnp.sqrt(slot.cpu_s * worth), jnp.sqrt(slot.wire_s * worth))
        excess = jnp.clip(jnp.log(jnp.maximum(power, 1e-30) / power_max), *EXCESS_LOG)
        excess = jnp.where(served & possible, excess, 0)
        moves = (
            jnp.where(served, jnp.log(cpu_share / at_now.cpu_share), 0),
            jnp.where(linked, jnp.log(link_share / at_now.link_share), 0),
            jnp.maximum(at_now.pressure + excess, 0) - at_now.pressure,
        )
        residual = jnp.maximum(2 * jnp.max(jnp.abs(jnp.stack(moves[:2]))), jnp.max(jnp.abs(moves[2])))
        price = power * burden + worth * (cpu + wire)
        enough = possible & jnp.all(left >= time) & jnp.all(power <= power_max * (1 + 10 * stop))
        return moves, residual, (power, left, price, enough)

    def improve(loop: Loop) -> Loop:
        now = loop.now
        moves, residual, seen = look(now)
        step = jnp.where(residual > 0.8 * loop.residual, jnp.maximum(0.7 * loop.step, STEP_MIN), loop.step)
        cpu, link = (jnp.exp(jnp.clip(step * move, -STEP_LOG_MAX, STEP_LOG_MAX)) for move in moves[:2])
        settled = jnp.max(jnp.abs(jnp.stack(moves[:2]))) < SETTLED
        pressure = now.pressure + jnp.where(settled, POWER_STEP * step * moves[2], 0)
        moved = started(now.cpu_share * cpu, now.link_share * link, pressure)
        count = loop.steps + 1
        running = (residual > stop) & (jnp.max(now.pressure) < PRESSURE_MAX) & (count < iterations)
        return Loop(jax.tree.map(lambda new, old: jnp.where(running, new, old), moved, now), step, residual, seen, running, count)

    if start is None:
        start = Start(slot.cpu_s, slot.wire_s, jnp.zeros_like(slot.cpu_s))
    begin = started(start.cpu_share, start.link_share, jnp.where(served, start.pressure, 0))
    step, far = (jnp.asarray(value, slot.gain.dtype) for value in (STEP, jnp.inf))
    unseen = (jnp.zeros_like(own), jnp.zeros_like(own), jnp.zeros_like(own), jnp.zeros((), bool))
    loop = Loop(begin, step, far, unseen, jnp.ones((), bool), jnp.zeros((), jnp.int32))
    final, _, residual, (power, left, price, enough), _, count = jax.lax.while_loop(lambda loop: loop.running, improve, loop)
    return Optimum(
        power_w=power,
        cpu_share=jnp.where(served, final.cpu_share, 0),
        link_share=jnp.where(linked, final.link_share, 0),
        time_s=left,
        energy_j=power * left,
        price_j=price,
        pressure=final.pressure,
        feasible=enough,
        residual=residual,
        iterations=count,
    )


def gain_and_site(gain, serving):
    """Gains to the serving sites, (users,), and who is served where, (users, sites) of 0 and 1."""
    at = jax.nn.one_hot(serving, gain.shape[1], dtype=gain.dtype)
    return jnp.sum(gain * at, axis=1), at


def _normalised(amount, mates, sharing):
    """Shares of what mates share: amounts over the sum of those that share, 1 for who does not. (users,)"""
    amount = jnp.where(sharing, amount, 0)
    return jnp.where(sharing, amount / jnp.where(sharing, mates @ amount, 1), 1)


def site_coupling(share, heard, at):
    """A[m, n]: what site m hears of site n's users over what site n hears of all, Σ_{k: s(k)=n} q_k·g_{k,m}/g_{k,n}. (sites, sites)"""
    return heard.T @ (share[:, None] * at)


def spectral_bound(coupling):
    """An upper bound on the spectral radius of a matrix without negative entries, tight along A⁸·1 (Collatz and Wielandt)."""
    power = coupling
    for _ in range(SQUARINGS):
        power = power @ power
        power = power / jnp.maximum(jnp.max(power), 1e-30)
    vector = jnp.sum(power, axis=1)
    vector = vector + 1e-6 * jnp.maximum(jnp.max(vector), 1)
    return jnp.max(coupling @ vector / vector)


def inverse_of(matrix):
    """Inverse of I − A, ρ(A) < 1, by elimination without pivots: all pivots of such a matrix are positive. (sites, sites)"""
    for i in range(len(matrix)):
        unit = jnp.zeros(len(matrix), matrix.dtype).at[i].set(1)
        row = (matrix[i] * (1 - unit) + unit) / matrix[i, i]
        column = matrix[:, i] * (1 - unit)
        matrix = matrix * (1 - unit)[:, None] * (1 - unit)[None, :] - column[:, None] * row + unit[:, None] * row
    return matrix
