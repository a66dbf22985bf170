"""A plan seen from above: sites, open servers, users in the colour of their twin's server with a line to it, and who is over the limit."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgetwin.association.place import Plan
from edgetwin.evaluation import plots

DIM = "#7a7a7a"
LABELS_MAX = 40
"""More sites than these go without names, but for open servers"""
MAP_IN = 8.0
LEGEND_IN = 2.3
HUES = plots.PALETTE[:-1]
"""The last, grey, is for what is not open"""
LETTER_PT = 5.2
"""Mean width of a letter of a name"""


def draw(plan: Plan) -> Figure:
    """The map of a plan; north is up."""
    sites, users = plan.request.sites.xy_m, plan.request.users.xy_m
    hosting = plan.servers[plan.host]
    is_open = np.isin(np.arange(len(sites)), hosting)
    everything = np.concatenate([sites, users])
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = np.maximum(high - low, max(1.0, (high - low).max() / 4))
    middle, span = (low + high) / 2, span * 1.12
    size = np.maximum(MAP_IN * span / span.max(), 2.5)
    columns = int(size[0] // LEGEND_IN)
    figure, axes = plots.empty(size[0], size[1] + 0.3 + 0.24 * math.ceil(5 / columns))
    axes.grid(False)
    axes.set_aspect("equal")
    axes.set_xlim(middle[0] - span[0] / 2, middle[0] + span[0] / 2)
    axes.set_ylim(middle[1] - span[1] / 2, middle[1] + span[1] / 2)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=plots.GRID)
    colours = hues(sites, np.flatnonzero(is_open).tolist())
    for site, colour in colours.items():
        mine = users[hosting == site]
        ends = np.stack([mine, np.broadcast_to(sites[site], mine.shape), np.full(mine.shape, np.nan)], axis=1).reshape(-1, 2)
        axes.plot(*ends.T, color=colour, linewidth=0.6, alpha=0.55, zorder=1)
        axes.plot(*mine.T, "o", color=colour, markersize=4, markeredgewidth=0, zorder=3)
        axes.plot(*sites[site], "s", color=colour, markeredgecolor=plots.INK, markeredgewidth=1, markersize=10, zorder=4)
    server = plan.request.sites.server
    axes.plot(*sites[server & ~is_open].T, "s", **_hollow(9))
    axes.plot(*sites[~server].T, "^", **_hollow(8))
    late = plan.outcome.violations
    axes.plot(*users[late].T, "o", color="none", markeredgecolor=plots.INK, markeredgewidth=1.4, markersize=9, zorder=5)
    _legend(figure, plan, is_open, columns)
    _scale_bar(axes, span[0])
    _names(figure, axes, plan, is_open, colours)
    plots.say_it_as_it_is(figure)
    return figure


def hues(sites: NDArray[np.float64], opened: list[int]) -> dict[int, str]:
    """A colour for each open server, the same one again only where it is farthest away. sites: (sites, 2)."""
    chosen: dict[int, str] = {}
    for site in opened:
        nearest = dict.fromkeys(HUES, math.inf)
        for other, hue in chosen.items():
            nearest[hue] = min(nearest[hue], math.dist(sites[site], sites[other]))
        chosen[site] = max(HUES, key=nearest.__getitem__)
    return chosen


def _hollow(size: float) -> dict[str, Any]:
    return {"color": "white", "markeredgecolor": DIM, "markeredgewidth": 1.4, "markersize": size, "zorder": 4}


def _legend(figure: Figure, plan: Plan, is_open: NDArray[np.bool_], columns: int) -> None:
    """What the marks mean, those alone that there are, below the map."""
    server, late = plan.request.sites.server, int(plan.outcome.violations.sum())
    key = figure.axes[0]
    entries = [
        (int(is_open.sum()), "s", DIM, plots.INK, 9, "open server"),
        (int((server & ~is_open).sum()), "s", "white", DIM, 9, "closed server"),
        (int((~server).sum()), "^", "white", DIM, 8, "site without server"),
        (len(plan.host), "o", DIM, DIM, 4, "user, coloured by server"),
        (late, "o", "none", plots.INK, 9, "over its delay limit"),
    ]
    marks = [
        key.plot([], [], marker, color=fill, markeredgecolor=edge, markersize=size, linestyle="", label=f"{text}: {count}")[0]
        for count, marker, fill, edge, size, text in entries
        if count
    ]
    figure.legend(
        handles=marks,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        labelcolor=plots.INK,
        fontsize=10,
        columnspacing=1.2,
    )


def _scale_bar(axes: Axes, width_m: float) -> None:
    """A round length below the map's left corner."""
    power = 10 ** math.floor(math.log10(width_m / 4))
    length_m = max(step * power for step in (1, 2, 5) if step * power <= width_m / 4)
    left = axes.get_xlim()[0]
    both = axes.get_xaxis_transform()
    axes.plot([left, left + length_m], [-0.025, -0.025], color=plots.INK, linewidth=2, transform=both, clip_on=False)
    words = f"{length_m / 1e3:g} km" if length_m >= 1e3 else f"{length_m:g} m"
    axes.annotate(
        f"{words}, north is up",
        (left + length_m, -0.025),
        (6, 0),
        xycoords=both,
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        color=plots.INK,
        fontsize=10,
    )


def _names(figure: Figure, axes: Axes, plan: Plan, is_open: NDArray[np.bool_], colours: dict[int, str]) -> None:
    """Names of sites where they cover the least: other names, sites and users, in that order."""
    figure.draw_without_rendering()
    sites = axes.transData.transform(plan.request.sites.xy_m)
    users = axes.transData.transform(plan.request.users.xy_m)
    frame = axes.get_window_extent()
    taken: list[tuple[float, float, float]] = []
    for site in np.lexsort([~is_open]):
        if len(sites) > LABELS_MAX and not is_open[site]:
            continue
        name = plan.request.sites.ids[site]
        half = np.array([len(name) * LETTER_PT / 2 + 2, 7.0])
        best, least = np.zeros(2), math.inf
        for east, north in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            offset = np.array([east * (half[0] + 8), north * (14 if not east else 11)])
            centre = sites[site] + offset
            clash = 50 * sum(abs(centre[0] - x) < half[0] + w and abs(centre[1] - y) < 14 for x, y, w in taken)
            clash += 50 * (np.abs(sites - centre) < half + 6).all(axis=1).sum()
            clash += (np.abs(users - centre) < half + 3).all(axis=1).sum()
            inside = frame.x0 + half[0] < centre[0] < frame.x1 - half[0] and frame.y0 + 7 < centre[1] < frame.y1 - 7
            clash += 0 if inside else 500
            if clash < least:
                best, least = offset, clash
        taken.append((*(sites[site] + best), half[0]))
        axes.annotate(
            name,
            plan.request.sites.xy_m[site],
            (best[0], best[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold" if is_open[site] else "normal",
            color=colours.get(site, DIM),
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
            zorder=6,
        )
