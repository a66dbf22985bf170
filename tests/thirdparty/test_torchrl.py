"""With TorchRL: its checks of an environment, and its PPO on all classes of agents of two-timescale, through the PettingZoo adapter."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import edgetwin as et
from edgetwin.adapters.pettingzoo import parallel_env
from edgetwin.evaluation.statistics import paired_difference

torch = pytest.importorskip("torch", reason="needs torch: make thirdparty")
torchrl = pytest.importorskip("torchrl", reason="needs TorchRL: make thirdparty")
wrappers = pytest.importorskip("torchrl.envs.libs.pettingzoo")
utils = pytest.importorskip("torchrl.envs.utils")
pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested using version")]

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
COMPARED = {"episodes": 4, "slots": 200}


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield importlib.import_module("pettingzoo_torchrl")


@pytest.fixture(scope="module")
def task(example):
    return et.task("two-timescale", et.scenario("two-timescale/physical", example.SMALL))


def test_torchrls_checks_pass_and_it_groups_agents_by_class(task):
    env = wrappers.PettingZooWrapper(parallel_env(task), return_state=True)
    assert {group: len(agents) for group, agents in env.group_map.items()} == {"users": 6, "stations": 3, "centre": 1}
    utils.check_env_specs(env)


def test_what_torchrl_plays_is_what_the_task_plays(task):
    """The second episode of the stream of seed 5, through TorchRL and without."""
    env, own = wrappers.PettingZooWrapper(parallel_env(task), return_state=True), parallel_env(task, seed=5)
    env.reset(seed=5)
    torch.manual_seed(0)
    played = env.rollout(120)
    own.reset()
    seen, _ = own.reset()
    for slot in range(120):
        now = played[slot]
        actions = {}
        for group, agents in env.group_map.items():
            for index, agent in enumerate(agents):
                np.testing.assert_array_equal(now[group, "observation"][index], seen[agent])
                actions[agent] = now[group, "action"][index].numpy()
        seen, rewards, *_ = own.step(actions)
        np.testing.assert_array_equal(now["next", "state"], own.state())
        for group, agents in env.group_map.items():
            paid = now["next", group, "reward"][:, 0].tolist()
            assert paid == pytest.approx([rewards[agent] for agent in agents], rel=1e-6)


def test_ppo_of_all_classes_learns_two_timescale_through_the_adapter(example, task):
    untrained, learned = (example.as_policy(task, example.train(task, rounds)) for rounds in (0, 10))
    before = et.compare(task, [untrained], **COMPARED).rows["ppo"]
    ppo = et.compare(task, [learned], **COMPARED).rows["ppo"]
    gain = paired_difference(ppo.shares["reward"], before.shares["reward"])
    for name, row in {"untrained": before, "ppo": ppo}.items():
        print(f"{name}: reward {row.metrics['reward']}, energy {row.metrics['energy_mj_per_slot']}")
    print(f"reward gained in training: {gain}")
    assert gain.ci95[0] > 0
    assert ppo.metrics["reward"].mean > 0.6 * before.metrics["reward"].mean
    assert ppo.metrics["energy_mj_per_slot"].mean < 0.6 * before.metrics["energy_mj_per_slot"].mean
    assert ppo.metrics["failure_per_request"].mean < before.metrics["failure_per_request"].mean + 0.02
