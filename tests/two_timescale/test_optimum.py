"""The lower bound: what it says of one request against brute force, and that nothing anyone does on any reading gets below it."""

from itertools import combinations
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from edgetwin.problem import View, episode_keys, random_action
from edgetwin.registry import policy
from edgetwin.scenario import replace, scenario
from edgetwin.two_timescale.interference_bound import served_by_one, slot_bound, together
from edgetwin.two_timescale.optimum import cheapest, request_energy_bound
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

BAND, NOISE, LIMIT, CPU = 10e6, 1e-9, 0.03, 10e9
POWER_MAX = 1.5e-3


def bound_of(gain, data, cycles, power_max=0.5):
    return request_energy_bound(
        gain,
        data,
        cycles,
        bandwidth_hz=BAND,
        noise_power_w=NOISE,
        tx_power_max_w=power_max,
        latency_limit_s=LIMIT,
        cpu_max_hz=CPU,
    )


# ---------------------------------------------------------------------------------------------------------------- one request


@settings(max_examples=60, deadline=None)
@given(
    gain=st.floats(-10, -5).map(lambda exponent: 10**exponent),
    data=st.floats(5e3, 1e5),
    cycles=st.floats(1e6, 2.5e8),
    power_max=st.floats(-3, 1).map(lambda exponent: 10**exponent),
)
def test_a_request_against_brute_force(gain, data, cycles, power_max):
    """Over all ways to split the time between sending and computing, at the power each needs, if it may have it."""
    longest = LIMIT - cycles / CPU

    def power(sending_s):
        return (2 ** (data / (BAND * sending_s)) - 1) * NOISE / gain

    found = minimize_scalar(
        lambda time: time * power(time), bounds=(longest / 50, longest), method="bounded", options={"xatol": 1e-12}
    )
    bound = float(bound_of(gain, data, cycles, power_max))
    if power(longest) > power_max:
        assert bound == np.inf
        assert all(power(time) > power_max for time in np.linspace(longest / 50, longest, 50))
    else:
        assert bound == pytest.approx(found.fun, rel=1e-4)
        assert bound <= found.fun * (1 + 1e-12)


def test_no_request_is_served_beyond_the_greatest_power_or_without_time():
    power = (2 ** (2e4 / (BAND * 0.02)) - 1) * NOISE / 1e-8
    at_the_limit, just_beyond = bound_of(1e-8, 2e4, 1e8, power * (1 + 1e-12)), bound_of(1e-8, 2e4, 1e8, power * (1 - 1e-12))
    assert at_the_limit == pytest.approx(0.02 * power) and just_beyond == np.inf
    assert (bound_of(1e-3, 2e4, np.array([3e8, 4e8, 1e12]), 1e9) == np.inf).all()
    assert (bound_of(np.array([1e-30, 1e-300]), 2e4, 1e7) == np.inf).all()


@settings(max_examples=100, deadline=None)
@given(
    energies=st.lists(st.one_of(st.floats(0, 10), st.just(np.inf)), min_size=1, max_size=7).map(np.array),
    data=st.data(),
)
def test_cheapest_against_all_subsets(energies, data):
    """The least sum over all choices of who fails; who cannot be served fails whatever was allowed."""
    failures = data.draw(st.integers(0, len(energies)))
    served = len(energies) - max(failures, int(np.isinf(energies).sum()))
    brute = min(sum(chosen) for chosen in combinations(energies, served))
    assert cheapest(energies, failures) == pytest.approx(brute)
    if failures:
        assert cheapest(energies, failures) <= cheapest(energies, failures - 1)


# ---------------------------------------------------------------------------------------------------------------- a lone user


