"""`reproduce`: the papers' figures drawn anew."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from edgetwin.cli.shared import INTERRUPTED, Json, app, console, dumped
from edgetwin.errors import InputError


@app.command
def reproduce(
    study: str | None = None,
    *,
    list: Annotated[bool, Parameter(negative=())] = False,
    scale: Literal["quick", "full"] = "quick",
    workers: int = 1,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Draw a figure of a paper anew, with intervals, and judge what the paper says about it.

    What was stopped goes on where it was when the same command is given again.

    Parameters
    ----------
    study
        The figure, PAPER/FIGURE, for example network-sync/fig3.
    list
        Show every figure there is.
    scale
        quick takes minutes, with fewer seeds or slots; full is the paper's.
    workers
        How many processes share the work.
    out
        Folder for pictures, tables, claims and results; by default edgetwin-reproduce/PAPER-FIGURE-SCALE.
    """
    from edgetwin import api

    if list:
        if study is not None:
            raise InputError(f"--list shows every figure: leave {study} out")
        return _list_studies(json)
    if study is None:
        raise InputError("name a figure, PAPER/FIGURE; edgetwin reproduce --list shows all")
    from edgetwin.tables import claims_table, study_bar

    bar, tell = study_bar()
    try:
        with bar:
            done = api.reproduce(study, scale, out, workers, tell)
    except KeyboardInterrupt:
        print("edgetwin: stopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    for job, error in done.failed.items():
        print(f"edgetwin: job {job!r} failed: {error}", file=sys.stderr)
    if json:
        print(dumped(done.to_json()))
    elif not done.failed:
        if done.claims:
            console().print(claims_table(done))
        print(f"Pictures, tables and claims: {done.folder}")
    return 1 if done.failed else 0


def _list_studies(as_json: bool) -> int:
    from edgetwin import registry
    from edgetwin.tables import studies_table

    known = registry.studies()
    if as_json:
        fields = ("title", "reproduces", "summary")
        described = {
            name: {**{field: getattr(study, field) for field in fields}, "minutes": dict(study.minutes)}
            for name, study in known.items()
        }
        print(dumped(described))
    else:
        console().print(studies_table(known))
    return 0
