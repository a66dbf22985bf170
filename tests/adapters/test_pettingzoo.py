"""Tasks as PettingZoo parallel environments: its own tests have no complaint, and what happens in them is what happens in edgetwin."""

import importlib.util
import sys
import warnings

import jax
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils import parallel_to_aec

from edgetwin import InputError
from edgetwin.adapters import pettingzoo as adapter
from edgetwin.adapters.gymnasium import GymnasiumEnv
from edgetwin.adapters.pettingzoo import PettingZooEnv, parallel_env
from edgetwin.evaluation.rollout import rollout
from edgetwin.problem import Policy, View, episode_keys, random_action
from edgetwin.registry import policy
from toys import Assign, Track, TwoSpeeds, cheapest

pytestmark = pytest.mark.usefixtures("quick_compilation")

TRACK, ASSIGN, CREW = Track(), Assign(), TwoSpeeds()
TOYS = pytest.mark.parametrize("task", [CREW, TRACK, ASSIGN], ids=lambda task: task.name)
NAMES = ["workers_0", "workers_1", "workers_2", "boss_0"]


class Quick(TwoSpeeds):
    """A crew whose modes are all that matters: the metric `mode` tells them worker by worker, and the critics' state is the load."""

    name = "toy-quick"

    def __init__(self):
        super().__init__()
        self.spec = self.spec.__class__(**{**self.spec.__dict__, "state_size": 3})
        self.traced = 0

    def step(self, state, action):
        self.traced += 1
        after, outcome = super().step(state, action)
        return after, outcome._replace(metrics=outcome.metrics | {"mode": after.mode})

    def global_state(self, state):
        return state.load


def by_agent(action):
    """An action of the task, an agent each."""
    rows = {f"{name}_{index}": row for name in action._fields for index, row in enumerate(np.asarray(getattr(action, name)))}
    return {agent: row[0] if row.dtype.kind == "i" and row.size == 1 else row for agent, row in rows.items()}


def modes(*chosen):
    """Full effort, and the boss's choice of modes."""
    return {**{f"workers_{index}": np.ones(1, np.float32) for index in range(3)}, "boss_0": np.array(chosen)}


@pytest.fixture
def no_complaint():
    """Any warning is an error, but for what PettingZoo remarks of our agents, who differ, and what we say of an option of its tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expected in (
            "Agents have different",
            "The class of .* spaces is different",
            "Observations are different",
            "Action space for each agent probably should be gymnasium.spaces.box or",
            "reset has no option",
        ):
            warnings.filterwarnings("ignore", expected)
        yield


@TOYS
def test_pettingzoos_own_tests_pass(task, no_complaint):
    parallel_api_test(PettingZooEnv(task), 100)
    parallel_seed_test(lambda: PettingZooEnv(task))


def test_agents_may_act_in_turns(no_complaint):
    """PettingZoo's conversion to its agent-environment cycle, under its own tests of that."""
    api_test(parallel_to_aec(PettingZooEnv(CREW)), 100)
    seed_test(lambda: parallel_to_aec(PettingZooEnv(CREW)), 40)


def test_agents_of_all_classes_have_their_names_and_spaces():
    env = PettingZooEnv(CREW)
    assert (env.possible_agents, env.agents) == (NAMES, [])
    env.reset(seed=0)
    assert (env.agents, env.num_agents) == (NAMES, 4)
    for agent in NAMES[:3]:
        assert env.observation_space(agent) == spaces.Box(-10, 10, (2,), np.float32)
        assert env.action_space(agent) == spaces.Box(0, 1, (1,), np.float32)
    assert env.observation_space("boss_0") == spaces.Box(-10, 10, (6,), np.float32)
    assert env.action_space("boss_0") == spaces.MultiDiscrete([2, 2, 2])
    assert PettingZooEnv(ASSIGN).action_space("agents_0") == spaces.MultiDiscrete([6, 6, 6, 6])


def test_agents_draw_random_actions_apart():
    env = PettingZooEnv(CREW)
    for agent in NAMES:
        env.action_space(agent).seed(1)
    first = [env.action_space(agent).sample() for agent in NAMES[:3]]
    assert first[0] == first[1] == first[2]


