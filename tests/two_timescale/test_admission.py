"""Whom to serve, against all there are to choose among: every set of up to ten requests is solved, and the best is what the rules must find."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.two_timescale import instances
from edgetwin.two_timescale.admission import serve_most, serve_worthwhile
from edgetwin.two_timescale.min_energy import least_energy

pytestmark = pytest.mark.usefixtures("quick_compilation")

FILE = Path(__file__).parent / "instances" / "slots-k10.npz"
HARD = {
    "short": {"latency_limit_s": 0.009},
    "weak": {"latency_limit_s": 0.014, "tx_power_max_w": 0.02},
    "loud": {"latency_limit_s": 0.02, "noise_power_w": 1e-8, "tx_power_max_w": 0.1},
}
"""Changes under which the frozen slots' users, all of them with a request, cannot all be served in most slots."""
ITERATIONS = 150


def every_set(users, slots, changes):
    """The first `users` users of the first `slots` slots, all active, under `changes`; all sets of them, and which are feasible at what energy."""
    data = instances.read(FILE)
    for name in instances.ARRAYS:
        data[name] = data[name][:slots, :users]
    data.update({name: np.asarray(value) for name, value in changes.items()}, active=np.ones((slots, users), bool))
    found, limits = instances.slots_of(data)
    sets = np.array(list(itertools.product([False, True], repeat=users)))[1:]

    def solve(slot):
        optimum = jax.vmap(lambda served: least_energy(slot, served, limits, iterations=ITERATIONS))(jnp.asarray(sets))
        return optimum.feasible, jnp.sum(optimum.energy_j, axis=1)

    feasible, energy = (np.asarray(each) for each in jax.jit(lambda slots: jax.lax.map(solve, slots))(found))
    active = jnp.asarray(data["active"])
    return SimpleNamespace(slots=found, limits=limits, active=active, size=sets.sum(axis=1), feasible=feasible, energy=energy)


def spent(found):
    """Users served and what that costs, (slots,)."""
    served = np.asarray(found.served)
    assert (np.asarray(found.optimum.feasible) | ~served.any(axis=1)).all()
    return served.sum(axis=1), np.where(served, np.asarray(found.optimum.energy_j), 0).sum(axis=1)


def most_of(known):
    """By slot: how many fewer than can be are served, and where as many are, energy above the least, relative; greatest numbers."""
    run = jax.jit(jax.vmap(lambda slot, active: serve_most(slot, active, known.limits, ITERATIONS)))
    served, energy = spent(run(known.slots, known.active))
    most = np.where(known.feasible, known.size, 0).max(axis=1)
    least = np.where(known.feasible & (known.size == most[:, None]), known.energy, np.inf).min(axis=1)
    above = np.where(served == most, energy / np.where(most > 0, least, 1) - 1, 0) * (most > 0)
    assert (above > -1e-9).all() and (served <= most).all()
    return most, most - served, above


def worthwhile_of(known, worth_j):
    """By slot: Σ energy + Σ worth of whom is not served above the least there is, relative."""
    run = jax.jit(jax.vmap(lambda slot, active, worth: serve_worthwhile(slot, active, worth, known.limits, ITERATIONS)))
    everyone = known.active.shape[1]
    above = []
    for price in worth_j:
        served, energy = spent(run(known.slots, known.active, jnp.full(known.active.shape, price)))
        costs = np.where(known.feasible, known.energy + price * (everyone - known.size), np.inf).min(axis=1)
        above.append((energy + price * (everyone - served)) / np.minimum(costs, price * everyone) - 1)
        assert (above[-1] > -1e-9).all()
    return np.array(above)


WORTH_J = (1e-4, 3e-4, 1e-3, 5e-3)
MEASURED = {
    (8, "short"): (1, 0.056, 0.61),
    (8, "weak"): (1, 0.015, 0.012),
    (8, "loud"): (0, 1e-6, 1e-6),
    (10, "short"): (5, 1.16, 0.19),
    (10, "weak"): (1, 0.015, 0.041),
    (10, "loud"): (1, 0.025, 0.009),
}
"""By users and change, over 40 slots: in how many slots those served cost more than as many others would, by how much at most, and by
how much energy and worth together are above the least at most."""


@pytest.mark.parametrize(
    ("users", "name", "slots"), [(8, "weak", 10), *(pytest.param(*case, 40, marks=pytest.mark.slow) for case in MEASURED)]
)
def test_rules_for_whom_to_serve_against_every_set(users, name, slots):
    """As many are served as can be, in every slot; what that costs is the least there is but for a few slots."""
    dearer, energy_above, cost_above = MEASURED[users, name]
    with jax.enable_x64(True):
        known = every_set(users, slots, HARD[name])
        most, fewer, above = most_of(known)
        off = worthwhile_of(known, WORTH_J if slots > 10 else WORTH_J[1:3])
    assert (most < users).mean() >= 0.4
    assert fewer.max() == 0
    assert (above > 1e-6).sum() <= dearer and above.max() <= energy_above
    assert (off > 1e-6).mean() <= 0.3 and off.max() <= cost_above
