"""What comes with a plan: advice that is worth what it says, the map, and the example of docs/place.md."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import edgetwin as et
from edgetwin.cli import main
from edgetwin.evaluation.plots import PALETTE

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "place"
FILES = EXAMPLE / "sites.csv", EXAMPLE / "users.csv", EXAMPLE / "candidates.csv"


@pytest.fixture(scope="module")
def example():
    return et.place(*FILES)


def applied(change, folder):
    """The example's sites with a change made by hand."""
    header, *lines = (EXAMPLE / "sites.csv").read_text().splitlines()
    rows = {line.split(",")[0]: line.split(",") for line in lines}
    row = rows.get(change.site)
    if change.kind == "server":
        row[3] = "yes"
    elif change.kind == "cpu":
        row[4] = str(2 * float(row[4]))
    elif change.kind == "capacity":
        row[5] = str(-(-3 * int(row[5]) // 2))
    else:
        line = next(line for line in (EXAMPLE / "candidates.csv").read_text().splitlines() if line.startswith(change.site))
        name, lat, lon, cpu_hz, region = line.split(",")
        rows[name] = [name, lat, lon, "yes", cpu_hz, "", region]
    path = folder / f"{change.kind}-{change.site}.csv"
    path.write_text("\n".join([header, *(",".join(row) for row in rows.values())]) + "\n")
    return path


def test_advice_saves_what_it_says(example, tmp_path):
    """The changed files, placed anew, give the told number of users over their limit, and the told J within half a percent of the optimum's."""
    advice = example.advice
    assert advice.tried == advice.possible == 2 + 2 * 6 + 2
    assert {change.kind for change in advice.changes} >= {"server", "cpu", "site"}
    assert advice.over_limit == example.outcome.violations.sum()
    assert advice.cost <= example.outcome.cost * (1 + 1e-12)
    for change in [*advice.changes[:4], *(each for each in advice.changes if each.kind == "capacity")]:
        again = et.place(applied(change, tmp_path), FILES[1], seconds=20)
        assert again.outcome.violations.sum() == change.over_limit, change
        assert again.outcome.cost == pytest.approx(change.cost, rel=5e-3), change
        assert again.lower_bound <= change.cost
        assert change.saves == pytest.approx(advice.cost - change.cost)
        assert change.saves_over_limit == advice.over_limit - change.over_limit


def test_advice_is_ranked_and_nothing_in_it_makes_things_worse(example):
    for limits in ("hard", "off"):
        advice = example.advice if limits == "hard" else et.place(*FILES, limits=limits).advice
        ranks = [(change.over_limit if limits == "hard" else 0, change.cost) for change in advice.changes]
        assert all(one <= other for one, other in pairwise(ranks))
        assert all(change.saves > 0 or change.saves_over_limit > 0 for change in advice.changes)


def test_a_server_where_the_users_are_is_the_advice(tmp_path):
    """Three users stand around b, 2 km from the only server: moving in saves the wires, computed by hand."""
    (tmp_path / "s.csv").write_text("id,x_m,y_m,server\na,0,0,yes\nb,2000,0,no\nc,4000,0,no\n")
    (tmp_path / "u.csv").write_text("id,x_m,y_m,data_mbit,update_mbit\n" + "".join(f"u{n},2000,{n},20,2\n" for n in range(3)))
    plan = et.place(tmp_path / "s.csv", tmp_path / "u.csv", policy="nearest")
    best = plan.advice.changes[0]
    assert [best.kind, best.site, best.words] == ["server", "b", "put a server of 16 GHz at b"]
    assert best.saves == pytest.approx(2e-10 * (20e6 + 10 * 2e6) * 2000)
    assert "c" not in [change.site for change in plan.advice.changes]


def test_more_room_where_it_lacks_is_the_advice(tmp_path):
    """Four users beside a, which holds three; the fourth twin lives 3 km away, on a server of its own."""
    (tmp_path / "s.csv").write_text("id,x_m,y_m,capacity,cpu_hz\na,0,0,3,1e12\nb,3000,0,9,1e12\n")
    (tmp_path / "u.csv").write_text("id,x_m,y_m,data_mbit,update_mbit\n" + "".join(f"u{n},0,{n},20,2\n" for n in range(4)))
    plan = et.place(tmp_path / "s.csv", tmp_path / "u.csv")
    best = plan.advice.changes[0]
    assert [best.kind, best.site, best.words] == ["capacity", "a", "raise the capacity of a by half, to 5 twins"]
    computing = 4 * 200 * 40e6 / 1e12 - (3 * 3 + 1) / 4 * 200 * 40e6 / 1e12
    assert best.saves == pytest.approx(2e-10 * 40e6 * 3000 / 4 + 1 - computing)


def test_the_map_shows_servers_users_and_who_is_late(example, tmp_path):
    files = {path.name: path for path in example.write(tmp_path / "plan")}
    picture = imread(files["map.png"])[:, :, :3]
    hues = {tuple(int(colour[digit : digit + 2], 16) for digit in (1, 3, 5)) for colour in PALETTE[:5]}
    found = {tuple(pixel) for pixel in np.unique((picture * 255).round().astype(int).reshape(-1, 3), axis=0)}
    assert hues <= found
    assert min(picture.shape[:2]) > 500
    ink = (picture < 0.98).any(axis=2)
    for axis in (0, 1):
        used = np.flatnonzero(ink.any(axis=axis))
        assert used[0] < 40 and used[-1] > ink.shape[1 - axis] - 40
    drawing = files["map.svg"].read_text()
    for words in ("harbour", "stadium", "open server: 5", "over its delay limit: 3", "1 km, north is up"):
        assert words in drawing
    again = {path.name: path for path in example.write(tmp_path / "again")}
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)


def test_a_map_of_one_site_and_one_user_can_be_drawn(tmp_path):
    (tmp_path / "s.csv").write_text("id,x_m,y_m\nthe_$ite,0,0\n")
    (tmp_path / "u.csv").write_text("id,x_m,y_m\nu,0,0\n")
    files = et.place(tmp_path / "s.csv", tmp_path / "u.csv").write(tmp_path / "plan")
    assert "the_$ite" in files[3].read_text()


def test_the_command_shows_the_plan_and_the_page_what_it_says(capsys, monkeypatch, example):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "place.md").read_text()
    shown = next(text for text in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if "Cost J" in text)
    assert main(["place", *map(str, FILES[:2]), "--candidates", str(FILES[2])]) == 0
    said = capsys.readouterr().out
    plan = example.to_json()
    assert f"Cost J {plan['totals']['cost']:.5g}; proven: no less than {plan['totals']['lower_bound']:.5g}" in said
    assert all(row["reason"] in " ".join(said.split()) for row in plan["users"])
    for row in plan["servers"]:
        assert f"{row['id']} {'yes' if row['open'] else 'no'} {row['twins']} {row['capacity']} " in " ".join(said.split())
    cost, bound = (float(re.search(pattern, shown)[1]) for pattern in (r"Cost J ([\d.]+);", r"less than ([\d.]+),"))
    assert float(re.search(r"Cost J ([\d.]+);", said)[1]) == pytest.approx(cost, rel=2e-3)
    assert bound <= cost
    for line in (
        "Users over their limit: 3 of 45",
        "build site hilltop",
        "put a server of 16 GHz at stadium",
        "air alone: 1.33 s",
    ):
        assert line in shown and line in said


def test_the_page_names_every_field_and_column(example):
    page = (ROOT / "docs" / "place.md").read_text()
    plan = example.to_json()
    parts = [
        plan,
        plan["constants"],
        plan["totals"],
        plan["servers"][0],
        plan["users"][0],
        plan["advice"],
        plan["advice"]["changes"][0],
    ]
    missing = [name for part in parts for name in part if f"`{name}`" not in page]
    assert not missing
    for name in ("sites", "users", "candidates"):
        head = "".join((EXAMPLE / f"{name}.csv").read_text().splitlines(keepends=True)[:3])
        assert head in page