@pytest.fixture(scope="module")
def lone():
    """A user alone, with a request in every slot and so little power that some cannot be served: what any share of it brings."""
    changes = {"users.count": 1, "two_timescale.request_probability": 1.0, "two_timescale.tx_power_max_w": POWER_MAX}
    task = TwoTimescale(scenario("two-timescale/physical", changes))
    keys, slots = episode_keys(0, 12), 80

    @jax.jit
    def everything(keys):
        worlds = jax.vmap(lambda key: task.trace(key, slots))(keys)
        return jax.tree.map(lambda drawn: drawn.reshape(-1, *drawn.shape[2:]), worlds), task.reset(keys[0])

    worlds, start = everything(keys)
    nearest = jax.vmap(task.nearest_site)(worlds.position_m)

    @jax.jit
    @jax.vmap
    def outcome(world, site, share):
        state = start._replace(world=world, serving=site, host=site)
        metrics = task.step(state, task.action(share[None, None], jnp.ones((5, 2)), site[None]))[1].metrics
        return metrics.energy_j[0], metrics.failures[0]

    gain = np.asarray(worlds.gain, float)[np.arange(len(nearest)), 0, nearest[:, 0]]
    data = np.asarray(worlds.data_bits, float)[:, 0]
    cycles = data * np.asarray(worlds.cycles_per_bit, float)[:, 0]
    return SimpleNamespace(
        task=task,
        keys=keys,
        slots=slots,
        outcome=lambda watts: map(np.asarray, outcome(worlds, nearest, jnp.asarray(watts / POWER_MAX, jnp.float32))),
        bound=bound_of(gain, data, cycles, POWER_MAX),
        bound_best_site=bound_of(np.asarray(worlds.gain, float)[:, 0].max(axis=1), data, cycles, POWER_MAX),
        power=(2 ** (data / (BAND * (LIMIT - cycles / CPU))) - 1) * NOISE / gain,
    )


def test_a_lone_user_reaches_the_bound(lone):
    """A hair more than the least power serves every request that can be served, for the bound's energy; a hair less serves none."""
    possible = np.isfinite(lone.bound)
    assert 0.05 < possible.mean() < 0.95
    energy, failed = lone.outcome(lone.power * (1 + 1e-4))
    assert not failed[possible].any()
    assert (energy[possible] >= lone.bound[possible] * (1 - 1e-5)).all()
    assert np.allclose(energy[possible], lone.bound[possible], rtol=3e-4)
    _, failed = lone.outcome(lone.power * (1 - 1e-4))
    assert failed.all()


def test_requests_beyond_the_greatest_power_fail_whatever_is_done(lone):
    _, failed = lone.outcome(np.full(len(lone.bound), POWER_MAX))
    clear = np.abs(lone.power / POWER_MAX - 1) > 1e-4
    assert (failed[clear] == np.isinf(lone.bound)[clear]).all()


def test_the_task_s_bound_is_the_sum_over_its_requests(lone):
    bound = lone.task.bound(lone.keys, lone.slots)
    requests = len(lone.bound)
    ratios = [0.0, 0.1, 0.3, 0.9, 1.0]
    found = [bound({"failure_per_request": ratio})["energy_mj_per_request"] for ratio in ratios]
    wanted = [1e3 * np.sort(lone.bound)[: requests - round(ratio * requests)] for ratio in ratios]
    assert found == pytest.approx([each[np.isfinite(each)].sum() / requests for each in wanted], rel=1e-4)
    assert found[0] >= found[1] >= found[2] > found[3] > found[4] == 0
    assert bound({"failure_per_request": 0.3})["energy_mj_per_slot"] == pytest.approx(found[2])


def test_with_a_learned_association_the_bound_takes_the_best_site(lone):
    free = TwoTimescale(replace(lone.task.scenario, {"two_timescale.association": "learned"}))
    found = free.bound(lone.keys, lone.slots)({"failure_per_request": 0.1})["energy_mj_per_request"]
    kept = 1e3 * np.sort(lone.bound_best_site)[: len(lone.bound) - round(0.1 * len(lone.bound))]
    assert found == pytest.approx(kept[np.isfinite(kept)].sum() / len(lone.bound), rel=1e-4)
    assert (lone.bound_best_site <= lone.bound).all() and (lone.bound_best_site < lone.bound).any()


