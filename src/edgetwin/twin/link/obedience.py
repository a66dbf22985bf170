"""How a host obeys the centre: each message of its link, in the order they came."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from edgetwin.twin.host import Host
from edgetwin.twin.link import calls
from edgetwin.twin.link.calls import Call
from edgetwin.twin.link.connection import Connection, Parts
from edgetwin.twin.link.frames import Garbled, dumped, error_fields
from edgetwin.twin.link.front import Front
from edgetwin.twin.link.teller import Teller
from edgetwin.twin.messages import Ack, Bad, arrival_in
from edgetwin.twin.refusal import Full
from edgetwin.twin.writer import Arrival

log = structlog.get_logger("edgetwin.twin.link")


class Obedience:
    """A host at the centre's call, over one connection. What a call changes is told before it is answered."""

    def __init__(self, host: Host, front: Front, teller: Teller, connection: Connection):
        self._host, self._front, self._teller, self._connection = host, front, teller, connection
        self._parts = Parts()
        self._tasks: set[asyncio.Task] = set()

    async def hear(self, head: dict[str, Any], body: bytes) -> None:
        """Takes a message of the centre. Raises Garbled."""
        match head:
            case {"submit": int(number), "bad": list(bad)}:
                self._submit(number, bad, body)
            case {"beat": _}:
                pass
            case {"part": int(number)}:
                self._parts.add(number, body)
            case {"call": name, "id": int(number), "with": fields}:
                self._begin(self._obey(number, name, fields, head.get("parts", 0)))
                await asyncio.sleep(0)
            case {"drop": int(number)}:
                self._parts.drop(number)
            case _:
                raise Garbled(
                    f"{', '.join(map(str, head))[:100]!r} is not known in this protocol; run the same edgetwin on both sides"
                )

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _submit(self, number: int, bad: list[Any], body: bytes) -> None:
        try:
            done = self._host.submit(_arrivals(bad, body))
        except Full as full:
            self._connection.post({"answer": number, "error": error_fields(full)})
            return
        done.add_done_callback(lambda done: self._acknowledge(number, done))

    def _acknowledge(self, number: int, done: asyncio.Future[list[Ack]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        self._teller.flush()
        if error is not None:
            self._connection.post({"answer": number, "error": error_fields(error)})
        else:
            self._connection.post({"answer": number}, dumped(done.result()))

    async def _obey(self, number: int, name: Any, fields: Any, count: int) -> None:
        try:
            call = calls.known(name, self._host.name)
            entries = self._parts.take(number, count)
            if entries is None:
                raise Garbled("a call whose parts are missing")
            arguments = calls.unpacked(call, fields, entries)
            try:
                result = await self._done(name, call, arguments)
            finally:
                self._teller.changed(_twins_of(arguments))
                self._teller.flush()
            data, told = call.gives.pack(result)
            await self._connection.post_with_log(number, {"answer": number, "result": data}, told)
        except Exception as error:
            said = error_fields(error)
            if said[0] == "failed":
                log.exception("a call of the centre failed", call=str(name)[:50])
            self._connection.post({"answer": number, "error": said})

    async def _done(self, name: str, call: Call, arguments: Mapping[str, Any]) -> Any:
        work: Callable[..., Any] = getattr(self._host.endpoint if call.of_endpoint else self._host, name)
        gates, twin = self._front.gates, arguments.get("twin")
        if name == "freeze":
            gates.close(str(twin))
        try:
            result = await work(**arguments)
        except BaseException:
            if name == "freeze":
                gates.open(str(twin))
            raise
        if name in ("thaw", "release"):
            gates.open(str(twin))
        if name == "desire":
            await self._front.told(result)
        return result


def _twins_of(arguments: Mapping[str, Any]) -> list[str]:
    """Ids of the twins that a call is about."""
    named = [arguments[name] for name in ("twin", "twin_id") if name in arguments]
    return [one if isinstance(one, str) else one.id for one in named] + list(arguments.get("ids", ()))


def _arrivals(bad: list[Any], body: bytes) -> list[tuple[Arrival, bytes]]:
    """Messages as they came to the centre. bad: what it found wrong with some, each with its place. Raises Garbled."""
    lines = body.split(b"\n") if body else []
    arrivals: list[tuple[Arrival, bytes]] = [(arrival_in(line), line) for line in lines]
    try:
        for place, *found in bad:
            arrivals[place] = (Bad(*found), lines[place])
    except (TypeError, ValueError, IndexError) as error:
        raise Garbled(f"bad: {error}") from None
    return arrivals
