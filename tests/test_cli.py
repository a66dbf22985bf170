"""The commands as a user types them: answers, and one clear line with exit status 2 for every mistake."""

import json
import os
import subprocess
import sys

import pytest

import small
from edgetwin.cli import main
from edgetwin.tables import number

TINY = ["--set", "users.count=3", "two_timescale.frames=2", "two_timescale.frame_slots=10", "two_timescale.migration_slots=2"]
pytestmark = pytest.mark.usefixtures("quick_compilation")

RULE = ["--policy", "inversion[snr=5]+nearest"]


def run(capsys, *arguments):
    status = main(arguments)
    out, error = capsys.readouterr()
    return status, out, error


def edgetwin(*arguments, cwd=None, **environment):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "edgetwin", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, **environment},
    )


MISTAKES = {
    "unknown setting": (["compare", "two-timescale", "--set", "users.cuont=3"], "users.cuont", "users.count"),
    "negative bandwidth": (
        ["compare", "two-timescale", "--set", "two_timescale.bandwidth_hz=-1"],
        "bandwidth_hz = -1",
        "greater than 0",
    ),
    "no users": (["compare", "two-timescale", "--set", "users.count=0"], "users.count = 0", "at least 1 user"),
    "wrong unit": (["scenario", "show", "melbourne", "--set", "area.width_km=1"], "area.width_km", "area.width_m"),
    "not a setting": (["scenario", "show", "melbourne", "--set", "users.count"], "users.count", "key=value"),
    "unknown scenario": (["scenario", "show", "melborne"], "melborne", "did you mean melbourne"),
    "unknown policy": (["compare", "two-timescale", "--policy", "full-pwer+nearest"], "full-pwer", "did you mean full-power"),
    "unknown knob": (["compare", "two-timescale", "--policy", "inversion[snrr=5]+nearest"], "snrr", "its knobs are snr"),
    "half a policy": (["compare", "two-timescale", "--policy", "inversion"], "nobody decides for centre", "full-power+nearest"),
    "impossible knob": (["compare", "two-timescale", "--policy", "inversion[snr=-5]+nearest"], "snr = -5", "above 0"),
    "unknown task": (["compare", "two-timescales"], "two-timescales", "did you mean two-timescale"),
    "unknown option": (["compare", "two-timescale", "--polcy", "x"], "--polcy", "nknown option"),
    "unknown command": (["comprae"], "comprae", "compare"),
    "no episodes": (["compare", "two-timescale", "--episodes", "0", *RULE], "episodes = 0", "at least 1"),
    "not a number": (["compare", "two-timescale", "--episodes", "many"], "many", "int"),
    "bad seed": (["compare", "two-timescale", "--seed", "-1", *RULE], "seed = -1", "0 to 2^32"),
    "missing file": (["scenario", "check", "nowhere.toml"], "nowhere.toml", "cannot be read"),
    "unknown module": (["check", "no_such:PROBLEM"], "no_such:PROBLEM", "cannot be loaded"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(capsys, mistake):
    arguments, *said = MISTAKES[mistake]
    status, out, error = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert error.count("\n") == 1
    assert all(words in error for words in said), error


@pytest.mark.parametrize(
    "command", [["demo", "--out"], ["compare", "two-timescale", *RULE, *TINY, "--report"]], ids=["demo", "compare"]
)
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(capsys, tmp_path, command):
    (tmp_path / "taken").write_text("a file, not a folder")
    before = sorted(tmp_path.iterdir())
    status, out, error = run(capsys, *command, str(tmp_path / "taken" / "report.html"))
    assert (status, out) == (2, "")
    assert "cannot be written" in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("sites", "id,lat\na,-37.8\n", "lon"),
        ("sites", "id,x_m,y_m\na,10,20\na,30,40\n", "a"),
        ("tracks", "id,time_s,x_m,y_m\nu,0,1,1\nu,10,nan,2\nu,70,5,5\n", "nan"),
        ("tracks", "id,time_s,x_m,y_m\nu,0,1,1\nu,10,2,2\nu,5,3,3\nu,80,3,3\n", "time"),
    ],
    ids=["column missing", "site twice", "NaN in a track", "time runs backwards"],
)
def test_a_bad_file_is_named_with_what_is_wrong(capsys, tmp_path, name, text, said):
    (tmp_path / f"{name}.csv").write_text(text)
    section = {
        "sites": '[sites]\ncount = 1\nlayout = "file"\nfile = "sites.csv"\n[area]\ncentre_lat_deg = -37.8\ncentre_lon_deg = 145.0\n',
        "tracks": '[users]\nmobility = "file"\nfile = "tracks.csv"\n',
    }
    (tmp_path / "own.toml").write_text('extends = "two-timescale/physical"\n' + section[name])
    status, out, error = run(capsys, "scenario", "check", str(tmp_path / "own.toml"))
    assert (status, out) == (2, "")
    assert f"{name}.csv" in error
    assert said in error
    assert error.count("\n") == 1


