"""`edgetwin hosts`, `migrate`, `moves`, `cordon` and `drain`: where twins live, decided by hand."""

import re
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

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
MOVE_S = 600.0
"""How long an answer to a move is waited for: a long log takes a while to copy."""


@app.command
def hosts(*, url: Url = HERE, token_file: TokenFile = None, json: Json = False) -> int:
    """Show the hosts of a running service: how many twins each has, and whether it is here."""
    found = _ask(url, token_file, "GET", "/v1/hosts")["hosts"]
    if json:
        print(dumped({"hosts": found}))
        return 0
    table = Table(box=SIMPLE_HEAD)
    for name in ("host", "twins", "state", "waiting", "refused writes", "version", "store", "devices reach it at"):
        table.add_column(name, justify="right" if name in ("twins", "waiting", "refused writes") else "left")
    for host in found:
        state = "here" if host["available"] else f"away: its twins {host['its_twins']}"
        table.add_row(
            host["name"],
            f"{host['twins']:,}",
            f"{state}, cordoned" if host["cordoned"] else state,
            f"{host.get('pending', 0):,}",
            f"{host.get('fenced_writes', 0):,}",
            host.get("version", ""),
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
    path = f"/v1/twins/{quote(twin, safe='')}/migrate"
    move = _ask(url, token_file, "POST", path, {"host": host}, allowed=(409,), timeout_s=MOVE_S)
    if json:
        print(dumped(move))
    elif move["outcome"] == "moved":
        print(
            f"{twin}: from {move['source']} to {move['destination']}, epoch {move['epoch'] + 1}, "
            f"{move['entries']:,} log entries, not changed for {_milliseconds(move['pause_s'])} ms"
        )
    elif move["outcome"] == "waiting":
        print(
            f"{twin}: the move waits for {move['reason']}. The service goes on by itself; edgetwin moves {twin} shows how far it is"
        )
    else:
        print(f"{twin}: {move['outcome']}: {move['reason']}")
    return 0 if move["outcome"] == "moved" else 1


@app.command
def moves(twin: str | None = None, *, limit: int = 20, url: Url = HERE, token_file: TokenFile = None, json: Json = False) -> None:
    """Show the newest moves since the service started, with the step each is at or how it ended.

    Parameters
    ----------
    twin
        Of this twin only.
    limit
        How many at most.
    """
    asked = urlencode({"limit": limit} | ({} if twin is None else {"twin": twin}))
    found = _ask(url, token_file, "GET", f"/v1/moves?{asked}")["moves"]
    if json:
        print(dumped({"moves": found}))
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("twin", "from", "to", "epoch", "entries", "still, ms", "all, ms", "outcome"):
        table.add_column(name, justify="right" if name in ("epoch", "entries", "still, ms", "all, ms") else "left")
    for move in found:
        said = f"at {move['step']}" if move["outcome"] is None else ": ".join(filter(None, (move["outcome"], move["reason"])))
        table.add_row(
            move["twin"],
            move["source"],
            move["destination"],
            str(move["epoch"] + (move["outcome"] == "moved")),
            f"{move['entries']:,}",
            _milliseconds(move["pause_s"]),
            _milliseconds(sum(move["seconds"].values())),
            said,
        )
    console().print(table)


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
        if state["ended_early"]:
            print(f"  the rest stays: {state['ended_early']}")
        for twin, why in state["reasons"].items():
            print(f"  {twin} stays: {why}")
        if state["kept"] > len(state["reasons"]):
            print(f"  and {state['kept'] - len(state['reasons']):,} more")
    return 0 if state["moved"] == state["total"] else 1


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.1f}"


def _ask(url: str, token_file: Path | None, method: str, path: str, body: Any = None, **how: Any) -> Any:
    return ask(url, method, path, body, None if token_file is None else token_in(token_file), **how)
