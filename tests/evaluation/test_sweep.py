"""Frontiers of families: what is drawn and written, from numbers that are known; and the command, on a small network."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

import edgetwin
import small
from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.evaluation.compare import Comparison, Row
from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.sweep import Frontier, sweep
from edgetwin.problem import Param, Policy
from edgetwin.scenario import scenario
from edgetwin.tables import frontier_table
from edgetwin.two_timescale import families
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

FAILURE, ENERGY = "failure_per_request", "energy_mj_per_slot"
POINTS = {
    "full-power": [("full-power", 0.2, 3.0)],
    "inversion": [(f"inversion[snr={snr:g}]", 0.02 + 0.2 / snr, 0.16 * snr) for snr in (1.5, 3, 5, 30)],
    "distance-rule": [(f"distance-rule[failure={at:g}]", at + 0.005, 0.02 + 0.006 / at) for at in (0.03, 0.05, 0.1, 0.2)],
    "min-energy": [(f"min-energy[price={mj:g}]", 0.02 / mj, 0.045 - 0.002 / mj) for mj in (0.1, 0.3, 1)]
    + [("min-energy", 0.003, 0.045)],
}


def row(task, name, failure, energy, information="observation", reference=False):
    def act(carry, view, key):
        raise AssertionError("nothing runs here")

    metrics = {metric: Estimate(1.0, (0.9, 1.1)) for metric in task.spec.metrics}
    metrics |= {at: Estimate(value, (0.93 * value, 1.07 * value)) for at, value in ((FAILURE, failure), (ENERGY, energy))}
    params = {"x": Param(2.5, tuned=True), "price": Param(math.inf)}
    made = Policy(name=f"{name}+nearest", task=task, act=act, information=information, params=params, reference=reference)
    return Row(made, metrics, {ENERGY: 0.02}, {ENERGY: energy / 0.02 - 1}, {}, {}, 1.0)


@pytest.fixture
def drawn():
    task = TwoTimescale(scenario("two-timescale/physical", {"users.count": 3}))
    knows = {"min-energy": "state"}
    rows = {
        family: [row(task, *point, knows.get(family, "observation")) for point in points] for family, points in POINTS.items()
    }
    single = [
        row(task, "inversion[snr=5,with=a-very-long-name-of-a-knob]", 0.1, 0.5),
        row(task, "full-power", 0.06, 0.061, "trace", True),
    ]
    single[1].policy.__dict__["name"] = "beta-happo-shared@seed0"
    every = {each.policy.name: each for each in [*(each for members in rows.values() for each in members), *single]}
    comparison = Comparison(task, 0, 8, 100, every, lambda metrics: {ENERGY: 0.03 * math.exp(-8 * metrics[FAILURE])})
    names = {family: tuple(each.policy.name for each in members) for family, members in rows.items()}
    return Frontier(comparison, names, tuple(each.policy.name for each in single))


def test_the_picture_has_a_line_per_family_with_its_intervals_and_the_bound(drawn):
    figure = drawn.figure()
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    lines = {container.get_label().split("\n")[0]: container for container in axes.containers}
    assert list(lines)[:4] == list(POINTS)
    for family, points in POINTS.items():
        x, y = lines[family].lines[0].get_data()
        assert np.allclose(x, [point[1] for point in points]) and np.allclose(y, [point[2] for point in points])
    ends = lines["full-power"].lines[2][1].get_segments()[0][:, 1]
    assert np.allclose(ends, [0.93 * 3, 1.07 * 3])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "proven lower bound" in texts
    assert any("all channels" in text for text in texts if text.startswith("min-energy"))
    assert any("[price=0.1] to none" in text for text in texts)
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.y0 <= legend.y0 and legend.y1 <= figure.bbox.y1 + 1 and legend.x1 <= figure.bbox.x1 + 1


def test_files_hold_the_numbers_that_were_measured(drawn, tmp_path):
    files = drawn.write(tmp_path / "deep")
    assert sorted(path.name for path in files) == ["frontier.csv", "frontier.json", "frontier.png", "frontier.svg"]
    told = json.loads((tmp_path / "deep" / "frontier.json").read_text())
    assert told["families"]["min-energy"] == {"information": "state", "policies": list(drawn.families["min-energy"])}
    assert told["points"][1] == "beta-happo-shared@seed0"
    assert told["policies"]["min-energy+nearest"]["params"]["price"] == {"value": None, "tuned": False}
    with open(tmp_path / "deep" / "frontier.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [line["family"] for line in table] == [family for family, points in POINTS.items() for _ in points] + ["–", "–"]
    inversion = table[1]
    assert float(inversion[FAILURE]) == POINTS["inversion"][0][1]
    assert float(inversion[f"{ENERGY} [mJ] ci95 high"]) == pytest.approx(1.07 * 0.24)
    assert float(inversion[f"bound on {ENERGY} [mJ]"]) == 0.02 and float(inversion[f"gap of {ENERGY}"]) == pytest.approx(11)
    assert "x=2.5 (tuned)" in inversion["knobs"]
    assert frontier_table(drawn).row_count == len(table)


def test_a_point_that_a_family_has_is_not_there_twice_and_two_metrics_are_needed():
    task = edgetwin.task("two-timescale", edgetwin.scenario("two-timescale/physical", small.SETTINGS))
    both = [edgetwin.policy(task, name) for name in small.POLICIES]
    found = sweep(task, {"full-power": both[:1]}, both, episodes=small.EPISODES, slots=small.SLOTS)
    assert found.points == (small.POLICIES[1],) and list(found.comparison.rows) == [each.name for each in both]
    with pytest.raises(InputError, match="no two metrics"):
        sweep(SimpleNamespace(name="still", spec=SimpleNamespace(frontier=None)), {}, [])


TINY = ["--set", "users.count=3", "two_timescale.frames=2", "two_timescale.frame_slots=10", "two_timescale.migration_slots=2"]


@pytest.mark.slow
def test_the_command_writes_what_it_says(capsys, monkeypatch, tmp_path):
    few = {"full-power": ["full-power"], "inversion": ["inversion[snr=2]", "inversion[snr=20]"]}
    monkeypatch.setattr(
        families,
        "families",
        lambda task, joined: {name: tuple(f"{each}+{joined or 'nearest'}" for each in members) for name, members in few.items()},
    )
    arguments = [
        "frontier",
        "two-timescale",
        *TINY,
        "--episodes",
        "3",
        "--deployment",
        "static",
        "--policy",
        "full-power+nearest",
    ]
    status = main([*arguments, "--out", str(tmp_path / "here"), "--json"])
    out, error = capsys.readouterr()
    assert (status, error) == (0, "")
    told = json.loads(out)
    assert told == json.loads((tmp_path / "here" / "frontier.json").read_text())
    assert told["points"] == ["full-power+nearest"]
    assert told["families"]["inversion"]["policies"] == ["inversion[snr=2]+static", "inversion[snr=20]+static"]
    assert (tmp_path / "here" / "frontier.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["placement"], "'placement' has no families"),
        (["two-timescale", "--deployment", "nearst"], "did you mean nearest"),
        (["two-timescale", "--policy", "full-pwer+nearest"], "did you mean full-power"),
        (["two-timescale", "--policy", "fading-rule+nearest"], "must be extended"),
        (["two-timescale", "--policy", "min-energy[price=0]+nearest"], "price = 0: must be above 0"),
        (["two-timescale", "--out", "taken/here"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line_before_the_work(capsys, monkeypatch, tmp_path, arguments, said):
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.chdir(tmp_path)
    assert main(["frontier", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1 and said in error
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
