"""Tasks as Gymnasium environments: its own checker has no complaint, and what happens in them is what happens in edgetwin."""

import importlib.util
import sys
import warnings
from dataclasses import replace

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from edgetwin import InputError
from edgetwin.adapters import gymnasium as adapter
from edgetwin.adapters.gymnasium import GymnasiumEnv, GymnasiumVectorEnv
from edgetwin.evaluation.rollout import rollout
from edgetwin.problem import AgentClass, Categorical, episode_keys
from edgetwin.registry import policy, problems
from toys import Assign, Track, TwoSpeeds, cheapest, follow

pytestmark = pytest.mark.usefixtures("quick_compilation")

TRACK, ASSIGN = Track(), Assign()


class One(Assign):
    """Assign with a single job: one choice among six machines."""

    name = "toy-one"
    jobs = 1


class Detailed(Track):
    """Track that counts how often its step is traced, and whose metrics have structure."""

    def __init__(self):
        super().__init__()
        self.traced = 0

    def step(self, state, action):
        self.traced += 1
        after, outcome = super().step(state, action)
        metrics = outcome.metrics | {"where": {"both": jnp.stack([state.target, state.place])}}
        return after, outcome._replace(metrics=metrics)


ONE = One()


def environment(task):
    """The environment of a task as gymnasium.make gives it, so that its checker can make more of them."""
    spec = gym.envs.registration.EnvSpec(f"toys/{task.name}-v0", entry_point=lambda: GymnasiumEnv(task))
    return gym.make(spec).unwrapped


def towards(observation):
    """`follow` in NumPy."""
    return np.clip(observation[..., :1] - observation[..., 1:], -1, 1)


