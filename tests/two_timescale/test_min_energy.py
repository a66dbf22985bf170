"""The optimum of a slot against other solvers, closed forms and brute force; admission against all subsets; policies in the environment."""

from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from edgetwin.errors import InputError
from edgetwin.physical import radio
from edgetwin.problem import View, episode_keys
from edgetwin.registry import policy
from edgetwin.scenario import scenario
from edgetwin.two_timescale import instances
from edgetwin.two_timescale.admission import serve_most, serve_worthwhile
from edgetwin.two_timescale.min_energy import least_energy, minimal_power
from edgetwin.two_timescale.optimum import request_energy_bound
from edgetwin.two_timescale.task import TwoTimescale

FOLDER = Path(__file__).parent / "instances"
SCARCE = {"tx_power_max_w": np.array(0.012), "latency_limit_s": np.array(0.0165)}
"""Limits under which a tenth of the frozen requests of 10 users cannot be served, some for power, some for time."""


def slots_from(users, **changes):
    data = {**instances.read(FOLDER / f"slots-k{users}.npz"), **changes}
    return data, *instances.slots_of(data)


# ------------------------------------------------------------------------------------------------------------------ the optimum


def test_minimal_powers_are_those_of_the_users_own_linear_system():
    """p = (I − ΓF)⁻¹Γu over users gives what the system over sites gives, and every target is met exactly; ρ̂ is at least the radius."""
    draw = np.random.default_rng(0)
    with jax.enable_x64(True):
        for users in (3, 25):
            gain, serving = 10 ** draw.uniform(-9, -7, (users, 5)), draw.integers(0, 5, users)
            share = draw.uniform(0.01, 0.3, users) / users
            target, own = share / (1 - share), gain[np.arange(users), serving]
            across = target[:, None] * gain[:, serving].T / own[:, None] * (1 - np.eye(users))
            wanted = np.linalg.solve(np.eye(users) - across, target * 1e-9 / own)
            power, load = jax.jit(minimal_power)(jnp.asarray(share), jnp.asarray(gain), jnp.asarray(serving), 1e-9)
            assert np.allclose(power, wanted, rtol=1e-10)
            assert np.allclose(jax.jit(radio.uplink_sinr)(gain, power, serving, 1e-9), target, rtol=1e-10)
            coupling = (gain / own[:, None]).T @ (share[:, None] * np.eye(5)[serving])
            radius = np.abs(np.linalg.eigvals(coupling)).max()
            assert radius * (1 - 1e-12) <= load <= radius * (1 + 1e-2)


def energy_of(logits, data, number, chosen):
    """Σ p·t and the greatest power, with shares a softmax of `logits` (CPU, then link); users' own linear system, plain NumPy."""
    gain, serving, host = (data[name][number][chosen] for name in ("gain", "serving", "host"))
    bits, cycles, users = data["data_bits"][number][chosen], data["cycles"][number][chosen], len(serving)
    cpu, link = np.exp(logits[:users]), np.exp(logits[users:])
    left = np.full(users, float(data["latency_limit_s"]))
    for k in range(users):
        left[k] -= cycles[k] * cpu[host == host[k]].sum() / cpu[k] / data["cpu_max_hz"]
        if serving[k] != host[k]:
            mates = (serving == serving[k]) & (host == host[k])
            left[k] -= bits[k] * link[mates].sum() / link[k] / data["link_rate_bps"]
    if left.min() <= 1e-4:
        return 1.0, np.inf
    target, own = np.expm1(np.log(2) * bits / (data["bandwidth_hz"] * left)), gain[np.arange(users), serving]
    across = target[:, None] * gain[:, serving].T / own[:, None] * (1 - np.eye(users))
    power = np.linalg.solve(np.eye(users) - across, target * data["noise_power_w"] / own)
    return (1.0, np.inf) if power.min() <= 0 else (float(power @ left), float(power.max()))


def best_of(data, number, chosen, restarts, power_max=None):
    """Least energy that a general solver finds over the shares, from random starts."""
    users, draw = len(chosen), np.random.default_rng(number)
    found = []
    for _ in range(restarts):
        start = np.log(np.concatenate([data["cycles"][number][chosen], data["data_bits"][number][chosen]]))
        start += draw.normal(0, 0.3, 2 * users)
        if power_max is None:
            answer = minimize(
                lambda x: np.log(energy_of(x, data, number, chosen)[0]), start, method="BFGS", options={"gtol": 1e-7}
            )
        else:
            limit = {"type": "ineq", "fun": lambda x: np.log(power_max / energy_of(x, data, number, chosen)[1])}
            answer = minimize(
                lambda x: np.log(energy_of(x, data, number, chosen)[0]),
                start,
                method="SLSQP",
                constraints=limit,
                options={"ftol": 1e-12, "maxiter": 300},
            )
        found.append(np.exp(answer.fun))
    return min(found)


