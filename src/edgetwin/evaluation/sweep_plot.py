"""The picture of a frontier: a line per family with its points' intervals, single policies as numbered points, the bound as a curve."""

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from edgetwin.evaluation.compare import Row
from edgetwin.evaluation.plots import (
    INK,
    MARKERS,
    bound_curve,
    colour,
    empty,
    ends_of,
    label_axes,
    log_where_wide,
    number_points,
    say_it_as_it_is,
    wrapped,
)
from edgetwin.evaluation.sweep import Frontier
from edgetwin.problem import Information

KNOWS: dict[Information, str] = {
    "observation": "knows its agents' observations",
    "state": "knows the state: all channels",
    "trace": "knows the future",
}
LETTERS = 40


def picture(frontier: Frontier) -> Figure:
    """The figure of `Frontier.figure`. The second axis is logarithmic where its values span more than a factor of ten."""
    x, y = frontier.metrics
    comparison = frontier.comparison
    drawn = [(family, frontier.rows(family)) for family in frontier.families]
    single = [(name, [comparison.rows[name]]) for name in frontier.points]
    texts = [_legend(family, rows) for family, rows in drawn]
    texts += [_legend(f"{number} {name}", rows) for number, (name, rows) in enumerate(single, len(drawn) + 1)]
    figure, axes = empty(11.4, max(5.4, 0.6 + sum(0.16 + 0.2 * text.count("\n") + 0.2 for text in texts)))
    label_axes(axes, comparison, x, y, 90)
    every = [row for _, rows in drawn + single for row in rows if _known(row, x, y)]
    right = max((ends_of(row.metrics[x])[1] for row in every), default=0.0) * 1.06
    curve_x, curve_y = bound_curve(comparison, x, y, right)
    log_where_wide(axes, [row.metrics[y].mean for row in every] + list(curve_y))
    for number, ((_, rows), text) in enumerate(zip(drawn + single, texts, strict=True), 1):
        kept = [row for row in rows if _known(row, x, y)]
        hollow = number > len(drawn) or any(row.policy.reference for row in rows)
        axes.errorbar(
            [row.metrics[x].mean for row in kept],
            [row.metrics[y].mean for row in kept],
            xerr=_reach(kept, x),
            yerr=_reach(kept, y),
            fmt=f"{MARKERS[(number - 1) % len(MARKERS)]}-",
            color=colour(number),
            markerfacecolor="none" if hollow else colour(number),
            markersize=6,
            linewidth=1.3,
            elinewidth=1.0,
            capsize=2,
            label=text,
        )
    if len(curve_x):
        side = "lower" if comparison.task.spec.metrics[y].better == "lower" else "upper"
        axes.plot(curve_x, curve_y, color=INK, linewidth=1.6, label=f"proven {side} bound")
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top)
        axes.fill_between(curve_x, curve_y, bottom if side == "lower" else top, color=INK, alpha=0.08, linewidth=0)
    if right > 0:
        axes.set_xlim(0, right)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, handlelength=1.8, labelspacing=0.8, borderaxespad=0.2)
    say_it_as_it_is(figure)
    numbered = [
        (number, row.metrics[x], row.metrics[y]) for number, (_, (row,)) in enumerate(single, len(drawn) + 1) if _known(row, x, y)
    ]
    number_points(figure, axes, numbered)
    return figure


def _known(row: Row, *metrics: str) -> bool:
    return all(math.isfinite(row.metrics[metric].mean) for metric in metrics)


def _reach(rows: Sequence[Row], metric: str) -> np.ndarray:
    """How far the intervals reach below and above the means, (2, rows)."""
    middle = np.array([row.metrics[metric].mean for row in rows])
    outer = np.array([ends_of(row.metrics[metric]) for row in rows]).reshape(-1, 2).T
    return np.abs(outer - middle)


def _legend(name: str, rows: Sequence[Row]) -> str:
    """A name, of a family with the knob's values from first to last, and what its policies know."""
    first, last = (re.sub(r"^[^\[+]*", "", row.policy.name) for row in (rows[0], rows[-1]))
    span = f"{first.partition('+')[0] or 'none'} to {last.partition('+')[0] or 'none'}" if len(rows) > 1 else ""
    reference = ["a reference"] if any(row.policy.reference for row in rows) else []
    told = [*wrapped(name, LETTERS), *(wrapped(span, LETTERS) if span else []), KNOWS[rows[0].policy.information], *reference]
    return "\n".join(told)