@pytest.mark.parametrize("task", [TRACK, ASSIGN, ONE], ids=lambda task: task.name)
def test_gymnasiums_checker_has_no_complaint(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(environment(task))


def test_spaces_are_those_of_the_spec():
    assert GymnasiumEnv(TRACK).observation_space == spaces.Box(-10, 10, (2,), np.float32)
    assert GymnasiumEnv(TRACK).action_space == spaces.Box(-1, 1, (1,), np.float32)
    assert GymnasiumEnv(ASSIGN).action_space == spaces.MultiDiscrete([6, 6, 6, 6])
    assert GymnasiumEnv(ONE).action_space == spaces.Discrete(6)
    batch = GymnasiumVectorEnv(TRACK, 3)
    assert batch.observation_space == spaces.Box(-10, 10, (3, 2), np.float32)
    assert batch.action_space == spaces.Box(-1, 1, (3, 1), np.float32)
    assert batch.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_an_episode_of_comparisons_is_the_same_here(seed):
    """Slot by slot the task's own functions, and in sum the rollout of the same actions."""
    env, key = GymnasiumEnv(TRACK), episode_keys(seed, 3)[2]
    totals = rollout(follow(TRACK), key[None], 40, 40).metrics
    state = TRACK.reset(key)
    seen, _ = env.reset(seed=seed, options={"episode": 2})
    costs = []
    for slot in range(40):
        np.testing.assert_array_equal(seen, TRACK.observe(state).agents[0])
        action = towards(seen)
        state, outcome = TRACK.step(state, TRACK.action(action[None]))
        seen, reward, terminated, truncated, info = env.step(action)
        assert reward == pytest.approx(float(outcome.rewards.agents[0]), rel=1e-6)
        assert (terminated, truncated) == (False, slot == 39)
        assert ("summary" in info) == (slot == 39)
        assert info["cost"] == pytest.approx(-reward)
        assert type(info["cost"]) is float and type(info["slots"]) is int
        costs.append(info["cost"])
    assert sum(costs) == pytest.approx(float(totals["cost"][0, 0]), rel=1e-5)
    assert info["summary"] == {"error": pytest.approx(sum(costs) / 40, rel=1e-5)}


def test_a_one_shot_task_terminates_and_pays_what_the_rollout_says():
    env = GymnasiumEnv(ASSIGN, seed=5)
    totals = rollout(cheapest(ASSIGN), episode_keys(5, 4), 1, 1).metrics["cost"][:, 0]
    for episode in range(4):
        seen, _ = env.reset(options={"episode": episode})
        _, reward, terminated, truncated, info = env.step(seen.reshape(4, 6).argmin(axis=1))
        assert (terminated, truncated) == (True, False)
        assert info["summary"]["cost"] == pytest.approx(totals[episode], rel=1e-6)
        assert reward == pytest.approx(-totals[episode], rel=1e-6)


def test_a_single_choice_is_a_plain_number():
    env = GymnasiumEnv(ONE)
    seen, _ = env.reset(seed=1)
    for action in (int(seen.argmin()), np.int64(seen.argmin()), np.array(seen.argmin())):
        env.reset(seed=1)
        assert env.step(action)[1] == pytest.approx(-seen.min())


def first(env, **how):
    return env.reset(**how)[0].tolist()


@pytest.mark.parametrize("make", [GymnasiumEnv, lambda task, seed=0: GymnasiumVectorEnv(task, 2, seed)], ids=["one", "batch"])
def test_seeds_start_a_stream_of_episodes(make):
    env, again = make(TRACK), make(TRACK, seed=4)
    stream = [first(env, seed=4), first(env), first(env)]
    assert len({str(seen) for seen in stream}) == 3
    assert [first(again), first(again), first(again)] == stream
    assert [first(env, seed=4), first(env), first(env)] == stream
    assert first(env, seed=5) != stream[0]
    assert first(env, options={"episode": 0}) == first(make(TRACK), seed=5, options={"episode": 0})


def test_training_episodes_are_none_of_a_comparisons():
    env = GymnasiumEnv(TRACK)
    compared = {float(TRACK.reset(key).target) for seed in range(3) for key in episode_keys(seed, 16)}
    trained = {env.reset(seed=seed if n == 0 else None)[0][0].item() for seed in range(3) for n in range(16)}
    assert len(trained) == len(compared) == 48
    assert not trained & compared


def test_structured_metrics_are_flat_in_infos():
    env = GymnasiumEnv(Detailed())
    seen, _ = env.reset(seed=0)
    info = env.step(np.zeros(1, np.float32))[4]
    assert info == {"cost": info["cost"], "slots": 1, "where.both.0": pytest.approx(seen[0]), "where.both.1": 0.0}
    batch = GymnasiumVectorEnv(env.task, 2)
    seen, _ = batch.reset(seed=0)
    info = batch.step(np.zeros((2, 1), np.float32))[4]
    np.testing.assert_array_equal(info["where.both.0"], seen[:, 0])


def test_environments_of_one_task_compile_once():
    task = Detailed()
    traced = []
    for _ in range(3):
        env = GymnasiumEnv(task)
        env.reset()
        env.step(np.zeros(1, np.float32))
        traced.append(task.traced)
    assert traced[0] == traced[1] == traced[2] > 0


def test_a_batch_is_its_environments_side_by_side():
    """Every network of a batch from comparisons' episodes 3, 4, 5 to its end, and then a new episode with its first observation."""
    batch, singles = GymnasiumVectorEnv(TRACK, 3), [GymnasiumEnv(TRACK) for _ in range(3)]
    seen, _ = batch.reset(seed=9, options={"episode": 3})
    for index, env in enumerate(singles):
        np.testing.assert_array_equal(seen[index], env.reset(seed=9, options={"episode": 3 + index})[0])
    for slot in range(40):
        action = towards(seen)
        seen, reward, terminated, truncated, info = batch.step(action)
        alone = [env.step(action[index]) for index, env in enumerate(singles)]
        ended = slot == 39
        for index, (one_seen, one_reward, _, one_truncated, one_info) in enumerate(alone):
            np.testing.assert_allclose(info["final_obs"][index] if ended else seen[index], one_seen, rtol=1e-6)
            assert reward[index] == pytest.approx(one_reward, rel=1e-6)
            assert truncated[index] == one_truncated == ended
            batched = info["final_info"] if ended else info
            assert batched["cost"][index] == pytest.approx(one_info["cost"], rel=1e-6)
            if ended:
                assert batched["summary"]["error"][index] == pytest.approx(one_info["summary"]["error"], rel=1e-5)
        assert not terminated.any()
    assert len({tuple(row) for row in seen}) == 3, "new episodes, each its own"
    np.testing.assert_array_equal(seen[:, 1], 0)
    after, _, _, truncated, info = batch.step(np.zeros((3, 1), np.float32))
    assert not truncated.any() and "final_obs" not in info
    np.testing.assert_allclose(info["cost"], (seen[:, 0]) ** 2, rtol=1e-6)


def shape_of(info):
    """The keys, types and shapes of a batch's infos."""
    if isinstance(info, dict):
        return {key: shape_of(value) for key, value in info.items()}
    return str(info.dtype), info.shape


class Uneven(Track):
    """Track whose episodes terminate where the agent is told to move right by more than a half."""

    name = "toy-uneven"

    def step(self, state, action):
        after, outcome = super().step(state, action)
        return after, outcome._replace(terminated=action.agents[0, 0] > 0.5)


def test_infos_of_a_batch_look_like_gymnasiums_own():
    task = Uneven()
    own = GymnasiumVectorEnv(task, 3)
    reference = SyncVectorEnv([lambda: GymnasiumEnv(task)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    own.reset(seed=0)
    reference.reset(seed=0)
    for actions in ([0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]):
        given = np.array(actions, np.float32)[:, None]
        mine, theirs = own.step(given), reference.step(given)
        assert shape_of(mine[4]).keys() == shape_of(theirs[4]).keys()
        for key in theirs[4]:
            if key.startswith("_"):
                np.testing.assert_array_equal(mine[4][key], theirs[4][key])
        if "final_info" in theirs[4]:
            assert shape_of(mine[4]["final_info"]).keys() == shape_of(theirs[4]["final_info"]).keys()
            assert [seen is None for seen in mine[4]["final_obs"]] == [seen is None for seen in theirs[4]["final_obs"]]
        np.testing.assert_array_equal(mine[2], theirs[2])
        for one, two in zip(mine[:4], theirs[:4], strict=True):
            assert (one.shape, one.dtype) == (two.shape, two.dtype)


def test_only_ended_networks_of_a_batch_begin_anew():
    batch = GymnasiumVectorEnv(Uneven(), 2)
    batch.reset(seed=0)
    costs = -batch.step(np.full((2, 1), 0.25, np.float32))[1]
    seen, reward, terminated, _, info = batch.step(np.array([[1.0], [0.25]], np.float32))
    costs -= reward
    assert terminated.tolist() == [True, False]
    assert seen[:, 1].tolist() == [0.0, 0.5]
    assert info["final_obs"][0][1] == 1.25
    assert info["final_obs"][1] is None
    assert (info["_cost"].tolist(), info["final_info"]["_cost"].tolist()) == ([False, True], [True, False])
    assert info["final_info"]["summary"]["error"].tolist() == [pytest.approx(costs[0] / 2), 0]
    seen, reward, _, _, info = batch.step(np.array([[0.25], [1.0]], np.float32))
    assert info["final_info"]["summary"]["error"].tolist() == [0, pytest.approx((costs[1] - reward[1]) / 3)]


def test_gymnasiums_statistics_of_a_batch_add_up():
    env = RecordEpisodeStatistics(GymnasiumVectorEnv(TRACK, 4))
    seen, _ = env.reset(seed=0)
    total = np.zeros(4)
    for _ in range(40):
        seen, reward, _, truncated, info = env.step(towards(seen))
        total += reward
    assert truncated.all()
    np.testing.assert_allclose(info["episode"]["r"], total)
    np.testing.assert_array_equal(info["episode"]["l"], 40)


def test_observations_are_the_readers_own():
    for env in (GymnasiumEnv(TRACK), GymnasiumVectorEnv(TRACK, 2)):
        first_seen, _ = env.reset(seed=0)
        kept = first_seen.copy()
        after = env.step(np.zeros(env.action_space.shape, np.float32))[0]
        after[:] = 0
        np.testing.assert_array_equal(first_seen, kept)


@pytest.mark.parametrize(
    ("task", "action", "said"),
    [
        (TRACK, np.array([1.5]), r"action = \[1.5\]: must be numbers of shape \(1,\) from -1.0 to 1.0"),
        (TRACK, np.array([np.nan]), r"action = \[nan\]"),
        (TRACK, np.array([1]), "must be numbers"),
        (TRACK, 0.5, r"of shape \(1,\)"),
        (TRACK, None, "action = None"),
        (ASSIGN, np.array([0, 1, 2, 6]), r"action = \[0 1 2 6\]: must be whole numbers of shape \(4,\) from 0 to 5"),
        (ASSIGN, np.array([0, 1, 2, -1]), "from 0 to 5"),
        (ASSIGN, np.array([0, 1, 2, 2**32]), "from 0 to 5"),
        (ASSIGN, np.array([0.0, 1, 2, 3]), "whole numbers"),
        (ASSIGN, [0, 1, 2], r"of shape \(4,\)"),
        (ONE, 6, "action = 6: must be one whole number from 0 to 5"),
        (ONE, np.array([1]), r"action = \[1\]: must be one whole number"),
        (ONE, True, "action = True"),
        (ONE, "left", "action = 'left'"),
    ],
)
def test_wrong_actions_are_refused(task, action, said):
    env = GymnasiumEnv(task)
    env.reset()
    with pytest.raises(InputError, match=said):
        env.step(action)


def test_wrong_actions_of_a_batch_are_refused():
    env = GymnasiumVectorEnv(ONE, 3)
    env.reset()
    for action, said in (([0, 1], r"shape \(3,\)"), ([0, 1, 6], "from 0 to 5"), ([0, 1, 0.5], "whole numbers")):
        with pytest.raises(InputError, match=said):
            env.step(np.array(action))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"options": {"episod": 1}}, "no option 'episod'"),
        ({"options": {"episode": -1}}, "episode = -1"),
        ({"options": {"episode": 0.5}}, "episode = 0.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**32, "options": {"episode": 0}}, "from 0 to 2"),
    ],
)
def test_wrong_resets_are_refused(how, said):
    for env in (GymnasiumEnv(TRACK), GymnasiumVectorEnv(TRACK, 2)):
        with pytest.raises(InputError, match=said):
            env.reset(**how)


