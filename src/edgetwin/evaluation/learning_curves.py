"""Learning curves: a line per algorithm with its interval over seeds, and what needs no training as horizontal lines.

Seeds are brought to the same slots before they are averaged. Every line has its name at its right end, where the eye needs no legend.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgetwin.evaluation.plots import INK, apart, colour, empty, log_where_wide, say_it_as_it_is, wrapped
from edgetwin.evaluation.statistics import seed_mean

LABEL_GAP, LETTERS = 12.5, 30


class Curve(NamedTuple):
    """A name, slots (points,), and at each of them the mean over seeds and its 95 % interval, (points,); NaN where one seed has none.
    `hue` is its colour, by default that of its place."""

    name: str
    slots: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    hue: str = ""


class Level(NamedTuple):
    """What a policy that does not learn reaches, or a bound: a horizontal line with its name."""

    name: str
    value: float
    hue: str = INK


def aligned(runs: Sequence[tuple[Sequence[float], Sequence[float | None]]]) -> tuple[np.ndarray, np.ndarray]:
    """Runs brought to the same slots: those of any run that all runs cover, with straight lines between a run's own points.

    runs: per seed its slots (rising) and its values; points without a value are left out. Returns slots (points,) and values
    (seeds, points). Raises ValueError where the runs have no slots in common.
    """
    kept = []
    for slots, values in runs:
        x, y = np.asarray(slots, dtype=float), np.array([np.nan if value is None else value for value in values], dtype=float)
        kept.append((x[np.isfinite(y)], y[np.isfinite(y)]))
    if not kept or any(len(x) == 0 for x, _ in kept):
        raise ValueError("a learning curve needs at least one run, and each run a value")
    first, last = max(x[0] for x, _ in kept), min(x[-1] for x, _ in kept)
    grid = np.unique(np.concatenate([x for x, _ in kept]))
    grid = grid[(first <= grid) & (grid <= last)]
    if len(grid) == 0:
        raise ValueError("the runs of a learning curve have no slots in common")
    return grid, np.stack([np.interp(grid, x, y) for x, y in kept])


def curve(name: str, runs: Sequence[tuple[Sequence[float], Sequence[float | None]]]) -> Curve:
    """The mean of aligned runs, one per seed, with Student's 95 % interval at every point."""
    slots, values = aligned(runs)
    estimates = [seed_mean(values[:, point]) for point in range(len(slots))]
    ends = np.array([estimate.ci95 or (np.nan, np.nan) for estimate in estimates])
    return Curve(name, slots, np.array([estimate.mean for estimate in estimates]), ends[:, 0], ends[:, 1])


def learning_curves(curves: Sequence[Curve], levels: Sequence[Level], metric: str, meaning: str = "") -> Figure:
    """Curves with bands and levels against training slots. `metric` names the vertical axis with its unit, `meaning` explains it.

    The vertical axis is logarithmic where means and levels span more than a factor of ten; bands do not widen it.
    """
    figure, axes = empty(8.6, 4.6)
    axes.set_title("\n".join([metric, *wrapped(meaning, 90)]), loc="left", fontsize=11, pad=10)
    last = max((float(line.slots[-1]) for line in curves), default=0.0)
    ends: list[tuple[float, str, str]] = []
    for number, line in enumerate(curves, 1):
        hue = line.hue or colour(number)
        axes.plot(line.slots, line.mean, color=hue, linewidth=1.7)
        axes.fill_between(line.slots, line.low, line.high, color=hue, alpha=0.16, linewidth=0)
        ends.append((float(line.mean[-1]), line.name, hue))
    shown = [value for line in curves for value in line.mean] + [level.value for level in levels]
    log_where_wide(axes, shown)
    bottom, top = _range(shown, axes.get_yscale() == "log")
    axes.set_ylim(bottom, top)
    for level in levels:
        axes.axhline(level.value, color=level.hue, linewidth=1.1, linestyle=(0, (4, 3)))
        ends.append((level.value, level.name, level.hue))
    axes.set_xlim(0, last or 1.0)
    axes.set_xlabel("training slots")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    name_ends(figure, ends)
    say_it_as_it_is(figure)
    return figure


def _range(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Limits with a margin of 5 % around all values."""
    finite = np.array([value for value in values if np.isfinite(value)] or [0.0, 1.0])
    if logarithmic:
        margin = (finite.max() / finite.min()) ** 0.05
        return float(finite.min() / margin), float(finite.max() * margin)
    margin = 0.05 * (finite.max() - finite.min() or abs(finite.max()) or 1.0)
    return float(finite.min() - margin), float(finite.max() + margin)


def name_ends(figure: Figure, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes (value, name, colour) right of the axes, apart from each other, a thin line leading to each from where it belongs."""
    axes = figure.axes[0]
    figure.draw_without_rendering()
    low, high = axes.get_window_extent().get_points()[:, 1]
    placed = sorted(
        (float(np.clip(axes.transData.transform((0, value))[1], low, high)), name, hue)
        for value, name, hue in ends
        if np.isfinite(value)
    )
    for height, (level, name, hue) in zip(apart([at for at, *_ in placed], LABEL_GAP, low, high), placed, strict=True):
        short = name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
        axes.annotate(
            short,
            (1, (level - low) / (high - low)),
            (18, height - level),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="left",
            va="center",
            color=hue,
            fontsize=10,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": hue, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )
