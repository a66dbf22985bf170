"""The Python API: a scenario, a task on it, policies by name, and a comparison.

import edgetwin as et
network = et.scenario("melbourne", {"users.count": 20})
task = et.task("two-timescale", network)
table = et.compare(task, ["full-power+nearest", "inversion[snr=5]+nearest"], episodes=64)
table.report("report.html")
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetwin.scenario import Scenario
from edgetwin.scenario import scenario as load_scenario

if TYPE_CHECKING:
    from edgetwin.evaluation.check import Clause
    from edgetwin.evaluation.compare import Comparison
    from edgetwin.problem import Policy, Task


def scenario(name: str | Path, settings: Mapping[str, Any] | None = None) -> Scenario:
    """The built-in scenario called `name`, or that of a TOML file, with dotted `settings` changed.

    Raises InputError with one line that names the key, the value and what is allowed.
    """
    return load_scenario(name, settings)


def task(name: str, on: Scenario | str | Path | None = None) -> "Task":
    """The decision problem `name` on a scenario, or on its default one. Raises InputError where the scenario does not support it."""
    from edgetwin.registry import problem

    chosen = problem(name)
    if on is None:
        on = chosen.scenario
    return chosen.task(on if isinstance(on, Scenario) else load_scenario(on))


def policy(task: "Task", name: str) -> "Policy":
    """The policy that `name` describes for a task, such as `inversion[snr=5]+nearest`."""
    from edgetwin.registry import policy as by_name

    return by_name(task, name)


def compare(
    task: "Task",
    policies: "Sequence[str | Policy] | None" = None,
    episodes: int = 64,
    slots: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> "Comparison":
    """Policies (names or `Policy` objects; by default the problem's own choice) on the same networks, with intervals and bounds."""
    from edgetwin.evaluation.compare import compare as run
    from edgetwin.registry import problem

    return run(task, problem(task.name).compared if policies is None else policies, episodes, slots, seed, progress)


def check(checked: "Task | Policy") -> "list[Clause]":
    """Runs a task or a policy through every clause of its contract."""
    from edgetwin.evaluation.check import check_policy, check_task
    from edgetwin.problem import Policy

    return check_policy(checked) if isinstance(checked, Policy) else check_task(checked)
