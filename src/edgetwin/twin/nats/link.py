"""A connection to NATS that is made anew for ever: each time it stands, something is done with it until it breaks."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import structlog
from nats.aio.client import Client
from nats.errors import Error
from prometheus_client import Gauge

from edgetwin.errors import InputError

PAUSE_S = 0.5
"""Between attempts to connect."""
PING_S = 5
"""Between questions whether the server is still there; after two without an answer it is not."""
CONNECTED = Gauge("edgetwin_nats_connected", "Whether the connection to NATS stands", ["name"])

log = structlog.get_logger("edgetwin.twin.nats")


def checked_url(url: str) -> str:
    """The address of a NATS server, `nats://[USER:PASSWORD@]HOST[:PORT]` or `tls://…`. Raises InputError."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise InputError(f"{without_password(url)!r}: the address of a NATS server is nats://HOST:PORT or tls://HOST:PORT")
    return url


def without_password(url: str) -> str:
    """An address without who logs in there."""
    scheme, mark, rest = url.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]


async def while_connected(url: str, name: str, use: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Connects to a server and calls `use` with the connection, and again whenever one of the two has ended. Returns only by being cancelled.

    `use` is cancelled when the connection breaks. name: what the connection is called in the server's lists and in the log.
    """
    server, told = without_password(checked_url(url)), ""
    gauge = CONNECTED.labels(name)

    def stands() -> None:
        nonlocal told
        told = ""
        gauge.set(1)
        log.info("connected to NATS", server=server, name=name)

    while True:
        try:
            await _once(url, name, use, stands)
            reason = "connection closed"
        except (OSError, Error, TimeoutError) as error:
            reason = f"{type(error).__name__}: {error}"
        finally:
            gauge.set(0)
        if reason != told:
            log.warning("no connection to NATS; trying again", server=server, name=name, reason=reason)
            told = reason
        await asyncio.sleep(PAUSE_S)


async def _once(url: str, name: str, use: Callable[[Client], Coroutine[Any, Any, None]], stands: Callable[[], None]) -> None:
    client = Client()

    async def on_error(error: Exception) -> None:
        log.debug("error told by NATS", name=name, error=str(error))

    async def break_() -> None:
        while not client.is_closed:
            await asyncio.sleep(PAUSE_S)

    tasks: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(2 * PING_S):
            await client.connect(
                url,
                name=f"edgetwin {name}",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=PING_S,
                ping_interval=PING_S,
                no_echo=True,
                error_cb=on_error,
            )
        stands()
        tasks = [asyncio.create_task(use(client)), asyncio.create_task(break_())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(OSError, Error, TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                await client.close()
