"""`compare` and `solve`: policies side by side, on networks drawn anew or on frozen instances."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgetwin.cli.shared import Json, Seed, Setting, app, compared, console, dumped, show_comparison, task_on
from edgetwin.files import check_writable


@app.command
def compare(
    task: str,
    *,
    policy: Annotated[list[str], Parameter(consume_multiple=True, negative=())] | None = None,
    scenario: str | None = None,
    set: Setting | None = None,
    episodes: int = 64,
    slots: int | None = None,
    seed: Seed = 0,
    report: Path | None = None,
    json: Json = False,
) -> int:
    """Run policies on the same networks and show metrics with 95 % intervals beside the bound.

    Parameters
    ----------
    task
        The decision problem, for example two-timescale.
    policy
        Names such as inversion[snr=5]+nearest; by default the problem's own choice.
    scenario
        A built-in scenario or a .toml file; by default the problem's own.
    episodes
        How many networks.
    slots
        Slots per network; by default what the task compares on (ten frames, or an episode).
    report
        Also write an HTML report to this file.
    """
    chosen, known = task_on(task, scenario, set)
    if report is not None:
        check_writable(report)
    comparison = compared(chosen, known, policy, episodes, slots, seed)
    if report is not None:
        comparison.report(report)
    if json:
        print(dumped(comparison.to_json()))
    else:
        show_comparison(comparison)
        if report is not None:
            print(f"Report: {report}")
    return 0


@app.command
def solve(task: str, instances: list[Path], *, policy: str, json: Json = False) -> int:
    """Solve frozen benchmark instances with one policy, in float64.

    Parameters
    ----------
    task
        The decision problem, for example network-sync.
    instances
        Files (.npz), or folders of them.
    policy
        A policy's name, such as index.
    """
    from edgetwin import api
    from edgetwin.tables import instances_table

    rows = api.solve(task, instances, policy)
    if json:
        print(dumped({"policy": policy, "instances": rows}))
    else:
        console().print(instances_table(task, policy, rows))
    return 0
