"""Frontiers: families of policies, each swept over a knob of its own, and single policies beside them, all on the same episodes.

The result is a comparison that knows which rows make a family. Its files are a picture, a table and the numbers as JSON.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from edgetwin.errors import InputError
from edgetwin.evaluation.compare import Comparison, Row, compare
from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.study import Table
from edgetwin.evaluation.study_output import table_csv, write_picture, write_text
from edgetwin.problem import KNOWLEDGE, Information, Policy, Task

STEM = "frontier"


@dataclass(frozen=True)
class Frontier:
    """Families' rows by name, in the order of their knob, and the names of single policies; `comparison` holds the rows of all."""

    comparison: Comparison
    families: Mapping[str, tuple[str, ...]]
    points: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, str]:
        """The task's two frontier metrics."""
        assert self.comparison.task.spec.frontier is not None
        return self.comparison.task.spec.frontier

    def rows(self, family: str) -> list[Row]:
        return [self.comparison.rows[name] for name in self.families[family]]

    def information(self, family: str) -> Information:
        """What the best informed policy of a family knows."""
        return max((row.policy.information for row in self.rows(family)), key=KNOWLEDGE.index)

    def figure(self) -> Figure:
        """The two metrics against each other: a line per family, single policies as numbered points, the bound as a curve."""
        from edgetwin.evaluation.sweep_plot import picture

        return picture(self)

    def table(self) -> Table:
        """A row per policy: family, what it knows, knobs with what was tuned marked, all metrics with intervals, bound and gap."""
        meaning, y = self.comparison.task.spec.metrics, self.metrics[1]
        names = [*self.metrics, *(name for name in meaning if name not in self.metrics)]
        units = {name: "" if meaning[name].unit in ("", "1") else f" [{meaning[name].unit}]" for name in names}
        heads = ("family", "policy", "information", "knobs", *(name + units[name] for name in names))
        of = {name: family for family, members in self.families.items() for name in members}
        rows: list[list[str | float | Estimate | None]] = []
        for name, row in self.comparison.rows.items():
            known = [_finite(values.get(y, math.nan)) for values in (row.bound, row.gap)]
            estimates = [row.metrics[metric] for metric in names]
            rows.append([of.get(name, "–"), name, row.policy.information, knobs(row), *estimates, *known])
        title = f"{self.comparison.task.name} on {self.comparison.task.scenario.name}"
        return Table(STEM, title, (*heads, f"bound on {y}{units[y]}", f"gap of {y}"), rows)

    def to_json(self) -> dict[str, Any]:
        """The frontier as plain data: that of the comparison, with the names of each family's policies and of the single ones."""
        families = {
            family: {"information": self.information(family), "policies": list(names)} for family, names in self.families.items()
        }
        return {**self.comparison.to_json(), "frontier": list(self.metrics), "families": families, "points": list(self.points)}

    def write(self, folder: str | Path) -> list[Path]:
        """Writes frontier.png, .svg, .csv and .json to a folder; returns the files."""
        folder = Path(folder)
        plain = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
        return [
            *write_picture(folder, STEM, self.figure()),
            write_text(folder / f"{STEM}.csv", table_csv(self.table())),
            write_text(folder / f"{STEM}.json", plain + "\n"),
        ]


def sweep(
    task: Task,
    families: Mapping[str, Sequence[Policy]],
    points: Sequence[Policy] = (),
    episodes: int = 64,
    slots: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> Frontier:
    """Compares all policies of the `families` and the single ones of `points`, which a family may hold already, on the same episodes.

    episodes, slots, seed, progress: as for `compare`. Raises InputError for a task without two frontier metrics as well.
    """
    if task.spec.frontier is None:
        raise InputError(f"task {task.name!r} has no two metrics that are traded for each other, so there is no frontier to draw")
    swept = {policy.name for members in families.values() for policy in members}
    single = [policy for policy in points if policy.name not in swept]
    everyone = [policy for members in families.values() for policy in members] + single
    comparison = compare(task, everyone, episodes, slots, seed, progress)
    named = {family: tuple(policy.name for policy in members) for family, members in families.items()}
    return Frontier(comparison, named, tuple(policy.name for policy in single))


def knobs(row: Row) -> str:
    """A row's knobs with their values, those tuned marked."""
    return ", ".join(f"{name}={_short(param.value)}{' (tuned)' * param.tuned}" for name, param in row.params.items())


def _short(value: float | int | str | bool) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