# ------------------------------------------------------------------------------------------------------------------ no policy

SHORT = {"users.count": 8, "two_timescale.frames": 4, "two_timescale.frame_slots": 15, "two_timescale.migration_slots": 4}
READINGS = {
    "physical": ("two-timescale/physical", {}),
    "paper-literal, scarce servers": ("two-timescale/paper-literal", {"sites.count": 6, "servers.count": 2}),
    "learned association, extended, few requests": (
        "two-timescale/physical",
        {
            "two_timescale.association": "learned",
            "two_timescale.observation": "extended",
            "two_timescale.request_probability": 0.2,
        },
    ),
}
RULES = [
    "full-power+nearest",
    "inversion[snr=5]+nearest",
    "inversion[snr=0.5]+static",
    "distance-rule[a=0.9,t0=0.015,x=2]+nearest",
]


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
def test_no_policy_gets_below_its_bound(reading):
    """Rules, and random powers on a linear and a logarithmic scale with random shares and hosts; per episode and pooled."""
    name, changes = READINGS[reading]
    task = TwoTimescale(scenario(name, {**SHORT, **changes}))
    everyone = [policy(task, rule) for rule in RULES]
    keys, slots = episode_keys(0, 2), task.spec.slots

    @jax.jit
    def run(choice, key):
        state = task.reset(key)
        carries = tuple(rule.init(key, View(task.observe(state))) for rule in everyone)

        def slot(loop, number):
            state, carries = loop
            view = View(task.observe(state))
            after, actions = zip(
                *[rule.act(carry, view, key) for rule, carry in zip(everyone, carries, strict=True)], strict=True
            )
            linear = random_action(task, jax.random.fold_in(key, number))
            decades = linear._replace(users=linear.users.at[:, 0].set(10 ** (-4 * linear.users[:, 0])))
            action = jax.tree.map(lambda *each: jnp.stack(each)[choice], *actions, linear, decades)
            state, outcome = task.step(state, action)
            return (state, after), outcome.metrics

        metrics = jax.lax.scan(slot, (state, carries), jnp.arange(slots))[1]
        return jax.tree.map(lambda each: each.sum(axis=0), metrics)

    bounds = [task.bound(keys[index : index + 1], slots) for index in range(len(keys))]
    pooled = task.bound(keys, slots)
    failing = []
    for choice in range(len(everyone) + 2):
        totals = [jax.tree.map(np.asarray, run(choice, key)) for key in keys]
        for total, bound in [*zip(totals, bounds, strict=True), (jax.tree.map(lambda *each: sum(each), *totals), pooled)]:
            metrics = {name: share.numerator / share.denominator for name, share in task.summary(total).items()}
            for metric, least in bound(metrics).items():
                assert metrics[metric] >= least * (1 - 1e-5), (choice, metric)
        failing.append(metrics["failure_per_request"])
    assert min(failing) < 0.2 < 0.3 < max(failing)


# -------------------------------------------------------------------------------------------------------------- interference kept


def requests_together(seed, users):
    """Users somewhere near five sites, in SI units, float64: gains, serving sites, D·ln 2/B, sending times."""
    draw = np.random.default_rng(seed)
    gain = 10 ** draw.uniform(-8.5, -7.5, (users, 5))
    serving = draw.integers(0, 5, users)
    gain[np.arange(users), serving] = 10 ** draw.uniform(-8, -6.5, users)
    return gain, serving, draw.uniform(0.03, 0.12, users) * LIMIT, draw.uniform(0.7, 0.95, users) * LIMIT


