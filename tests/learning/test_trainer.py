"""The trainer: resumed runs are those that never stopped, bit for bit; metrics have every line once; worlds are never shared."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin import cli
from edgetwin.errors import InputError
from edgetwin.learning import algorithms, arrays, dqn, runs, sac, trainer
from edgetwin.learning.learner import BUDGETS, Learner
from edgetwin.problem import episode_keys
from learning import probes
from processes import HEEDING_INTERRUPTS

TESTS = Path(__file__).parent.parent
BLOCKS = 8


@pytest.fixture(scope="module")
def learner():
    return algorithms.sac(probes.PROBLEM.task(None))


@pytest.fixture(scope="module")
def whole(learner, tmp_path_factory):
    """An uninterrupted run."""
    return trainer.train(learner, 3, BLOCKS * learner.block_slots, tmp_path_factory.mktemp("runs") / "whole", evaluations=4)


def lines_of(folder):
    """Metrics without the time they took."""
    return [{**json.loads(line), "seconds": 0} for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same(folder, other):
    for file in ("checkpoint.safetensors", "policy.safetensors"):
        (one, _), (two, _) = arrays.read(folder / file), arrays.read(other / file)
        assert one.keys() == two.keys()
        for name in one:
            assert bytes_of(one[name]) == bytes_of(two[name]), name
    assert lines_of(folder) == lines_of(other)


def bytes_of(leaf):
    return np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf).tobytes()


class Broke(Exception):
    pass


def interrupted(learner, folder, after, with_what=KeyboardInterrupt):
    """A run that ends early, after so many lines of metrics."""
    seen = []

    def stop(slots, budget, line):
        seen.append(line)
        if len(seen) == after:
            raise with_what

    trainer.train(learner, 3, BLOCKS * learner.block_slots, folder, evaluations=4, progress=stop)


def test_a_checkpoint_holds_everything(whole, learner):
    found, about = arrays.read(whole.folder / "checkpoint.safetensors")
    state = jax.eval_shape(learner.init, jax.random.key(0))
    assert len(found) == len(jax.tree.leaves(state))
    for part in ("key", "worlds", "replay", "learned", "slots"):
        assert any(name.startswith(f".{part}") for name in found), part
    assert int(found[".slots"]) == BLOCKS * learner.block_slots == about["done"]["blocks"] * learner.block_slots
    assert set(about["versions"]) == {"edgetwin", "jax"}


@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_stopped_run_goes_on_bit_for_bit(learner, whole, tmp_path, after):
    with pytest.raises(trainer.Stopped, match="stopped after"):
        interrupted(learner, tmp_path / "run", after)
    run = trainer.resume(learner, tmp_path / "run")
    assert_same(tmp_path / "run", whole.folder)
    assert [line["slots"] for line in run.metrics] == [learner.block_slots * block for block in range(BLOCKS + 1)]


def test_a_run_that_died_without_a_checkpoint_begins_again(learner, whole, tmp_path):
    with pytest.raises(Broke):
        interrupted(learner, tmp_path / "run", 3, Broke)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    trainer.resume(learner, tmp_path / "run")
    assert_same(tmp_path / "run", whole.folder)


def test_lines_after_the_checkpoint_are_written_again_not_twice(learner, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(Broke):
        interrupted(learner, tmp_path / "run", 4, Broke)
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"slots": 16384, "sec')
    trainer.resume(learner, tmp_path / "run")
    assert_same(tmp_path / "run", whole.folder)


def test_a_finished_run_is_left_as_it_is(learner, whole):
    before = lines_of(whole.folder)
    run = trainer.resume(learner, whole.folder)
    assert lines_of(whole.folder) == before
    assert run.name == whole.name == "sac@seed3"


def test_the_same_seed_gives_the_same_run_and_another_seed_another(learner, whole):
    same, other = (trainer.train(learner, seed, BLOCKS * learner.block_slots, evaluations=4) for seed in (3, 4))
    assert [line["training"] for line in same.metrics[1:]] == [line["training"] for line in whole.metrics[1:]]
    assert [line["training"] for line in other.metrics[1:]] != [line["training"] for line in whole.metrics[1:]]
    assert same.folder is None


def test_evaluations_come_when_they_should_and_improve(whole):
    evaluated = [line["slots"] // (whole.metrics[1]["slots"]) for line in whole.metrics if "evaluation" in line]
    assert evaluated == [0, 2, 4, 6, 8]
    first, last = (whole.metrics[n]["evaluation"]["reward"] for n in (0, -1))
    best = (1.0 + 0.5 + 0.2) / 3
    assert last["mean"] == pytest.approx(best, abs=0.06), "the greedy policy takes every reward there is"
    assert last["ci95"][0] <= last["mean"] <= last["ci95"][1]
    assert first["mean"] < last["mean"]


@pytest.mark.parametrize("time_of_death", ["early", "late"])
def test_a_killed_process_goes_on_bit_for_bit(learner, whole, tmp_path, time_of_death):
    """SIGKILL at a random moment of a process that trains and writes checkpoints as fast as it can."""
    script = (
        "import sys; from edgetwin.learning import algorithms, trainer; from learning import probes; from pathlib import Path\n"
        "trainer.CHECKPOINT_EVERY_S = 0.0\n"
        "learner = algorithms.sac(probes.PROBLEM.task(None))\n"
        f"trainer.train(learner, 3, {BLOCKS} * learner.block_slots, Path(sys.argv[1]), evaluations=4)\n"
    )
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], env={**os.environ, "PYTHONPATH": str(TESTS)})
    enough = 1 if time_of_death == "early" else 4
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (folder / "metrics.jsonl").exists() and len(lines_of_whole(folder)) >= enough:
            break
        time.sleep(0.01)
    time.sleep(random.random() * 0.2)
    process.send_signal(signal.SIGKILL)
    assert process.wait() in (-signal.SIGKILL, 0)
    trainer.resume(learner, folder)
    assert_same(folder, whole.folder)


def lines_of_whole(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_control_c_says_how_to_go_on(tmp_path):
    """Also while the compiler is at work. The command goes on where it was told."""
    folder = tmp_path / "run"
    command = [*HEEDING_INTERRUPTS, "-m", "edgetwin", "train", "learning.probes:PROBLEM", "--algo", "sac", "--budget", "2000000"]
    process = subprocess.Popen(
        [*command, "--out", str(folder)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"go on with: edgetwin train learning.probes:PROBLEM --resume {folder}" in said
    assert len(said.strip().splitlines()) == 1
    assert (folder / "checkpoint.safetensors").exists()


def test_training_evaluation_and_comparisons_share_no_world(learner):
    """Not by chance: their keys are named streams of the seed; here no key of the first thousands is in two of them."""
    state = trainer._start(learner, 0).state
    trained = {bytes_of(key) for key in state.worlds.states.key} | {bytes_of(state.worlds.key), bytes_of(state.key)}
    evaluated = {bytes_of(key) for key in trainer.evaluation_keys(500)}
    compared = {bytes_of(key) for seed in range(4) for key in episode_keys(seed, 500)}
    assert len(evaluated) == 500
    assert not (trained & evaluated or trained & compared or evaluated & compared)


@pytest.mark.parametrize(("budget", "slots"), [("quick", BUDGETS["quick"]), ("paper", BUDGETS["paper"]), ("5000", 5000), (7, 7)])
def test_budgets(learner, budget, slots):
    assert trainer.slots_of(learner, budget) == slots


@pytest.mark.parametrize(
    ("budget", "said"),
    [("quik", "did you mean quick"), (0, "at least 1 slot"), ("-3", "at least 1 slot"), ("1.5", "a number of slots")],
)
def test_budgets_that_make_no_sense(learner, budget, said):
    with pytest.raises(InputError, match=said):
        trainer.slots_of(learner, budget)


def test_a_folder_that_holds_a_run_is_refused(learner, whole):
    with pytest.raises(InputError, match="already holds a run: go on with it"):
        trainer.train(learner, 0, 1, whole.folder)


OTHERS = {
    "algorithm": (lambda: algorithms.dqn(probes.PROBLEM.task(None)), "is a run of algorithm sac, not dqn"),
    "task": (lambda: sac.sac(probes.random_mdp()), "is a run of task learning.probes:PROBLEM, not probe"),
    "setting": (lambda: algorithms.sac(probes.PROBLEM.task(None), discount=0.5), "discount = 0.95, not 0.5"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_run_of_another_learner_is_refused(whole, other):
    make, said = OTHERS[other]
    with pytest.raises(InputError, match=said):
        trainer.resume(make(), whole.folder)


def damage(file, how):
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "one bit":
        file.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    else:
        file.write_bytes(b"" if how == "empty" else b"not a checkpoint at all")


@pytest.mark.parametrize("how", ["truncated", "one bit", "empty", "something else"])
def test_a_damaged_checkpoint_is_refused(learner, whole, tmp_path, how):
    folder = copied(whole.folder, tmp_path / "run")
    damage(folder / "checkpoint.safetensors", how)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: is damaged") as refused:
        trainer.resume(learner, folder)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_of_another_run_is_refused(learner, whole, tmp_path):
    trainer.train(learner, 9, 1, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes((whole.folder / "checkpoint.safetensors").read_bytes())
    with pytest.raises(InputError, match="is of seed 3, but run.json beside it of seed 9"):
        trainer.resume(learner, tmp_path / "run")


def copied(folder, to):
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize("name", ["edgetwin", "jax"])
def test_a_run_of_another_version_is_refused_but_its_policy_is_not(learner, whole, monkeypatch, name):
    """Another version may compute something else; then the rest of the run would not be that of the run. A policy only needs to fit."""
    then = whole.about["versions"][name]
    monkeypatch.setattr(*((runs, "version", lambda package: "99.0") if name == "edgetwin" else (jax, "__version__", "99.0")))
    with pytest.raises(
        InputError, match=rf"is a run of {name} {re.escape(then)}, not 99\.0: resume it with the {name} that began it"
    ):
        trainer.resume(learner, whole.folder)
    loaded = runs.load(whole.folder, learner.task, algorithms.LEARNERS)
    assert loaded.about["versions"][name] == then and loaded.name == whole.name


def test_a_folder_without_a_run_is_refused(learner, tmp_path):
    with pytest.raises(InputError, match=r"holds no run \(there is no run.json in it\)"):
        trainer.resume(learner, tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        trainer.resume(learner, tmp_path)


class Sums(NamedTuple):
    """What the learner below learns, and how often it has."""

    weights: jax.Array
    blocks: jax.Array


def diverging(**wrong):
    """A learner of blocks of 10 slots which from its third on has other figures, or in its `weights` what is said."""
    usual = {"users_loss": 1.0, "stations_loss": jnp.ones(3), "ratio": jnp.ones(2), "return": 1.0}

    def block(state):
        late = state.blocks >= 2
        after = state.weights + jnp.where(late, wrong.get("weights", 1.0), 1.0)
        return Sums(after, state.blocks + 1), {
            name: jnp.where(late, wrong.get(name, value), value) for name, value in {**usual, "updates": 1}.items()
        }

    task = probes.constant()
    return Learner(
        name="sums",
        task=task,
        settings=Sums(0, 0),
        block_slots=10,
        init=lambda key: Sums(jnp.zeros(2), jnp.zeros((), jnp.int32)),
        block=block,
        policy=lambda state: (),
        act=lambda params, observation, key: task.action(jnp.zeros((1, 1), jnp.int32)),
        learned=lambda state: state,
    )


DIVERGED = {
    "a loss": ({"users_loss": jnp.nan}, r"users_loss became nan"),
    "an infinite loss": ({"users_loss": -jnp.inf}, r"users_loss became -inf"),
    "one loss of several": ({"stations_loss": jnp.array([1, jnp.nan, 1])}, r"stations_loss became \[ ?1\. +nan +1\.\]"),
    "what is learned": ({"weights": jnp.array([0, jnp.inf])}, r"weights became nan or infinite"),
}


@pytest.mark.parametrize("what", DIVERGED)
def test_a_training_that_diverges_stops_with_what_was_good(tmp_path, what):
    """It says what, and where; checkpoint, policy and metrics are those of the block before. Going on ends in the same place."""
    wrong, said = DIVERGED[what]
    learner, folder = diverging(**wrong), tmp_path / "run"
    where = rf"^sums: {said} between slots 20 and 30: lower the learning rate; what it had learned before is kept in {folder}$"
    with pytest.raises(InputError, match=where):
        trainer.train(learner, 0, 100, folder, evaluations=1, evaluation_episodes=1)
    found, about = arrays.read(folder / "checkpoint.safetensors")
    assert (found[".weights"] == 2).all() and int(found[".blocks"]) == 2 == about["done"]["blocks"]
    assert arrays.read(folder / "policy.safetensors")[1]["trained_slots"] == 20
    assert [line["slots"] for line in lines_of(folder)] == [0, 10, 20]
    with pytest.raises(InputError, match=where):
        trainer.resume(learner, folder)
    with pytest.raises(InputError, match=r"lower the learning rate$"):
        trainer.train(learner, 0, 100, evaluations=1, evaluation_episodes=1)


@pytest.mark.parametrize(
    "figures", [{"return": jnp.nan}, {"ratio": jnp.array([jnp.nan, 2])}, {"users_loss": jnp.nan, "updates": 0}]
)
def test_figures_that_may_be_missing_do_not_stop_a_training(figures):
    """No episode ended, or nothing was learned yet. A row of figures is a list in the metrics."""
    run = trainer.train(diverging(**figures), 0, 30, evaluations=1, evaluation_episodes=1)
    last = run.metrics[-1]["training"]
    assert run.metrics[1]["training"] == {
        **last,
        "users_loss": 1,
        "stations_loss": [1, 1, 1],
        "ratio": [1, 1],
        "return": 1,
        "updates": 1,
    }
    for name, value in figures.items():
        expected = [None if np.isnan(each) else each for each in np.atleast_1d(value)]
        assert last[name] == (expected if np.ndim(value) else expected[0])


def test_losses_are_means_over_the_updates_that_were_made():
    """One follows every 16 slots from 6000 on. In the first block of 4096 there is none, and no loss, which is not taken for a divergence."""
    learner = dqn.dqn(probes.constant(), dqn.Settings(first_update=6000))
    run = trainer.train(learner, 0, 2 * learner.block_slots, evaluations=1, evaluation_episodes=1)
    first, second = (line["training"] for line in run.metrics[1:])
    assert first == {"return": 8, "updates": 0, "q_loss": None, "q_mean": None}
    assert second["updates"] == 8192 // 16 - 6000 // 16 + 1
    assert 0 < second["q_loss"] < 2 and 0 < second["q_mean"] < 2


def test_the_command_says_what_diverged(capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "learning.probes:PROBLEM", "--algo", "sac[temperature=1e38]", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "policy_loss became -inf between slots 0 and 4,096: lower the learning rate" in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_the_command_trains_resumes_and_answers_in_json(capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.chdir(tmp_path)
    task = "learning.probes:PROBLEM"
    assert cli.main(["train", task, "--algo", "sac", "--budget", "5000", "--seed", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["policy"] == "sac@seed2"
    assert answer["trained_slots"] == 8192
    assert answer["run"] == "edgetwin-runs/learning.probes-PROBLEM-sac-seed2"
    assert set(answer["evaluation"]["reward"]) == {"mean", "ci95"}
    assert cli.main(["train", task, "--resume", answer["run"]]) == 0
    assert "sac@seed2" in capsys.readouterr().out


MISTAKES = {
    "no algorithm": ([], "--algo is missing: choose one of sac, dqn"),
    "unknown algorithm": (["--algo", "sca"], "algorithm 'sca' is not known: choose among dqn, sac (did you mean sac?)"),
    "unknown knob": (["--algo", "sac[discont=1]"], "algorithm 'sac' has no knob 'discont': its knobs are discount, temperature"),
    "impossible knob": (["--algo", "sac[discount=1]"], "sac: discount = 1.0: must be at least 0 and below 1"),
    "no temperature": (["--algo", "sac[temperature=0]"], "sac: temperature = 0.0: must be above 0"),
    "bad budget": (["--algo", "sac", "--budget", "big"], "budget 'big': must be quick, paper or a number of slots"),
    "bad seed": (["--algo", "sac", "--seed", "-1"], "seed = -1"),
    "no run": (["--resume", "nowhere"], "nowhere: holds no run"),
    "a seed for an old run": (["--resume", "nowhere", "--seed", "1"], "--seed: goes with a new training"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(capsys, tmp_path, monkeypatch, mistake):
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.chdir(tmp_path)
    arguments, said = MISTAKES[mistake]
    assert cli.main(["train", "learning.probes:PROBLEM", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_task_without_algorithms_says_so(capsys):
    assert cli.main(["train", "toys:TRACK", "--algo", "sac", "--scenario", "two-timescale/physical"]) == 2
    assert "has no algorithms" in capsys.readouterr().err
