"""The report's section on what was learned: curves are the run's evaluations, levels the others' rows, and nothing is made up."""

import dataclasses
import html
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Annotation

from edgetwin.evaluation import plots, report_learning
from edgetwin.learning.runs import Run
from edgetwin.problem import Param
from evaluation.pages import HOSTILE, Page, made_up, section, written

ABOUT = {
    "algorithm": "sac[discount=0.8]",
    "budget": 4000,
    "seed": 7,
    "settings": {"discount": 0.8, "hidden": [64, 64], "word": HOSTILE},
    "evaluation": {"times": 2, "episodes": 9, "slots": 5},
}
EVALUATIONS = {0: 3.0, 2000: 2.0, 4000: 1.5}
BY_PLACE = {2000: [1.0, 0.8, 0.4], 4000: [1.0, 0.6, 0.2]}


def metrics_of(evaluations=EVALUATIONS, by_place=BY_PLACE):
    lines = []
    for slots, value in evaluations.items():
        evaluation = {
            "score": {"mean": value, "ci95": None if value is None else [value - 0.5, value + 0.5]},
            "cost": {"mean": 0.1, "ci95": None},
        }
        line = {"slots": slots, "seconds": slots / 100, "evaluation": evaluation}
        if slots in by_place:
            line["training"] = {"loss": 1.0, "effective_sample_size": by_place[slots], "clip_fraction": 0.5}
        lines.append(line)
    return tuple(lines)


def with_run(metrics=None, folder=None, names=("rule", "learned@seed7"), params=None, **spec):
    """A comparison of a rule and a run."""
    comparison = made_up(names=names, **spec)
    row = comparison.rows[names[1]]
    run = Run(
        name=names[1],
        task=row.policy.task,
        act=row.policy.act,
        runs_on="host",
        params=params or {"discount": Param(0.8), "trained_slots": Param(4000)},
        about=ABOUT,
        metrics=metrics_of() if metrics is None else metrics,
        folder=folder,
    )
    return dataclasses.replace(comparison, rows={**comparison.rows, names[1]: dataclasses.replace(row, policy=run)})


def picture(comparison, metric="score"):
    runs = {2: list(comparison.rows.values())[1].policy}
    return report_learning.curves(comparison, runs, metric).axes[0]


def test_a_rule_brings_no_section_nor_does_a_policy_file_without_its_metrics(tmp_path):
    for comparison in (made_up(), with_run(metrics=())):
        assert 'id="learning"' not in written(comparison, tmp_path)


def test_the_curve_is_the_evaluations_with_their_intervals():
    axes = picture(with_run())
    curve, *levels = axes.lines
    assert curve.get_xdata().tolist() == [0, 2000, 4000]
    assert curve.get_ydata().tolist() == [3.0, 2.0, 1.5]
    assert curve.get_color() == plots.colour(2)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 1.0 and band[:, 1].max() == 3.5
    assert [level.get_ydata()[0] for level in levels] == [2.0, 4.0]  # the rule's mean in the table, and the bound
    assert levels[0].get_color() == plots.colour(1)
    named = {text.get_text() for text in axes.texts if isinstance(text, Annotation)}
    assert named == {"1 rule", "2 learned@seed7", "bound for 2"}
    assert [line.get_ydata()[0] for line in picture(with_run(), "cost").lines] == [0.1, 1.5]  # no bound on the cost


def test_frontier_metrics_are_shown_else_the_first_two_that_are_judged():
    assert report_learning.judged(with_run(frontier=("cost", "score"))) == ["score", "cost"]
    assert report_learning.judged(with_run()) == ["score", "cost"]


def test_figures_by_place_are_means_and_ranges_over_the_blocks():
    run = with_run().rows["learned@seed7"].policy
    noted = report_learning.by_place(run)
    assert list(noted) == ["effective_sample_size"]
    axes = report_learning.places(noted, "#0072b2").axes[0]
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert axes.lines[0].get_ydata() == pytest.approx([1.0, 0.7, 0.3])
    band = axes.collections[0].get_paths()[0].vertices
    assert sorted(set(np.round(band[band[:, 0] == 3, 1], 6))) == [0.2, 0.4]


@pytest.mark.parametrize("by_place", [{}, {2000: [1.0]}, {2000: 1.0}, {2000: [1.0, None]}], ids=str)
def test_nothing_is_shown_by_place_where_there_is_one_place_or_no_number(by_place, tmp_path):
    page = section(written(with_run(metrics=metrics_of(by_place=by_place)), tmp_path), "learning")
    assert "effective sample size" not in page


def test_the_section_says_what_was_trained_and_how(tmp_path):
    page = written(with_run(frontier=("cost", "score")), tmp_path)
    Page(page)
    told = section(page, "learning")
    assert "2 learned@seed7: 4,000 slots in 40 s" in told
    assert "9 × 5 slots" in told
    assert "<tr><th>hidden</th><td>64, 64</td></tr>" in told
    assert html.escape(HOSTILE) in told and HOSTILE not in page
    assert told.count("<svg") == 3
    assert "effective sample size" in told and "clip fraction" not in told


def test_settings_of_a_run_do_not_crowd_the_table(tmp_path):
    chips = re.findall(r'class="chip" title="(.*?)"', section(written(with_run(), tmp_path), "results"))
    assert chips == [html.escape(f"knob = {HOSTILE}"), "trained_slots = 4000"]


@pytest.mark.parametrize(
    ("folder", "params", "code"),
    [
        (Path("runs/mine"), {}, "'runs/mine'"),
        (Path("runs/mine"), {"elsewhere": Param(True)}, "'runs/mine[elsewhere=true]'"),
        (None, {}, "et.train(task, 'sac[discount=0.8]', 4000, 7)"),
    ],
)
def test_the_recipe_names_the_run_s_folder_or_trains_it_again(folder, params, code, tmp_path):
    comparison = with_run(folder=folder, params={"trained_slots": Param(4000), **params})
    page = html.unescape(written(comparison, tmp_path))
    assert f"    'rule',\n    {code},\n" in page


@pytest.mark.parametrize(
    "evaluations",
    [{0: 3.0}, {0: None, 10: 2.0}, {0: None}, {0: -1.0, 10: 1.0}, {0: 0.0, 10: 0.0}],
    ids=["stopped at once", "no value at first", "never a value", "both signs", "zero"],
)
def test_odd_trainings_can_be_drawn(evaluations, tmp_path):
    metrics = metrics_of(evaluations, {})
    Page(written(with_run(metrics=metrics, frontier=("cost", "score")), tmp_path))
