"""When does moving a twin pay? Deployments under the slot's optimum, over users, speed, data, links and the length of a migration."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from edgetwin.evaluation.claims import Claim, at_most
from edgetwin.evaluation.plots import INK, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate, paired_difference, pooled
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen
from edgetwin.two_timescale.jobs import shares
from edgetwin.two_timescale.study_jobs import ENERGY, FAILURE, PRICE_MJ, cost, rules_job

POWERS = "min-energy"
MOVES = "migrations_per_frame"
DEPLOYMENTS = ("static", "nearest", "sticky", "planned")
IN_CELLS = ("static", "nearest", "planned")
PLANNED = DEPLOYMENTS[-1]
NETWORKS = {"quick": 8, "full": 32}
BAR_NETWORKS = {"quick": 16, "full": 64}
BAR_USERS = (30, 58)
SLACK_MJ = 0.002
"""What counts as not worse, mJ per user and slot: between a hundredth and a twentieth of what is spent."""
WHERE = "not in the paper"


class Axis(NamedTuple):
    """A setting that is varied: its name in pictures, the scenario's key, a value for each label, and the labels of the quick scale."""

    name: str
    key: str
    values: Mapping[str, Any]
    quick: Sequence[str]

    def at(self, scale: Scale) -> Mapping[str, Any]:
        return self.values if scale == "full" else {label: self.values[label] for label in self.quick}


USERS = Axis("users K", "users.count", {str(users): users for users in (20, 30, 40, 50, 58)}, ("30", "40", "58"))
SPEED = Axis(
    "mean speed, m/s",
    "users.mean_speed_mps",
    {"1": [0.3, 1.7], "3": [1, 5], "6": [2, 10], "12": [4, 20], "24": [8, 40]},
    ("3", "6", "24"),
)
DATA = Axis(
    "data of a request, kbit",
    "two_timescale.data_bits",
    {str(kbit): [750 * kbit, 1250 * kbit] for kbit in (10, 15, 20, 25, 30)},
    ("10", "20", "30"),
)
LINK = Axis(
    "wired link, Mbit/s", "backhaul.link_rate_bps", {str(mbit): 1e6 * mbit for mbit in (2.5, 5, 10, 20, 40)}, ("2.5", "10", "40")
)
LENGTH = Axis(
    "slots of a migration G",
    "two_timescale.migration_slots",
    {str(slots): slots for slots in (1, 3, 10, 30, 90)},
    ("1", "10", "90"),
)
PANELS = {"users and speed": (USERS, SPEED), "data and links": (DATA, LINK), "length of a migration and links": (LENGTH, LINK)}


def _jobs(scale: Scale) -> list[Job]:
    jobs = [
        rules_job(f"{users} users", _names(DEPLOYMENTS), shown="bar", set={"users.count": users}, episodes=BAR_NETWORKS[scale])
        for users in BAR_USERS
    ]
    for panel, (across, up) in PANELS.items():
        for x, x_value in across.at(scale).items():
            for y, y_value in up.at(scale).items():
                cell = rules_job(
                    f"{across.name} {x}, {up.name} {y}",
                    _names(IN_CELLS),
                    shown="cell",
                    set={across.key: x_value, up.key: y_value},
                    episodes=NETWORKS[scale],
                    panel=panel,
                    x=x,
                    y=y,
                )
                jobs.append(cell)
    return jobs


def _names(deployments: Sequence[str]) -> list[str]:
    return [f"{POWERS}+{deployment}" for deployment in deployments]


def _share(value: Mapping[str, Any], deployment: str):
    return shares(value, f"{POWERS}+{deployment}")


