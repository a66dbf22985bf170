"""What is carried from one region to another: the equations by hand, and trainings that begin from a run as they say, resumed bit for bit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from edgetwin import cli
from edgetwin.errors import InputError
from edgetwin.learning import algorithms, arrays, dqn, maddpg, trainer, transfer
from edgetwin.learning import replay as ring
from edgetwin.learning.runs import Run
from edgetwin.learning.sources import read_source
from learning import probes
from learning.steering import Steering

pytestmark = pytest.mark.usefixtures("quick_compilation")

BLOCKS = 4
TESTS = Path(__file__).parent.parent
TASK = "learning.probes:PROBLEM"


def model(weight, count=0):
    return dqn.Learned(
        critic={"weight": jnp.asarray(weight, jnp.float32)},
        target={"weight": 2 * jnp.asarray(weight, jnp.float32)},
        optimiser={"mean": jnp.asarray(weight, jnp.float32) * 10, "count": jnp.asarray(count)},
    )


def same(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(_plain(left), _plain(right))


def _plain(leaf):
    return np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def test_32_is_the_weighted_mean_of_parameters_with_the_last_optimiser():
    mean = transfer.aggregated([model([1.0, 2.0], 1), model([3.0, 0.0], 2), model([5.0, 1.0], 3)], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(mean.critic["weight"], [0.5 + 0.75 + 1.25, 1.0 + 0.0 + 0.25])
    np.testing.assert_allclose(mean.target["weight"], 2 * np.array([2.5, 1.25]))
    np.testing.assert_array_equal(mean.optimiser["mean"], [50, 10])
    assert int(mean.optimiser["count"]) == 3


@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.0], [0.5, 0.25, 0.25]])
def test_weights_that_do_not_sum_to_1_or_are_too_few_are_refused(weights):
    with pytest.raises(InputError, match="sum to 1"):
        transfer.aggregated([model([1.0]), model([2.0])], weights)


def rows_of(values, capacity, added):
    return ring.Replay({"x": jnp.asarray(np.resize(np.asarray(values, np.float32), capacity))}, jnp.asarray(added))


@pytest.mark.parametrize(
    ("source", "target", "together"),
    [
        (rows_of([1, 2, 3, 0], 4, 3), rows_of([0, 0], 2, 0), [1, 2, 3]),
        (rows_of([5, 2, 3, 4], 4, 5), rows_of([7, 0], 2, 1), [2, 3, 4, 5, 7]),
        (rows_of([5, 2, 3, 4], 4, 5), rows_of([9, 8], 2, 3), [2, 3, 4, 5, 8, 9]),
        (rows_of([0, 0], 2, 0), rows_of([9, 8], 2, 3), [8, 9]),
    ],
    ids=["source not full", "source wrapped", "both wrapped", "source empty"],
)
def test_33_holds_both_oldest_first_with_the_target_room_kept(source, target, together):
    both = transfer.merged(target, source)
    np.testing.assert_array_equal(both.rows["x"][: int(both.added)], together)
    held = min(int(source.added), len(source.rows["x"]))
    assert len(both.rows["x"]) == held + len(target.rows["x"])
    new = 100 + jnp.arange(len(target.rows["x"]), dtype=jnp.float32)
    after = ring.add(both, {"x": new})
    kept = set(np.asarray(after.rows["x"])[: min(int(after.added), len(after.rows["x"]))].tolist())
    assert kept >= set(np.asarray(new).tolist())
    oldest_go_first = together[max(0, len(together) + len(new) - len(after.rows["x"])) :]
    assert kept == {*oldest_go_first, *np.asarray(new).tolist()}


def test_34_convex_stays_between_and_as_printed_grows_by_the_same_each_time():
    theta, source = model([0.0, 8.0], 1), model([4.0, -2.0], 2)
    once = transfer.pulled(theta, source, 0.25)
    np.testing.assert_allclose(once.critic["weight"], [1.0, 5.5])
    same(once.optimiser, theta.optimiser)
    near, far, norms = theta, theta, []
    for _ in range(200):
        near, far = transfer.pulled(near, source, 0.1), transfer.added(far, source, 0.1)
        norms.append(float(transfer.norm(far.critic)))
    np.testing.assert_allclose(near.critic["weight"], source.critic["weight"], atol=1e-6)
    np.testing.assert_allclose(far.critic["weight"], [0.0 + 20 * 4.0, 8.0 - 20 * 2.0], rtol=1e-5)
    assert np.diff(norms)[100:] == pytest.approx(0.1 * float(transfer.norm(source.critic)), rel=0.02), "it grows for ever"
    assert float(transfer.norm(theta)) == pytest.approx(np.sqrt(5) * 8), "optimisers do not count"


SMALL = dqn.Settings(environments=4, slots_per_update=8, first_update=40, batch=16, replay=600, hidden=(8,))


def small(task):
    """Double DQN in blocks of a hundredth of its size."""
    return replace(dqn.dqn(task, SMALL), name="dqn")


@pytest.fixture(scope="module")
def here():
    return small(probes.PROBLEM.task(None))


@pytest.fixture(scope="module")
def source(here, tmp_path_factory):
    """A trained run, and its last state."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    trainer.train(here, 1, BLOCKS * here.block_slots, folder, evaluations=1, evaluation_episodes=4)
    found, _ = arrays.read(folder / "checkpoint.safetensors")
    return folder, arrays.restore(jax.eval_shape(here.init, jax.random.key(0)), found)