def test_an_episode_of_comparisons_is_the_same_here():
    """Slot by slot the task's own functions, and in sum the rollout of the same actions."""
    key = episode_keys(7, 3)[2]
    drawn = [random_action(CREW, jax.random.key(slot)) for slot in range(30)]

    def act(carry, view, key):
        return carry + 1, drawn[carry]

    replay = Policy(name="replay", task=CREW, act=act, init=lambda key, view: 0, runs_on="host")
    totals = rollout(replay, key[None], 30, 30).metrics
    env, state = PettingZooEnv(CREW), CREW.reset(key)
    seen, infos = env.reset(seed=7, options={"episode": 2})
    assert infos == {agent: {} for agent in NAMES}
    costs = []
    for slot, action in enumerate(drawn):
        for agent, expected in by_agent(CREW.observe(state)).items():
            np.testing.assert_array_equal(seen[agent], expected)
        state, outcome = CREW.step(state, action)
        seen, rewards, terminated, truncated, infos = env.step(by_agent(action))
        expected = {agent: float(reward) for agent, reward in by_agent(outcome.rewards).items()}
        assert rewards == pytest.approx(expected, rel=1e-6)
        assert [type(reward) for reward in rewards.values()] == [float] * 4
        assert (terminated, truncated) == (dict.fromkeys(NAMES, False), dict.fromkeys(NAMES, slot == 29))
        assert infos["boss_0"]["metrics"] == {
            "cost": pytest.approx(float(outcome.metrics["cost"]), rel=1e-6),
            "changes": int(outcome.metrics["changes"]),
            "slots": 1,
        }
        assert ("summary" in infos["boss_0"]) == (slot == 29)
        costs.append(infos["boss_0"]["metrics"]["cost"])
    assert env.agents == []
    assert sum(costs) == pytest.approx(float(totals["cost"][0, 0]), rel=1e-5)
    assert infos["workers_1"]["summary"] == {
        "cost": pytest.approx(sum(costs) / 30, rel=1e-5),
        "changes": pytest.approx(float(totals["changes"][0, 0]) / 30),
    }


def test_a_one_shot_task_terminates_and_pays_what_the_rollout_says():
    env = PettingZooEnv(ASSIGN, seed=5)
    totals = rollout(cheapest(ASSIGN), episode_keys(5, 4), 1, 1).metrics["cost"][:, 0]
    for episode in range(4):
        seen, _ = env.reset(options={"episode": episode})
        _, rewards, terminated, truncated, infos = env.step({"agents_0": seen["agents_0"].reshape(4, 6).argmin(axis=1)})
        assert (terminated, truncated) == ({"agents_0": True}, {"agents_0": False})
        assert infos["agents_0"]["summary"]["cost"] == pytest.approx(totals[episode], rel=1e-6)
        assert rewards["agents_0"] == pytest.approx(-totals[episode], rel=1e-6)


def test_a_slow_class_acts_when_the_metadata_say():
    env = PettingZooEnv(Quick())
    assert (env.metadata["every"], env.metadata["first"]) == ({"workers": 1, "boss": 5}, {"workers": 0, "boss": 5})
    env.reset(seed=0)
    told = [env.step(modes(1, slot % 2, 0))[4]["boss_0"]["metrics"]["mode"].tolist() for slot in range(12)]
    assert told == [[0, 0, 0]] * 5 + [[1, 1, 0]] * 5 + [[1, 0, 0]] * 2


def test_infos_hold_the_metrics_once():
    env = PettingZooEnv(Quick())
    env.reset(seed=0)
    infos = env.step(modes(0, 0, 0))[4]
    assert all(infos[agent]["metrics"] is infos["boss_0"]["metrics"] for agent in NAMES)
    assert len({id(info) for info in infos.values()}) == 4, "what a library adds to one is not in the others"


def test_the_state_is_that_of_the_task(no_complaint):
    env = PettingZooEnv(Quick())
    assert env.state_space == spaces.Box(-np.inf, np.inf, (3,), np.float32)
    with pytest.raises(ResetNeeded):
        env.state()
    seen, _ = env.reset(seed=0)
    for _ in range(30):
        np.testing.assert_array_equal(env.state(), seen["boss_0"][:3])
        seen, *_ = env.step(modes(0, 1, 0))
    np.testing.assert_array_equal(env.state(), seen["boss_0"][:3])
    warnings.filterwarnings("ignore", "Environment's .* state space value is")
    state_test(parallel_to_aec(PettingZooEnv(Quick())), PettingZooEnv(Quick()))


def test_a_task_without_a_state_says_so():
    env = PettingZooEnv(CREW)
    env.reset()
    assert not hasattr(env, "state_space")
    with pytest.raises(NotImplementedError, match="edgetwin/toy-two-speeds"):
        env.state()


def test_environments_of_one_task_compile_once():
    task = Quick()
    traced = []
    for _ in range(3):
        env = PettingZooEnv(task)
        env.reset()
        env.step(modes(0, 0, 0))
        traced.append(task.traced)
    assert traced[0] == traced[1] == traced[2] > 0


