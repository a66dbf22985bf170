"""`edgetwin emulate`: a fleet of devices that report to a running service over its real protocols."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from edgetwin.cli.shared import Json, Setting, app, console, dumped, scenario_with
from edgetwin.errors import InputError

LIVE = "pip install 'edgetwin[live]'"


@app.command
def emulate(
    *,
    url: Annotated[str, Parameter(help="Of the service.")] = "http://127.0.0.1:8700",
    scenario: Annotated[str, Parameter(help="Whose users the devices move as: a name or a .toml file.")] = "melbourne",
    set: Setting | None = None,
    devices: Annotated[int | None, Parameter(help="How many; as many as the scenario's users unless given.")] = None,
    protocol: Annotated[
        Literal["http", "websocket", "mqtt"], Parameter(help="http: batches; websocket, mqtt: a connection for 100 devices.")
    ] = "http",
    broker: Annotated[
        str | None, Parameter(help="For mqtt: mqtt://HOST:PORT; port 1883 of the service's host unless given.")
    ] = None,
    rate: Annotated[float, Parameter(help="Updates per second of each device.")] = 1.0,
    duration: Annotated[float | None, Parameter(help="Seconds; until ^C unless given.")] = None,
    fault: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            negative=(),
            help="NAME=RATE, from 0 to 1, of loss, duplicate, corrupt, reorder, reboot, silence, bad or skew.",
        ),
    ] = None,
    seed: Annotated[int, Parameter(help="How devices move and what goes wrong: a whole number from 0.")] = 0,
    history: Annotated[Path | None, Parameter(help="File of what was sent and acknowledged, one JSON object a line.")] = None,
    token_file: Annotated[Path | None, Parameter(help="File with the service's token.")] = None,
    json: Json = False,
) -> int:
    """Enrol devices with a running service and have them report, until a time has passed or ^C.

    What the service does not acknowledge is sent again, through restarts of the service too, for 30 s after the end. Ends with 1 where something
    was left.
    """
    try:
        from edgetwin.twin.devices.emulate import Emulation, Plan
        from edgetwin.twin.devices.faults import parse_faults
        from edgetwin.twin.tokens import token_in
    except ImportError as error:
        raise InputError(f"emulate needs {error.name}: {LIVE}") from None
    chosen = scenario_with(scenario, set)
    plan = Plan(
        url=url,
        scenario=chosen,
        devices=chosen.users.count if devices is None else devices,
        protocol=protocol,
        broker=broker or f"mqtt://{urlsplit(url).hostname}:1883",
        rate_hz=rate,
        duration_s=duration,
        faults=parse_faults(fault or []),
        seed=seed,
        history=history,
        token=None if token_file is None else token_in(token_file),
    )
    summary = asyncio.run(_run(Emulation(plan), shown=not json and sys.stderr.isatty()))
    if json:
        print(dumped(summary))
    else:
        console().print(_table(summary))
    return 1 if summary["unsettled"] else 0


async def _run(emulation: Any, shown: bool) -> dict[str, Any]:
    """Runs an emulation, shown as it goes. The first ^C or SIGTERM ends it in order, the second at once."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, emulation.stop)
    if not shown:
        return await emulation.run()
    began_s = loop.time()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as screen:
        return await emulation.run(lambda figures: screen.update(_table(figures.summary(loop.time() - began_s)), refresh=True))


def _table(summary: dict[str, Any]) -> Table:
    """The figures that matter, one a line."""
    table = Table(box=SIMPLE_HEAD, show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    latency = summary["latency_ms"]
    rows = {
        "reports made": summary["made"],
        "settled": summary["settled"],
        "settled per second": summary["settled_per_s"],
        "not settled": summary["unsettled"],
        **{
            f"acknowledged: {status}" + (" (kept, sent again)" if status == "retry" else ""): n
            for status, n in summary["acked"].items()
        },
        **{f"quarantined: {reason}": n for reason, n in summary["reasons"].items()},
        "sent, again or twice included": summary["transmitted"],
        "given up, damaged five times": summary["given_up"],
        "lost when a device started anew": summary["lost_by_reboot"],
        "connections lost": summary["connections_lost"],
        "until acknowledged, half within, ms": latency["p50"],
        "until acknowledged, 99 % within, ms": latency["p99"],
        "seconds": summary["elapsed_s"],
    }
    for name, value in rows.items():
        if value is not None and (value or name in ("reports made", "settled", "not settled")):
            table.add_row(name, f"{value:,}")
    return table
