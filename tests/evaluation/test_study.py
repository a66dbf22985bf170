"""Studies: nothing finished is done twice, nothing unfinished is lost, whatever stops them; and what they write."""

import csv
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import toy_studies
from edgetwin import api, registry
from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.study import Job, Study, Table, chosen, plain
from edgetwin.evaluation.study_output import table_csv, table_markdown
from edgetwin.evaluation.study_run import run_study
from processes import HEEDING_INTERRUPTS

TESTS = Path(toy_studies.__file__).parent
TOY1 = toy_studies.STUDIES["toy1"]


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """The toy problem is installed as `toy`; output goes to a folder of its own."""
    point = EntryPoint("toy", "toy_studies:PROBLEM", "edgetwin.problems")
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "edgetwin.problems" else [])
    monkeypatch.chdir(tmp_path)


def run(study, out, workers=1, scale="quick"):
    """Runs a study; returns what it came to and (job, state) of all reports."""
    told = []
    done = run_study("toy/toy1", study, scale, out, workers, lambda job, state, jobs: told.append((job, state)))
    return done, told


def calls(out):
    """How often each job was called, by its name in the files."""
    return {path.parent.name.split(".")[0]: len(path.read_text().split()) for path in out.glob("runs/*/calls")}


def numbers_of(result):
    return {name: each.value for name, each in result.items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_run_does_nothing_again_and_writes_the_same_files(tmp_path, workers):
    first, told = run(TOY1, tmp_path, workers)
    assert sorted(told) == sorted((job.name, state) for job in TOY1.jobs("quick") for state in ("started", "done"))
    before = {path: path.read_bytes() for path in first.files}
    assert [path.name for path in first.files] == ["toy1.png", "toy1.svg", "toy1.md", "toy1.csv", "claims.md", "claims.json"]
    second, told = run(TOY1, tmp_path, workers)
    assert told == [(job.name, "kept") for job in TOY1.jobs("quick")]
    assert calls(tmp_path) == {"good-seed-0": 1, "good-seed-1": 1, "poor-seed-0": 1, "poor-seed-1": 1}
    assert numbers_of(second.results) == numbers_of(first.results)
    assert {path: path.read_bytes() for path in second.files} == before


def test_one_worker_or_two_bring_the_same(tmp_path):
    alone, _ = run(TOY1, tmp_path / "1", 1)
    pair, _ = run(TOY1, tmp_path / "2", 2)
    assert numbers_of(alone.results) == numbers_of(pair.results)
    assert [claim.to_json() for claim in alone.claims] == [claim.to_json() for claim in pair.claims]


def test_results_come_in_the_order_of_the_jobs_and_are_chosen_by_their_settings(tmp_path):
    results = run(TOY1, tmp_path)[0].results
    assert list(results) == [job.name for job in TOY1.jobs("quick")]
    expected = [np.random.default_rng(seed).normal(1.0) for seed in range(2)]
    assert [value["number"] for value in chosen(results, algo="poor")] == expected
    assert chosen(results, algo="poor", seed=1)[0] == {"number": expected[1], "lost": None}
    assert chosen(results, colour="red") == []


def test_changed_settings_are_done_again_and_nothing_else_is(tmp_path):
    run(TOY1, tmp_path)
    jobs = TOY1.jobs("quick")
    changed = replace(jobs[0], settings={**jobs[0].settings, "mean": 5.0})
    study = replace(TOY1, jobs=lambda scale: [changed, *jobs[1:]])
    done, told = run(study, tmp_path)
    assert [job for job, state in told if state == "done"] == ["good seed 0"]
    assert done.results["good seed 0"].value["number"] == np.random.default_rng(0).normal(5.0)


def test_what_another_study_beside_it_has_done_is_taken_over_where_the_job_is_the_same_and_the_result_whole(tmp_path):
    first, second, third = TOY1.jobs("quick")[:3]
    few = Study("few", "toys", "Three jobs.", lambda scale: [first, second, third])
    run(few, tmp_path / "one")
    (damaged,) = (tmp_path / "one" / "results").glob(f"*{second.key}.json")
    damaged.write_text(damaged.read_text()[:-20])
    changed = replace(third, settings={**third.settings, "mean": 5.0})
    other, told = replace(few, jobs=lambda scale: [first, second, changed]), []
    done = run_study("toy/other", other, "quick", tmp_path / "two", 1, lambda job, state, jobs: told.append((job, state)))
    assert [job for job, state in told if state == "kept"] == [first.name]
    assert [job for job, state in told if state == "done"] == [second.name, third.name]
    assert list(done.results) == [first.name, second.name, third.name]
    assert sum(calls(tmp_path / "two").values()) == 2


def test_a_study_is_done_anew_in_a_folder_of_its_own(tmp_path):
    run(TOY1, tmp_path / "one")
    _, told = run(TOY1, tmp_path / "two")
    assert {state for _, state in told} == {"started", "done"}


def test_a_job_has_a_key_of_its_function_and_settings_whatever_their_order():
    job = Job("a", "toy_studies:draw_number", {"seed": 0, "mean": 1.0})
    assert job.key == Job("b", job.function, {"mean": 1.0, "seed": 0}).key
    others = [Job("a", "toy_studies:training", job.settings), Job("a", job.function, {"seed": 1, "mean": 1.0})]
    assert job.key not in [other.key for other in others]


DAMAGES = {
    "cut short": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not JSON": lambda text: "\x00\x01" * 40,
    "another number": lambda text: json.dumps({**json.loads(text), "value": {"number": 99.0, "lost": None}}),
    "of other settings": lambda text: json.dumps({**json.loads(text), "settings": {"seed": 7}}),
    "a list": lambda text: "[1, 2]",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_done_again(tmp_path, damage):
    first, _ = run(TOY1, tmp_path)
    file = next(tmp_path.glob("results/poor-seed-1.*.json"))
    whole = json.loads(file.read_text())
    file.write_text(DAMAGES[damage](file.read_text()))
    second, told = run(TOY1, tmp_path)
    assert [job for job, state in told if state == "done"] == ["poor seed 1"]
    assert numbers_of(second.results) == numbers_of(first.results)
    again = json.loads(file.read_text())
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_fails_lets_the_others_go_on_and_is_all_that_is_done_again(toys, tmp_path, capsys, monkeypatch, workers):
    monkeypatch.setenv("TOY_FAILING", json.dumps({"a": "draw_number", "b": "fail_unless_mended", "c": "draw_number"}))
    monkeypatch.setenv("TOY_MENDED", str(tmp_path / "mended"))
    command = ["reproduce", "toy/failing", "--out", str(tmp_path / "out"), "--workers", str(workers)]
    assert main(command) == 1
    out, error = capsys.readouterr()
    lines = [line for line in error.splitlines() if line.startswith("edgetwin")]
    assert (out, len(lines)) == ("", 1)
    assert lines[0].startswith("edgetwin: job 'b' failed: ZeroDivisionError: nothing to divide by (trace in ")
    trace = next((tmp_path / "out").glob("runs/b.*/error.txt"))
    assert "fail_unless_mended" in trace.read_text() and str(trace) in lines[0]
    (tmp_path / "mended").touch()
    assert main(command) == 0
    assert calls(tmp_path / "out") == {"a": 1, "b": 2, "c": 1}
    assert not trace.exists()


def test_a_worker_that_dies_takes_its_own_job_with_it_and_no_other(tmp_path, monkeypatch):
    functions = {"a": "draw_number", "b": "die", "c": "draw_number", "d": "die", "e": "draw_number", "f": "draw_number"}
    monkeypatch.setenv("TOY_FAILING", json.dumps(functions))
    done, told = run(toy_studies.STUDIES["failing"], tmp_path, 2)
    assert done.failed == dict.fromkeys("bd", "its process died (exit status 3)")
    assert sorted(job for job, state in told if state == "done") == ["a", "c", "e", "f"]


def test_a_result_that_json_cannot_hold_fails_its_job(tmp_path):
    study = Study("", "", "", lambda scale: [Job("set", "toy_studies:write_a_set", {})])
    assert "TypeError: a job's result may hold numbers, texts, lists and dicts, not set" in run(study, tmp_path)[0].failed["set"]


def alive(pid):
    """Whether a process runs (one that has ended and waits to be reaped does not)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def until(holds, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def slow_study(out, workers):
    """The slow study in a process of its own, which does not outlive the block."""
    process = subprocess.Popen(
        [*HEEDING_INTERRUPTS, "-m", "edgetwin", "reproduce", "toy_studies:PROBLEM/slow", "--out", out, "--workers", str(workers)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("how", "workers"),
    [
        pytest.param(signal.SIGKILL, 1, marks=pytest.mark.slow, id="SIGKILL-1"),
        pytest.param(signal.SIGKILL, 2, id="SIGKILL-2"),
        pytest.param(signal.SIGINT, 1, id="SIGINT-1"),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow, id="SIGINT-2"),
    ],
)
def test_stopped_half_way_it_leaves_nobody_and_goes_on_where_it_was(tmp_path, workers, how):
    def half_way():
        steps = [path.read_text().count("\n") for path in tmp_path.glob("runs/training.*/steps")]
        return steps and steps[0] >= 5 and len(list(tmp_path.glob("results/*.json"))) >= 2

    with slow_study(tmp_path, workers) as first:
        until(half_way)
        pids = {int(pid) for path in tmp_path.glob("runs/*/calls") for pid in path.read_text().split()}
        first.send_signal(how)
        _, error = first.communicate(timeout=60)
    if how == signal.SIGINT:
        assert (first.returncode, error.splitlines()[-1]) == (130, "edgetwin: stopped; the same command goes on where it was")
    until(lambda: not any(map(alive, pids)), 10)
    steps = next(tmp_path.glob("runs/training.*/steps"))
    done = {path.name.split(".")[0] for path in tmp_path.glob("results/*.json")}
    assert 2 <= len(done) < 7
    assert 5 <= steps.read_text().count("\n") < toy_studies.STEPS

    with slow_study(tmp_path, 1) as second:
        _, error = second.communicate(timeout=120)
    assert second.returncode == 0, error
    assert len(list(tmp_path.glob("results/*.json"))) == 7
    assert done <= set(calls(tmp_path)), "a job's result and its calls have the same name"
    assert all(count == 1 for name, count in calls(tmp_path).items() if name in done), "what was finished is not done again"
    assert calls(tmp_path)["training"] == 2
    taken = [int(step) for step in steps.read_text().split()]
    repeated = len(taken) - toy_studies.STEPS
    assert repeated <= 1, "a checkpoint follows every step: at most one step is done twice"
    assert sorted(set(taken)) == list(range(1, toy_studies.STEPS + 1))


def test_a_folder_is_for_one_process_at_a_time_and_for_one_study_at_one_scale(tmp_path):
    refused = []

    def meanwhile(job, state, jobs):
        if not refused:
            with pytest.raises(InputError, match="another process is at work there"):
                run_study("toy/toy1", TOY1, "quick", tmp_path)
            refused.append(job)

    run_study("toy/toy1", TOY1, "quick", tmp_path, 1, meanwhile)
    assert refused
    with pytest.raises(InputError, match="holds toy/toy1 at scale quick: choose another folder"):
        run_study("toy/toy1", TOY1, "full", tmp_path)
    with pytest.raises(InputError, match="holds toy/toy1 at scale quick"):
        run_study("toy/other", TOY1, "quick", tmp_path)


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([], "it has no jobs"),
        ([Job("a", "toy_studies:training", {}), Job("a", "toy_studies:die", {})], "two jobs are called 'a'"),
        ([Job("a", "toy_studies:nothing", {})], "job 'a': toy_studies:nothing cannot be loaded"),
        ([Job("a", "no_such_module:run", {})], "job 'a': no_such_module:run cannot be loaded"),
        ([Job("a", "no colon", {})], "job 'a': no colon cannot be loaded"),
        ([Job("a", "toy_studies:training", {"at": Path()})], "the settings of job 'a' are not plain JSON"),
        ([Job("a", "toy_studies:training", {"at": (1, 2)})], "the settings of job 'a' are not plain JSON"),
        ([Job("a", "toy_studies:training", {"at": float("nan")})], "the settings of job 'a' are not plain JSON"),
    ],
)
def test_jobs_that_make_no_sense_are_refused_before_the_work(tmp_path, jobs, said):
    with pytest.raises(InputError) as refused:
        run_study("toy/toy1", replace(TOY1, jobs=lambda scale: jobs), "quick", tmp_path / "out")
    assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_plain_data():
    given = {"a": np.arange(2), "b": (np.float32(0.5), jnp.ones(2)), "c": [np.inf, None, True, "x"], "d": np.array([np.nan, 1.0])}
    assert plain(given) == {"a": [0, 1], "b": [0.5, [1.0, 1.0]], "c": [None, None, True, "x"], "d": [None, 1.0]}
    for wrong in ({1: 2}, object(), b"x"):
        with pytest.raises(TypeError, match="a job's result may"):
            plain(wrong)


def test_a_table_is_shown_short_and_kept_in_full():
    rows = [("a|b", Estimate(1 / 3, (0.25, 0.5)), 2), ("c", Estimate(2.0, None), None), ("d", None, float("nan"))]
    table = Table("t", "T", ("name", "value", "seeds"), rows)
    assert table_markdown(table).splitlines() == [
        "| name | value | seeds |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.3333 [0.25, 0.5] | 2 |",
        "| c | 2 | – |",
        "| d | – | – |",
    ]
    kept = list(csv.reader(table_csv(table).splitlines()))
    assert kept[0] == ["name", "value", "value ci95 low", "value ci95 high", "seeds"]
    assert [float(cell) for cell in kept[1][1:]] == [1 / 3, 0.25, 0.5, 2]
    assert kept[2] == ["c", "2.0", "", "", ""]


def test_the_command_prints_verdicts_and_writes_everything(toys, capsys):
    assert main(["reproduce", "toy/toy1"]) == 0
    out = capsys.readouterr().out
    assert "drawing" not in out
    assert "good beats poor by 4 " in out and "4 points" in out and "edgetwin-reproduce/toy-toy1-quick" in out
    folder = Path("edgetwin-reproduce/toy-toy1-quick")
    assert folder.joinpath("toy1.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in folder.joinpath("toy1.svg").read_text()
    page = folder.joinpath("claims.md").read_text()
    kept = json.loads(folder.joinpath("claims.json").read_text())["claims"]
    assert [claim["verdict"] for claim in kept] == ["reproduced", "not reproduced"]
    assert "## reproduced: good beats poor by 4\n" in page and "## not reproduced: good beats poor by 40\n" in page


def test_json_is_all_that_is_printed(toys, capsys):
    assert main(["reproduce", "toy/toy1", "--scale", "full", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = [np.random.default_rng(seed).normal(9.0) - np.random.default_rng(seed).normal(1.0) for seed in range(4)]
    first = told["claims"][0]
    assert first["measured"]["good − poor"]["mean"] == pytest.approx(np.mean(expected))
    assert [first["paper"], first["unit"], first["where"], first["verdict"]] == [4.0, "points", "Fig. 1", "reproduced"]
    assert [told["study"], told["scale"], told["failed"]] == ["toy/toy1", "full", {}]
    assert all(Path(file).is_file() for file in told["files"])


def test_from_python(toys):
    done = api.reproduce("toy/toy1", out="here")
    assert [claim.verdict for claim in done.claims] == ["reproduced", "not reproduced"]
    assert Path("here/claims.md").exists()


def test_every_figure_is_listed_under_its_paper(toys, capsys):
    assert main(["reproduce", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert sorted(listed) == ["other-paper/toy4", "toy/failing", "toy/slow", "toy/toy1"]
    about = {"title": "Good against poor", "reproduces": "Fig. 1", "summary": "Numbers by seed.", "minutes": {"quick": 0.1}}
    assert listed["toy/toy1"] == about
    assert main(["reproduce", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(words in out for words in ("other-paper/toy4", "Good against poor", "Numbers by seed.", "quick 0.1"))
    assert registry.study("toy_studies:PROBLEM/other-paper/toy4") is toy_studies.STUDIES["other-paper/toy4"]


MISTAKES = {
    "unknown figure": (["toy/toy2"], "study 'toy/toy2' is not known", "did you mean toy/toy1?"),
    "unknown paper": (["tot/toy1"], "choose one of other-paper/toy4, toy/failing", "did you mean toy/toy1?"),
    "unknown module": (["no_such:PROBLEM/fig1"], "no_such:PROBLEM: cannot be loaded"),
    "no figure": ([], "name a figure, PAPER/FIGURE", "--list"),
    "figure and list": (["toy/toy1", "--list"], "leave toy/toy1 out"),
    "unknown scale": (["toy/toy1", "--scale", "huge"], "huge", "quick", "full"),
    "no workers": (["toy/toy1", "--workers", "0"], "workers = 0: must be at least 1"),
    "a file in the way": (["toy/toy1", "--out", "taken"], "taken/study.json: cannot be written"),
    "unknown option": (["toy/toy1", "--sclae", "full"], "--sclae"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(toys, capsys, mistake):
    Path("taken").write_text("a file, not a folder")
    arguments, *said = MISTAKES[mistake]
    assert main(["reproduce", *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert all(words in error for words in said), error
