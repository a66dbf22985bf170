"""How the learner is fitted to the problem: what roles look at, against the true state; what their draws do; trained runs as any other."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from edgetwin import registry
from edgetwin.errors import InputError
from edgetwin.evaluation.check import check_policy
from edgetwin.learning import arrays, trainer
from edgetwin.problem import episode_keys
from edgetwin.two_timescale import agents

USERS, SITES, SEATS, FRAME = 12, 3, 8, 8
SHORT = {"two_timescale.frames": 2, "two_timescale.frame_slots": FRAME, "two_timescale.migration_slots": 3}
RAW = agents.Fitting(features="raw", per_user=False, rewards="global")


def make(users=USERS, **changes):
    own = {f"two_timescale.{key}": value for key, value in changes.items()}
    return et.task(
        "two-timescale", et.scenario("two-timescale/physical", {**SHORT, "users.count": users, "sites.count": SITES, **own})
    )


@pytest.fixture(scope="module", params=["paper", pytest.param("extended", marks=pytest.mark.slow)])
def seen(request):
    """Slots of many networks, twins anywhere, in ten of them all at one server, whose seats run out; queues above 0."""
    task, rng = make(observation=request.param, request_probability=0.8, path_loss_exponent=2.3), np.random.default_rng(0)
    states = jax.jit(jax.vmap(task.reset))(episode_keys(0, 40))
    host = rng.integers(0, SITES, (40, USERS))
    host = np.where(rng.random(host.shape) < 0.5, np.asarray(states.serving), host)
    host[:10] = 0
    states = states._replace(host=jnp.array(host), queue_frame=jnp.array(rng.exponential(3, host.shape), jnp.float32))
    observed = jax.jit(jax.vmap(task.observe))(states)
    world = jax.tree.map(np.asarray, states.world)
    metres = np.linalg.norm(world.position_m[:, :, None].astype(float) - np.asarray(task.network.sites_xy_m, float), axis=-1)
    decades = np.log10(1e-3 / np.maximum(metres, 1) ** 2.3 / task.radio.noise_power_w)
    return SimpleNamespace(
        task=task,
        observed=observed,
        world=world,
        metres=metres,
        decades=decades / 2 - 1.5,
        serving=np.asarray(states.serving),
        host=host,
        queue=np.asarray(states.queue_frame, float),
    )


def features(role, observed):
    return np.asarray(jax.jit(jax.vmap(role.features))(observed))


def test_users_look_at_what_they_observe_and_at_the_mean_gains_that_follow_from_it(seen):
    """Of the nearest site, then of every site: decades above the noise, halved, less 1.5. Raw, at nothing else than they observe."""
    found = features(agents.users_role(seen.task, agents.Fitting()), seen.observed.users)
    own = np.take_along_axis(seen.decades, seen.serving[..., None], axis=-1)
    assert found[..., : -1 - SITES] == pytest.approx(np.asarray(seen.observed.users))
    assert found[..., -1 - SITES :] == pytest.approx(np.concatenate([own, seen.decades], axis=-1), abs=1e-4)
    assert features(agents.users_role(seen.task, RAW), seen.observed.users) == pytest.approx(np.asarray(seen.observed.users))


def seats_by_hand(seen, network, station):
    """The first users with a request that a station serves or hosts, in their order."""
    concerned = [
        user
        for user in range(USERS)
        if seen.world.requesting[network, user] and station in (seen.serving[network, user], seen.host[network, user])
    ]
    return concerned[:SEATS], len(concerned) > SEATS


def test_stations_look_at_those_who_have_a_seat(seen):
    """Request, served, hosted, both; decades to the serving site; D, C, τ. And the same for all seats: requests that it computes and that
    it passes on, and which station it is. Empty seats are zeros but for these."""
    found, full = features(agents.stations_role(seen.task, agents.Fitting()), seen.observed.stations), 0
    assert found.shape == (40, SITES, SEATS, 11)
    for network in range(40):
        for station in range(SITES):
            concerned, more = seats_by_hand(seen, network, station)
            full += more
            served, hosted = seen.serving[network] == station, seen.host[network] == station
            asked = seen.world.requesting[network]
            load = [(asked & hosted).sum() / 10, (asked & served & ~hosted).sum() / 10, (station + 1) / SITES]
            for seat in range(SEATS):
                expected = np.zeros(8)
                if seat < len(concerned):
                    user = concerned[seat]
                    expected = [
                        1,
                        served[user],
                        hosted[user],
                        served[user] and hosted[user],
                        seen.decades[network, user, seen.serving[network, user]],
                        seen.world.data_bits[network, user] / seen.task.radio.data_bits[1],
                        seen.world.cycles_per_bit[network, user] / seen.task.radio.cycles_per_bit[1],
                        seen.task.radio.latency_limit_s / seen.task.radio.slot_s,
                    ]
                assert found[network, station, seat] == pytest.approx(np.array([*expected, *load], float), abs=1e-4)
    assert full > 5, "some stations are concerned with more than they have seats for"


def test_the_centre_looks_at_every_user_and_server(seen):
    """Per server: is it the host, is it where the user is served, how far, how many other twins, how many of them from elsewhere."""
    found = features(agents.centre_role(seen.task, agents.Fitting()), seen.observed.centre)
    assert found.shape == (40, 1, USERS, 5 * SITES + 2)
    servers = range(SITES)
    for network in range(0, 40, 7):
        host, serving = seen.host[network], seen.serving[network]
        for user in range(USERS):
            others = [other for other in range(USERS) if other != user]
            expected = [
                *(host[user] == server for server in servers),
                *(serving[user] == server for server in servers),
                *(seen.metres[network, user] / seen.task.network.width_m),
                *(sum(host[other] == server for other in others) / 10 for server in servers),
                *(sum(host[other] == server != serving[other] for other in others) / 10 for server in servers),
                np.log1p(seen.queue[network, user]) / 5,
                host[user] == serving[user],
            ]
            assert found[network, 0, user] == pytest.approx(np.array(expected, float), abs=1e-3)


@pytest.mark.parametrize("power", ["linear", "log", "snr"])
@pytest.mark.parametrize("distribution", ["mode", "gaussian"])
def test_draws_become_powers(seen, power, distribution):
    """As they are; over four decades; or as the mean SNR that a power gives without interference, as far as P_max allows. A Gaussian's
    beyond the bounds counts as the bound."""
    role = agents.users_role(seen.task, agents.Fitting(power=power, distribution=distribution))
    drawn = np.random.default_rng(1).uniform(-0.3, 1.3, (40, USERS, 1)).astype(np.float32)
    drawn = drawn if distribution == "gaussian" else drawn.clip(0, 1)
    share = np.asarray(jax.jit(jax.vmap(role.decode))(drawn, seen.observed.users))[..., 0]
    inside = drawn[..., 0].clip(0, 1).astype(float)
    gain_to_noise = 10 ** (2 * (np.take_along_axis(seen.decades, seen.serving[..., None], axis=-1)[..., 0] + 1.5))
    expected = {
        "linear": inside,
        "log": 10 ** (4 * (inside - 1)),
        "snr": np.minimum(0.015 * (37.5 / 0.015) ** inside / gain_to_noise / seen.task.radio.tx_power_max_w, 1),
    }[power]
    assert share == pytest.approx(expected, rel=2e-3)
    assert (share >= 0).all() and (share <= 1).all()
    if power == "snr":
        assert (share == 1).any() and (share < 1).any()


def test_draws_become_scores_of_those_who_have_a_seat(seen):
    """Over one decade, [0.1, 1]; of the others its middle."""
    role = agents.stations_role(seen.task, agents.Fitting())
    drawn = np.random.default_rng(1).random((40, SITES, 2 * SEATS)).astype(np.float32)
    scores = np.asarray(jax.jit(jax.vmap(role.decode))(drawn, seen.observed.stations))
    for network in range(40):
        for station in range(SITES):
            expected = np.full((2, USERS), 10**-0.5)
            for seat, user in enumerate(seats_by_hand(seen, network, station)[0]):
                expected[:, user] = [10 ** (drawn[network, station, kind * SEATS + seat] - 1) for kind in (0, 1)]
            assert scores[network, station] == pytest.approx(expected.ravel(), rel=1e-5)


def test_a_station_says_all_cpu_scores_and_then_all_link_scores(seen):
    """Its network says four numbers for each seat: two of each score's distribution. Its critic says two values, one of each score."""
    role = agents.stations_role(seen.task, agents.Fitting())
    said = jnp.arange(5 * SEATS * 4.0).reshape(5, SEATS, 4)
    outputs = np.asarray(role.outputs(lambda looked_at: said, jnp.zeros((5, SEATS, 11))))
    values = np.asarray(role.value(lambda looked_at: said[..., :2], jnp.zeros((5, SEATS, 11))))
    assert outputs.shape == (5, 2 * SEATS, 2) and values.shape == (5, 2 * SEATS) and role.credits == role.components == 2 * SEATS
    for row in range(5):
        for seat in range(SEATS):
            for kind in (0, 1):
                assert outputs[row, kind * SEATS + seat].tolist() == said[row, seat, 2 * kind : 2 * kind + 2].tolist()
                assert values[row, kind * SEATS + seat] == said[row, seat, kind]
    shared = agents.stations_role(seen.task, agents.Fitting(rewards="global"))
    assert np.asarray(shared.value(lambda looked_at: said[..., :2], jnp.zeros((5, SEATS, 11)))) == pytest.approx(
        values.mean(axis=1, keepdims=True)
    )