def episode(env, **how):
    """All that an episode of one's own random actions says."""
    said = [env.reset(**how)]
    for index, agent in enumerate(env.agents):
        env.action_space(agent).seed(index)
    while env.agents:
        said.append(env.step({agent: env.action_space(agent).sample() for agent in env.agents}))
    return said


@TOYS
def test_the_same_seed_is_the_same_episode_to_its_end(task):
    one, two, other = (episode(PettingZooEnv(task), seed=seed) for seed in (3, 3, 4))
    assert len(one) == task.spec.slots + 1
    assert data_equivalence(one, two, exact=True)
    assert not data_equivalence(one[0], other[0])


def test_seeds_start_the_stream_of_episodes_that_gymnasiums_adapter_has():
    env, alone = PettingZooEnv(TRACK, seed=4), GymnasiumEnv(TRACK, seed=4)

    def same(**how):
        seen = env.reset(**how)[0]["agents_0"].tolist()
        assert seen == alone.reset(**how)[0].tolist()
        return seen

    before = np.random.get_state()[1].tolist()
    stream = [same(), same(), same()]
    assert len({str(seen) for seen in stream}) == 3
    assert [same(seed=4), same(), same()] == stream
    assert same(seed=5) != stream[0]
    assert same(options={"episode": 1}) == TRACK.observe(TRACK.reset(episode_keys(5, 2)[1])).agents[0].tolist()
    assert np.random.get_state()[1].tolist() == before


def test_observations_are_the_readers_own():
    env = PettingZooEnv(CREW)
    first, _ = env.reset(seed=0)
    kept = {agent: seen.copy() for agent, seen in first.items()}
    after = env.step({**modes(0, 0, 0)})[0]
    for seen in after.values():
        seen[:] = 0
    for agent in NAMES:
        np.testing.assert_array_equal(first[agent], kept[agent])


@pytest.mark.parametrize(
    ("agent", "action", "said"),
    [
        ("workers_1", np.array([1.5]), r"action of workers_1 = \[1.5\]: must be numbers of shape \(1,\) from 0.0 to 1.0"),
        ("workers_2", np.array([np.nan]), r"action of workers_2 = \[nan\]"),
        ("workers_0", np.array([1]), "action of workers_0 .*must be numbers"),
        ("workers_0", 0.5, r"of shape \(1,\)"),
        ("workers_0", None, "action of workers_0 = None"),
        ("boss_0", np.array([0, 1, 2]), r"action of boss_0 = \[0 1 2\]: must be whole numbers of shape \(3,\) from 0 to 1"),
        ("boss_0", np.array([0, 1, -1]), "action of boss_0.*from 0 to 1"),
        ("boss_0", np.array([0, 1, 2**32]), "action of boss_0.*from 0 to 1"),
        ("boss_0", np.array([True, False, True]), "whole numbers"),
        ("boss_0", np.array([0.0, 1, 0]), "whole numbers"),
    ],
)
def test_wrong_actions_are_refused_by_name(agent, action, said):
    env = PettingZooEnv(CREW)
    env.reset()
    with pytest.raises(InputError, match=said):
        env.step({**modes(0, 0, 0), agent: action})
    assert env.agents == NAMES, "the episode waits for a right one"


def test_actions_may_be_of_any_kind_of_number():
    env, same = PettingZooEnv(CREW), PettingZooEnv(CREW)
    env.reset(seed=0)
    same.reset(seed=0)
    mixed = {
        "workers_0": [0.5],
        "workers_1": np.array([0.25], np.float32),
        "workers_2": (1.0,),
        "boss_0": np.array([1, 0, 1], np.uint8),
    }
    plain = {agent: np.array(action, np.int64 if agent == "boss_0" else np.float32) for agent, action in mixed.items()}
    for _ in range(6):
        assert data_equivalence(env.step(mixed), same.step(plain))


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ({"boss_0": np.zeros(3, int)}, "actions has none of workers_0: all agents act in every slot"),
        ({**modes(0, 0, 0), "worker_1": [1.0]}, r"actions has 'worker_1', which is no agent .*did you mean workers_1\?"),
        ([[0.5]] * 4, "must be a dictionary with an action for every agent"),
    ],
)
def test_every_agent_acts_and_nobody_else(actions, said):
    env = PettingZooEnv(CREW)
    env.reset()
    with pytest.raises(InputError, match=said):
        env.step(actions)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"options": {"episode": -1}}, "episode = -1"),
        ({"options": {"episode": 0.5}}, "episode = 0.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**32, "options": {"episode": 0}}, "from 0 to 2"),
    ],
)
def test_wrong_resets_are_refused(how, said):
    with pytest.raises(InputError, match=said):
        PettingZooEnv(CREW).reset(**how)


