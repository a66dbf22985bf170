"""A plan for people: its servers, totals, who is over the limit and why, what to change, and what was assumed."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from edgetwin.association import plan_rows
from edgetwin.association.advice import Advice
from edgetwin.association.place import Plan
from edgetwin.tables import number

CHANGES_SHOWN = 5
LATE_SHOWN = 10


def shown(plan: Plan) -> Iterator[Table | str]:
    """All there is to show, in order."""
    totals = plan_rows.totals(plan)
    yield servers_table(plan)
    yield from summary(plan, totals)
    late = [row for row in plan_rows.users(plan) if not row["ok"]]
    if late:
        yield late_table(late)
    if plan.advice is not None:
        yield from changes(plan.advice, plan)
    yield "[bold]Assumed[/bold]"
    yield from (f"* {escape(note)}" for note in plan.request.assumptions)


def servers_table(plan: Plan) -> Table:
    """A row per server."""
    sites, users = len(plan.request.sites.ids), len(plan.host)
    table = _table(f"{users} users, {sites} sites, {len(plan.servers)} servers: {plan.method}")
    table.add_column("server", overflow="fold")
    for column in ("open", "twins", "of", "CPU, GHz", "load", "CPU per twin, GHz"):
        table.add_column(column, justify="right")
    for row in plan_rows.servers(plan):
        table.add_row(
            escape(row["id"]),
            "yes" if row["open"] else "no",
            str(row["twins"]),
            str(row["capacity"]),
            number(row["cpu_hz"] / 1e9),
            f"{row['load']:.0%}",
            number(row["cpu_per_twin_hz"] / 1e9) if row["open"] else "–",
        )
    return table


def summary(plan: Plan, totals: dict) -> Iterator[str]:
    """Cost and proof, latency, and how many are over their limit, a line each."""
    gap = "" if plan.gap is None else f", so at most {plan.gap:.2%} above the least"
    if plan.method != "optimum" and plan.request.section.delay_limits == "hard":
        gap += " (the bound leaves delay limits out)"
    yield f"Cost J {totals['cost']:.5g}; proven: no less than {totals['lower_bound']:.5g}{gap}"
    yield f"Latency of an update: mean {number(totals['mean_latency_s'])} s, worst {number(totals['worst_latency_s'])} s"
    late, fewest = totals["over_limit"], totals["fewest_over_limit"]
    few = f"; proven: no fewer than {fewest} in any plan" if fewest else ""
    yield f"Users over their limit: {late} of {totals['users']}{few}\n"


def late_table(late: list[dict]) -> Table:
    """The users over their limit, worst first."""
    late = sorted(late, key=lambda row: row["limit_s"] - row["latency_s"])
    more = f" (the worst {LATE_SHOWN} of {len(late)}; --json and --out have all)" if len(late) > LATE_SHOWN else ""
    table = _table(f"Over the limit{more}")
    for column in ("user", "home", "server", "why"):
        table.add_column(column, overflow="fold")
    for row in late[:LATE_SHOWN]:
        table.add_row(*(escape(row[column]) for column in ("id", "home", "server", "reason")))
    return table


def changes(advice: Advice, plan: Plan) -> Iterator[Table | str]:
    """What to change, the best few, and what planning again alone would save."""
    if advice.over_limit < plan.outcome.violations.sum() or advice.cost < plan.outcome.cost * (1 - 1e-9):
        yield (
            f"Without any change, --policy local-search brings J to {advice.cost:.5g} with {advice.over_limit} users over their limit; "
            f"changes are compared with that.\n"
        )
    some = "" if advice.tried == advice.possible else f", of {advice.tried} of {advice.possible} tried in time"
    if not advice.changes:
        yield f"What to change: none of the {advice.tried} changes tried helps{some}\n"
        return
    table = _table(f"What to change: the best {min(CHANGES_SHOWN, len(advice.changes))}{some}")
    table.add_column("change", overflow="fold")
    for column in ("J", "saves", "over limit", "saves"):
        table.add_column(column, justify="right")
    for change in advice.changes[:CHANGES_SHOWN]:
        cells = (f"{change.cost:.5g}", f"{change.saves:.3g}", str(change.over_limit), str(change.saves_over_limit))
        table.add_row(escape(change.words), *cells)
    yield table


def _table(title: str) -> Table:
    return Table(title=escape(title), header_style="bold", box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