def test_seats_are_for_those_concerned_in_order():
    concerned = np.random.default_rng(0).random((50, 9)) < 0.5
    found = np.asarray(agents.seating(jnp.array(concerned), 4))
    for row, expected in zip(found, concerned, strict=True):
        by_hand = np.zeros((9, 4))
        for seat, user in enumerate(np.flatnonzero(expected)[:4]):
            by_hand[user, seat] = 1
        assert (row == by_hand).all()
    assert [agents.seats_of(SimpleNamespace(users=users)) for users in (3, 8, 12, 30, 58)] == [3, 8, 8, 12, 24]


def table_1():
    """Two hidden layers of 128 and 64; γ .9, ϱ .95, ϵ .2, entropy .01, rates 1e-4, T 5000, 25 epochs."""
    return {
        "environments": 1,
        "slots_per_update": 5000,
        "epochs": 25,
        "minibatches": 1,
        "learning_rate": 1e-4,
        "critic_learning_rate": 1e-4,
        "anneal_slots": 0,
        "clip": 0.2,
        "entropy": 0.01,
        "critics": "agent",
        "sequential": True,
        "masked": False,
        "normalised": False,
        "m_before_step": True,
        "hidden": (128, 64),
        "distribution": "softplus",
        "power": "linear",
        "features": "raw",
        "per_user": False,
        "rewards": "printed",
        "discount": 0.9,
        "centre_horizon_frames": 0,
        "shared": False,
    }


