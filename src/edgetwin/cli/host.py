"""`edgetwin host`: one edge host as a process of its own."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from edgetwin.cli.serve import LIVE
from edgetwin.cli.shared import app
from edgetwin.errors import InputError


@app.command
def host(
    name: str,
    /,
    *,
    centre: Annotated[str, Parameter(help="http://HOST:PORT of the control centre, an `edgetwin serve`.")],
    data: Annotated[Path, Parameter(help="Folder of its store; made where there is none.")] = Path("edgetwin-twins"),
    store: Annotated[
        str, Parameter(help="sqlite: a file below --data; or postgresql://USER@HOST/DATABASE, which hosts share.")
    ] = "sqlite",
    kinds: Annotated[Path | None, Parameter(help="TOML file of kinds of twins; the centre's, where that has one.")] = None,
    listen: Annotated[
        str, Parameter(help="ADDRESS:PORT for its devices; port 0 is any. Beyond loopback a token file is needed.")
    ] = "127.0.0.1:0",
    public_url: Annotated[str | None, Parameter(help="Where devices reach it, if not where it listens.")] = None,
    token_file: Annotated[
        Path | None, Parameter(help="File with the token of the centre, which its devices show here too.")
    ] = None,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Parameter(help="What is logged at least.")] = "info",
) -> None:
    """Serve one edge host, linked to a control centre: it keeps twins in a store of its own and speaks with their devices itself.

    Devices need to know the centre only, which sends them here. Stops on ^C or SIGTERM after what is under way is answered.
    """
    try:
        from edgetwin.twin.kinds import DEFAULT_KINDS
        from edgetwin.twin.link import host_process
        from edgetwin.twin.tokens import token_in
    except ModuleNotFoundError as error:
        raise InputError(f"host needs {error.name}: {LIVE}") from None
    token = None if token_file is None else token_in(token_file)
    host_process.run(name, centre, data, store, kinds or DEFAULT_KINDS, listen, public_url, token, log_level)
