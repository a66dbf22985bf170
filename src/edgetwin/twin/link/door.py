"""Where host processes come in: the route `/v1/link` of the centre. A host makes its offer, is let in or told in one line why not, lists its
twins, and is the centre's to call until its link breaks. Who may come at all is for the guard of the application to say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from edgetwin.twin.kinds import Kind
from edgetwin.twin.link.connection import LEASE_S, Broken, Connection
from edgetwin.twin.link.frames import PROTOCOL, Assembly, Garbled, frames
from edgetwin.twin.link.offer import Offer, Unwelcome, check, digest_of, offered
from edgetwin.twin.link.remote_host import RemoteHost

OFFER_S = 5.0
"""How long a host may take to make its offer."""
CLOSE_S = 1.0
REFUSED, GARBLED = 4409, 4400

log = structlog.get_logger("edgetwin.twin.link")


class Door:
    """own: names of hosts in the centre's process. place: the centre's store. joined: called when a host has listed its twins; where it raises, the
    link is ended. left: called when its link is no more, whether it had joined or not."""

    def __init__(
        self,
        own: Collection[str],
        kinds: Mapping[str, Kind],
        place: str,
        joined: Callable[[RemoteHost], Awaitable[None]],
        left: Callable[[RemoteHost], None],
    ):
        self._own, self._kinds, self._place, self._joined, self._left = own, digest_of(kinds), place, joined, left
        self._there: dict[str, RemoteHost] = {}
        self._held: set[str] = set()

    @property
    def hosts(self) -> Mapping[str, RemoteHost]:
        """Hosts whose link stands, by name."""
        return self._there

    @asynccontextmanager
    async def closed_to(self, name: str) -> AsyncIterator[bool]:
        """Lets no host of a name in meanwhile; False, and nothing of the kind, where one is in."""
        if name in self._there or name in self._held:
            yield False
            return
        self._held.add(name)
        try:
            yield True
        finally:
            self._held.discard(name)

    async def link(self, socket: WebSocket) -> None:
        """The endpoint of the route."""
        await socket.accept()
        try:
            offer = await self._offer(socket)
            self._check(offer)
        except Unwelcome as unwelcome:
            await _turn_away(socket, unwelcome)
        except (Garbled, TimeoutError) as error:
            log.warning("something came to the door that is no host", error=str(error) or f"no offer within {OFFER_S:g} s")
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(GARBLED, str(error)[:120])
        except (OSError, WebSocketDisconnect):
            pass
        else:
            await self._serve(socket, offer)

    async def _offer(self, socket: WebSocket) -> Offer:
        async with asyncio.timeout(OFFER_S):
            assembly = Assembly()
            while (message := assembly.add(await _frame_of(socket))) is None:
                pass
        return offered(message[0])

    def _check(self, offer: Offer) -> None:
        check(offer, self._own, self._kinds, self._place)
        if offer.name in self._there:
            raise Unwelcome(f"host {offer.name}: a process is linked under this name already", again=True)
        if offer.name in self._held:
            raise Unwelcome(f"host {offer.name}: its twins are just being given to others; come again", again=True)

    async def _serve(self, socket: WebSocket, offer: Offer) -> None:
        connection = Connection(socket.send_bytes, lambda: _frame_of(socket))
        remote = self._there[offer.name] = RemoteHost(offer.name, offer.url, offer.place, offer.version, connection)
        why, code = "", 1001
        try:
            log.info("a host has come", host=offer.name, url=offer.url, place=offer.place, version=offer.version)
            connection.post({"welcome": {"protocol": PROTOCOL, "version": version("edgetwin")}})
            await connection.run(_take(connection, remote), self._join(connection, remote), beat=dict, patience_s=LEASE_S)
        except (Broken, OSError, WebSocketDisconnect) as broken:
            why, remote.was_silent = str(broken), isinstance(broken, Broken)
        except Garbled as garbled:
            why, code = str(garbled), GARBLED
        except Exception as error:
            why, code = f"it could not be taken in: {error}", 1011
            log.exception("a host could not be taken in", host=offer.name)
        finally:
            remote.end()
            log.warning("a host is away", host=offer.name, error=why)
            del self._there[offer.name]
            self._left(remote)
            with suppress(RuntimeError, OSError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(CLOSE_S):  # what waits to be sent to a host that is cut off may wait for ever
                    await socket.close(code, why[:120])

    async def _join(self, connection: Connection, remote: RemoteHost) -> None:
        await remote.listed.wait()
        await self._joined(remote)
        connection.post({"joined": True})
        log.info("a host is here", host=remote.name, twins=len(remote.twins))
        await remote.unwanted.wait()
        raise Broken("it cannot write to the database, and the centre can")


async def _take(connection: Connection, remote: RemoteHost) -> None:
    async for head, body in connection.messages():
        remote.hear(head, body)


async def _frame_of(socket: WebSocket) -> bytes:
    message: Any = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise ConnectionError(message.get("reason") or f"the link was closed with code {message.get('code')}")
    return message.get("bytes") or b""


async def _turn_away(socket: WebSocket, unwelcome: Unwelcome) -> None:
    log.warning("a host is not let in", error=str(unwelcome))
    with suppress(RuntimeError, WebSocketDisconnect):
        for frame in frames({"refused": str(unwelcome), "again": unwelcome.again}):
            await socket.send_bytes(frame)
        await socket.close(REFUSED, str(unwelcome)[:120])
