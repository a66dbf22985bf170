"""What the command line shows a person: comparisons, studies, scenarios, clauses and timings as tables."""

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgetwin.evaluation.check import Clause
from edgetwin.evaluation.compare import Comparison
from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.study import Study
from edgetwin.evaluation.study_output import with_unit
from edgetwin.evaluation.study_run import Reproduction
from edgetwin.evaluation.study_workers import State
from edgetwin.evaluation.sweep import Frontier, knobs
from edgetwin.learning.runs import Run
from edgetwin.problem import Spec
from edgetwin.scenario import Scenario

LOSSES_SHOWN = 3


def progress_bar(total: int, unit: str) -> Progress:
    """A bar on standard error, so that standard output stays clean for programs."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    bar.add_task(unit, total=total)
    return bar


def training_bar(budget: int, spec: Spec) -> tuple[Progress, Callable[[Mapping[str, Any]], None]]:
    """A bar over the slots of a training, and what tells it a line of the metrics: what was evaluated last, return, and losses if they are few."""
    bar = progress_bar(budget, "compiling")
    judged = spec.frontier[::-1] if spec.frontier else [name for name, metric in spec.metrics.items() if metric.better][:2]
    shown: dict[str, str] = {}

    def tell(line: Mapping[str, Any]) -> None:
        training = line.get("training") or {}
        losses = [name for name in training if name.endswith("loss")]
        figures = {name: each["mean"] for name, each in (line.get("evaluation") or {}).items()} | training
        wanted = [*judged, "return", *(losses if len(losses) <= LOSSES_SHOWN else ())]
        shown.update({name: number(figures[name]) for name in wanted if figures.get(name) is not None})
        text = "  ".join(f"{_words(name)} {value}" for name, value in shown.items())
        bar.update(bar.task_ids[0], completed=min(line["slots"], budget), description=escape(text))

    return bar, tell


def study_bar() -> tuple[Progress, Callable[[str, State, int], None]]:
    """A bar over the jobs of a study that names those at work, and what tells it about a job."""
    bar = progress_bar(0, "study")
    working: list[str] = []

    def tell(job: str, state: State, jobs: int) -> None:
        if state == "started":
            working.append(job)
        elif job in working:
            working.remove(job)
        text = escape(", ".join(working)) or "study"
        bar.update(bar.task_ids[0], total=jobs, advance=int(state != "started"), description=text)

    return bar, tell


def number(value: float, digits: int = 3) -> str:
    """Three significant digits without exponents where people read them, a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 5)}f}"


def _words(metric: str) -> str:
    return metric.replace("_mj", "").replace("_", " ")


def _with_interval(estimate: Estimate) -> str:
    if estimate.ci95 is None:
        return number(estimate.mean)
    return f"{number(estimate.mean)}\n[dim]±{number((estimate.ci95[1] - estimate.ci95[0]) / 2, 2)}[/dim]"


