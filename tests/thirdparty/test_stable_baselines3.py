"""Against Stable-Baselines3: its DQN learns CartPole as ours does, and its PPO learns network-sync through the adapter.

Stable-Baselines3's DQN differs from ours in two known ways: the target takes the maximum of the slow network (Mnih et al. 2015) instead of judging
the online network's choice (double DQN), and the loss is Huber's instead of the square. Both are given ours here, so that all else is compared:
the loop, replay, exploration, targets, the end of episodes, the optimiser, on either side's own CartPole.
"""

import importlib
import warnings
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import edgetwin as et
from edgetwin.adapters.gymnasium import GymnasiumVectorEnv
from edgetwin.evaluation.statistics import seed_mean
from edgetwin.learning.dqn import Settings
from learning.cartpole import train_cartpole

torch = pytest.importorskip("torch", reason="needs torch: make thirdparty")
stable_baselines3 = pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3: make thirdparty")
check_env = pytest.importorskip("stable_baselines3.common.env_checker").check_env
make_vec_env = pytest.importorskip("stable_baselines3.common.env_util").make_vec_env
pytestmark = pytest.mark.thirdparty

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
SEEDS = range(4)
SLOTS = 40_000
SETTINGS = Settings(
    discount=0.99,
    learning_rate=1e-3,
    target_rate=0.005,
    batch=128,
    replay=50_000,
    hidden=(64, 64),
    environments=8,
    slots_per_update=4,
    first_update=1000,
    exploration_slots=10_000,
    exploration_end=0.05,
)
PHASES = {"rise": slice(1, 3), "whole training": slice(None), "end": slice(-3, None)}
"""Blocks of training whose mean returns are compared: the rise tells most, since seeds differ little there; the end differs much by luck."""


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def theirs(seed, ends):
    """Mean return of the episodes that ended in each block of slots up to `ends`, of Stable-Baselines3's DQN with our settings, loss and target."""
    updates = SETTINGS.environments // SETTINGS.slots_per_update
    env = make_vec_env("CartPole-v1", n_envs=SETTINGS.environments, seed=seed)
    model = stable_baselines3.DQN(
        "MlpPolicy",
        env,
        learning_rate=SETTINGS.learning_rate,
        buffer_size=SETTINGS.replay,
        learning_starts=SETTINGS.first_update,
        batch_size=SETTINGS.batch,
        tau=1 - (1 - SETTINGS.target_rate) ** updates,
        gamma=SETTINGS.discount,
        train_freq=1,
        gradient_steps=updates,
        target_update_interval=SETTINGS.environments,
        exploration_fraction=SETTINGS.exploration_slots / ends[-1],
        exploration_final_eps=SETTINGS.exploration_end,
        max_grad_norm=np.inf,
        policy_kwargs={"net_arch": list(SETTINGS.hidden)},
        seed=seed,
        device="cpu",
    )
    largest = model.q_net_target.forward

    def double(observations):
        """The slow network's values where the online network would act, −∞ elsewhere: their maximum is double DQN's target."""
        slow, chosen = largest(observations), model.q_net(observations).argmax(dim=1, keepdim=True)
        return torch.full_like(slow, -torch.inf).scatter(1, chosen, slow.gather(1, chosen))

    model.q_net_target.forward = double
    episodes = []

    def note(now, _):
        episodes.extend((model.num_timesteps, info["episode"]["r"]) for info in now["infos"] if "episode" in info)
        return True

    model.learn(int(ends[-1]), callback=note)
    slots, returns = np.array(episodes).T
    return np.array([returns[(slots > end - ends[0]) & (slots <= end)].mean() for end in ends])


def test_dqn_learns_cartpole_as_stable_baselines3_does(monkeypatch):
    half_square = SimpleNamespace(smooth_l1_loss=lambda q, target: 0.5 * torch.nn.functional.mse_loss(q, target))
    monkeypatch.setattr("stable_baselines3.dqn.dqn.F", half_square)
    own = [train_cartpole(seed, SLOTS, SETTINGS) for seed in SEEDS]
    ends = own[0][0]
    curves = {"ours": np.array([returns for _, returns in own]), "theirs": np.array([theirs(seed, ends) for seed in SEEDS])}
    for name, blocks in PHASES.items():
        (low, high), (other_low, other_high) = (seed_mean(curve[:, blocks].mean(axis=1)).ci95 for curve in curves.values())
        print(f"mean return, {name}: ours {low:.0f} to {high:.0f}, Stable-Baselines3's {other_low:.0f} to {other_high:.0f}")
        assert low <= other_high, curves
        assert other_low <= high, curves
    for curve in curves.values():
        assert curve[:, -3:].mean() > 4 * curve[:, 0].mean(), "the pole stands much longer than at first, under random pushes"


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield importlib.import_module("gymnasium_sb3")


def test_ppo_learns_network_sync_through_the_adapter(example):
    episodes = 128
    task = et.task("network-sync")
    model = example.train(task)
    table = et.compare(task, [example.as_policy(task, model), "index"], episodes)
    ppo, index = table.rows["ppo"], table.rows["index"]
    print(f"cost: ppo {ppo.metrics['cost']}, index {index.metrics['cost']}, bound {ppo.bound['cost']:.3f}")
    assert ppo.metrics["cost"].mean <= 1.1 * index.metrics["cost"].mean
    assert ppo.metrics["cost"].mean >= ppo.bound["cost"]
    batch = GymnasiumVectorEnv(task, episodes)
    seen, _ = batch.reset(seed=0, options={"episode": 0})
    for _ in range(task.spec.slots):
        seen, _, terminated, _, info = batch.step(model.predict(seen, deterministic=True)[0])
    assert terminated.all()
    np.testing.assert_allclose(info["final_info"]["summary"]["cost"], ppo.shares["cost"].numerator, rtol=1e-4)


def test_stable_baselines3s_checker_has_no_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("edgetwin.adapters.gymnasium:edgetwin/network-sync-v0").unwrapped)