def first_state(learner, seed=5):
    return trainer._start(learner, seed).state


def test_a_warm_start_decides_as_its_source_in_slot_0_and_all_else_is_new(here, source):
    folder, state = source
    learner = transfer.begun_from(here, [folder])
    begun, scratch = first_state(learner), first_state(here)
    same((begun.learned.critic, begun.learned.target), (state.learned.critic, state.learned.target))
    same(begun.learned.optimiser, scratch.learned.optimiser)
    same(begun._replace(learned=()), scratch._replace(learned=()))
    run = trainer.train(learner, 5, 1, evaluations=1, evaluation_episodes=16)
    expected = trainer.evaluate(here, here.policy(state), 16)
    assert run.metrics[0]["evaluation"] == expected


def test_experience_brings_the_rows_too(here, source):
    folder, state = source
    begun = first_state(transfer.begun_from(here, [folder], "experience"))
    held = min(int(state.replay.added), SMALL.replay)
    assert held == SMALL.replay, "the source's ring is full, and has come round"
    assert int(begun.replay.added) == held
    first = int(state.replay.added) % SMALL.replay
    for mine, theirs in zip(jax.tree.leaves(begun.replay.rows), jax.tree.leaves(state.replay.rows), strict=True):
        assert len(mine) == held + SMALL.replay
        np.testing.assert_array_equal(mine[:held], np.roll(theirs, -first, axis=0))
        assert not np.asarray(mine[held:]).any()