def comparison_table(comparison: Comparison) -> Table:
    """A row per policy: every metric with the half-width of its 95 % interval, the gap to the bound, and what the policy may know."""
    spec = comparison.task.spec
    title = (
        f"{comparison.task.name} on {comparison.task.scenario.name}: {comparison.episodes} networks × {comparison.slots} slots"
    )
    table = Table(title=f"{title}, seed {comparison.seed}", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", overflow="fold", min_width=24)
    for name, metric in spec.metrics.items():
        unit = "" if metric.unit == "1" else f"\n[dim]{metric.unit}[/dim]"
        table.add_column(_words(name) + unit, justify="right", max_width=10)
    bounded = [name for name in spec.metrics if any(name in row.gap for row in comparison.rows.values())][:1]
    for name in bounded:
        table.add_column(f"{_words(name)} over the bound", justify="right", max_width=10)
    table.add_column("knows", no_wrap=True)
    for name, row in comparison.rows.items():
        tuned = ", ".join(f"{key}={number(float(param.value))}" for key, param in row.params.items() if param.tuned)
        learned = [f"learned, {row.params['trained_slots'].value:,} slots"] if "trained_slots" in row.params else []
        notes = ["reference"] * row.policy.reference + learned + [f"tuned: {tuned}"] * bool(tuned)
        cells = [_with_interval(row.metrics[metric]) for metric in spec.metrics]
        over = [number(1 + row.gap[metric]) + " ×" if metric in row.gap else "–" for metric in bounded]
        table.add_row("\n".join([escape(name), *(f"[dim]{note}[/dim]" for note in notes)]), *cells, *over, row.policy.information)
    return table


def frontier_table(frontier: Frontier) -> Table:
    """A row per policy, families apart: what it knows, its two traded metrics with the half-widths of their 95 % intervals, bound and gap, the
    other metrics, and its knobs where some were tuned."""
    comparison, (x, y) = frontier.comparison, frontier.metrics
    spec = comparison.task.spec
    title = (
        f"{comparison.task.name} on {comparison.task.scenario.name}: {comparison.episodes} networks × {comparison.slots} slots"
    )
    table = Table(title=f"{title}, seed {comparison.seed}", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", overflow="fold", min_width=36)
    table.add_column("knows", no_wrap=True)
    others = [name for name, metric in spec.metrics.items() if name not in (x, y) and metric.better is not None]
    heads = [
        _words(name) + ("" if spec.metrics[name].unit == "1" else f"\n[dim]{spec.metrics[name].unit}[/dim]") for name in (x, y)
    ]
    for head in (*heads, f"{_words(y)} at least", "over the bound", *map(_words, others)):
        table.add_column(head, justify="right", max_width=16 if head in heads else 8)
    groups = [*frontier.families.values(), *((name,) for name in frontier.points)]
    for members in groups:
        for name in members:
            row = comparison.rows[name]
            both = [_with_interval(row.metrics[metric]).replace("\n", " ") for metric in (x, y)]
            bound = [number(row.bound.get(y, math.nan)), number(1 + row.gap[y]) + " ×" if y in row.gap else "–"]
            noted = f"\n[dim]{escape(knobs(row))}[/dim]" if any(param.tuned for param in row.params.values()) else ""
            rest = [number(row.metrics[metric].mean) for metric in others]
            table.add_row(escape(name) + noted, row.policy.information, *both, *bound, *rest)
        table.add_section()
    return table


def run_table(run: Run) -> Table:
    """What the greedy policy of a training reached: every evaluation, with the half-width of its 95 % interval."""
    table = Table(
        title=escape(f"{run.name} on {run.about['scenario']['name']}"), header_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("slots", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("return", justify="right")
    for name in run.task.spec.metrics:
        table.add_column(_words(name), justify="right", max_width=10)
    for line in run.metrics:
        if "evaluation" in line:
            gained = (line.get("training") or {}).get("return")
            cells = [_with_interval(_estimate(line["evaluation"][name])) for name in run.task.spec.metrics]
            table.add_row(f"{line['slots']:,}", f"{line['seconds']:.1f}", "–" if gained is None else number(gained), *cells)
    return table


def _estimate(stored: Mapping[str, Any]) -> Estimate:
    mean, ends = stored["mean"], stored["ci95"]
    low, high = (math.nan if end is None else end for end in ends or (None, None))
    return Estimate(math.nan if mean is None else mean, None if ends is None else (low, high))


def studies_table(studies: Mapping[str, Study]) -> Table:
    """Every study: what it reproduces and shows, and how long that takes."""
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "reproduces", "what it shows", "minutes"):
        table.add_column(column, overflow="fold")
    for name, study in studies.items():
        shows = f"{escape(study.title)}\n[dim]{escape(study.summary)}[/dim]"
        minutes = "\n".join(f"{scale} {number(value, 2)}" for scale, value in study.minutes.items())
        table.add_row(escape(name), escape(study.reproduces), shows, minutes or "–")
    return table


def claims_table(reproduction: Reproduction) -> Table:
    """What the paper says beside what was measured, with 95 % intervals, and the verdicts."""
    title = f"{reproduction.name} at scale {reproduction.scale}: {reproduction.study.title}"
    table = Table(title=escape(title), header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("the paper says", "its number", "measured [95 % interval]", "verdict"):
        table.add_column(column, overflow="fold")
    for claim in reproduction.claims:
        measured = [
            f"{label}: {with_unit(estimate, claim.unit)}" if len(claim.measured) > 1 else with_unit(estimate, claim.unit)
            for label, estimate in claim.measured.items()
        ]
        paper = "–" if claim.paper is None else with_unit(claim.paper, claim.unit)
        reason = f"[dim]{escape(claim.judgement.reason)}[/dim]"
        says = f"{escape(claim.says)} [dim]({escape(claim.where)})[/dim]"
        table.add_row(says, escape(paper), escape("\n".join(measured)), f"{claim.verdict}\n{reason}")
    return table


def scenario_table(scenario: Scenario) -> Table:
    """Every value of a scenario with its source."""
    table = Table(title=f"{scenario.name}: {scenario.summary}", header_style="bold")
    for column in ("setting", "value", "source"):
        table.add_column(column, overflow="fold")
    for key, value in scenario_values(scenario).items():
        table.add_row(key, str(value), scenario.sources.get(key, "default"))
    return table


def scenario_values(scenario: Scenario) -> dict[str, Any]:
    """The settings of a scenario by dotted key."""
    values = scenario.model_dump(mode="json", exclude={"name", "summary", "notes", "sources"})
    return {f"{section}.{key}": value for section, fields in values.items() if fields for key, value in fields.items()}


def instances_table(task: str, policy: str, rows: list[dict[str, Any]]) -> Table:
    """A row per file where files hold many instances, else per instance: the mean value, the mean lower bound, the gap, milliseconds."""
    table = Table(title=f"{task}: {policy} on {len(rows)} frozen instances", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("instances")
    for column in ("number", "mean value", "mean lower bound", "gap", "ms each"):
        table.add_column(column, justify="right")
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["name"].split("#")[0], []).append(row)
    for name, group in groups.items():
        value, bound, seconds = (sum(row[key] for row in group) / len(group) for key in ("value", "lower_bound", "seconds"))
        table.add_row(
            escape(name), str(len(group)), f"{value:.6g}", f"{bound:.6g}", f"{value / bound - 1:.2%}", f"{1e3 * seconds:.2f}"
        )
    return table


def clause_table(subject: str, clauses: list[Clause]) -> Table:
    """PASS or FAIL for every clause."""
    table = Table(title=escape(subject), header_style="bold")
    for column in ("clause", "", "what is wrong"):
        table.add_column(column, overflow="fold")
    for clause in clauses:
        table.add_row(clause.name, "[green]PASS[/green]" if clause.passed else "[red]FAIL[/red]", escape(clause.detail))
    return table


def bench_table(result: dict[str, Any]) -> Table:
    """Cold and warm times, network-slots and agent-steps per second."""
    table = Table(
        title=f"{result['scenario']}, {result['networks']} networks, {result['users']} users, {result['sites']} sites, "
        f"{result['agents']} agents",
        header_style="bold",
    )
    table.add_column("what")
    for column in ("cold, s", "warm, s (median)", "network-slots/s", "agent-steps/s"):
        table.add_column(column, justify="right")
    for timing in result["timings"]:
        speeds = [f"{timing[key]:,.0f}" for key in ("per_second", "agent_steps_per_s")]
        table.add_row(escape(timing["name"]), f"{timing['cold_s']:.2f}", f"{timing['warm_s']:.3f}", *speeds)
    return table