def test_the_paper_s_settings_are_table_1():
    learner = registry.learner(make(4), "beta-happo-paper")
    assert {key: getattr(learner.settings, key) for key in table_1()} == table_1()
    assert learner.block_slots == 5000 and learner.budgets["paper"] == 150 * 5000
    role = agents.users_role(make(4), agents.PAPER)
    assert (role.discount, role.trace) == (0.9, 0.95)
    assert registry.learner(make(4), "beta-happo-paper[critics=reward]").settings.critics == "reward"


NAMES = ["beta-happo", "beta-happo-shared", "beta-happo-paper"]
WORLDS = {
    "physical": {},
    "literal": {"interference": "literal", "transmitters": "all"},
    "learned association": {"association": "learned", "observation": "extended"},
}


def any_params(learner, scale, seed=0):
    """Parameters that are only random numbers."""
    like, rng = jax.eval_shape(lambda: learner.policy(learner.init(jax.random.key(0)))), np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.array(rng.normal(0, scale, leaf.shape), leaf.dtype), like)


@pytest.mark.parametrize(
    "world", [world if world == "learned association" else pytest.param(world, marks=pytest.mark.slow) for world in WORLDS]
)
@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_parameters_actions_are_possible_and_certain(name, world):
    task = make(4, **WORLDS[world])
    learner = registry.learner(task, name)
    act = jax.jit(learner.act)
    observed = jax.jit(lambda: task.observe(task.reset(jax.random.key(1))))()
    for scale in (0.1, 30.0):
        params = any_params(learner, scale)
        action = act(params, observed, jax.random.key(0))
        assert jax.tree.map(jnp.shape, action) == ((4, 4 if task.learned_association else 1), (SITES, 8), (1, 4))
        assert all(((leaf >= 0) & (leaf <= 1)).all() for leaf in action[:2])
        assert jnp.issubdtype(action.centre.dtype, jnp.integer) and ((action.centre >= 0) & (action.centre < SITES)).all()
        for one, other in zip(action, act(params, observed, jax.random.key(7)), strict=True):
            assert (one == other).all()


