"""Pictures of a comparison, one function each: policies against each other and against the bound, and a metric over time.

A policy is known by the number of its row, which has the same colour and marker everywhere. Figures hold no global state.
"""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.optimize import isotonic_regression

from edgetwin.evaluation.compare import Comparison, Row
from edgetwin.evaluation.statistics import Estimate

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#b8528a",
    "#b97f00",
    "#3495cf",
    "#6b6ecf",
    "#7a7a7a",
)  # Okabe and Ito's hues, 3:1 on white
MARKERS = "osD^vPX*"
INK, GRID = "#1b2026", "#d9dde2"
BOUND_POINTS = 60
BREAK = "\N{WORD JOINER}"


def colour(number: int) -> str:
    """The colour of row `number`, from 1."""
    return PALETTE[(number - 1) % len(PALETTE)]


def frontier(comparison: Comparison) -> Figure:
    """The task's two frontier metrics against each other, every policy with its intervals, the bound as a curve.

    Reference policies are hollow. The second axis is logarithmic where its values span more than a factor of ten.
    """
    assert comparison.task.spec.frontier is not None
    x, y = comparison.task.spec.frontier
    placed = [(number, row) for number, row in enumerate(comparison.rows.values(), 1) if _known(row, x) and _known(row, y)]
    names = [wrapped(row.policy.name + (" (reference)" if row.policy.reference else ""), 36) for _, row in placed]
    figure, axes = empty(10.4, max(4.6, 0.5 + sum(0.06 + 0.2 * len(lines) for lines in names)))
    label_axes(axes, comparison, x, y, 90)
    right = (
        max([row.metrics[x].mean for _, row in placed] + [ends_of(row.metrics[x])[1] for _, row in placed], default=0.0) * 1.06
    )
    curve_x, curve_y = bound_curve(comparison, x, y, right)
    values = [row.metrics[y].mean for _, row in placed] + list(curve_y)
    log_where_wide(axes, values)
    for (number, row), lines in zip(placed, names, strict=True):
        at = row.metrics[x].mean, row.metrics[y].mean
        (left, far), (low, high) = ends_of(row.metrics[x]), ends_of(row.metrics[y])
        axes.errorbar(
            *at,
            xerr=[[at[0] - left], [far - at[0]]],
            yerr=[[at[1] - low], [high - at[1]]],
            fmt=MARKERS[(number - 1) % len(MARKERS)],
            color=colour(number),
            markerfacecolor="none" if row.policy.reference else colour(number),
            markersize=7,
            elinewidth=1.2,
            capsize=2.5,
            label="\n".join([f"{number} {lines[0]}", *lines[1:]]),
        )
    if len(curve_x):
        side = "lower" if comparison.task.spec.metrics[y].better == "lower" else "upper"
        axes.plot(curve_x, curve_y, color=INK, linewidth=1.6, label=f"proven {side} bound")
        bottom, top = axes.get_ylim()
        if side == "lower" and axes.get_yscale() == "log":
            bottom = min(bottom, float(np.min(curve_y)) / 1.6)
        axes.set_ylim(bottom, top)
        axes.fill_between(curve_x, curve_y, bottom if side == "lower" else top, color=INK, alpha=0.08, linewidth=0)
    if right > 0:
        axes.set_xlim(0, right)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, handlelength=1.4, labelspacing=0.7, borderaxespad=0.2)
    say_it_as_it_is(figure)
    number_points(figure, axes, [(number, row.metrics[x], row.metrics[y]) for number, row in placed])
    return figure


def curve(comparison: Comparison, metric: str) -> Figure:
    """A metric over time: its value in every chunk of `report_slots` with its interval, a numbered line per policy."""
    figure, axes = empty(4.9, 3.3)
    chunk = comparison.task.spec.report_slots
    ends: list[tuple[int, float]] = []
    means: list[float] = []
    for number, row in enumerate(comparison.rows.values(), 1):
        estimates = row.curves[metric]
        starts = chunk * np.arange(len(estimates))
        middle = (starts + np.minimum(starts + chunk, comparison.slots)) / 2
        mean = np.array([estimate.mean for estimate in estimates])
        low, high = np.array([ends_of(estimate) for estimate in estimates]).T
        style = "--" if row.policy.reference else "-"
        axes.plot(
            middle, mean, style, color=colour(number), marker=MARKERS[(number - 1) % len(MARKERS)], markersize=3.5, linewidth=1.4
        )
        axes.fill_between(middle, low, high, color=colour(number), alpha=0.16, linewidth=0)
        seen = np.flatnonzero(np.isfinite(mean))
        means += list(mean[seen])
        if len(seen):
            ends.append((number, float(mean[seen[-1]])))
    label_axes(axes, comparison, None, metric, 46)
    log_where_wide(axes, means)
    axes.set_xlim(0, comparison.slots)
    say_it_as_it_is(figure)
    _number_ends(figure, axes, ends)
    return figure


