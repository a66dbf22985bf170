"""The optimum of a slot against other solvers, closed forms and brute force; policies in the environment."""

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
from edgetwin.two_timescale.min_energy import least_energy, minimal_power
from edgetwin.two_timescale.optimum import request_energy_bound
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

FOLDER = Path(__file__).parent / "instances"


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


@pytest.mark.parametrize("number", [16, 48, *(pytest.param(each, marks=pytest.mark.slow) for each in (40, 72, 88, 96))])
def test_powers_at_their_limit_against_a_general_solver(number):
    """P_max 1 % below what the optimum would take: somebody is held at it, its mates give up time, and nothing cheaper does."""
    data = dict(np.load(FOLDER / "slots-k10.npz"))
    chosen = np.flatnonzero(data["served"][number])
    with jax.enable_x64(True):
        slots, limits = instances.slots_of(data)
        slot, served = jax.tree.map(lambda each: each[number], slots), jnp.asarray(data["served"][number])

        @jax.jit
        def under(power_max):
            return least_energy(slot, served, limits._replace(tx_power_max_w=power_max), iterations=400)

        free = jax.tree.map(np.asarray, under(1.0))
        power_max = 0.99 * free.power_w[chosen].max()
        held = jax.tree.map(np.asarray, under(power_max))
    energy = held.energy_j.sum()
    assert held.feasible and held.residual < 1e-9
    assert held.power_w[chosen].max() == pytest.approx(power_max, rel=1e-8) and held.pressure[chosen].max() > 0.01
    assert energy > free.energy_j.sum() * (1 + 1e-7)
    assert best_of(data, number, chosen, 2, power_max) == pytest.approx(energy, rel=1e-8)


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
