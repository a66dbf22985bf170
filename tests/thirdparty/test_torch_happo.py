"""The PyTorch yardstick of the benchmarks does the same work as edgetwin: the same world, the same distribution, the same advantages."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from edgetwin.problem import random_action
from edgetwin.scenario import scenario
from edgetwin.two_timescale.task import TwoTimescale

torch = pytest.importorskip("torch", reason="needs torch: make thirdparty")
pytestmark = pytest.mark.thirdparty

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def one_thread():
    """Nothing here is large enough for several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def yardstick():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("happo_torch")


@pytest.fixture(scope="module")
def worlds(yardstick):
    return importlib.import_module("happo_torch_world")


# ------------------------------------------------------------------------------------------------------------- the world


def test_its_numbers_are_those_of_the_physical_preset(worlds):
    physical = scenario("two-timescale/physical")
    task = TwoTimescale(physical)
    np.testing.assert_allclose(np.array(worlds.PHYSICAL["sites_m"]), task.sites_m, rtol=1e-6)
    assert task.server_sites.tolist() == list(range(task.sites)), "each site has a server, as the yardstick takes for granted"
    assert set(task.cpu_hz.tolist()) == {worlds.PHYSICAL["cpu_hz"]}
    named = {"width_m": physical.area.width_m, "users": physical.users.count, "link_rate_bps": physical.backhaul.link_rate_bps}
    for name, value in worlds.PHYSICAL.items():
        if name not in ("sites_m", "cpu_hz"):
            holder = physical.two_timescale if hasattr(physical.two_timescale, name) else physical.users
            assert named.get(name, getattr(holder, name, None)) == value, name


@pytest.fixture(scope="module")
def walk(worlds):
    """Both worlds side by side in double precision, in the same draws under the same random actions: what either says in each slot."""
    with jax.enable_x64(True):
        torch.set_default_dtype(torch.float64)
        try:
            return side_by_side(worlds)
        finally:
            torch.set_default_dtype(torch.float32)


def side_by_side(worlds):
    """{quantity: (theirs, own)}, slots and then episodes first."""
    changes = {
        "two_timescale.frame_slots": 25,
        "two_timescale.frames": 8,
        "two_timescale.migration_slots": 6,
        "area.width_m": 200.0,
    }
    task = TwoTimescale(scenario("two-timescale/physical", changes))
    numbers = {name.partition(".")[2]: value for name, value in changes.items()}
    world = worlds.World({**worlds.PHYSICAL, **numbers, "sites_m": task.sites_m.tolist()})
    slots, keys = task.spec.slots, jax.random.split(jax.random.key(1), 3)
    streams = jax.vmap(task.model.streams)(keys)

    def own(leaf):
        return torch.tensor(np.asarray(leaf))

    start = worlds.Start(*map(own, jax.vmap(task.model.start)(streams)))
    drawn = jax.jit(jax.vmap(jax.vmap(task.model.noise, in_axes=(0, None)), in_axes=(None, 0)))(streams, np.arange(slots + 1))
    _, scenes = world.ahead(world.begin(start), worlds.Noise(*map(own, drawn)))
    seen, twins = world.blank(scenes, 0), world.deploy(start.position_m)
    observe, critics, step = (jax.jit(jax.vmap(method)) for method in (task.observe, task.global_state, task.step))
    act = jax.jit(jax.vmap(lambda key: random_action(task, key)))
    states = jax.vmap(task.reset)(keys)
    said: dict[str, list] = {}

    def note(**quantities):
        for name, pair in quantities.items():
            said.setdefault(name, []).append([np.asarray(one, float) for one in pair])

    for slot in range(slots):
        world.see(seen, slot, slot, twins)
        observation = observe(states)
        note(
            users=(observation.users, seen.users[:, slot].transpose(0, 1)),
            stations=(observation.stations, seen.stations[:, slot].transpose(0, 1)),
            centre=(observation.centre, seen.centre[:, slot].transpose(0, 1)),
            state=(critics(states), seen.state[slot]),
        )
        actions = act(jax.random.split(jax.random.key(100 + slot), len(keys)))
        states, outcome = step(states, actions)
        power, scores, choice = map(own, actions)
        scene = worlds.Scenes(*(part[slot] for part in scenes))
        twins, happened = world.step(slot, scene, twins, power[..., 0], scores, choice[:, 0].long())
        note(
            energy=(outcome.metrics.energy_j, happened.energy_j),
            failed=(outcome.metrics.failures, happened.failed),
            reward=(outcome.rewards.users[:, 0], happened.rewards[:, 0]),
            centre_reward=(outcome.rewards.centre[:, 0], happened.rewards[:, 1]),
            queue=(states.queue, twins.queue),
            host=(states.host, twins.host),
        )
    return {name: np.swapaxes(pairs, 0, 1) if np.ndim(pairs) else pairs for name, pairs in said.items()}


