"""What a host tells the centre of its twins: all of them when a link is new, then those that changed, and those that it holds no more.

A twin is told as it is at the moment of telling, so the centre never hears an older record after a newer one. Where the centre reads slowly
changes are gathered, and each twin is told once, as it has become.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from edgetwin.twin.link.connection import ROOM_BYTES, Connection
from edgetwin.twin.link.frames import dumped
from edgetwin.twin.record import Twin

TOLD_AT_ONCE = 250


class Teller:
    """twins: gives those that the host holds now."""

    def __init__(self, twins: Callable[[], Mapping[str, Twin]]):
        self._twins = twins
        self._news: dict[str, None] = {}
        self._connection: Connection | None = None

    def changed(self, ids: Iterable[str]) -> None:
        """Notes twins that came, changed or left, and tells of them where there is room. What is noted stays until it is told."""
        if self._connection is None:
            return
        self._news.update(dict.fromkeys(ids))
        if self._connection.waiting_bytes < ROOM_BYTES:
            self.flush()

    def flush(self) -> None:
        """Tells all that is noted, so that what is posted next comes after it."""
        if not self._news:
            return
        ids, self._news = list(self._news), {}
        self._tell(ids)

    async def introduce(self, connection: Connection) -> None:
        """Tells all twins over a new link, in pieces as there is room, and from then on what changes."""
        self._news.clear()
        self._connection = connection
        ids = list(self._twins())
        for begin in range(0, len(ids), TOLD_AT_ONCE):
            await connection.room()
            self._tell(ids[begin : begin + TOLD_AT_ONCE])
            await asyncio.sleep(0)
        connection.post({"listed": True})

    def part(self) -> None:
        """Tells nobody any more."""
        self._connection = None

    def _tell(self, ids: Sequence[str]) -> None:
        now = self._twins()
        here = [now[twin_id] for twin_id in ids if twin_id in now]
        gone = [twin_id for twin_id in ids if twin_id not in now]
        if self._connection is not None:
            for begin in range(0, len(here), TOLD_AT_ONCE):
                some = here[begin : begin + TOLD_AT_ONCE]
                self._connection.post({"twins": len(some)}, dumped(some))
            if gone:
                self._connection.post({"gone": gone})