def _bars_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for users in BAR_USERS:
        value = chosen(results, shown="bar", set={"users.count": users})[0]
        for deployment in DEPLOYMENTS:
            share = _share(value, deployment)
            found = [pooled(*each) for each in (share[FAILURE], share[ENERGY], cost(share), share[MOVES])]
            less = None if deployment == PLANNED else paired_difference(cost(_share(value, PLANNED)), cost(share))
            rows.append([str(users), deployment, *found, less])
    columns = (
        "users",
        "deployment",
        "failed requests",
        "energy, mJ",
        "cost, mJ",
        "moves per user and frame",
        "planned costs more by, mJ",
    )
    title = f"Deployments, every slot at its optimum ({POWERS}); cost: energy plus {PRICE_MJ:g} mJ per failed request, per user and slot"
    return Table("deployments", title, columns, rows)


def _cells_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for result in results.values():
        if result.settings["shown"] == "cell":
            across, up = PANELS[result.settings["panel"]]
            told = f"{across.name} {result.settings['x']}, {up.name} {result.settings['y']}"
            costs = [pooled(*cost(_share(result.value, deployment))) for deployment in IN_CELLS]
            rows.append([told, *costs, pooled(*_share(result.value, PLANNED)[MOVES])])
    columns = ("where", *(f"{deployment}, mJ" for deployment in IN_CELLS), "planned moves")
    return Table("cells", f"Cost per user and slot ({POWERS}), and moves that are planned per user and frame", columns, rows)


def _picture(results: Results) -> Figure:
    """A panel for each pair of settings; a cell's colour is what following the nearest server costs more or less than never moving."""
    figure = Figure(figsize=(4.3 * len(PANELS), 4.4), dpi=100, layout="constrained")
    each = figure.subplots(1, len(PANELS))
    shade = None
    for axes, (panel, (across, up)) in zip(each, PANELS.items(), strict=True):
        cells = [result for result in results.values() if result.settings.get("panel") == panel]
        columns = list(dict.fromkeys(cell.settings["x"] for cell in cells))
        rows = list(dict.fromkeys(cell.settings["y"] for cell in cells))
        saved, texts = np.zeros((len(rows), len(columns))), {}
        for cell in cells:
            place = rows.index(cell.settings["y"]), columns.index(cell.settings["x"])
            still, follows, plans = (pooled(*cost(_share(cell.value, name))).mean for name in ("static", "nearest", PLANNED))
            saved[place] = 100 * (1 - follows / still)
            moves = pooled(*_share(cell.value, PLANNED)[MOVES]).mean
            texts[place] = f"{saved[place]:+.0f} %\n{100 * (1 - plans / still):+.0f} %\n({moves:.3f})"
        shade = axes.imshow(saved, cmap="RdBu", norm=TwoSlopeNorm(0, -100, 100), origin="lower", aspect="auto")
        for (row, column), text in texts.items():
            dark = abs(saved[row, column]) > 60
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(across.name)
        axes.set_ylabel(up.name)
        axes.set_title(panel, loc="left", fontsize=11)
    assert shade is not None
    bar = figure.colorbar(shade, ax=list(each), shrink=0.85)
    bar.set_label("cost saved by following the nearest server, %")
    figure.supxlabel(
        "in a cell: saved against never moving by `nearest`, by `planned`, and how often `planned` moves a twin per frame",
        fontsize=9,
    )
    say_it_as_it_is(figure)
    return figure


def _claims(results: Results) -> list[Claim]:
    claims = []
    for users in BAR_USERS:
        value = chosen(results, shown="bar", set={"users.count": users})[0]
        more = {
            f"above {name}": paired_difference(cost(_share(value, PLANNED)), cost(_share(value, name)))
            for name in DEPLOYMENTS[:-1]
        }
        says = f"With {users} users, planned costs at most {SLACK_MJ:g} mJ more than static, nearest and sticky each"
        claims.append(Claim(says, WHERE, more, at_most(SLACK_MJ), unit="mJ"))
    return claims


STUDIES = {
    "migration": Study(
        "When moving a twin pays",
        "beyond the paper",
        "Never moving, following, and planning over users, speed, data, wired links and the length of a migration.",
        _jobs,
        lambda results: {"phases": _picture(results)},
        lambda results: [_bars_table(results), _cells_table(results)],
        _claims,
        {"quick": 20, "full": 120},
    ),
}
