"""A host's end of the link: it comes to the centre, offers itself, tells its twins, obeys, and comes again whenever the link breaks.

A host that was never let in ends with the line it was refused by. One that had been in goes on serving its devices, whatever the centre says
later, and asks again.
"""

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from edgetwin.errors import InputError
from edgetwin.twin.host import Host
from edgetwin.twin.link.connection import CENTRE_S, LEASE_S, Broken, Connection
from edgetwin.twin.link.frames import FRAME_BYTES, PROTOCOL, Garbled
from edgetwin.twin.link.front import Front
from edgetwin.twin.link.obedience import Obedience
from edgetwin.twin.link.offer import Offer, Unwelcome
from edgetwin.twin.link.teller import Teller
from edgetwin.twin.moves.endpoint import Away
from edgetwin.twin.refusal import Full, line_in

PAUSE_S = (0.05, 1.0)
"""Before the centre is asked again, and at most; doubled each time, of which a random half to the whole is waited."""
REFUSED_PAUSE_S = 5.0
TAKEN_S = 3 * LEASE_S
"""How long a host that starts puts up with "come again", since the process before it may not yet be known to be gone."""
ANSWER_S = 5.0

log = structlog.get_logger("edgetwin.twin.link")


class HostLink:
    """centre: its http(s) address. offer: the host as it offers itself. shared: whether other hosts may have been given twins of its store."""

    def __init__(self, host: Host, front: Front, teller: Teller, centre: str, offer: Offer, token: str | None, shared: bool):
        self._host, self._front, self._teller, self._offer, self._shared = host, front, teller, offer, shared
        self._address = f"ws{centre.rstrip('/').removeprefix('http')}/v1/link"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.why = "not yet there"
        """Why the host is not linked now; empty while it is."""
        self._was_in = False

    async def run(self) -> None:
        """Keeps the link, for ever. Raises InputError where the host was never let in."""
        pause_s, until = PAUSE_S[0], time.monotonic() + TAKEN_S
        while True:
            try:
                await self._once()
                why = "the centre ended the link"
            except Unwelcome as unwelcome:
                if not self._was_in and not (unwelcome.again and time.monotonic() < until):
                    raise InputError(str(unwelcome)) from None
                why, pause_s = str(unwelcome), pause_s if unwelcome.again else REFUSED_PAUSE_S
            except (OSError, WebSocketException, TimeoutError, Broken, Away, Full) as error:
                why = " ".join(str(error).split()) or type(error).__name__
            except Garbled as error:
                why, pause_s = f"the centre speaks otherwise: {error}", REFUSED_PAUSE_S
            except Exception as error:
                why, pause_s = f"{type(error).__name__}: {error}", REFUSED_PAUSE_S
                log.exception("the link failed", host=self._host.name)
            self._teller.part()
            if cannot_write := self._shared and not self._host.available:
                self._front.close()
            else:
                self._front.open()
            if not self.why:
                pause_s = min(pause_s, PAUSE_S[0])
            if why != self.why:
                done = "devices are sent to the centre" if cannot_write else "devices are served on"
                log.warning(f"not linked to the centre; {done}", host=self._host.name, error=why)
            self.why = why
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, PAUSE_S[1])

    async def _once(self) -> None:
        if self._shared and not self._host.available:
            raise Full("the database cannot be written to")
        try:
            async with connect(
                self._address,
                additional_headers=self._headers,
                max_size=FRAME_BYTES + 1,
                max_queue=4,
                compression=None,
                ping_interval=None,
                open_timeout=ANSWER_S,
                close_timeout=1,
            ) as socket:
                await self._serve(socket)
        except InvalidStatus as refused:
            raise _turned_away(self._address, refused.response.status_code, refused.response.body) from None

    async def _serve(self, socket: ClientConnection) -> None:
        connection = Connection(socket.send, lambda: _frame_of(socket))
        try:
            await connection.run(self._obey(connection), beat=self._beat, patience_s=CENTRE_S)
        except asyncio.CancelledError:
            await socket.close(1001, "it is stopping")
            raise

    def _beat(self) -> dict[str, Any]:
        self._teller.flush_if_room()
        return {"available": self._host.available, "pending": self._host.pending, "fenced": self._host.fenced_writes}

    async def _obey(self, connection: Connection) -> None:
        connection.post({"offer": {"protocol": PROTOCOL, **self._offer._asdict()}})
        messages = connection.messages()
        async with asyncio.timeout(ANSWER_S):
            _welcome((await anext(messages))[0])
        if self._shared:
            await self._host.do(self._host.load)
        obedience = Obedience(self._host, self._front, self._teller, connection)
        introducing = asyncio.create_task(self._teller.introduce(connection))
        try:
            async for head, body in messages:
                if "joined" in head:
                    self._was_in, self.why = True, ""
                    self._front.open()
                    log.info("linked to the centre", host=self._host.name, centre=self._address, twins=len(self._host.twins))
                else:
                    await obedience.hear(head, body)
        finally:
            introducing.cancel()
            with suppress(asyncio.CancelledError, Away):
                await introducing


async def _frame_of(socket: ClientConnection) -> bytes:
    frame = await socket.recv()
    return frame if isinstance(frame, bytes) else b""


def _turned_away(address: str, status: int, body: bytes | bytearray | None) -> Exception:
    """What a link that was not opened means."""
    if status == 401:
        return Unwelcome(f"{address} does not accept the token: give the host the centre's --token-file")
    if status < 500 and (said := line_in(body)):
        return Unwelcome(f"{address}: {said[:500]}")
    if status in (403, 404):
        return Unwelcome(f"{address}: not a control centre of this version that hosts can be linked to (status {status})")
    return OSError(f"{address} answered with status {status}")


def _welcome(head: dict[str, Any]) -> None:
    """Raises Unwelcome unless a centre of the same protocol says welcome, Garbled where it says something else."""
    if "refused" in head:
        raise Unwelcome(str(head["refused"]), bool(head.get("again")))
    if not isinstance(head.get("welcome"), dict):
        raise Garbled("no welcome")
    spoken = head["welcome"].get("protocol")
    if spoken != PROTOCOL:
        raise Unwelcome(
            f"the centre speaks protocol {str(spoken)[:20]} of the link and this host {PROTOCOL}: run the same edgetwin on both sides"
        )
