"""The main job in one command: every rule and the bound on the real Melbourne network, as a table and a report to look at.

Without the data sets (no `EDGETWIN_DATA`, no cache, no network) it runs on `two-timescale/physical` and says so.
"""

from collections.abc import Callable

from edgetwin import api
from edgetwin.errors import DataUnavailable
from edgetwin.evaluation.compare import Comparison
from edgetwin.problem import Task

FILM = ("full-power+nearest", "distance-rule+sticky")
SCENARIO, FALLBACK = "melbourne", "two-timescale/physical"


def demo_task(say: Callable[[str], None]) -> Task:
    """The demo's task; `say` is told which data it runs on."""
    try:
        return api.task("two-timescale", SCENARIO)
    except DataUnavailable as missing:
        say(f"The real Melbourne data is not to be had here: {missing}")
        say(f"So this runs on the synthetic scenario {FALLBACK} instead.")
        return api.task("two-timescale", FALLBACK)


def best_rule(comparison: Comparison) -> str:
    """One sentence: the rule with the least energy, and how far it is from the bound."""
    rules = {name: row for name, row in comparison.rows.items() if not row.policy.reference}
    name, row = min(rules.items(), key=lambda item: item[1].metrics["energy_mj_per_slot"].mean)
    energy, failed = row.metrics["energy_mj_per_slot"].mean, row.metrics["failure_per_request"].mean
    return (
        f"Least energy among the rules: {name}, {energy:.3g} mJ per user and slot at {failed:.1%} failed requests; "
        f"no policy that fails as often can need less than {row.bound['energy_mj_per_slot']:.3g} mJ."
    )
