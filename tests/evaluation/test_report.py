"""The report: whole and safe HTML that loads nothing, says everything the comparison holds, and is written whole or not at all."""

import base64
import json
import math
import os
import re

import numpy as np
import pytest

import small
from edgetwin import registry
from edgetwin.errors import InputError
from edgetwin.evaluation import report, report_film
from edgetwin.evaluation.compare import compare
from edgetwin.evaluation.film import film
from edgetwin.problem import episode_keys
from edgetwin.scenario import scenario
from evaluation.pages import HOSTILE, Page, made_up, section, written

pytestmark = pytest.mark.usefixtures("quick_compilation")

POLICIES = [small.POLICIES[0], "inversion[snr=5]+sticky", small.POLICIES[1]]


def film_data(page):
    return json.loads(re.search(r'<script type="application/json" id="film-data">(.*?)</script>', page)[1])


@pytest.fixture(scope="module")
def tiny():
    task = registry.problem("two-timescale").task(scenario("two-timescale/physical", small.SETTINGS))
    return compare(task, POLICIES, small.EPISODES, small.SLOTS, small.SEED)


@pytest.fixture(scope="module")
def page(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert tiny.report(path) == path
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_loads_nothing(page):
    parsed = Page(page)
    assert all(target.startswith(("#", "data:")) for target in parsed.loads)
    assert not re.search(r"url\((?!#)|@import|https?://", page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {link[1:] for link in parsed.loads if link.startswith("#")} <= set(parsed.ids)
    assert len(page) < 1_500_000


def test_page_names_every_policy_metric_and_source(page, tiny):
    results, parsed = section(page, "results").replace("<wbr>", ""), Page(page)
    for name in POLICIES:
        assert f'<span class="name">{name}</span>' in results
    for name, metric in tiny.task.spec.metrics.items():
        assert f">{name}<" in results
        assert metric.meaning in parsed.texts
    values = section(page, "scenario")
    for key, source in tiny.task.scenario.sources.items():
        assert f"<tr><th>{key}</th>" in values
        assert source in "".join(Page(values).texts)
    assert results.count(">reference<") == 1
    assert results.count("the bound</small>") == 2 * len(POLICIES)


def test_recipe_makes_the_same_network_again(tiny):
    recipe = report._recipe(tiny)
    assert "et.scenario('two-timescale/physical', {'area.width_m': 300.0, 'users.count': 4, " in recipe
    assert f"episodes=3, slots={tiny.slots}, seed=0" in recipe
    compile(recipe, "recipe", "exec")


def test_film_shows_what_happened(page, tiny):
    data = film_data(page)
    assert [shown["name"] for shown in data["films"]] == POLICIES[:2]
    assert (data["slots"], data["users"], data["frames"] * data["stride"]) == (80, 4, 80)
    first, second = data["films"]
    assert first["position"] == second["position"]
    scene = film(tiny.rows[POLICIES[1]].policy, episode_keys(0, 1)[0], tiny.slots)
    assert second["requests"][-1] == scene.requesting.sum()
    assert second["failures"][-1] == scene.failed.sum()
    packed = np.frombuffer(base64.b64decode(data["arrays"][second["position"]]), "<u2").reshape(-1, 4, 2)
    low, high = np.array(data["extent_m"][:2]), np.array(data["extent_m"][2:])
    shown = low + packed * (high - low).max() / 65535
    assert np.abs(shown - scene.users_m[:: data["stride"]]).max() < (high - low).max() / 65535
    hosts = np.frombuffer(base64.b64decode(data["arrays"][second["host"]]), "<u2").reshape(-1, 4)
    assert (hosts == scene.host_site[:: data["stride"]]).all()
    assert len(second["moves"]) == (np.diff(scene.host_site, axis=0) != 0).sum() > 0


def test_film_can_be_chosen_or_left_out(tiny, tmp_path):
    assert [shown["name"] for shown in film_data(written(tiny, tmp_path, ["full-power+genie"]))["films"]] == ["full-power+genie"]
    assert 'id="film"' not in written(tiny, tmp_path, [])
    with pytest.raises(InputError, match=r"film 'full-power\+nearby'.*did you mean full-power\+nearest"):
        tiny.report(tmp_path / "report.html", ["full-power+nearby"])
    with pytest.raises(InputError, match="runs on the host"):
        written(made_up(), tmp_path, ["one"])


def test_task_without_scenes_frontier_or_curves(tmp_path):
    page = written(made_up(), tmp_path)
    assert re.findall(r'<section id="(\w+)"', page) == ["results", "reading", "scenario"]
    results = section(page, "results")
    assert results.count("−50.0 %") == 1 and results.count("−62.5 %") == 1
    assert re.findall(r'<td class="(best|near|)" data-value', results) == ["best", "best", "near", "near"]


def test_names_are_escaped(tmp_path):
    page = written(made_up(names=(HOSTILE, "two")), tmp_path)
    assert HOSTILE not in page
    parsed = Page(page)
    assert parsed.tags.count("script") == 1 and "b" in parsed.tags
    assert HOSTILE.replace("+", "") in "".join(parsed.texts)
    assert "</script" not in report_film._json({"name": HOSTILE})


@pytest.mark.parametrize(
    ("scores", "costs"),
    [
        (((1.0,), (2.0,)), ((1.0,), (900.0,))),
        (((1.0, 1.0), (2.0, 2.0)), ((math.nan, 1.0), (5.0, 5.0))),
        (((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, 0.0))),
        (((0.0, 1.0), (500.0, 900.0)), ((-1.0, 1.0), (3.0, 5.0))),
        (((1.0, 1.0), (1.0, 1.0)), ((2.0, 2.0), (2.0, 2.0))),
    ],
)
def test_odd_values_can_be_drawn(scores, costs, tmp_path):
    comparison = made_up(scores=scores, costs=costs, frontier=("cost", "score"), curves=("cost",))
    Page(written(comparison, tmp_path))


def test_many_policies_keep_apart(tmp_path):
    count = 20
    names = [f"policy-{index}-with-a-rather-long-name+and-a-second-part[x={index}]" for index in range(count)]
    many = made_up(names, [(1.0, 1.1)] * count, [(1.0, 1.2)] * count, frontier=("cost", "score"))
    page = written(many, tmp_path)
    Page(page)
    assert all(f">{index + 1} policy-{index}-" in section(page, "frontier") for index in range(count))


def test_dollar_signs_are_no_formulas(tmp_path):
    page = written(made_up(names=("$a$", r"$\frac$"), frontier=("cost", "score"), curves=("cost",)), tmp_path)
    assert ">1 $a$<" in page


def test_the_same_comparison_gives_the_same_page(tmp_path):
    assert written(made_up(frontier=("cost", "score")), tmp_path) == written(made_up(frontier=("cost", "score")), tmp_path)


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "report.html"
    made_up().report(path)
    assert list(path.parent.iterdir()) == [path]


def refused(path):
    with pytest.raises(InputError, match=": ") as caught:
        made_up().report(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_written_is_refused_in_a_line(tmp_path):
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "file").write_text("kept")
    assert "cannot be written" in refused(tmp_path / "file" / "below" / "report.html")
    assert "cannot be written" in refused(tmp_path / "new" / ("x" * 300))
    if os.path.exists(os.devnull):
        assert "not a file that can be replaced" in refused(os.devnull)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in refused(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("place", "failure", "seen"),
    [(os, OSError(28, "No space left on device"), InputError), (report, KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_failure_leaves_the_old_report_and_no_trace(place, failure, seen, tmp_path, monkeypatch):
    def fail(*_):
        raise failure

    monkeypatch.setattr(place, "replace" if place is os else "_page", fail)
    path = tmp_path / "report.html"
    path.write_text("old")
    for target in (path, tmp_path / "new" / "folder" / "report.html"):
        with pytest.raises(seen):
            made_up().report(target)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"
