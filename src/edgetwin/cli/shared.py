"""What the commands share: the app, options that mean the same everywhere, and how names on the command line become tasks and tables."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

import edgetwin
from edgetwin.scenario import Scenario, parse_setting
from edgetwin.scenario import scenario as load_scenario

app = App(
    name="edgetwin",
    help="Where digital twins live, when they sync and when they migrate in a wireless edge network.",
    version=edgetwin.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

INTERRUPTED = 130
"""The exit status after ^C."""

Setting = Annotated[
    list[str], Parameter(name="--set", consume_multiple=True, negative=(), help="key=value, any setting of the scenario.")
]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print the answer as JSON.")]
Seed = Annotated[int, Parameter(help="Which networks: a whole number from 0 to 2^32 - 1.")]


def scenario_with(name: str, settings: list[str] | None) -> Scenario:
    """A scenario by name or file, with `--set` settings."""
    return load_scenario(name, dict(parse_setting(text) for text in settings or []))


def task_on(name: str, scenario: str | None, settings: list[str] | None, on: Scenario | None = None) -> tuple[Any, Any]:
    """The task, on a scenario by name or `on` one that is there, and the problem it belongs to."""
    from edgetwin import registry

    problem = registry.problem(name)
    return problem.task(on or scenario_with(scenario or problem.scenario, settings)), problem


def policies_of(task: Any, problem: Any, names: Sequence[str]) -> list[Any]:
    """Policies by name, those of a problem that is not installed too, and those in runs' folders or files."""
    from edgetwin import registry
    from edgetwin.learning import runs

    known = {**problem.policies, **(registry.factories(task) if task.name in registry.problems() else {})}
    return [
        runs.load(name, task, registry.learner_factories(task, problem))
        if runs.is_run(name)
        else registry.policy(task, name, known)
        for name in names
    ]


def compared(task: Any, problem: Any, policies: list[str] | None, episodes: int, slots: int | None, seed: int) -> Any:
    """The comparison of policies by name, or of the problem's own choice, with a bar."""
    from edgetwin import api
    from edgetwin.tables import progress_bar

    chosen = policies_of(task, problem, policies or problem.shown(task))
    with progress_bar(len(chosen), "policies") as bar:
        return api.compare(task, chosen, episodes, slots, seed, progress=lambda name: bar.advance(bar.task_ids[0]))


def show_comparison(comparison: Any) -> None:
    """Prints a comparison's table."""
    from edgetwin.tables import comparison_table

    console().print(comparison_table(comparison))


def console() -> Console:
    """Standard output, as wide as the terminal, or as a file that tables fit in."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def dumped(value: Any) -> str:
    """Plain data as JSON for people and programs."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
