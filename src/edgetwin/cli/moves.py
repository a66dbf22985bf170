"""`edgetwin hosts`, `migrate`, `cordon` and `drain`: where twins live, decided by hand."""

import re
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgetwin.cli.shared import Json, app, console, dumped
from edgetwin.twin.calls import ask
from edgetwin.twin.tokens import token_in

Url = Annotated[str, Parameter(help="Of the service.")]
TokenFile = Annotated[Path | None, Parameter(help="File with the service's token.")]
HERE = "http://127.0.0.1:8700"
LOOK_EVERY_S = 0.2


@app.command
def hosts(*, url: Url = HERE, token_file: TokenFile = None, json: Json = False) -> int:
    """Show the hosts of a running service: how many twins each has, and whether it is here."""
    found = _ask(url, token_file, "GET", "/v1/hosts")["hosts"]
    if json:
        print(dumped({"hosts": found}))
        return 0
    table = Table(box=SIMPLE_HEAD)
    for name in ("host", "twins", "state", "waiting", "refused writes", "store", "devices reach it at"):
        table.add_column(name, justify="right" if name in ("twins", "waiting", "refused writes") else "left")
    for host in found:
        state = "here" if host["available"] else f"away: its twins {host.get('its_twins', 'wait for it')}"
        table.add_row(
            host["name"],
            f"{host['twins']:,}",
            f"{state}, cordoned" if host["cordoned"] else state,
            f"{host.get('pending', 0):,}",
            f"{host.get('fenced_writes', 0):,}",
            re.sub(r"(sqlite:.*):[0-9a-f]+", r"\1", host.get("store", "")),
            host.get("url") or "the service",
        )
    console().print(table)
    return 0


@app.command
def migrate(twin: str, host: str, *, url: Url = HERE, token_file: TokenFile = None, json: Json = False) -> int:
    """Move a twin to a host while it is served. Ends with 1 where it did not move.

    Parameters
    ----------
    twin
        The twin's id.
    host
        Where it shall live.
    """
    move = _ask(url, token_file, "POST", f"/v1/twins/{quote(twin, safe='')}/migrate", {"host": host}, allowed=(409,))
    if json:
        print(dumped(move))
    elif move["outcome"] == "moved":
        print(
            f"{twin}: from {move['source']} to {move['destination']}, epoch {move['epoch'] + 1}, "
            f"{move['entries']:,} log entries, not changed for {1000 * move['pause_s']:.1f} ms"
        )
    else:
        print(f"{twin}: {move['outcome']}: {move['reason']}")
    return 0 if move["outcome"] == "moved" else 1


@app.command
def cordon(host: str, *, undo: bool = False, url: Url = HERE, token_file: TokenFile = None) -> None:
    """Give a host no new twins from now on.

    Parameters
    ----------
    host
        Name of the host.
    undo
        Give it new ones again.
    """
    _ask(url, token_file, "DELETE" if undo else "PUT", f"/v1/hosts/{quote(host, safe='')}/cordon")
    print(f"{host} {'gets twins again' if undo else 'gets no new twins'}")


@app.command
def drain(host: str, *, url: Url = HERE, token_file: TokenFile = None, json: Json = False) -> int:
    """Cordon a host and move all its twins to others. Ends with 1 where some could not be moved. ^C leaves the service at it.

    Parameters
    ----------
    host
        Name of the host.
    """
    path = f"/v1/hosts/{quote(host, safe='')}/drain"
    state = _ask(url, token_file, "POST", path)
    columns = (TextColumn(f"{host}"), BarColumn(), MofNCompleteColumn(), TextColumn("twins"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=json) as bar:
        task = bar.add_task(host, total=state["total"])
        while not state["done"]:
            bar.update(task, completed=state["moved"] + state["kept"])
            time.sleep(LOOK_EVERY_S)
            state = _ask(url, token_file, "GET", path)
    if json:
        print(dumped(state))
    else:
        print(f"{host}: {state['moved']:,} of {state['total']:,} twins moved in {state['seconds']:.1f} s")
        for twin, why in state["reasons"].items():
            print(f"  {twin} stays: {why}")
    return 0 if state["moved"] == state["total"] else 1


def _ask(url: str, token_file: Path | None, method: str, path: str, body: Any = None, allowed: tuple[int, ...] = ()) -> Any:
    return ask(url, method, path, body, None if token_file is None else token_in(token_file), allowed)
