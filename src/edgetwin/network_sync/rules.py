"""Hand rules, the closed-form index, and the optima that know more. All decide by what the base station knows: the twin's error S, what a sync
would cost now C_t, the twin's age and the slots left. With compact observations that is what they observe; else they read the state.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.network_sync import optimum, programme, tuning
from edgetwin.network_sync.observation import Knowledge
from edgetwin.network_sync.task import NetworkSyncTask
from edgetwin.problem import Param, Policy, View


def _rule(task: NetworkSyncTask, wants: Callable[[Knowledge, Any], jax.Array]) -> Policy:
    """A policy that asks for a sync, of all users or some, where `wants(knowledge, key)` → () or (users,) says so."""
    observed = task.section.observation == "compact"

    def act(carry, view: View, key):
        known = task.observer.read(view.observation.station[0]) if observed else task.knowledge(view.state)
        wanted = wants(known, key)
        asked = jnp.broadcast_to(wanted, (task.users,)) if task.partial else wanted.all()[None]
        return carry, task.action(asked.astype(jnp.int32)[None])

    return Policy(name="", task=task, act=act, information="observation" if observed else "state")


def never(task: NetworkSyncTask) -> Policy:
    """Trusts the forecast for ever."""
    return _rule(task, lambda known, key: jnp.zeros((), bool))


def always(task: NetworkSyncTask) -> Policy:
    """Syncs whenever a resource block meets the deadline."""
    return _rule(task, lambda known, key: jnp.ones((), bool))


def random(task: NetworkSyncTask, *, p: float = math.nan) -> Policy:
    """Syncs with probability p; without a number, the best of 0, .05, …, 1 on other episodes."""
    if not (math.isnan(p) or 0 <= p <= 1):
        raise InputError(f"policy 'random': p = {p:g}: must lie between 0 and 1")
    return _knob(task, "p", p, np.linspace(0, 1, 21), lambda p: lambda known, key: jax.random.bernoulli(key, p))


def periodic(task: NetworkSyncTask, *, k: float = math.nan) -> Policy:
    """Syncs where the twin's age is k slots or more (1 in the first slot after a sync); without a number, the best k on other episodes."""
    if not (math.isnan(k) or (k >= 1 and k % 1 == 0)):
        raise InputError(f"policy 'periodic': k = {k:g}: must be a whole number, at least 1")
    return _knob(task, "k", k, np.arange(1.0, task.section.slots + 1), lambda k: lambda known, key: known.age >= k)


def error_threshold(task: NetworkSyncTask, *, s: float = math.nan) -> Policy:
    """Syncs where the twin's mean squared error exceeds s, blocks²; without a number, the best of .25, .5, …, 10 times the one-step error on
    other episodes."""
    if not (math.isnan(s) or s >= 0):
        raise InputError(f"policy 'error-threshold': s = {s:g}: must be at least 0")
    tried = np.linspace(0.25, 10, 40) * float(np.mean(task.step_error))
    return _knob(task, "s", s, tried, lambda s: lambda known, key: known.squared_error.mean() > s)


def _knob(task: NetworkSyncTask, name: str, value: float, tried: np.ndarray, wants: Callable[[Any], Any]) -> Policy:
    """A rule with one number: as given, or where it is not, the one of `tried` with the least cost on other episodes."""
    if not math.isnan(value):
        return replace(_rule(task, wants(value)), params={name: Param(value)})
    best = tuning.best(task.drawn, lambda number: _rule(task.drawn, wants(number)), tried)
    return replace(_rule(task, wants(best)), params={name: Param(best, tuned=True)})


def index(task: NetworkSyncTask) -> Policy:
    """Syncs where min(λ·S·(S + v)/(2v), λ·S·(slots left)) ≥ C_t, λ = 1 − ε, v the forecaster's one-step error: nothing to tune.

    Between syncs S grows by about v per slot. A cycle that ends at error S lasts S/v slots and costs λ(0 + v + … + (S − v)) + C; its cost per
    slot is least where the area above, λS(S + v)/2v, has reached C. Near the end a sync can save no more than λS per slot left.
    The index is a sum over users, each with its own squared error as its share. With partial packets those with the largest shares go
    together, where the sum of their shares reaches C_t.
    """
    weight, step_error = 1 - task.section.rate_weight, float(np.mean(task.step_error))

    def wants(known: Knowledge, key):
        error = known.squared_error.mean()
        horizon = jnp.minimum((error + step_error) / (2 * step_error), known.slots_left)
        if not task.partial:
            return weight * error * horizon >= known.sync_loss
        shares = weight * known.squared_error / task.users * horizon
        taken = jnp.argsort(jnp.argsort(-shares)) < task.packet_users
        return taken & (jnp.sum(jnp.where(taken, shares, 0)) >= known.sync_loss)

    return _rule(task, wants)


def causal(task: NetworkSyncTask) -> Policy:
    """An approximate dynamic programme over (S, C_t, slots left), fitted to other episodes: nearly the best without knowing the future."""
    values = programme.solve(task.drawn)
    return _rule(task, lambda known, key: programme.syncs(values, known))


def offline_optimum(task: NetworkSyncTask) -> Policy:
    """The shortest path over sync times of the very episode: exact, and it knows the future."""
    optimum.check_exact(task)

    def init(key, view: View):
        history = task.model.start(view.state.streams)[1]
        return optimum.offline_plan(task, history, view.trace).syncs

    def act(carry, view: View, key):
        return carry, task.action(carry[view.state.slot].astype(jnp.int32)[None, None])

    return Policy(name="", task=task, act=act, init=init, information="trace")


POLICIES = {
    "never": never,
    "always": always,
    "random": random,
    "periodic": periodic,
    "error-threshold": error_threshold,
    "index": index,
    "causal": causal,
    "offline-optimum": offline_optimum,
}
