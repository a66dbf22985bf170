"""How what was learned came about: the report's section on trained policies, from the lines of their trainings.

Learning curves stand beside what the other policies reach. Where agents learn one after another, what the training noted at each place
in that order is shown as well.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgetwin.evaluation import plots
from edgetwin.evaluation.compare import Comparison
from edgetwin.evaluation.learning_curves import Curve, Level, learning_curves, name_ends

BY_PLACE = {
    "effective_sample_size": "how much of the experience still counts for an agent, after what those before it have changed",
    "clip_fraction": "in how much of it the agent itself has already changed as much as it may in one update",
}
STYLES = ("-", "--")


@runtime_checkable
class Trained(Protocol):
    """A policy that was trained (`learning.runs.Run`): what for, the lines of its metrics, and its folder if it has one."""

    name: str
    about: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    folder: Path | None


def learning(comparison: Comparison) -> str:
    """The section's body; empty where no policy brings the evaluations of its training."""
    runs = {
        number: row.policy
        for number, row in enumerate(comparison.rows.values(), 1)
        if isinstance(row.policy, Trained) and any("evaluation" in line for line in row.policy.metrics)
    }
    if not runs:
        return ""
    told = {(each.about["evaluation"]["episodes"], each.about["evaluation"]["slots"]) for each in runs.values()}
    episodes = " or ".join(f"{count} × {slots:,} slots" for count, slots in sorted(told))
    pictures = (
        plots.svg(curves(comparison, runs, metric), f"learning{place}", f"{metric} against slots of training")
        for place, metric in enumerate(judged(comparison))
    )
    return (
        f'<p class="note">What the policy reached while it was trained, in episodes apart from those above ({episodes}), with 95 % '
        "intervals. Dashed: what the others reach in the table.</p>"
        f'<div class="pair">{"".join(f"<figure>{picture}</figure>" for picture in pictures)}</div>'
        + "".join(_about(number, run) for number, run in runs.items())
    )


def judged(comparison: Comparison) -> list[str]:
    """The metrics that learning is shown by: those of the frontier, else the first two that one way is better in."""
    spec = comparison.task.spec
    return [*spec.frontier[::-1]] if spec.frontier else [name for name, metric in spec.metrics.items() if metric.better][:2]


def curves(comparison: Comparison, runs: Mapping[int, Trained], metric: str) -> Figure:
    """A metric's evaluations against slots of training, by row number, with the levels of the other policies and the runs' bounds."""
    rows = dict(enumerate(comparison.rows.values(), 1))
    levels = [
        Level(f"{number} {row.policy.name}", row.metrics[metric].mean, plots.colour(number))
        for number, row in rows.items()
        if number not in runs
    ]
    levels += [Level(f"bound for {number}", rows[number].bound.get(metric, math.nan)) for number in runs]
    return learning_curves(
        [_curve(number, run, metric) for number, run in runs.items()],
        [level for level in levels if math.isfinite(level.value)],
        plots.axis_name(comparison, metric),
        comparison.task.spec.metrics[metric].meaning,
    )


def _curve(number: int, run: Trained, metric: str) -> Curve:
    lines = [line for line in run.metrics if "evaluation" in line]
    found = [line["evaluation"][metric] for line in lines]
    mean = np.array([each["mean"] for each in found], dtype=float)
    low, high = np.array([each["ci95"] or (math.nan, math.nan) for each in found], dtype=float).T
    return Curve(
        f"{number} {run.name}", np.array([line["slots"] for line in lines], float), mean, low, high, plots.colour(number)
    )


def _about(number: int, run: Trained) -> str:
    """What a training took, what it noted by place, and its settings."""
    last, noted = run.metrics[-1], by_place(run)
    picture = ""
    if noted:
        drawn = plots.svg(places(noted, plots.colour(number)), f"places{number}", "shares at each place in the order of learning")
        listed = "".join(f"<dt>{escape(_words(name))}</dt><dd>{escape(BY_PLACE[name])}</dd>" for name in noted)
        picture = (
            f'<div class="beside"><figure>{drawn}</figure><div><p class="note">Agents learn one after another, in an order drawn anew for '
            f'each pass. A line is the mean over the training, its band the range.</p><dl class="reading">{listed}</dl></div></div>'
        )
    settings = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(_value(value))}</td></tr>" for key, value in run.about["settings"].items()
    )
    return (
        f"<h3>{number} {escape(run.name)}: {last['slots']:,} slots in {last['seconds']:,.0f} s</h3>{picture}"
        f'<details><summary>Its settings</summary><div class="wide"><table class="values"><tbody>{settings}</tbody></table></div></details>'
    )


def by_place(run: Trained) -> dict[str, np.ndarray]:
    """What a training noted at each place in the order of learning: (blocks, places) by name, where there are several places."""
    lines = [line["training"] for line in run.metrics if "training" in line]
    noted = {
        name: [line[name] for line in lines if isinstance(line.get(name), list) and None not in line[name]] for name in BY_PLACE
    }
    return {name: np.array(values) for name, values in noted.items() if values and len(values[0]) > 1}


def places(noted: Mapping[str, np.ndarray], hue: str) -> Figure:
    """Shares at each place in the order of learning, (blocks, places) by name: their means and ranges over the blocks."""
    figure, axes = plots.empty(6.4, 2.7)
    ends, last = [], 1
    for (name, values), style in zip(noted.items(), STYLES, strict=False):
        last = values.shape[1]
        at, mean = np.arange(1, last + 1), np.mean(values, axis=0)
        axes.plot(at, mean, color=hue, linewidth=1.5, linestyle=style, marker="o", markersize=3)
        axes.fill_between(at, np.min(values, axis=0), np.max(values, axis=0), color=hue, alpha=0.14, linewidth=0)
        ends.append((float(mean[-1]), _words(name), hue))
    axes.set_ylim(0, 1.02)
    axes.set_xlim(1, last)
    axes.set_xlabel("place in the order of learning")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_ends(figure, ends)
    return figure


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
