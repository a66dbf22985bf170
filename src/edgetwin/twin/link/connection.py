"""One link while it stands: messages are sent in the order they were posted, beats are sent and listened for, and at its end everybody is told.

Silence is counted in beats that were waited for, not in time: a process that stood still itself does not blame the other.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from edgetwin.twin.link.frames import Assembly, Head, entries_in, frames, parts
from edgetwin.twin.moves.endpoint import Away
from edgetwin.twin.record import Entry

BEAT_S = 0.25
LEASE_S = 1.0
"""A host that was not heard for so long is away."""
CENTRE_S = 3.0
"""A centre that was not heard for so long is looked for anew."""
ROOM_BYTES = 2**19
"""Of what waits to be sent, beyond which who can wait does."""
TICK_S = 0.05


class Broken(Exception):
    """The link is no more, and why."""


class Connection:
    """A link over a WebSocket. send, receive: of whole frames; either raises OSError, or its own error, where the socket has ended."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes]]):
        self._send_frame, self._receive_frame = send, receive
        self._waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self._something, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._assembly = Assembly()
        self._silent = 0
        self.is_open = True

    def post(self, head: Head, body: bytes = b"") -> None:
        """Puts a message at the end of what is sent. On a link that is broken, nothing."""
        if not self.is_open:
            return
        for frame in frames(head, body):
            self._waiting.append(frame)
            self.waiting_bytes += len(frame)
        if self.waiting_bytes >= ROOM_BYTES:
            self._has_room.clear()
        self._something.set()

    async def room(self) -> None:
        """Waits until little waits to be sent. Raises Away on a link that is broken."""
        await self._has_room.wait()
        if not self.is_open:
            raise Away("the link is broken")

    async def post_with_log(self, number: int, head: dict[str, Any], log: Any) -> None:
        """Posts a call or an answer and the entries that belong to it, in parts before it, as there is room; others' messages come in between."""
        count = 0
        for part in parts(log):
            await self.room()
            self.post({"part": number}, part)
            count += 1
            await asyncio.sleep(0)
        self.post({**head, "parts": count} if count else head)

    async def messages(self) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
        """What the other side says. Raises Garbled, and what `receive` raises."""
        while True:
            message = self._assembly.add(await self._receive_frame())
            self._silent = 0
            if message is not None:
                yield message
                await asyncio.sleep(0)

    async def run(self, *works: Coroutine[Any, Any, None], beat: Callable[[], Head], patience_s: float) -> None:
        """Sends, beats, listens, and does the works, one of which takes the messages, until one of all these ends; raises what it raised, Broken
        where nothing was heard for `patience_s`."""
        tasks = [asyncio.create_task(work) for work in (*works, self._send(), self._beat(beat), self._listen(patience_s))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.is_open = False
            self._waiting.clear()
            self._has_room.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        while True:
            self._something.clear()
            while self._waiting:
                frame = self._waiting.popleft()
                await self._send_frame(frame)
                self.waiting_bytes -= len(frame)
                if self.waiting_bytes < ROOM_BYTES:
                    self._has_room.set()
            await self._something.wait()

    async def _beat(self, beat: Callable[[], Head]) -> None:
        while True:
            self.post({"beat": beat()})
            await asyncio.sleep(BEAT_S)

    async def _listen(self, patience_s: float) -> None:
        while self._silent * TICK_S < patience_s:
            await asyncio.sleep(TICK_S)
            self._silent += 1
        raise Broken(f"nothing was heard for {patience_s:g} s")


class Parts:
    """Entries that came ahead of the call or the answer that they belong to, by its number."""

    def __init__(self) -> None:
        self._there: dict[int, list[list[Entry]]] = {}

    def add(self, number: int, body: bytes) -> None:
        """Keeps a part. Raises Garbled."""
        self._there.setdefault(number, []).append(entries_in(body))

    def take(self, number: int, count: int) -> list[Entry] | None:
        """All entries of a message with so many parts; None where some are missing."""
        found = self._there.pop(number, [])
        return [entry for part in found for entry in part] if len(found) == count else None

    def drop(self, number: int) -> None:
        """Forgets what came for a message that will not come."""
        self._there.pop(number, None)