def least_together(gain, serving, nats, time, kept):
    """Σ p·t of the least powers with interference counted `kept` times, by the users' own linear system."""
    users = len(serving)
    own, target = gain[np.arange(users), serving], np.expm1(nats / time)
    across = kept * target[:, None] * gain[:, serving].T / own[:, None] * (1 - np.eye(users))
    assert np.abs(np.linalg.eigvals(across)).max() < 1
    return np.linalg.solve(np.eye(users) - across, target * NOISE / own) @ time


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.0])
def test_leaving_requests_out_saves_at_most_their_prices(kept):
    """Every subset of eight requests, by brute force. Without interference it saves exactly that; prices are the slopes."""
    for seed in range(4):
        each = requests_together(seed, 8)
        with jax.enable_x64(True):
            asked = [jnp.asarray(one) for one in (*each, np.ones(8, bool))]
            energy, saved = (np.asarray(found) for found in together(*asked, NOISE, kept))
        assert energy == pytest.approx(least_together(*each, kept), rel=1e-9)
        for count in range(1, 8):
            for left_out in combinations(range(8), count):
                rest = np.delete(np.arange(8), left_out)
                bound = energy - saved[list(left_out)].sum()
                least = least_together(*(one[rest] for one in each), kept)
                assert least >= bound * (1 - 1e-9) and (kept or least == pytest.approx(bound, rel=1e-9))
        nudged = each[2].copy()
        nudged[3] = np.log1p(np.expm1(nudged[3] / each[3][3]) * (1 + 1e-6)) * each[3][3]
        slope = (least_together(each[0], each[1], nudged, each[3], kept) - energy) / 1e-6
        assert saved[3] == pytest.approx(slope, rel=1e-4)


def test_a_slot_s_bound_against_every_set_left_out():
    """Least over all sets left out of what the rest costs together, each with a whole server, plus the price of those left out; and no
    less when nobody is left out than with one server for all."""
    prices = np.array([0.0, 1e-6, 1e-5, 3e-5, 1e-4, 1.0])
    for seed in range(4):
        gain, serving, nats, time = each = requests_together(seed, 7)
        cpu = (LIMIT - time) / 5
        with jax.enable_x64(True):
            asked = [jnp.asarray(one) for one in (*each, cpu, np.ones(7, bool))]
            found = np.asarray(slot_bound(*asked, NOISE, LIMIT, jnp.asarray(prices)))
            pooled = float(served_by_one(*asked[:3], *asked[4:], NOISE, LIMIT))
        everyone = least_together(*each, 1.0)
        costs = [max(everyone, pooled) + 0 * prices]
        for count in range(1, 8):
            for left_out in combinations(range(7), count):
                rest = np.delete(np.arange(7), left_out)
                costs.append((least_together(*(one[rest] for one in each), 1.0) if len(rest) else 0) + prices * count)
        assert (found <= np.min(costs, axis=0) * (1 + 1e-6) + 1e-15).all()
        assert found[-1] == pytest.approx(max(everyone, pooled), rel=1e-6)


def test_the_bound_with_interference_is_tighter_where_all_are_served():
    """By a quarter at K = 30 without failures, and it meets the closed form where many requests are dropped."""
    task = TwoTimescale(scenario("two-timescale/physical"))
    keys, slots = episode_keys(3, 2), 200
    bound = task.bound(keys, slots)
    world = jax.vmap(lambda key: task.trace(key, slots))(keys)
    serving = np.asarray(jax.vmap(jax.vmap(task.nearest_site))(world.position_m))
    gain = np.take_along_axis(np.asarray(world.gain), serving[..., None], axis=-1)[..., 0]
    data, asked = np.asarray(world.data_bits, float), np.asarray(world.requesting)
    alone = bound_of(gain[asked], data[asked], (data * np.asarray(world.cycles_per_bit))[asked])
    share = lambda failures: (  # noqa: E731
        bound({"failure_per_request": failures})["energy_mj_per_slot"]
        / (1e3 * cheapest(alone, round(failures * len(alone))) / asked.size)
    )
    assert share(0.0) > 1.2 and share(0.01) > 1.05
    assert share(0.6) == pytest.approx(1, rel=0.01) and share(0.6) >= 1