def svg(figure: Figure, name: str, alt: str) -> str:
    """A figure as SVG to stand inside a page: its ink is the page's own, its colours --c1 … --c8, its identifiers `name`-…."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for number, hue in enumerate(PALETTE, 1):
        text = text.replace(hue, f"var(--c{number})")
    text = text.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", text)
    label = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{label}">', text, count=1)


def axis_name(comparison: Comparison, metric: str) -> str:
    """A metric with its unit, as axes and table headers write it."""
    unit = comparison.task.spec.metrics[metric].unit
    return metric if unit in ("", "1") else f"{metric} [{unit}]"


def empty(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in the style of all pictures."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), dpi=72, layout="constrained")
        axes = figure.subplots()
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
}


def _known(row: Row, metric: str) -> bool:
    return math.isfinite(row.metrics[metric].mean)


def ends_of(estimate: Estimate) -> tuple[float, float]:
    """The ends of an interval, or the mean twice where there is none."""
    low, high = estimate.ci95 or (estimate.mean, estimate.mean)
    if not (math.isfinite(low) and math.isfinite(high)):
        low = high = estimate.mean
    return min(low, estimate.mean), max(high, estimate.mean)


def label_axes(axes: Axes, comparison: Comparison, x: str | None, y: str, width: int) -> None:
    """Names both axes: the second at the top left, where it reads without turning the head, wrapped at `width` letters."""
    meaning = comparison.task.spec.metrics
    below = ["slot"] if x is None else [axis_name(comparison, x), *wrapped(meaning[x].meaning, width)]
    axes.set_xlabel("\n".join(below))
    axes.set_title("\n".join([axis_name(comparison, y), *wrapped(meaning[y].meaning, width)]), loc="left", fontsize=11, pad=10)


def say_it_as_it_is(figure: Figure) -> None:
    """Keeps dollar signs in names from being read as formulas."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` letters, broken at spaces, else behind a plus sign or before what follows a name."""
    pieces = text if len(text) <= width else re.sub(r"(?<=\+)(?=\S)|(?<=\S)(?=[\[@])", f"{BREAK} ", text)
    lines = textwrap.wrap(pieces, width, break_on_hyphens=False)
    return [line.replace(f"{BREAK} ", "").replace(BREAK, "") for line in lines]


def log_where_wide(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic second axis where all values are positive and span more than a factor of ten."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 10 * min(finite):
        axes.set_yscale("log")
        decades = math.log10(max(finite) / min(finite))
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if decades < 3 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def bound_curve(comparison: Comparison, x: str, y: str, right: float) -> tuple[np.ndarray, np.ndarray]:
    """The bound on `y` for values of `x` from 0 to `right`; empty where none is known for `x` alone."""
    grid = np.linspace(0, right, BOUND_POINTS) if right > 0 else np.zeros(1)
    try:
        values = [comparison.bound_at({x: float(value)}).get(y, math.nan) for value in grid] if comparison.bound_at else []
    except KeyError:
        values = []
    kept = np.isfinite(np.array(values, dtype=float))
    return (grid[kept], np.array(values, dtype=float)[kept]) if len(values) else (np.zeros(0), np.zeros(0))


def number_points(figure: Figure, axes: Axes, points: Sequence[tuple[int, Estimate, Estimate]]) -> None:
    """Writes each point's number where it covers no point, number or error bar; a thin line leads to one that stands apart."""
    figure.draw_without_rendering()
    to_pixels = axes.transData.transform
    frame = axes.get_window_extent()
    taken = []
    for _, x, y in points:
        taken.append((*to_pixels((x.mean, y.mean)), 7.0, 7.0))
        for ends in ([(end, y.mean) for end in ends_of(x)], [(x.mean, end) for end in ends_of(y)]):
            first, last = np.clip(to_pixels(ends), frame.min, frame.max)
            along = np.linspace(first, last, 2 + int(np.hypot(*(last - first)) / 6))
            taken += [(*at, 3.0, 3.0) for at in along]
    for number, x, y in points:
        at = to_pixels((x.mean, y.mean))
        best, least = (12.0, 12.0), math.inf
        for radius in (13.0, 19.0, 27.0, 38.0, 52.0):
            for angle in np.radians((45, 135, -45, -135, 90, 0, 180, -90, 20, 160, -20, -160)):
                centre = at + radius * np.array([math.cos(angle), math.sin(angle)])
                inside = frame.x0 + 6 < centre[0] < frame.x1 + 10 and frame.y0 + 6 < centre[1] < frame.y1 + 10
                clash = sum(_overlap(centre, box) for box in taken) + radius + (0 if inside else 1e4)
                if clash < least:
                    best, least = tuple(centre - at), clash
        taken.append((*(at + np.array(best)), 6.0, 7.0))
        axes.annotate(
            str(number),
            (x.mean, y.mean),
            best,
            textcoords="offset points",
            ha="center",
            va="center",
            color=colour(number),
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": colour(number), "linewidth": 0.7} if math.hypot(*best) > 20 else None,
        )


def _overlap(centre: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """How badly a number at `centre` covers a box (x, y, half width, half height), in points."""
    across = 6 + box[2] - abs(centre[0] - box[0])
    down = 7 + box[3] - abs(centre[1] - box[1])
    return 100 * min(across, down) if across > 0 and down > 0 else 0.0


def apart(levels: Sequence[float], gap: float, floor: float, ceiling: float) -> np.ndarray:
    """Heights for labels that belong at `levels` (rising): as near as can be, at least `gap` from each other, from floor to ceiling.

    The least squares are an isotonic regression of the levels less the room that the labels below need.
    """
    room = gap * np.arange(len(levels))
    if not len(levels):
        return room
    return np.clip(isotonic_regression(np.asarray(levels) - room).x, floor, max(floor, ceiling - room[-1])) + room


def _number_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[int, float]]) -> None:
    """Writes the numbers of lines at their right ends, apart from each other."""
    figure.draw_without_rendering()
    frame, gap = axes.get_window_extent(), 12.0
    levels = sorted((float(axes.transData.transform((1, value))[1]), number, value) for number, value in ends)
    heights = apart([level for level, *_ in levels], gap, frame.y0, frame.y1)
    for height, (level, number, value) in zip(heights, levels, strict=True):
        axes.annotate(
            str(number),
            (1, value),
            (5, height - level),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="left",
            va="center",
            color=colour(number),
            fontweight="bold",
            annotation_clip=False,
        )