MISTAKES = {
    "beta-happo[power=loud]": "beta-happo: power = loud: must be one of snr, log, linear",
    "beta-happo[distribution=normal]": "beta-happo: distribution = normal: must be one of mode, softplus, gaussian",
    "beta-happo[features=all]": "beta-happo: features = all: must be one of computed, raw",
    "beta-happo[rewards=none]": "beta-happo: rewards = none: must be one of difference, global, printed",
    "beta-happo[failure_price_mj=0]": "beta-happo: failure_price_mj = 0: must be above 0",
    "beta-happo-shared[failure_price_mj=-1]": "beta-happo-shared: failure_price_mj = -1: must be above 0",
    "beta-happo[centre_horizon_frames=-1]": "beta-happo: centre_horizon_frames = -1: must be at least 0",
    "beta-happo[per_user=false]": "beta-happo: rewards = difference: is for stations and a centre that look at users one by one",
    "beta-happo[discount=1]": "beta-happo: discount = 1: must be at least 0 and below 1",
    "beta-happo[anneal_slots=-5]": "beta-happo: anneal_slots = -5: must be at least 0 (0: never)",
    "beta-happo-paper[critics=one]": "beta-happo-paper: critics = one: must be one of agent, reward, own",
    "beta-happo[powr=log]": "has no knob 'powr'",
    "beta-hapo": "algorithm 'beta-hapo' is not known",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_knobs_without_sense_are_told_in_one_line(name):
    with pytest.raises(InputError) as refused:
        registry.learner(make(4), name)
    assert MISTAKES[name] in str(refused.value) and "\n" not in str(refused.value)


TRAINED = [("beta-happo", "physical"), ("beta-happo-shared", "learned association"), ("beta-happo-paper", "literal")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "world"), TRAINED)
def test_a_run_competes_as_any_other(name, world, tmp_path):
    """Two updates: figures are finite, one of each kind for every turn; the policy keeps its contract, and is the same from its file."""
    task = make(4, **WORLDS[world])
    learner = registry.learner(task, name)
    run = trainer.train(learner, 0, 2 * learner.block_slots, tmp_path / "run", evaluations=1, evaluation_episodes=2)
    turns = 3 if "shared" in name else 4 + SITES + 1
    for line in run.metrics[1:]:
        figures = line["training"]
        assert len(figures["effective_sample_size"]) == len(figures["clip_fraction"]) == turns
        assert figures["effective_sample_size"][0] == pytest.approx(1, abs=1e-4)
        assert all(np.isfinite(value).all() for key, value in figures.items() if key != "return")
    assert all(np.isfinite(value["mean"]) for value in run.metrics[-1]["evaluation"].values())
    assert [clause for clause in check_policy(run) if not clause.passed] == []
    loaded = et.load(tmp_path / "run" / "policy.safetensors", task)
    observed = task.observe(task.reset(jax.random.key(1)))
    for policy in (loaded, et.policy(task, str(tmp_path / "run"))):
        actions = [each.act((), each.view(observed, None, None), jax.random.key(0))[1] for each in (run, policy)]
        assert all((one == other).all() for one, other in zip(*actions, strict=True))
    table = et.compare(task, [str(tmp_path / "run"), "full-power+nearest"], episodes=2)
    assert set(table.rows) == {run.name, "full-power+nearest"}
    with pytest.raises(InputError, match="does not fit|was trained on another scenario"):
        et.load(tmp_path / "run", make(5, **WORLDS[world]))


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(tmp_path):
    """SIGKILL at a random moment of a process that writes a checkpoint after every block."""
    blocks, script = (
        6,
        (
            "import sys, pathlib; import edgetwin as et; from edgetwin import registry; from edgetwin.learning import trainer\n"
            "trainer.CHECKPOINT_EVERY_S = 0.0\n"
            f"task = et.task('two-timescale', et.scenario('two-timescale/physical', {{**{SHORT}, 'users.count': 4, 'sites.count': {SITES}}}))\n"
            "learner = registry.learner(task, 'beta-happo')\n"
            "trainer.train(learner, 3, 6 * learner.block_slots, pathlib.Path(sys.argv[1]), evaluations=2, evaluation_episodes=2)\n"
        ),
    )
    learner = registry.learner(make(4), "beta-happo")
    whole = trainer.train(learner, 3, blocks * learner.block_slots, tmp_path / "whole", evaluations=2, evaluation_episodes=2)
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], env=os.environ)
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 600
    while (
        process.poll() is None and time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") >= 3)
    ):
        time.sleep(0.01)
    time.sleep(np.random.default_rng().random() * 0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() in (-signal.SIGKILL, 0)
    run = trainer.resume(learner, folder)
    for file in ("checkpoint.safetensors", "policy.safetensors"):
        (one, _), (other, _) = arrays.read(folder / file), arrays.read(tmp_path / "whole" / file)
        assert one.keys() == other.keys()
        for leaf in one:
            first, second = (
                jax.random.key_data(each[leaf]) if "key" in str(each[leaf].dtype) else each[leaf] for each in (one, other)
            )
            assert np.asarray(first).tobytes() == np.asarray(second).tobytes(), leaf
    assert [{**line, "seconds": 0} for line in run.metrics] == [{**line, "seconds": 0} for line in whole.metrics]


@pytest.mark.slow
def test_a_learning_rate_beyond_all_reason_is_told():
    settings = agents.algorithm.Settings(learning_rate=1e30, epochs=2, slots_per_update=64)
    learner = agents.fitted("wild", make(4), settings, agents.PAPER)
    with pytest.raises(InputError, match=r"^wild: \w+ became .* between slots 0 and 64: lower the learning rate$"):
        trainer.train(learner, 0, 64, evaluations=1, evaluation_episodes=1)
