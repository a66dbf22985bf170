"""`edgetwin host`: one host as a process of its own, with its store, a web application for its devices, and its link to the centre."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from edgetwin.errors import InputError
from edgetwin.twin import serve, silence, views, web
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import Kind, read_kinds
from edgetwin.twin.link.front import Front
from edgetwin.twin.link.host_link import HostLink
from edgetwin.twin.link.offer import Offer, digest_of
from edgetwin.twin.link.teller import Teller
from edgetwin.twin.messages import NAME, lines_in
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Refused
from edgetwin.twin.stores.store import Store, StoreUnavailable, is_postgres, opened
from edgetwin.twin.stream import stream

TRIM_EVERY_S = 300.0

log = structlog.get_logger("edgetwin.twin.link")


class HostProcess:
    """A host over its store, which comes to the centre at an address. url: where devices reach it. Raises InputError."""

    def __init__(self, name: str, store: Store, kinds: Mapping[str, Kind], centre: str, url: str, token: str | None):
        self.kinds = kinds
        self.host = Host(name, store, kinds, self._changed, gone=self._gone, others=True)
        self.front = Front(self.host, Gates(), centre)
        self._teller = Teller(lambda: self.host.twins)
        offer = Offer(name, version("edgetwin"), url, store.place, digest_of(kinds))
        self.link = HostLink(self.host, self.front, self._teller, centre, offer, token, store.shared)
        self._tasks: list[asyncio.Task] = []
        self.refusal: InputError | None = None
        """Why the centre would not have it, where it ended for that."""

    def start(self) -> None:
        """Begins to take messages, and to look for the centre."""
        self.host.start()
        self._tasks = [asyncio.create_task(work) for work in (self._keep_linked(), self._trim())]
        log.info("ready", host=self.host.name, twins=len(self.host.twins))

    async def close(self) -> None:
        """Leaves the centre, writes what waits and closes the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.host.close()
        await self.front.bus.close()
        log.info("stopped", host=self.host.name)

    def _changed(self, twins: Sequence[Twin]) -> None:
        self._teller.changed(twin.id for twin in twins)

    def _gone(self, ids: Sequence[str]) -> None:
        self._teller.changed(ids)
        self.front.left(ids)

    async def _keep_linked(self) -> None:
        try:
            await self.link.run()
        except InputError as refusal:
            self.refusal = refusal
            signal.raise_signal(signal.SIGTERM)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            try:
                if gone := await self.host.trim():
                    log.info("history trimmed", host=self.host.name, entries=gone)
            except Exception:
                log.exception("history could not be trimmed", host=self.host.name)


def application(made: HostProcess) -> Starlette:
    """The web application for a host's devices, without a guard."""
    host, front = made.host, made.front

    @asynccontextmanager
    async def lifespan(_: Starlette):
        made.start()
        yield
        await made.close()

    async def updates(request: Request) -> Response:
        return web.acknowledged(await front.take(lines_in(await web.body_of(request))))

    async def twin(request: Request) -> Response:
        for unknown in request.query_params:
            raise Refused(422, f"{unknown[:50]}: only the centre knows a twin's history")
        there, now_s = front.twin(request.path_params["twin_id"]), time.time()
        forecast = silence.forecasts([there], made.kinds, now_s).get(there.id)
        return JSONResponse(views.twin_fields(there, host, now_s, forecast))

    async def ready(_: Request) -> Response:
        fields = {"host": host.name, "twins": len(host.twins), "centre": made.link.why or "linked"}
        if not host.available:
            return JSONResponse({"status": "unavailable", **fields}, 503, {"Retry-After": web.RETRY_AFTER_S})
        return JSONResponse({"status": "ready", **fields})

    return Starlette(
        routes=[
            Route("/v1/updates", updates, methods=["POST"]),
            WebSocketRoute("/v1/stream", stream(front)),
            Route("/v1/twins/{twin_id}", twin),
            Route("/ready", ready),
            Route("/health", web.health),
            Route("/metrics", web.metrics),
        ],
        exception_handlers=web.ERRORS,
        lifespan=lifespan,
    )


def run(
    name: str,
    centre: str,
    data: Path,
    store: str,
    kinds: Path,
    listen: str,
    public_url: str | None = None,
    token: str | None = None,
    log_level: str = "info",
) -> None:
    """Serves a host until SIGINT or SIGTERM. Raises InputError for options without sense, and where the centre would not have it from the first."""
    if not NAME.fullmatch(name):
        raise InputError(f"host {name!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
    _check_url("centre", centre)
    read = read_kinds(kinds)
    if store != "sqlite" and not is_postgres(store):
        raise InputError(f"store {store!r}: sqlite, or postgresql://USER@HOST/DATABASE")
    bound = _bound(*serve.address(listen, token))
    url = public_url or _url_of(bound)
    _check_url("public-url", url)
    os.umask(0o077)  # what the service writes is its own user's alone
    try:
        there = opened(str(data / f"{name}.sqlite") if store == "sqlite" else store, name)
    except StoreUnavailable as error:
        raise InputError(str(error)) from None
    made = HostProcess(name, there, read, centre.rstrip("/"), url, token)
    host, port = bound.getsockname()[:2]
    serve.serve(web.guarded(application(made), token), host, port, log_level, bound)
    if made.refusal is not None:
        raise made.refusal


def _check_url(what: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port or an address that is none
        whole = False
    if not whole or parts.path not in ("", "/") or parts.query:
        raise InputError(f"{what} {url!r}: http://HOST:PORT or https://HOST:PORT")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        raise InputError(f"listen {host}:{port}: {error.strerror}") from None
    return bound


def _url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        raise InputError(f"listen {host}:{port}: on all addresses; say by --public-url where devices reach it")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
