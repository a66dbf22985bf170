"""A trained policy on disk: the same actions as in memory, in comparisons as any other, and refused where it does not belong."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import edgetwin as et
import toys
from edgetwin import cli, registry
from edgetwin.errors import InputError
from edgetwin.evaluation.check import check_policy
from edgetwin.learning import algorithms, arrays, dqn, runs, sac, trainer
from edgetwin.problem import Param
from edgetwin.scenario import scenario
from learning import probes

pytestmark = pytest.mark.usefixtures("quick_compilation")

TESTS = Path(__file__).parent.parent
NAME = "learning.probes:PROBLEM"


@pytest.fixture(scope="module")
def here():
    return probes.PROBLEM.task(scenario("two-timescale/physical"))


@pytest.fixture(scope="module")
def run(here, tmp_path_factory):
    learner = registry.learner(here, "dqn[discount=0.9]", algorithms.LEARNERS)
    return trainer.train(learner, 1, 4096, tmp_path_factory.mktemp("runs") / "one", evaluations=1, evaluation_episodes=4)


@pytest.fixture
def elsewhere():
    return probes.PROBLEM.task(scenario("two-timescale/physical", {"users.count": 3}))


def actions(policy):
    observed = [policy.view(probes.Agents(jax.nn.one_hot(place, 3)[None]), None, None) for place in range(3)]
    return [int(policy.act((), view, jax.random.key(0))[1].agent[0, 0]) for view in observed]


@pytest.mark.parametrize("where", ["folder", "file", "moved file"])
def test_what_is_loaded_acts_the_same(run, here, tmp_path, where):
    path = {"folder": run.folder, "file": run.folder / "policy.safetensors", "moved file": tmp_path / "mine.safetensors"}[where]
    if where == "moved file":
        path.write_bytes((run.folder / "policy.safetensors").read_bytes())
    loaded = et.load(path, here)
    assert actions(loaded) == actions(run)
    assert loaded.name == run.name == "dqn[discount=0.9]@seed1"
    assert loaded.params == run.params
    assert loaded.params["discount"] == Param(0.9)
    assert loaded.params["trained_slots"] == Param(4096)
    assert loaded.params["hidden"] == Param("64x64")
    assert (loaded.information, loaded.runs_on) == ("observation", "device")


def test_it_keeps_its_contract(run):
    assert [clause for clause in check_policy(run) if not clause.passed] == []


def test_it_competes_with_others(run, here):
    table = et.compare(here, [run], episodes=4).to_json()
    assert set(table["policies"]["dqn[discount=0.9]@seed1"]) == {
        *("metrics", "bound", "gap", "information", "runs_on", "reference", "params", "decision_us")
    }
    again = et.compare(here, [str(run.folder)], episodes=4).to_json()
    for each in (table, again):
        each["policies"][run.name].pop("decision_us")
    assert table == again


def test_it_is_refused_on_another_scenario_unless_told(run, elsewhere):
    with pytest.raises(InputError) as refused:
        et.load(run.folder, elsewhere)
    assert "users.count is 30 there, 3 here" in str(refused.value)
    assert f"write {run.folder}[elsewhere=true]" in str(refused.value)
    assert et.policy(elsewhere, f"{run.folder}[elsewhere=true]").name == "dqn[discount=0.9]@seed1[elsewhere=true]"
    assert actions(et.load(run.folder, elsewhere, elsewhere=True)) == actions(run)


def test_differences_are_named_three_at_most():
    there, other = (
        runs.scenario_identity(scenario("two-timescale/physical", settings))
        for settings in ({}, {"users.count": 3, "area.width_m": 100, "two_timescale.frames": 2, "two_timescale.slot_s": 0.5})
    )
    assert runs.differences(there, other).count(" there, ") == 3
    assert runs.differences(there, other).endswith("and 1 more")
    assert "files that it names" in runs.differences(there, there)


class Wider(probes.Chain):
    def __init__(self):
        super().__init__(probes.walk(1, 2, 3, 0), [[0, 1]] * 4, name=NAME, scenario=scenario("two-timescale/physical"))


def test_sizes_must_fit_even_elsewhere(run):
    with pytest.raises(InputError, match=r"does not fit .*: \.weights\[0\] is float32\[3, 64\], needed is float32\[4, 64\]"):
        et.load(run.folder, Wider(), elsewhere=True)


def test_a_policy_of_another_task_is_refused(run):
    with pytest.raises(InputError, match="was trained for learning.probes:PROBLEM, not for toy-track"):
        runs.load(run.folder, toys.Track(), algorithms.LEARNERS)


@pytest.mark.parametrize("content", [b"", b"0123456789", "half"])
def test_a_damaged_policy_is_refused(run, here, tmp_path, content):
    whole = (run.folder / "policy.safetensors").read_bytes()
    (tmp_path / "p.safetensors").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(InputError, match="is damaged or was not written by edgetwin"):
        et.load(tmp_path / "p.safetensors", here)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("runs/a", True),
        ("./a", True),
        ("/tmp/a[elsewhere=true]", True),
        ("a.safetensors", True),
        ("inversion[snr=5]+nearest", False),
        ("index", False),
    ],
)
def test_names_of_runs_are_paths(name, meant):
    assert runs.is_run(name) == meant


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no/where", "cannot be read"),
        ("{run}[elswhere=true]", "a run has one knob: write [elsewhere=true]"),
        ("{empty}/", "holds no policy.safetensors (is not a run)"),
    ],
)
def test_paths_that_make_no_sense(run, here, tmp_path, path, said):
    with pytest.raises(InputError) as refused:
        et.policy(here, path.format(run=run.folder, empty=tmp_path))
    assert said in str(refused.value)


def test_the_command_compares_runs(run, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS))
    assert cli.main(["compare", NAME, "--policy", str(run.folder), "--episodes", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["policies"][run.name]
    assert answer["params"]["seed"] == {"value": 1, "tuned": False}
    assert cli.main(["compare", NAME, "--policy", str(run.folder), "--episodes", "2"]) == 0
    assert "learned, 4,096 slots" in capsys.readouterr().out
    assert cli.main(["compare", NAME, "--policy", str(run.folder), "--set", "users.count=3"]) == 2
    assert "users.count is 30 there, 3 here" in capsys.readouterr().err


def test_the_api_trains_by_name_and_resumes_without_a_task(tmp_path):
    task = probes.PROBLEM.task(scenario("two-timescale/physical"))
    run = et.train(task, "sac[temperature=0.1]", budget=1, seed=5, out=tmp_path / "run", evaluations=1)
    assert run.name == "sac[temperature=0.1]@seed5"
    resumed = et.resume(tmp_path / "run")
    assert actions(resumed) == actions(run)
    assert resumed.task.scenario == task.scenario


@pytest.mark.parametrize("algorithm", [sac.sac, dqn.dqn])
@pytest.mark.parametrize(
    ("task", "said"),
    [
        (toys.TwoSpeeds, "has several (3 workers, 1 boss)"),
        (toys.Track, "the action of toy-track is 1 real numbers"),
        (toys.Assign, "an action of toy-assign is 4 choices (the joint action would have 6^4 values)"),
    ],
)
def test_tasks_that_an_algorithm_does_not_suit(algorithm, task, said):
    with pytest.raises(InputError) as refused:
        algorithm(task())
    assert said in str(refused.value)


SETTINGS = [
    ({"batch": 0}, "batch = 0: must be at least 1"),
    ({"replay": 3}, "replay = 3: must be at least environments = 16"),
    ({"learning_rate": 0.0}, "learning_rate = 0.0: must be above 0"),
    ({"target_rate": 1.5}, "target_rate = 1.5: must be above 0 and at most 1"),
    ({"hidden": (0,)}, "hidden = (0,): must be widths of at least 1"),
    ({"environments": 0, "replay": 1}, "environments = 0: must be at least 1"),
]


@pytest.mark.parametrize(("settings", "said"), SETTINGS)
def test_settings_without_sense(settings, said):
    with pytest.raises(InputError) as refused:
        sac.sac(probes.constant(), sac.Settings(**settings))
    assert str(refused.value) == f"sac: {said}"


def test_random_keys_come_back_as_they_were(tmp_path):
    tree = {"key": jax.random.key(7, impl="rbg"), "keys": jax.random.split(jax.random.key(1), 3), "number": jnp.array(1.5)}
    arrays.write(tmp_path / "x", tree, {"format": arrays.FORMAT, "word": "é"})
    found, about = arrays.read(tmp_path / "x")
    back = arrays.restore(jax.eval_shape(lambda: tree), found)
    assert about["word"] == "é"
    assert (jax.random.bits(back["key"], (4,)) == jax.random.bits(tree["key"], (4,))).all()
    assert (jax.random.key_data(back["keys"]) == jax.random.key_data(tree["keys"])).all()
    assert back["number"].shape == ()


def test_a_file_of_another_format_is_refused(tmp_path):
    arrays.write(tmp_path / "x", {}, {"format": 99})
    with pytest.raises(InputError, match="has format 99, but this edgetwin reads format 1"):
        arrays.read(tmp_path / "x")