@pytest.mark.parametrize(
    ("users", "numbers", "restarts"),
    [
        (10, range(4), 1),
        pytest.param(10, range(40), 2, marks=pytest.mark.slow),
        pytest.param(30, range(15), 2, marks=pytest.mark.slow),
    ],
)
def test_a_general_solver_finds_nothing_less_and_the_same(users, numbers, restarts):
    data = dict(np.load(FOLDER / f"slots-k{users}.npz"))
    for number in numbers:
        chosen = np.flatnonzero(data["served"][number])
        assert best_of(data, number, chosen, restarts) == pytest.approx(data["energy_j"][number], rel=1e-6)


def test_a_user_alone_needs_what_the_closed_form_says():
    data, *_ = slots_from(10)
    lone = np.zeros((120, 10), bool)
    lone[np.arange(120), np.arange(120) % 10] = True
    with jax.enable_x64(True):
        slots, limits = instances.slots_of({**data, "host": data["serving"]})
        found = jax.jit(jax.vmap(lambda slot, served: least_energy(slot, served, limits)))(slots, lone)
        energy = np.asarray(found.energy_j)[lone]
    gain = np.take_along_axis(data["gain"], data["serving"][..., None], axis=2)[..., 0][lone]
    bound = request_energy_bound(
        gain,
        data["data_bits"][lone],
        data["cycles"][lone],
        bandwidth_hz=float(data["bandwidth_hz"]),
        noise_power_w=float(data["noise_power_w"]),
        tx_power_max_w=float(data["tx_power_max_w"]),
        latency_limit_s=float(data["latency_limit_s"]),
        cpu_max_hz=float(data["cpu_max_hz"]),
    )
    assert np.allclose(energy, bound, rtol=1e-10)


# -------------------------------------------------------------------------------------------------------------------- admission


def subsets_solved(data, number):
    """Every subset of a slot's requests: (subsets, users) bool, which are feasible, and their energies."""
    active = np.flatnonzero(data["active"][number])
    sets = [subset for size in range(len(active) + 1) for subset in combinations(active, size)]
    served = np.zeros((1 << 7, data["active"].shape[1]), bool)
    for row, subset in enumerate(sets):
        served[row, list(subset)] = True
    slots, limits = instances.slots_of(data)
    one = jax.tree.map(lambda each: each[number], slots)
    found = _subsets(one, jnp.asarray(served), limits)
    return served[: len(sets)], np.asarray(found.feasible)[: len(sets)], np.asarray(found.energy_j).sum(axis=1)[: len(sets)]


_subsets = jax.jit(jax.vmap(lambda *all_of: least_energy(*all_of, iterations=400), in_axes=(None, 0, None)))


def few_active(data, least, most, count):
    numbers = [number for number, active in enumerate(data["active"].sum(axis=1)) if least <= active <= most]
    return np.array(numbers[:count])


@pytest.mark.slow
def test_admission_against_all_subsets():
    """Of 40 slots in which requests must be left out, in how many the rules serve fewer than could be, or dearer: none, and at most two."""
    with jax.enable_x64(True):
        data, slots, limits = slots_from(10, **SCARCE)
        found = jax.jit(jax.vmap(lambda slot, active: serve_most(slot, active, limits, 400)))(slots, jnp.asarray(data["active"]))
        fewer = dearer = scarce = 0
        for number in few_active(data, 4, 7, 40):
            served, feasible, energy = subsets_solved(data, number)
            most = served[feasible].sum(axis=1).max()
            least = energy[feasible & (served.sum(axis=1) == most)].min()
            mine = np.asarray(found.served[number])
            scarce += most < data["active"][number].sum()
            fewer += mine.sum() < most
            dearer += mine.sum() == most and float(found.optimum.energy_j[number][mine].sum()) > least * (1 + 1e-6)
        assert scarce >= 10
        assert fewer == 0 and dearer <= 2