def test_the_pull_follows_each_block_and_fades(here, source):
    folder, state = source
    plain, learner = (transfer.begun_from(here, [folder], name) for name in ("experience", "pull[rho=0.5,decay=0.1]"))
    begun = first_state(learner)
    block = trainer.programs(learner).block
    once, figures = block(begun)
    unpulled, _ = jax.jit(plain.block)(first_state(plain))
    assert float(figures["rho"]) == pytest.approx(0.5)
    half = jax.tree.map(lambda own, other: (own + other) / 2, unpulled.learned.critic, state.learned.critic)
    for mine, theirs in zip(jax.tree.leaves(once.learned.critic), jax.tree.leaves(half), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    same(once.learned.optimiser, unpulled.learned.optimiser)
    _, figures = block(once)
    assert float(figures["rho"]) == pytest.approx(0.05)


def test_as_printed_the_parameters_leave_every_bound_and_the_convex_ones_do_not(here, source):
    folder, state = source
    norms = {}
    for name in ("printed[rho=0.5]", "pull[rho=0.5,decay=1]"):
        learner = transfer.begun_from(here, [folder], name)
        training, block = first_state(learner), trainer.programs(learner).block
        norms[name] = []
        for _ in range(20):
            training, figures = block(training)
            norms[name].append(float(figures["parameter_norm"]))
    start = float(transfer.norm(state.learned))
    assert norms["printed[rho=0.5]"][-1] > 8 * start
    assert max(norms["pull[rho=0.5,decay=1]"]) < 2 * start


def test_the_mean_is_of_one_lineage(here, source, tmp_path):
    folder, state = source
    child, stranger = tmp_path / "child", tmp_path / "stranger"
    trainer.train(transfer.begun_from(here, [folder]), 2, 1, child, evaluations=1, evaluation_episodes=4)
    trainer.train(here, 2, 1, stranger, evaluations=1, evaluation_episodes=4)
    begun = first_state(transfer.begun_from(here, [folder, child], "aggregate"))
    learned = read_source(here, child).learned
    for mine, one, other in zip(*(jax.tree.leaves(each.critic) for each in (begun.learned, state.learned, learned)), strict=True):
        np.testing.assert_allclose(mine, (np.asarray(one) + other) / 2, atol=1e-6)
    same(begun.learned.optimiser, first_state(here).learned.optimiser)
    for runs in ([folder, stranger], [child, folder]):
        with pytest.raises(InputError, match="one lineage"):
            transfer.begun_from(here, runs, "aggregate")


@pytest.mark.parametrize("name", ["experience", "pull[rho=0.4]"])
def test_a_resumed_training_is_the_one_that_never_stopped(here, source, tmp_path, name):
    learner = transfer.begun_from(here, [source[0]], name)
    slots = BLOCKS * here.block_slots
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    trainer.train(learner, 3, slots, whole, evaluations=2, evaluation_episodes=4)

    def stop(done, budget, line):
        if done >= 2 * here.block_slots:
            raise KeyboardInterrupt

    with pytest.raises(trainer.Stopped):
        trainer.train(learner, 3, slots, halted, 2, 4, stop)
    about = json.loads((halted / "run.json").read_text())
    assert about["origin"]["transfer"] == name
    assert about["origin"]["sources"][0]["slots"] == slots
    with pytest.raises(InputError, match="began from .* not from nothing"):
        trainer.resume(here, halted)
    run = trainer.resume(transfer.begun_as(here, about), halted)
    assert isinstance(run, Run)
    (one, _), (two, _) = (arrays.read(each / "checkpoint.safetensors") for each in (whole, halted))
    same([one[key] for key in sorted(one)], [two[key] for key in sorted(two)])


def test_a_source_that_has_changed_or_gone_is_named(here, source, tmp_path):
    moved = tmp_path / "source"
    shutil.copytree(source[0], moved)
    about = {"origin": transfer.begun_from(here, [moved]).origin}
    found, kept = arrays.read(moved / "checkpoint.safetensors")
    like = jax.eval_shape(here.init, jax.random.key(0))
    kept["done"]["blocks"] += 1
    arrays.write(moved / "checkpoint.safetensors", arrays.restore(like, found), kept)
    with pytest.raises(InputError, match=f"no longer the run .* at slot {BLOCKS * here.block_slots:,} then"):
        transfer.begun_as(here, about)
    shutil.rmtree(moved)
    with pytest.raises(InputError, match="holds no run"):
        transfer.begun_as(here, about)


def test_what_does_not_fit_is_refused(here, source, tmp_path):
    folder, _ = source
    larger = small(probes.Chain(np.full((7, 2, 7), 1 / 7), np.zeros((7, 2)), name="probe", scenario=probes.Named("elsewhere")))
    with pytest.raises(InputError, match=r"learned on probe does not fit elsewhere: .*users and servers must be as many"):
        transfer.begun_from(replace(larger, task=_named(larger.task, here.task.name)), [folder])
    with pytest.raises(InputError, match="of algorithm dqn: a training of sac"):
        transfer.begun_from(algorithms.sac(here.task), [folder])
    with pytest.raises(InputError, match="of task .*: a training of steering"):
        transfer.begun_from(maddpg.maddpg("maddpg", Steering(False)), [folder])
    with pytest.raises(InputError, match="begins from one run, not 2"):
        transfer.begun_from(here, [folder, folder])
    with pytest.raises(InputError, match="holds no run"):
        transfer.begun_from(here, [tmp_path / "nowhere"])
    (tmp_path / "early").mkdir()
    shutil.copy(folder / "run.json", tmp_path / "early")
    with pytest.raises(InputError, match="before its first checkpoint"):
        transfer.begun_from(here, [tmp_path / "early"])
    with pytest.raises(InputError, match="rho = 1.5: must be from 0 to 1"):
        transfer.begun_from(here, [folder], "pull[rho=1.5]")
    with pytest.raises(InputError, match="'lukewarm' is not known: choose among aggregate, experience, printed, pull, warm"):
        transfer.begun_from(here, [folder], "lukewarm")
    with pytest.raises(InputError, match="needs a run to begin from"):
        transfer.begun_from(here, [], "warm")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder with a run by the command, called `source`."""
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", TASK, "--algo", "dqn", "--budget", "1", "--out", "source", "--json"]) == 0
    return tmp_path


def test_the_command_and_python_begin_from_a_run_and_resume(capsys, elsewhere):
    capsys.readouterr()
    asked = ["--algo", "dqn", "--budget", "1", "--seed", "2", "--json"]
    assert cli.main(["train", TASK, *asked, "--from", "source", "--transfer", "experience"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["run"] == "edgetwin-runs/learning.probes-PROBLEM-dqn-experience-seed2"
    assert answer["origin"]["transfer"] == "experience"
    assert answer["origin"]["sources"][0]["run"] == str(elsewhere / "source")
    assert "origin" not in json.loads((elsewhere / "source" / "run.json").read_text())
    (elsewhere / answer["run"] / "checkpoint.safetensors").unlink()
    assert cli.main(["train", TASK, "--resume", answer["run"]]) == 0
    task = probes.PROBLEM.task(None)
    run = et.train(task, algorithms.dqn(task), 1, 2, elsewhere / "python", source=elsewhere / "source", transfer="experience")
    assert run.metrics[-1]["evaluation"] == answer["evaluation"]
    (one, _), (two, _) = (arrays.read(Path(each) / "checkpoint.safetensors") for each in (answer["run"], elsewhere / "python"))
    same([one[key] for key in sorted(one)], [two[key] for key in sorted(two)])
    capsys.readouterr()
    for arguments, said in {
        ("--transfer", "warm"): "transfer 'warm': needs a run to begin from",
        ("--from", "source", "--transfer", "worm"): "transfer 'worm' is not known: choose among aggregate, experience, printed, "
        "pull, warm (did you mean warm?)",
        ("--from", "source", "--transfer", "pull[roh=1]"): "transfer 'pull' has no knob 'roh': its knobs are rho, decay",
        ("--from", "nowhere"): "nowhere: holds no run",
        ("--from", "source", "source"): "begins from one run, not 2",
    }.items():
        assert cli.main(["train", TASK, "--algo", "dqn", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.strip().splitlines()) == 1
    assert cli.main(["train", TASK, "--resume", answer["run"], "--from", "source"]) == 2
    assert "--from: goes with a new training" in capsys.readouterr().err


def _named(task, name):
    task.name = name
    return task
