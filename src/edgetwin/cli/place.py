"""`place`: a plan for an engineer's own sites and users."""

from pathlib import Path
from typing import Literal

from edgetwin.cli.shared import Json, Setting, app, console, dumped, scenario_with


@app.command
def place(
    sites: Path,
    users: Path,
    *,
    candidates: Path | None = None,
    policy: Literal["optimum", "local-search", "greedy", "nearest"] = "optimum",
    limits: Literal["hard", "soft", "off"] = "hard",
    seconds: float = 60.0,
    scenario: str = "association/n100-m10",
    set: Setting | None = None,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Plan which servers open and whose twin lives where; say who misses its delay limit and why, and what to change.

    Parameters
    ----------
    sites
        CSV: id, lat,lon or x_m,y_m; optional server, cpu_hz, capacity, region.
    users
        CSV: id, lat,lon or x_m,y_m; optional data_mbit, update_mbit, latency_limit_s, pin, region, apart.
    candidates
        CSV of sites that could be built, with the columns of sites: tells which of them would help most.
    policy
        optimum comes with a proof, or with what was found and proven when the time is up.
    limits
        hard keeps delay limits where that is possible; soft prices each that is missed; off ignores them.
    seconds
        How long the optimum may take, and again the advice.
    scenario
        Whose section [association] gives what the files leave out: a built-in scenario or a .toml file.
    out
        Folder for plan.json, users.csv, servers.csv, map.svg and map.png.
    """
    from edgetwin import api
    from edgetwin.association.plan_output import check_folder
    from edgetwin.tables import progress_bar

    if out is not None:
        check_folder(out)
    with progress_bar(1, "planning") as bar:

        def tell(done: int, of: int) -> None:
            bar.update(bar.task_ids[0], completed=done, total=of, description="trying changes")

        plan = api.place(sites, users, candidates, scenario_with(scenario, set), policy, limits, seconds, tell)
    if out is not None:
        plan.write(out)
    if json:
        print(dumped(plan.to_json()))
        return 0
    from edgetwin.cli import plan_tables

    for shown in plan_tables.shown(plan):
        console().print(shown)
    if out is not None:
        print(f"Plan: {out}")
    return 0