@pytest.mark.slow
def test_serving_what_is_worth_it_against_all_subsets():
    """The sum of energies and of what failing costs is within 1 % of the least over all subsets, in the mean."""
    with jax.enable_x64(True):
        data, slots, limits = slots_from(10)
        worth = jnp.asarray(np.random.default_rng(0).uniform(0, 2e-4, data["active"].shape))
        solved = jax.jit(jax.vmap(lambda slot, active, price: serve_worthwhile(slot, active, price, limits, 400)))
        found = solved(slots, jnp.asarray(data["active"]), worth)
        mine, least = [], []
        for number in few_active(data, 4, 7, 40):
            served, feasible, energy = subsets_solved(data, number)
            price = np.asarray(worth[number])
            total = energy + (price * (data["active"][number] & ~served)).sum(axis=1)
            chosen = np.asarray(found.served[number])
            mine.append(
                np.asarray(found.optimum.energy_j[number])[chosen].sum() + (price * (data["active"][number] & ~chosen)).sum()
            )
            least.append(total[feasible].min())
    assert (np.array(mine) >= np.array(least) * (1 - 1e-9)).all()
    assert np.mean(mine) <= 1.01 * np.mean(least)


# --------------------------------------------------------------------------------------------------------------------- policies


SMALL = {"users.count": 12, "two_timescale.frames": 4, "two_timescale.frame_slots": 15, "two_timescale.migration_slots": 4}


def run(task, named, slots, seed=0):
    """Per slot and user: requests that could be served (nobody's twin away), failures, energies; one network."""
    made = policy(task, named)

    @jax.jit
    def episode(key):
        state = task.reset(key)
        carry = made.init(key, View(task.observe(state), state))

        def slot(loop, number):
            state, carry = loop
            carry, action = made.act(carry, View(task.observe(state), state), jax.random.fold_in(key, number))
            done = task.synchronise(state, action)
            after, outcome = task.step(state, action)
            told = (
                done.sending,
                outcome.metrics.failures,
                outcome.metrics.energy_j,
                action.users[:, 0],
                outcome.metrics.requests,
            )
            return (after, carry), told

        return jax.lax.scan(slot, (state, carry), jnp.arange(slots))[1]

    return [np.asarray(each) for each in episode(episode_keys(seed, 1)[0])]


@pytest.mark.parametrize("changes", [{}, {"two_timescale.interference": "literal", "two_timescale.association": "learned"}])
def test_whoever_min_energy_gives_power_succeeds(changes):
    """Shares and powers, in single precision, mean in the environment what the plan meant; and others keep silent."""
    task = TwoTimescale(scenario("two-timescale/physical", {**SMALL, **changes}))
    sending, failures, energy, share, requests = run(task, "min-energy+nearest", task.spec.slots)
    assert ((share > 0) <= (requests > 0)).all()
    assert not (failures[sending & (share > 0)]).any() and failures[~sending & (requests > 0)].all()
    assert (energy[sending] > 0).mean() > 0.99


def test_knobs_that_make_no_sense_are_refused():
    task = TwoTimescale(scenario("two-timescale/physical", SMALL))
    for name, said in [
        ("min-energy[served=file]+nearest", "served = file: only"),
        ("drift-plus-penalty[start=-1]+nearest", "start = -1: must be at least 0"),
        ("drift-plus-penalty[queue=day]+nearest", "queue = day: must be slot or frame"),
    ]:
        with pytest.raises(InputError, match=said):
            policy(task, name)


def kept(frames, frame_slots, epsilon, users):
    """Failures per slot of each user, energy of drift-plus-penalty and of min-energy, over one network."""
    changes = {
        "users.count": users,
        "two_timescale.frames": frames,
        "two_timescale.frame_slots": frame_slots,
        "two_timescale.failure_ratio_max": epsilon,
    }
    task = TwoTimescale(scenario("two-timescale/physical", changes))
    _, failures, energy, *_ = run(task, "drift-plus-penalty+static", task.spec.slots)
    _, _, most, *_ = run(task, "min-energy+static", task.spec.slots)
    return failures.mean(axis=0), energy.sum(), most.sum()


def test_reliability_is_kept_for_every_user():
    failures, energy, most = kept(60, 25, 0.2, 8)
    assert failures.max() <= 0.2 and failures.min() > 0.15
    assert energy < most


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.2])
def test_reliability_is_kept_for_every_user_over_500_frames(epsilon):
    failures, energy, most = kept(500, 100, epsilon, 10)
    assert failures.max() <= epsilon
    assert energy < most
