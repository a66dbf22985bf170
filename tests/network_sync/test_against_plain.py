"""The compiled task and the problem in plain loops, written from the paper alone, agree over whole episodes on the same draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.network_sync.forecasts import step_law
from network_sync import plain
from network_sync.walks import make

pytestmark = pytest.mark.usefixtures("quick_compilation")

SLOTS, USERS, RBS, EPISODES = 12, 5, 3, 6
SMALL = {"slots": SLOTS, "users__count": USERS, "rb_count": RBS, "interference_w": [5e-3, 0.12]}
"""Interference that leaves some slots without a block that meets the deadline."""

VARIANTS = {
    "preset a": {},
    "raw reward, distance as printed": {"reward": "raw", "reward_scale": 1.0, "distance": "literal", "deadline_s": 0.15},
    "fading by user, straight line through the packet": {"fading": "rayleigh-user", "forecaster": "linear"},
    "fading by user and block, its own history": {"fading": "rayleigh-rb", "forecaster": "linear", "packet": "state"},
    "partial": {"refresh": "partial", "packet_users": 2, "deadline_s": 1.0},
    "partial, its own history, fading by block": {
        "refresh": "partial",
        "packet_users": 3,
        "packet": "state",
        "forecaster": "linear",
        "fading": "rayleigh-rb",
    },
    "persistent walk, static interference, units": {
        "users__mobility": "persistent-walk",
        "forecaster": "last",
        "interference": "static",
        "bandwidth_hz": 2.0,
        "tx_power_w": 3.0,
        "noise_density_w_per_hz": 4e-3,
        "block_m": 2.0,
        "rate_weight": 0.9,
        "deadline_s": 0.2,
    },
}
QUICK = (
    "partial, its own history, fading by block",
    "persistent walk, static interference, units",
)


@pytest.mark.parametrize("name", [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in VARIANTS])
def test_whole_episodes_agree(name):
    task = make(**{**SMALL, **VARIANTS[name]})
    section, heads = task.section, USERS if task.partial else 1
    asked = np.random.default_rng(0).random((EPISODES, SLOTS, heads)) < 0.4

    @jax.jit
    @jax.vmap
    def walk(key, actions):
        streams = task.model.streams(key)

        def slot(state, action):
            after, outcome = task.step(state, task.action(action[None].astype(jnp.int32)))
            sight = task.sight(state)
            seen = (sight.error_blocks, sight.age, sight.sync_loss, state.world.rates, outcome)
            return after, seen

        drawn = jax.vmap(lambda slot: task.model.fading(task.model.noise(streams, slot)))(jnp.arange(SLOTS))
        return task.trace(key, SLOTS), task.model.start(streams)[1], drawn, jax.lax.scan(slot, task.reset(key), actions)[1]

    trace, starts, (fading, cloud_fading), ours = jax.tree.map(
        lambda leaf: np.asarray(leaf, float), walk(jax.vmap(jax.random.key)(jnp.arange(EPISODES)), jnp.asarray(asked))
    )
    errors, ages, losses, rates, outcome = ours
    fading = np.broadcast_to(fading.reshape(EPISODES, SLOTS, USERS, -1), (EPISODES, SLOTS, USERS, RBS))
    cloud_fading = np.broadcast_to(cloud_fading.reshape(EPISODES, SLOTS, -1), (EPISODES, SLOTS, RBS))
    mean_step = {"drift": step_law(task.scenario)[0], "last": np.zeros((USERS, 2)), "linear": None}[section.forecaster]
    feasible = []
    for number in range(EPISODES):
        wanted = np.broadcast_to(asked[number], (SLOTS, USERS))
        given = starts[number], trace.history_blocks[number], trace.interference_w[number]
        theirs = plain.episode(section, *given, fading[number], cloud_fading[number], wanted, mean_step)
        for t, slot in enumerate(theirs):
            at = number, t
            near = {"rel": 2e-4, "abs": 2e-5}
            for name in ("cost", "reward", "sum_rate", "squared_error", "refreshed_users", "syncs"):
                assert getattr(outcome.metrics, name)[at] == pytest.approx(slot[name], **near), (name, at)
            assert (errors[at] ** 2).sum(axis=-1) == pytest.approx(slot["error_before"], **near)
            assert (ages[at] == slot["age"]).all()
            assert rates.feasible[at] == slot["feasible"]
            assert rates.serving[at] == pytest.approx(slot["serving"], **near)
            if slot["feasible"]:
                assert rates.syncing[at] == pytest.approx(slot["syncing"], **near)
                assert losses[at] == pytest.approx(section.rate_weight * (slot["serving"] - slot["syncing"]), **near)
            else:
                assert losses[at] == np.inf
            told = slot["reward"] if section.reward == "raw" else -slot["cost"]
            assert outcome.rewards.station[at] == pytest.approx([section.reward_scale * told], **near)
            assert bool(outcome.terminated[at]) == (t == SLOTS - 1) and not outcome.truncated[at]
            feasible.append(slot["feasible"])
    if section.interference == "static":
        assert (trace.interference_w == trace.interference_w[:, :1]).all()
    assert len(np.unique(trace.interference_w)) == EPISODES * RBS * (1 if section.interference == "static" else SLOTS)
    assert 0.05 < np.mean(feasible) < 0.999
    assert 0 < outcome.metrics.syncs.mean() < 1
