"""Frozen instances through `solve`: the answers they came with, and files that will not do."""

import json
from pathlib import Path

import numpy as np
import pytest

import edgetwin as et
from edgetwin import cli

FOLDER = Path(__file__).parent / "instances"
EXPECTED = {row["name"]: row for row in json.loads((FOLDER / "expected.json").read_text())}
NAMES = sorted(EXPECTED)


@pytest.mark.parametrize("rule", ["nearest", "greedy"])
def test_rules_give_the_recorded_costs(rule):
    rows = et.solve("placement", FOLDER, rule)
    assert [row["name"].removesuffix(".npz") for row in rows] == NAMES
    for row in rows:
        expected = EXPECTED[row["name"].removesuffix(".npz")]
        assert row["value"] == pytest.approx(expected[rule], rel=1e-6)
        assert row["lower_bound"] <= expected["best_known"] * (1 + 1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "n80-m5-s0",
        pytest.param("n100-m10-s2"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in ("n80-m5-s0", "n100-m10-s2")),
    ],
)
def test_search_and_optimum_meet_the_best_known(name):
    expected, file = EXPECTED[name], FOLDER / f"{name}.npz"
    (searched,) = et.solve("placement", file, "local-search")
    assert searched["value"] <= expected["best_known"] * 1.002
    assert searched["value"] >= expected["lower_bound"] * (1 - 1e-9)
    (best,) = et.solve("placement", file, "optimum")
    assert best["value"] <= expected["best_known"] * 1.0005
    assert best["lower_bound"] <= min(expected["best_known"], best["value"]) * (1 + 1e-9)
    assert best["value"] / best["lower_bound"] <= 1.001


def test_random_depends_on_its_seed_alone():
    file = FOLDER / "n80-m5-s0.npz"
    one, again, other = (et.solve("placement", file, f"random[seed={seed}]")[0]["value"] for seed in (1, 1, 2))
    assert one == again != other


def broken(tmp_path, **changes):
    with np.load(FOLDER / "n80-m5-s0.npz") as archive:
        data = {key: archive[key] for key in archive.files}
    data.update(changes)
    path = tmp_path / "x.npz"
    np.savez(path, **{key: value for key, value in data.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"capacity": None}, "capacity missing"),
        ({"rate_bps": np.ones(3)}, r"rate_bps has shape \(3,\): must be \(80,\)"),
        ({"cpu_hz": np.array([1e9, 1e9, np.nan, 1e9, 1e9])}, r"cpu_hz\[2\] = nan: must be finite, above 0"),
        ({"capacity": np.full(5, 10)}, "hold 50 twins, but there are 80 users"),
        ({"home": np.full(80, 9)}, "home: must be whole numbers from 0 to 4"),
        ({"update_gap_s": np.array(0.0)}, "update_gap_s = 0"),
    ],
)
def test_files_that_will_not_do(tmp_path, changes, says):
    with pytest.raises(et.InputError, match=says):
        et.solve("placement", broken(tmp_path, **changes), "nearest")


def test_a_file_that_is_none_and_a_policy_that_is_none(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(et.InputError, match="cannot be read"):
        et.solve("placement", tmp_path / "text.npz", "nearest")
    with pytest.raises(et.InputError, match="nearest"):
        et.solve("placement", FOLDER, "nearst")
    with pytest.raises(et.InputError, match="gap = 2"):
        et.solve("placement", FOLDER / "n80-m5-s0.npz", "optimum[gap=2]")


def test_the_command_prints_rows(capsys):
    assert cli.main(["solve", "placement", str(FOLDER / "n80-m5-s0.npz"), "--policy", "greedy", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["instances"][0]["value"] == pytest.approx(EXPECTED["n80-m5-s0"]["greedy"])