def test_an_interrupt_is_a_line_and_status_130(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgetwin.registry.problem", interrupted)
    assert run(capsys, "compare", "two-timescale") == (130, "", "edgetwin: stopped\n")


def test_scenarios_are_listed_and_shown_with_sources(capsys):
    status, out, _ = run(capsys, "scenario", "list", "--json")
    assert status == 0
    assert {"melbourne", "two-timescale/physical", "two-timescale/paper-literal"} <= set(json.loads(out))
    status, out, _ = run(capsys, "scenario", "show", "two-timescale/physical", "--set", "users.count=58")
    assert status == 0
    assert "set by the user" in out
    assert "Table I" in out
    status, out, _ = run(capsys, "scenario", "show", "melbourne", "--json")
    assert json.loads(out)["sites"]["count"] == 8
    status, out, _ = run(capsys, "scenario", "show", "melbourne")
    assert "synthetic pairing" in out


def test_scenario_check_reads_the_network(capsys):
    status, out, _ = run(capsys, "scenario", "check", "two-timescale/physical", "--json")
    assert (status, json.loads(out)) == (
        0,
        {"name": "two-timescale/physical", "sites": 5, "servers": 5, "users": 30, "tracks": 0},
    )


def test_compare_prints_json_alone_and_a_table_for_people(capsys, tmp_path):
    settings = [f"{key}={json.dumps(value)}" for key, value in small.SETTINGS.items()]
    arguments = ["compare", "two-timescale", "--policy", *small.POLICIES, "--set", *settings]
    arguments += ["--episodes", str(small.EPISODES), "--slots", str(small.SLOTS), "--seed", str(small.SEED)]
    status, out, error = run(capsys, *arguments, "--json", "--report", str(tmp_path / "deep" / "report.html"))
    assert (status, error) == (0, "")
    policies = json.loads(out)["policies"]
    assert list(policies) == small.POLICIES
    assert (tmp_path / "deep" / "report.html").stat().st_size > 10_000
    status, out, _ = run(capsys, *arguments)
    assert "full-power+nearest" in out
    assert "observation" in out
    for row in policies.values():
        assert number(row["metrics"]["energy_mj_per_slot"]["mean"]) in out, "the same numbers again"


def test_check_says_pass_or_fail_and_its_status_follows(capsys, monkeypatch):
    status, out, _ = run(capsys, "check", "toys:TRACK", "--scenario", "two-timescale/physical", "--json")
    assert status == 0
    assert all(clause["passed"] for clause in json.loads(out))
    monkeypatch.setattr("toys.Track.trace", lambda self, key, slots: 0.0 * toy_trace(self, key, slots))
    status, out, _ = run(capsys, "check", "toys:TRACK", "--scenario", "two-timescale/physical")
    assert status == 1
    assert "FAIL" in out


def toy_trace(task, key, slots):
    import jax
    import jax.numpy as jnp

    return jax.vmap(lambda slot: task._target(key, slot))(jnp.arange(slots))


@pytest.mark.slow
def test_check_passes_the_two_timescale_task_and_its_rules(capsys):
    assert run(capsys, "check", "two-timescale", *TINY)[0] == 0
    assert run(capsys, "check", "two-timescale", "--policy", "inversion[snr=5]+sticky", *TINY)[0] == 0


def test_no_traceback_and_no_jax_for_help():
    shown = edgetwin("--help")
    assert shown.returncode == 0
    assert "compare" in shown.stdout
    wrong = edgetwin("compare", "two-timescale", "--set", "users.count=zero")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    light = subprocess.run(
        [sys.executable, "-c", "import sys, edgetwin.cli; print('jax' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert light.stdout.strip() == "False"


@pytest.mark.slow
def test_bench_prints_cold_and_warm_times(capsys, monkeypatch):
    small = {"SLOTS": 50, "REFERENCE_SLOTS": 20, "ROUNDS": 1, "SYNC_NETWORKS": 64, "HAPPO": ("beta-happo-shared",)}
    for name, value in small.items():
        monkeypatch.setattr(f"edgetwin.bench.{name}", value)
    status, out, _ = run(capsys, "bench", "--json")
    result = json.loads(out)
    assert status == 0
    assert [problem["task"] for problem in result["problems"]] == ["two-timescale", "network-sync"]
    assert result["problems"][0]["speedup_over_numpy"] > 1
    timings = [timing for problem in result["problems"] for timing in problem["timings"]]
    assert all(timing["cold_s"] > 0 and timing["per_second"] > 0 for timing in timings)
    two_timescale = {timing["name"]: timing for timing in result["problems"][0]["timings"]}
    parts = [two_timescale[f"beta-happo-shared, 5120 slots: {part}"] for part in ("rollout", "update", "whole block")]
    assert parts[0]["warm_s"] + parts[1]["warm_s"] == pytest.approx(parts[2]["warm_s"])
    assert all(timing["agent_steps_per_s"] == 36 * timing["per_second"] for timing in two_timescale.values())