QUANTITIES = ("users", "stations", "centre", "state", "energy", "failed", "reward", "centre_reward", "queue", "host")


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_it_is_edgetwins_world_slot_by_slot(walk, quantity):
    theirs, own = walk[quantity]
    assert theirs.std() > 0
    np.testing.assert_allclose(own, theirs, rtol=1e-9, atol=1e-12)


def test_the_walk_meets_failures_migrations_walls_and_queues(walk):
    failed, host, queue = walk["failed"][0], walk["host"][0], walk["queue"][0]
    assert 0.05 < failed.mean() < 0.45
    assert (host[1:] != host[:-1]).sum() > 400, "random deployments move four twins in five at each of seven frame starts"
    assert queue.max() > 1
    place = walk["users"][0][..., 1:3]
    ways = np.diff(place, axis=0)
    near = np.abs(place[1:-1]) > 0.98
    assert (near & (ways[1:] * ways[:-1] < 0)).sum() > 20, "users turn at walls"


# ------------------------------------------------------------------------------------------------- distribution, advantages


def test_beta_matches_scipy(yardstick):
    rng = np.random.default_rng(0)
    a, b = 1 + rng.exponential(3, (2, 400, 3))
    x = rng.beta(a, b).clip(1e-5, 1 - 1e-5)
    as_torch = [torch.tensor(part, dtype=torch.float32) for part in (np.log(x), np.log1p(-x), a, b)]
    shape = [part.requires_grad_() for part in as_torch[2:]]
    log_prob, entropy = yardstick.BetaTerms.apply(*as_torch)
    np.testing.assert_allclose(log_prob.detach(), stats.beta.logpdf(x, a, b).sum(axis=-1), rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(entropy.detach(), stats.beta.entropy(a, b).sum(axis=-1), rtol=1e-5, atol=2e-5)

    def slope(function, h=1e-4):
        return (function(a + h, b) - function(a - h, b)) / (2 * h), (function(a, b + h) - function(a, b - h)) / (2 * h)

    for value, exact in ((log_prob, lambda a, b: stats.beta.logpdf(x, a, b)), (entropy, stats.beta.entropy)):
        for gradient, expected in zip(torch.autograd.grad(value.sum(), shape, retain_graph=True), slope(exact), strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=2e-5)


def test_samples_follow_their_beta_distributions(yardstick):
    torch.manual_seed(0)
    outputs = torch.tensor([[0.0, -9.0, 3.0, 0.0, -9.0, -1.0]]).expand(20_000, 6)
    first, second = yardstick.beta_sample(outputs[:, :2], outputs)
    a, b = (part[0] for part in yardstick.beta_parameters(outputs))
    assert stats.kstest(first[:, 0], stats.beta(1 + np.log(2), 1 + np.log1p(np.exp(-9.0))).cdf).pvalue > 1e-3
    for column in range(3):
        assert stats.kstest(second[:, column], stats.beta(a[column].item(), b[column].item()).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(second.T)[0, 1:]).max() < 0.03


def test_choices_follow_their_softmax(yardstick):
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0], [-1.0, 0.0]])
    drawn = yardstick.softmax_sample(logits.expand(20_000, 3, 2))
    shares = np.array([np.bincount(drawn[:, user], minlength=3) for user in range(2)]).T / 20_000
    np.testing.assert_allclose(shares, logits.softmax(dim=0), atol=0.015)


@pytest.mark.parametrize("slots", [1, 2, 7, 64, 100])
def test_gae_is_the_recursion(yardstick, slots):
    rng = np.random.default_rng(slots)
    rewards, values = rng.normal(size=(slots, 3, 2)), rng.normal(size=(slots + 1, 3, 2))
    expected, following = np.zeros_like(rewards), 0.0
    for n in reversed(range(slots)):
        following = rewards[n] + 0.9 * values[n + 1] - values[n] + 0.9 * 0.95 * following
        expected[n] = following
    advantages, returns = yardstick.gae(torch.tensor(rewards), torch.tensor(values))
    np.testing.assert_allclose(advantages, expected, rtol=1e-9)
    np.testing.assert_allclose(returns, expected + values[:-1], rtol=1e-9)


# ------------------------------------------------------------------------------------------------------------- Algorithm 1

SMALL = {"users": 4, "frame_slots": 20, "frames": 4, "migration_slots": 3}


def small(yardstick, worlds, critics, environments=2):
    torch.manual_seed(3)
    return yardstick.BetaHappo(worlds.World({**worlds.PHYSICAL, **SMALL}), critics, environments)