def test_slots_need_an_episode():
    env = GymnasiumEnv(ONE)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    env.step(0)
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(ResetNeeded):
        GymnasiumVectorEnv(ONE, 2).step(np.zeros(2, int))


class Twins(Track):
    """Two agents of one class."""

    name = "toy-twins"

    def __init__(self):
        super().__init__()
        self.spec = replace(self.spec, agents={"agents": AgentClass(2, 2, Categorical(1, 2))})


@pytest.mark.parametrize(("task", "listed"), [(TwoSpeeds(), "3 workers, 1 boss"), (Twins(), "2 agents")])
def test_several_agents_are_refused_by_name(task, listed):
    for make in (GymnasiumEnv, lambda task: GymnasiumVectorEnv(task, 2)):
        with pytest.raises(InputError, match=rf"several agents \({listed}\).*write a Policy"):
            make(task)


def test_a_batch_has_at_least_one_network():
    with pytest.raises(InputError, match="num_envs = 0"):
        GymnasiumVectorEnv(TRACK, 0)


def test_tasks_are_registered_by_name():
    assert {f"edgetwin/{name}-v0" for name in problems()} <= set(gym.registry)
    with pytest.raises(InputError, match=r"users, .* stations, 1 centre"):
        gym.make("edgetwin.adapters.gymnasium:edgetwin/two-timescale-v0", settings={"users.count": 2})


