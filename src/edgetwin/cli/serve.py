"""`edgetwin serve`: the live twin layer in one process."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from edgetwin.cli.shared import app
from edgetwin.errors import InputError

LIVE = "pip install 'edgetwin[live]'"


@app.command
def serve(
    *,
    data: Annotated[Path, Parameter(help="Folder of the stores; made where there is none.")] = Path("edgetwin-twins"),
    hosts: Annotated[
        list[str] | None,
        Parameter(
            name="--host",
            negative="",
            help="Name of an edge host in this process; give one for each. [default: edge-1 edge-2 edge-3]",
        ),
    ] = None,
    no_hosts: Annotated[
        bool, Parameter(negative="", help="No edge hosts in this process: they are processes of their own (`edgetwin host`).")
    ] = False,
    store: Annotated[
        str, Parameter(help="sqlite: a file for each host; or postgresql://USER@HOST/DATABASE, which they share.")
    ] = "sqlite",
    kinds: Annotated[Path | None, Parameter(help="TOML file of kinds of twins, instead of the built-in ones.")] = None,
    nats: Annotated[str | None, Parameter(help="nats://HOST:4222: devices may speak MQTT to this server's listener.")] = None,
    listen: Annotated[str, Parameter(help="ADDRESS:PORT. Beyond loopback a token file is needed.")] = "127.0.0.1:8700",
    token_file: Annotated[Path | None, Parameter(help="File with the token that every request must carry.")] = None,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Parameter(help="What is logged at least.")] = "info",
) -> None:
    """Serve twins: a control centre and edge hosts in one process, over HTTP and WebSocket. Other hosts may link themselves to it at any time.

    Updates are acknowledged once they are on disk. Stops on ^C or SIGTERM after what is under way is answered.
    """
    try:
        from edgetwin.twin import serve as serving
        from edgetwin.twin.tokens import token_in
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}: {LIVE}") from None
    token = None if token_file is None else token_in(token_file)
    host, port = serving.address(listen, token)
    if no_hosts and hosts:
        raise InputError("--no-hosts and --host: one of them")
    chosen = [] if no_hosts else hosts or ["edge-1", "edge-2", "edge-3"]
    serving.serve(serving.application(data, chosen, store, kinds or serving.DEFAULT_KINDS, nats, token), host, port, log_level)