def naive(yardstick, learner, block, epochs):
    """Algorithm 1 once more, with torch's own distributions, Adam and loops, and nothing kept from step to step. Returns parameters."""
    users, sites, slots = learner.world.users, learner.world.sites, len(block.rewards)
    networks = [[part.detach().clone().requires_grad_() for part in agent.parameters] for agent in learner.actors]
    critics = [[part.detach().clone().requires_grad_() for part in critic] for critic in learner.critics]
    optimisers, fitters = ([torch.optim.Adam(one, lr=yardstick.LEARNING_RATE) for one in group] for group in (networks, critics))
    seen = [agent[:slots].flatten(0, 1) for part in block.observation[:3] for agent in part]
    did = [agent.flatten(0, 1) for part in (block.users, block.stations, block.centre) for agent in part]

    def through(network, inputs):
        for layer in range(3):
            inputs = inputs @ network[2 * layer].T + network[2 * layer + 1]
            inputs = torch.relu(inputs) if layer < 2 else inputs
        return inputs

    def distribution(agent):
        outputs = through(networks[agent], seen[agent])
        if agent == users + sites:
            return torch.distributions.Categorical(logits=outputs.view(len(outputs), sites, users).transpose(1, 2))
        shape = 1 + torch.nn.functional.softplus(outputs)
        return torch.distributions.Beta(*shape.chunk(2, dim=-1))

    def log_prob(agent):
        return distribution(agent).log_prob(did[agent]).sum(dim=-1)

    with torch.no_grad():
        old = [log_prob(agent) for agent in range(len(networks))]
        states = block.observation.state
        values = torch.stack([through(critic, states)[..., 0] for critic in critics], dim=-1)
        paid = [0] * (users + sites) + [1]
        by_critic = paid if len(critics) > 2 else [0, 1]
        advantages, returns = yardstick.gae(block.rewards[..., by_critic], values)
        advantages, returns = advantages.flatten(0, 1), returns.flatten(0, 1)
    for _ in range(epochs):
        m = torch.ones(len(returns))
        for critic in range(len(critics) if len(critics) == 2 else 0):
            fit(fitters[critic], through(critics[critic], states[:slots].flatten(0, 1))[:, 0], returns[:, critic])
        for agent in torch.randperm(len(networks)).tolist():
            if len(critics) > 2:
                fit(fitters[agent], through(critics[agent], states[:slots].flatten(0, 1))[:, 0], returns[:, agent])
            ratio = (log_prob(agent) - old[agent]).exp()
            advantage = m * advantages[:, agent if len(critics) > 2 else paid[agent]]
            surrogate = torch.minimum(ratio * advantage, ratio.clip(0.8, 1.2) * advantage)
            optimisers[agent].zero_grad()
            (-(surrogate + 0.01 * distribution(agent).entropy().sum(dim=-1)).mean()).backward()
            optimisers[agent].step()
            m = m * (log_prob(agent) - old[agent]).exp().detach()
    return networks, critics


def fit(optimiser, values, returns):
    optimiser.zero_grad()
    (0.5 * (returns - values) ** 2).mean().backward()
    optimiser.step()


@pytest.mark.parametrize("critics", ["reward", "agent"])
def test_an_update_is_algorithm_1(yardstick, worlds, critics, monkeypatch):
    """Steps are large, so that ratios leave the clip and M matters. Rounding makes a difference of 2e-4 of the way that the parameters go;
    leaving out M, the clip or the entropy, or taking M before the step, one of at least 3e-2."""
    monkeypatch.setattr(yardstick, "LEARNING_RATE", 3e-3)
    learner = small(yardstick, worlds, critics)
    block = learner.rollout(20)
    before = parameters_of(learner)
    torch.manual_seed(4)
    networks, fitted = naive(yardstick, learner, block, epochs=5)
    torch.manual_seed(4)
    learner.update(block, epochs=5)
    for began, own, theirs in zip(before, parameters_of(learner), [*networks, *fitted], strict=True):
        theirs = torch.cat([part.detach().flatten() for part in theirs])
        assert (own - theirs).norm() < 5e-3 * (theirs - began).norm()


def parameters_of(learner):
    """Each network's parameters as one vector: actors, then critics."""
    networks = [*(agent.parameters for agent in learner.actors), *learner.critics]
    return [torch.cat([part.detach().flatten() for part in network]) for network in networks]


def test_blocks_continue_episodes_and_begin_new_ones(yardstick, worlds):
    learner = small(yardstick, worlds, "reward")
    first, second = learner.rollout(60), learner.rollout(20)
    np.testing.assert_array_equal(second.observation.state[0], first.observation.state[-1])
    assert learner.held.slot == learner.world.slots
    third = learner.rollout(20)
    assert third.observation.state[0, 0, -1] == 0
    queues = third.observation.users[..., -1]
    assert (queues[:, :20] == 0).all(), "Y[qT] is 0 in the first frame"


def test_measuring_says_what_was_measured(yardstick):
    told = yardstick.measure("agent", 2, 1, epochs=1, slots=200, threads=1)
    assert told["scaled"] and told["epochs"] == 1 and told["slots"] == 200 and len(told["rollout_s"]) == 1
    expected = 150 * 25 * (told["rollout_s"][0] + told["update_s"][0] + 24 * told["epoch_s"][0]) / 60
    assert told["schedule_min"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="must divide"):
        yardstick.measure("reward", 3, 1)
