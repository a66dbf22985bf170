"""`frontier`: every family of policies swept over its knob, in one picture."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgetwin.cli.shared import Json, Seed, Setting, app, console, dumped, policies_of, task_on
from edgetwin.files import check_writable


@app.command
def frontier(
    task: str,
    *,
    policy: Annotated[list[str], Parameter(consume_multiple=True, negative=())] | None = None,
    deployment: str | None = None,
    scenario: str | None = None,
    set: Setting | None = None,
    episodes: int = 64,
    slots: int | None = None,
    seed: Seed = 0,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Draw failures against energy for every family of policies, each swept over its own knob, beside the bound.

    Parameters
    ----------
    task
        The decision problem, for example two-timescale.
    policy
        Further points: names such as inversion[snr=5]+sticky, or folders or files of runs.
    deployment
        What every family is joined with, such as static; by default nearest.
    scenario
        A built-in scenario or a .toml file; by default the problem's own.
    episodes
        How many networks.
    slots
        Slots per network; by default what the task compares on (ten frames, or an episode).
    out
        Folder for frontier.png, .svg, .csv and .json; by default edgetwin-frontier/TASK.
    """
    from edgetwin import registry
    from edgetwin.evaluation.sweep import STEM, sweep
    from edgetwin.tables import frontier_table, progress_bar

    chosen, problem = task_on(task, scenario, set)
    names = registry.families(chosen, deployment, problem)
    folder = out or Path("edgetwin-frontier") / chosen.name
    check_writable(folder / f"{STEM}.json")
    points = policies_of(chosen, problem, policy or [])
    with progress_bar(len(points) + sum(map(len, names.values())), "policies") as bar:
        families = {family: policies_of(chosen, problem, members) for family, members in names.items()}
        drawn = sweep(chosen, families, points, episodes, slots, seed, lambda name: bar.advance(bar.task_ids[0]))
    drawn.write(folder)
    if json:
        print(dumped(drawn.to_json()))
    else:
        console().print(frontier_table(drawn))
        print(f"Picture, table and numbers: {folder}")
    return 0
