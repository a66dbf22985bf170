"""Whom to serve in a slot: as many as can be, or those worth their energy. Each set tried is solved to its optimum (`min_energy`).

Which requests to leave out is combinatorial. All start in; while no powers suffice, a rule drops one user after another. Several rules
have a try, and the set with most users, then least energy, is kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.two_timescale.min_energy import Limits, Optimum, Slot, Start, least_energy


class Admission(NamedTuple):
    """Who is served, (users,) bool, the optimum for them, and how many sets were tried."""

    served: jax.Array
    optimum: Optimum
    tried: jax.Array


def lone_energy(slot: Slot, limits: Limits) -> jax.Array:
    """Least energy of each request if it had server, link and air to itself, J; inf where even that needs more than P_max. (users,)"""
    time = limits.latency_limit_s - slot.cpu_s - slot.wire_s
    own = jnp.take_along_axis(slot.gain, slot.serving[:, None], axis=1)[:, 0]
    power = jnp.expm1(slot.nats_s / jnp.where(time > 0, time, 1)) * limits.noise_power_w / own
    return jnp.where((time > 0) & (power <= limits.tx_power_max_w), time * power, jnp.inf)


def by_price(slot: Slot, found: Optimum, lone_j: jax.Array) -> jax.Array:
    """Drops whom the others pay most for."""
    return found.price_j


def by_power(slot: Slot, found: Optimum, lone_j: jax.Array) -> jax.Array:
    """Drops who needs most power, weighed by how long it has pressed against P_max."""
    return found.power_w * jnp.exp(found.pressure)


def by_lone_energy(slot: Slot, found: Optimum, lone_j: jax.Array) -> jax.Array:
    """Drops who would be dearest alone."""
    return lone_j


RULES: tuple[Callable[[Slot, Optimum, jax.Array], jax.Array], ...] = (by_price, by_power, by_lone_energy)


class Search(NamedTuple):
    """The search over sets: the set to try next, by which rule, where to start, the best set so far, and whether to go on."""

    served: jax.Array
    rule: jax.Array
    start: Start
    best: Admission
    running: jax.Array


def serve_most(slot: Slot, active: jax.Array, limits: Limits, iterations: int = 100) -> Admission:
    """As many of the `active` requests, (users,) bool, as the rules find sets for, with least energy among the largest sets."""
    lone_j = lone_energy(slot, limits)
    everyone = active & jnp.isfinite(lone_j)

    def search(loop: Search) -> Search:
        served = loop.served
        found = least_energy(slot, served, limits, loop.start, iterations)
        users, most = jnp.sum(served), jnp.sum(loop.best.served)
        cheaper = jnp.sum(found.energy_j) < jnp.sum(loop.best.optimum.energy_j)
        better = found.feasible & (~loop.best.optimum.feasible | (users > most) | ((users == most) & cheaper))
        tried = loop.best.tried + 1
        best = _chosen(better, Admission(served, found, tried), loop.best._replace(tried=tried))
        score = jax.lax.switch(loop.rule, [lambda each=rule: each(slot, found, lone_j) for rule in RULES])
        smaller = _without(served, score)
        over = found.feasible | (best.optimum.feasible & (jnp.sum(smaller) < jnp.sum(best.served)))
        rule = loop.rule + over
        running = (rule < len(RULES)) & ~(found.feasible & (users == jnp.sum(everyone)))
        start = Start(*(jnp.where(served, now, first) for now, first in zip(found.start, _anywhere(slot), strict=True)))
        start = jax.tree.map(lambda fresh, warm: jnp.where(over, fresh, warm), _anywhere(slot), start)
        return Search(jnp.where(over, everyone, smaller), jnp.minimum(rule, len(RULES) - 1), start, best, running)

    return _searched(search, slot, everyone, limits)


def serve_worthwhile(slot: Slot, active: jax.Array, worth_j: jax.Array, limits: Limits, iterations: int = 100) -> Admission:
    """The requests whose service is worth its energy: aims at the least Σ energy + Σ worth of whom is not served.

    active: (users,) bool. worth_j: (users,), J, what serving each is worth. Who is dearer alone than its worth is certainly left out;
    then the worst by price over worth, as long as a price exceeds its worth; the best set on the way is kept.
    """
    lone_j = lone_energy(slot, limits)
    everyone = active & (lone_j < worth_j)

    def profit(served, found):
        return jnp.sum(jnp.where(served, worth_j, 0)) - jnp.sum(found.energy_j)

    def search(loop: Search) -> Search:
        served = loop.served
        found = least_energy(slot, served, limits, loop.start, iterations)
        better = found.feasible & (~loop.best.optimum.feasible | (profit(served, found) > profit(*loop.best[:2])))
        tried = loop.best.tried + 1
        best = _chosen(better, Admission(served, found, tried), loop.best._replace(tried=tried))
        smaller = _without(served, jnp.where(served, found.price_j / jnp.where(served, worth_j, 1), 0))
        running = ~found.feasible | jnp.any(served & (found.price_j > worth_j))
        return Search(smaller, loop.rule, found.start, best, running & jnp.any(served))

    return _searched(search, slot, everyone, limits)


def _searched(search: Callable[[Search], Search], slot: Slot, everyone: jax.Array, limits: Limits) -> Admission:
    nobody = jnp.zeros_like(everyone)
    zero, no, none = jnp.zeros_like(slot.cpu_s), jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    far = jnp.asarray(jnp.inf, slot.gain.dtype)
    nothing = Optimum(zero, zero, zero, zero + limits.latency_limit_s, zero, zero, zero, no, far, none)
    first = Search(everyone, none, _anywhere(slot), Admission(nobody, nothing, none), ~no)
    return jax.lax.while_loop(lambda loop: loop.running, search, first).best


def _anywhere(slot: Slot) -> Start:
    """Equal computing and wired times: a start for any set."""
    return Start(slot.cpu_s, slot.wire_s, jnp.zeros_like(slot.cpu_s))


def _without(served: jax.Array, score: jax.Array) -> jax.Array:
    """The set without its user of the highest score."""
    worst = jnp.argmax(jnp.where(served, score, -jnp.inf))
    return served & (jnp.arange(len(served)) != worst)


def _chosen(better: jax.Array, new: Admission, old: Admission) -> Admission:
    return jax.tree.map(lambda one, other: jnp.where(better, one, other), new, old)
