"""A host in a process of its own, as the centre sees it: calls go over its link, and its twins are mirrored from what it tells.

What a host has acknowledged is in the mirror when the acknowledgement is, since it tells of a change before it answers. Once the link is broken
the mirror stays as it was last heard of; a host that comes back is another `RemoteHost`, with a mirror of its own.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from edgetwin.twin.host import KEPT_BYTES
from edgetwin.twin.hosted import away
from edgetwin.twin.link import calls
from edgetwin.twin.link.calls import CALLS, Call
from edgetwin.twin.link.connection import Connection, Parts
from edgetwin.twin.link.frames import Garbled, error_of, read, twins_in
from edgetwin.twin.link.remote_endpoint import RemoteEndpoint
from edgetwin.twin.messages import Ack, Quarantined, Update
from edgetwin.twin.moves.endpoint import Away, Endpoint
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Full
from edgetwin.twin.writer import MAX_PENDING, Arrival

MAX_WAITING_BYTES = 8 * 2**20
"""Bytes of messages that may wait to be sent to a host."""


class _Asked(NamedTuple):
    """Who waits for an answer, to which call; so many messages where it is no call."""

    done: asyncio.Future
    call: Call | None
    messages: int


class RemoteHost:
    """A host over a connection. `changed` is called with twins as they have become, from when the host has listed its twins on."""

    url: str | None

    def __init__(self, name: str, url: str, place: str, version: str, connection: Connection):
        self.name, self.url, self.place, self.version = name, url, place, version
        self.changed: Callable[[Sequence[Twin]], None] = lambda twins: None
        self.listed = asyncio.Event()
        self._endpoint = RemoteEndpoint(name, place, self.call)
        self.fenced_writes = 0
        """Of the host's process so far: what the store refused since the twin had been given to another."""
        self.was_silent = False
        """Whether the link was given up by the centre, since nothing was heard for the lease say, and not closed by the host."""
        self.unwanted = asyncio.Event()
        """Once set, the centre ends the link."""
        self._connection = connection
        self._twins: dict[str, Twin] = {}
        self._can_write, self._waits_there, self._sent = True, 0, 0
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._parts = Parts()

    @property
    def is_here(self) -> bool:
        """Whether its link stands."""
        return self._connection.is_open

    @property
    def can_write(self) -> bool:
        """Whether its store can be written to, as last heard of."""
        return self._can_write

    @property
    def available(self) -> bool:
        """Whether it can be reached, its twins are known, and its store can be written to."""
        return self.is_here and self.listed.is_set() and self._can_write

    @property
    def pending(self) -> int:
        """Messages that wait there, or are on their way."""
        return max(self._waits_there, self._sent) if self.is_here else 0

    @property
    def twins(self) -> Mapping[str, Twin]:
        """Its twins as last heard of."""
        return self._twins

    @property
    def endpoint(self) -> Endpoint:
        """Its part in moves, over the link."""
        return self._endpoint

    def submit(self, arrivals: Sequence[tuple[Arrival, bytes]]) -> asyncio.Future[list[Ack]]:
        """Sends messages at once; the future has their acknowledgements, or Full where none came. Raises Full."""
        connection = self._connection
        if not self.available:
            raise Full(away(self.name, self.place) if not self.is_here else f"{self.name} cannot write now")
        size = sum(len(line) for _, line in arrivals)
        too_much = self._sent + len(arrivals) > MAX_PENDING or connection.waiting_bytes + size > MAX_WAITING_BYTES
        if self._sent and too_much:
            raise Full(f"{self.name} has {self._sent} messages under way")
        number, done = self._ask(None, len(arrivals))
        self._sent += len(arrivals)
        bad = [
            (place, found.reason, found.detail, found.device, found.boot_id, found.seq)
            for place, (found, _) in enumerate(arrivals)
            if not isinstance(found, Update)
        ]
        connection.post({"submit": number, "bad": bad}, b"\n".join(_kept(one, line) for one, line in arrivals))
        timer = asyncio.get_running_loop().call_later(
            calls.SHORT_S, self._fail, number, Full(f"{self.name} did not answer within {calls.SHORT_S:g} s")
        )
        done.add_done_callback(lambda _: timer.cancel())
        return done

    async def create(self, twin: Twin) -> Twin:
        return await self._done("create", twin=twin)

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        return await self._done("desire", twin_id=twin_id, changes=changes, if_revision=if_revision)

    async def erase(self, twin_id: str) -> None:
        await self._done("erase", twin_id=twin_id)

    async def trim(self) -> int:
        return await self._done("trim")

    async def entries(self, twin_id: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        return await self._done("entries", twin_id=twin_id, limit=limit, before=before)

    async def at(self, twin_id: str, revision: int | None = None, time_s: float | None = None) -> tuple[int, dict[str, Any]]:
        return await self._done("at", twin_id=twin_id, revision=revision, time_s=time_s)

    async def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        return await self._done("quarantined", limit=limit, device=device)

    async def quarantine_counts(self) -> dict[str, int]:
        return await self._done("quarantine_counts")

    async def adopt(self, ids: Iterable[str]) -> list[Twin]:
        return await self._done("adopt", ids=list(ids))

    async def shelve(self, ids: Iterable[str]) -> None:
        await self._done("shelve", ids=list(ids))

    async def close(self) -> None:
        """Nothing: its process goes on, and so do its devices."""

    async def call(self, name: str, **arguments: Any) -> Any:
        """A call's result. Raises Refused, Full, and Away where no answer comes: it may have been obeyed or not."""
        connection, call = self._connection, CALLS[name]
        if not connection.is_open:
            raise Away(f"{self.name} is away")
        fields, log = calls.packed(call, arguments)
        number, done = self._ask(call, 0)
        try:
            async with asyncio.timeout(call.limit_s):
                await connection.post_with_log(number, {"call": name, "id": number, "with": fields}, log)
                return await done
        except TimeoutError:
            raise Away(f"{self.name} did not answer {name} within {call.limit_s:g} s") from None
        finally:
            if self._asked.pop(number, None) is not None:
                connection.post({"drop": number})

    def hear(self, head: dict[str, Any], body: bytes) -> None:
        """Takes a message of the host. Raises Garbled."""
        match head:
            case {"answer": int(number)}:
                self._answered(number, head, body)
            case {"twins": _}:
                self._mirror(twins_in(read(body)))
            case {"beat": {"available": bool(available), "pending": int(pending), "fenced": int(fenced)}}:
                self._can_write, self._waits_there, self.fenced_writes = available, pending, fenced
            case {"part": int(number)}:
                self._parts.add(number, body)
            case {"gone": list(ids)}:
                self._forget([str(twin_id) for twin_id in ids])
            case {"listed": True}:
                self.listed.set()
            case _:
                raise Garbled(
                    f"{', '.join(map(str, head))[:100]!r} is not known in this protocol; run the same edgetwin on both sides"
                )

    def end(self) -> None:
        """Tells who waits that the link is no more."""
        for number in list(self._asked):
            away = f"{self.name} went away"
            self._fail(number, Away(away) if self._asked[number].call is not None else Full(away))

    async def _done(self, name: str, **arguments: Any) -> Any:
        try:
            return await self.call(name, **arguments)
        except Away as away:
            raise Full(str(away)) from None

    def _ask(self, call: Call | None, count: int) -> tuple[int, asyncio.Future]:
        number, done = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = _Asked(done, call, count)
        return number, done

    def _answered(self, number: int, head: dict[str, Any], body: bytes) -> None:
        log = self._parts.take(number, head.get("parts", 0))
        asked = self._asked.get(number)
        if asked is None:
            return
        if "error" in head:
            self._fail(number, error_of(head["error"]))
            return
        if log is None:
            raise Garbled("an answer whose parts are missing")
        if asked.call is None:
            result: Any = [Ack(*row) for row in read(body)]
            if len(result) != asked.messages:
                raise Garbled(f"{len(result)} acknowledgements of {asked.messages} messages")
        else:
            result = calls.opened(asked.call.gives, head.get("result"), log)
        self._forget_asked(number)
        if not asked.done.done():
            asked.done.set_result(result)

    def _fail(self, number: int, error: Exception) -> None:
        asked = self._asked.get(number)
        self._forget_asked(number)
        if asked is not None and not asked.done.done():
            asked.done.set_exception(error)
            asked.done.exception()

    def _forget_asked(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            self._sent -= asked.messages

    def _mirror(self, twins: Sequence[Twin]) -> None:
        self._twins.update((twin.id, twin) for twin in twins)
        if self.listed.is_set():
            self.changed(twins)

    def _forget(self, ids: Sequence[str]) -> None:
        for twin_id in ids:
            self._twins.pop(twin_id, None)


def _kept(arrival: Arrival, line: bytes) -> bytes:
    return line if isinstance(arrival, Update) else line[:KEPT_BYTES]