def test_without_gymnasium_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    spec = importlib.util.spec_from_file_location("without", adapter.__file__)
    with pytest.raises(ImportError, match=r"pip install 'edgetwin\[rl\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


NETWORK_SYNC = "edgetwin.adapters.gymnasium:edgetwin/network-sync-v0"


def test_network_sync_by_name_has_no_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(NETWORK_SYNC).unwrapped)


def test_network_sync_costs_what_comparisons_say():
    """Comparisons' episodes one by one and in a batch; environments made by name share one task, so they compile once."""
    env = gym.make(NETWORK_SYNC).unwrapped
    always = rollout(policy(env.task, "always"), episode_keys(3, 4), 30, 30).metrics.cost[:, 0]
    costs = []
    for episode in range(2):
        env.reset(seed=3, options={"episode": episode})
        ended = False
        while not ended:
            *_, ended, truncated, info = env.step(1)
            assert not truncated
        costs.append(info["summary"]["cost"])
    np.testing.assert_allclose(costs, always[:2], rtol=1e-5)
    batch = gym.make_vec("edgetwin/network-sync-v0", num_envs=4)
    assert batch.task is env.task
    batch.reset(seed=3, options={"episode": 0})
    for _ in range(30):
        info = batch.step(np.ones(4, int))[4]
    np.testing.assert_allclose(info["final_info"]["summary"]["cost"], always, rtol=1e-5)


def test_a_name_takes_a_scenario_and_settings():
    env = gym.make(NETWORK_SYNC, scenario="network-sync/b", settings={"network_sync.slots": 4}, seed=1).unwrapped
    assert (env.task.scenario.name, env.task.spec.slots) == ("network-sync/b", 4)
    partial = gym.make(NETWORK_SYNC, settings={"network_sync.refresh": "partial", "network_sync.packet_users": 3}).unwrapped
    assert partial.action_space == spaces.MultiDiscrete([2] * 10)
    with pytest.raises(InputError, match="network_sync.slot_count"):
        gym.make(NETWORK_SYNC, settings={"network_sync.slot_count": 4})
