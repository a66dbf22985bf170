"""`edgetwin serve`: a control centre and edge hosts in one process, from options to a running web server."""

import gc
import ipaddress
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from edgetwin.errors import InputError
from edgetwin.twin import logs
from edgetwin.twin.http import app
from edgetwin.twin.kinds import DEFAULT_KINDS, read_kinds
from edgetwin.twin.messages import NAME
from edgetwin.twin.moves import failpoints, tracing
from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.moves.place import Directory
from edgetwin.twin.service import Service
from edgetwin.twin.stores.store import Store, StoreUnavailable, is_postgres, opened

CENTRE = "centre"
GRACE_S = 10


def stores_for(data: Path, hosts: Sequence[str], store: str) -> dict[str, Store]:
    """A store for the centre and each host: files below `data`, or parts of the PostgreSQL database at the address `store`. Raises InputError."""
    names = [CENTRE, *hosts]
    for name in names:
        if not NAME.fullmatch(name):
            raise InputError(f"host {name!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
    if len(set(names)) < len(names):
        raise InputError(f"hosts {', '.join(names)}: each once, and none of them {CENTRE}, which is the control centre's")
    if store != "sqlite" and not is_postgres(store):
        raise InputError(f"store {store!r}: sqlite, or postgresql://USER@HOST/DATABASE")
    return {name: opened(str(data / f"{name}.sqlite") if store == "sqlite" else store, name) for name in names}


def directory_for(data: Path, store: str) -> Directory:
    """The directory of places: a file below `data`, or part of the PostgreSQL database that hosts share. Raises StoreRefused, StoreUnavailable."""
    if is_postgres(store):
        from edgetwin.twin.moves.postgres_directory import PostgresDirectory

        return PostgresDirectory(store)
    return SQLiteDirectory(data / "directory.sqlite")


def application(
    data: Path,
    hosts: Sequence[str],
    store: str = "sqlite",
    kinds: Path = DEFAULT_KINDS,
    nats: str | None = None,
    token: str | None = None,
) -> ASGIApp:
    """The service's ASGI application. Raises InputError for options without sense, StoreRefused for stores that cannot be used."""
    read = read_kinds(kinds)
    if nats is not None:
        _check_nats(nats)
    os.umask(0o077)  # what the service writes is its own user's alone
    try:
        data.mkdir(parents=True, exist_ok=True)
        stores = stores_for(data, hosts, store)
        return app(Service(stores, read, data / "services.json", directory_for(data, store), nats=nats), token)
    except StoreUnavailable as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{data}: cannot be used as the folder of the stores ({error.strerror})") from None


def _check_nats(url: str) -> None:
    try:
        from edgetwin.twin.nats.link import checked_url
    except ModuleNotFoundError as error:
        raise InputError(f"NATS needs {error.name}: pip install 'edgetwin[nats]'") from None
    checked_url(url)


def address(listen: str, token: str | None) -> tuple[str, int]:
    """HOST:PORT in two. Raises InputError for what is none, and for an address beyond loopback without a token."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise InputError(f"listen {listen!r}: ADDRESS:PORT, for example 127.0.0.1:8700") from None
    if not port.isdecimal() or int(port) > 65535:
        raise InputError(f"listen {listen!r}: the port is a number from 0 to 65535")
    if not loopback and token is None:
        raise InputError(f"listen {listen!r} is reachable from elsewhere: give a token file, or listen on 127.0.0.1")
    return host, int(port)


def serve(application: ASGIApp, host: str, port: int, log_level: str = "info", bound: socket.socket | None = None) -> None:
    """Serves until SIGINT or SIGTERM; then takes no more, answers what is under way, and closes the stores. bound: a socket that is bound already.
    Raises InputError for failpoints without sense, and where spans shall be sent without the extra for it."""
    logs.set_up(log_level)
    failpoints.arm()
    send_last_spans = tracing.set_up()
    gc.set_threshold(100_000, 50, 100)  # twins are no garbage: looking through them all at the usual rate costs pauses of 100 ms
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=2**20,
        ws_max_queue=4,
        ws_per_message_deflate=False,
        backlog=2048,
    )
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)  # the server raises anew what ended it; that is a good end
    try:
        uvicorn.Server(config).run(None if bound is None else [bound])
    finally:
        send_last_spans()