def test_an_unknown_option_is_no_secret():
    with pytest.warns(UserWarning, match="no option 'episod': only 'episode'"):
        PettingZooEnv(CREW).reset(options={"episod": 1})


def test_slots_need_an_episode():
    env = PettingZooEnv(ASSIGN)
    with pytest.raises(ResetNeeded):
        env.step({"agents_0": np.zeros(4, int)})
    env.reset()
    env.step({"agents_0": np.zeros(4, int)})
    with pytest.raises(ResetNeeded):
        env.step({"agents_0": np.zeros(4, int)})


def test_without_pettingzoo_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    spec = importlib.util.spec_from_file_location("without", adapter.__file__)
    with pytest.raises(ImportError, match=r"pip install 'edgetwin\[rl\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_task_by_name_takes_a_scenario_and_settings():
    env = parallel_env("network-sync", "network-sync/b", {"network_sync.slots": 4}, seed=1)
    assert (env.task.scenario.name, env.task.spec.slots, env.possible_agents) == ("network-sync/b", 4, ["station_0"])
    alone = GymnasiumEnv(env.task, seed=1)
    np.testing.assert_array_equal(env.reset()[0]["station_0"], alone.reset()[0])
    for slot in range(4):
        seen, rewards, terminated, _, infos = env.step({"station_0": slot % 2})
        expected, reward, ended, _, info = alone.step(slot % 2)
        np.testing.assert_array_equal(seen["station_0"], expected)
        assert (rewards["station_0"], terminated["station_0"]) == (reward, ended)
    assert infos["station_0"]["summary"] == info["summary"]
    assert parallel_env("network-sync", "network-sync/b", {"network_sync.slots": 4}).task is env.task
    for scenario, settings in (("network-sync/b", None), (None, {"network_sync.slots": 4})):
        with pytest.raises(InputError, match="'network-sync' has its scenario"):
            parallel_env(env.task, scenario, settings)
    assert parallel_env(env.task).task is env.task
    with pytest.raises(InputError, match=r"'network-sync/b' is loaded already: .* edgetwin.task\('network-sync', …\)"):
        parallel_env("network-sync", env.task.scenario)


def two_timescale():
    return parallel_env("two-timescale", "two-timescale/physical")


@pytest.mark.slow
def test_pettingzoos_own_tests_pass_on_two_timescale(no_complaint):
    parallel_api_test(two_timescale(), 20)
    parallel_seed_test(two_timescale, 20)


def test_the_two_timescale_network_is_that_of_comparisons():
    """Its 36 agents, driven by a rule's own decisions, spend, fail and move as in the rollout, over two deployments."""
    slots, key = 205, episode_keys(3, 2)[1]
    env = two_timescale()
    task, agents = env.task, env.possible_agents
    users, stations, centre = agents[:30], agents[30:35], agents[35:]
    assert [users[29], stations, centre] == ["users_29", [f"stations_{index}" for index in range(5)], ["centre_0"]]
    assert (env.metadata["every"]["centre"], env.metadata["first"]["centre"]) == (100, 100)
    rule = policy(task, "inversion[snr=5]+nearest")
    totals = rollout(rule, key[None], slots, slots).metrics
    layout = task.observe(task.reset(key))
    decide = jax.jit(lambda carry, seen: rule.act(carry, View(seen), key))
    seen, _ = env.reset(seed=3, options={"episode": 1})
    told, reward, carry = [], 0.0, rule.init(key, View(layout))
    for _ in range(slots):
        assert all(space.contains(seen[agent]) for agent, space in env.observation_spaces.items())
        stacked = [np.stack([seen[agent] for agent in names]) for names in (users, stations, centre)]
        carry, action = decide(carry, layout._replace(users=stacked[0], stations=stacked[1], centre=stacked[2]))
        seen, rewards, terminated, truncated, infos = env.step(by_agent(action))
        told.append(infos["centre_0"]["metrics"])
        reward += rewards["users_3"]
        assert not any(terminated.values()) and not any(truncated.values())
        assert {rewards[agent] for agent in users + stations} == {told[-1]["reward"]}
        assert rewards["centre_0"] == told[-1]["centre_reward"]
    for metric in ("energy_j", "failures", "migrations"):
        np.testing.assert_allclose(sum(slot[metric] for slot in told), getattr(totals, metric)[0, 0], rtol=1e-5)
    assert sum(totals.migrations[0, 0]) > 0
    assert reward == pytest.approx(float(totals.reward[0, 0]), rel=1e-5)
    assert env.state().shape == (task.spec.state_size,)
