"""A device's WebSocket: lines in, acknowledgements out in the same order, and news of its desired state.

Frames are taken one after the other but need not wait for each other's disk: up to `IN_FLIGHT` are under way, after which the socket is not
read, so that back-pressure reaches the device.

A device whose twin is in a host process of its own is sent there by a redirect of its handshake. Where the twin leaves while the socket is open,
the socket is closed with `MOVED`: the device asks the centre at once where to go.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from starlette.responses import RedirectResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from edgetwin.twin.bus import Bus, desired_fields
from edgetwin.twin.messages import Ack, TooMany, ack_fields, lines_in
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Refused

IN_FLIGHT = 16
UNKNOWN_DEVICE, MOVED, TOO_BIG, TRY_AGAIN = 4404, 4307, 1009, 1013
ELSEWHERE = 421
"""The status of Refused for a twin that another host holds."""


class Front(Protocol):
    """What devices speak with: the centre, or a host for those whose twins it holds."""

    bus: Bus
    """Where `desired.ID` is told when that has changed, or the twin has left."""

    def twin(self, twin_id: str) -> Twin:
        """A twin. Raises Refused, of status 404 where there is none, `ELSEWHERE` for one that is to be asked for at the centre, or another where
        it cannot be told now."""

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of messages in their order."""


def stream(front: Front, where: Callable[[str], str | None] = lambda device: None) -> Callable[[WebSocket], Awaitable[None]]:
    """The endpoint of streams into a front. where: the http(s) address of the host process that a device is to speak with instead, if any."""

    async def endpoint(socket: WebSocket) -> None:
        device = socket.query_params.get("device")
        if device is not None and (url := where(device)) is not None:
            await socket.send_denial_response(RedirectResponse(_stream_at(url, device)))
            return
        await socket.accept()
        unknown = set(socket.query_params) - {"device"}
        if unknown:
            await socket.close(4400, f"{', '.join(sorted(unknown))}: unknown; there is device"[:120])
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                answers: asyncio.Queue[asyncio.Future] = asyncio.Queue(IN_FLIGHT)
                if device is not None:
                    greeted = asyncio.Event()
                    tasks.create_task(_tell_desired(socket, front, device, where, greeted))
                    await greeted.wait()
                tasks.create_task(_answer(socket, answers))
                await _read(socket, front, device, answers)
                raise WebSocketDisconnect
        except* Refused as refused:
            first: Any = refused.exceptions[0]
            await socket.close({404: UNKNOWN_DEVICE, ELSEWHERE: MOVED}.get(first.status, TRY_AGAIN), str(first)[:120])
        except* TooMany as many:
            await socket.close(TOO_BIG, str(many.exceptions[0])[:120])
        except* WebSocketDisconnect:
            pass

    return endpoint


def hello(twin: Twin) -> dict[str, Any]:
    """What a device is told first: its last applied message, and what is desired of it."""
    return {"device": twin.id, "boot_id": twin.boot_id, "seq": twin.seq, **desired_fields(twin)}


def _stream_at(url: str, device: str) -> str:
    return f"ws{url.rstrip('/').removeprefix('http')}/v1/stream?device={device}"


async def _read(socket: WebSocket, front: Front, device: str | None, answers: asyncio.Queue[asyncio.Future]) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        frame = message.get("bytes") or (message.get("text") or "").encode(errors="surrogatepass")
        await answers.put(asyncio.ensure_future(front.take(lines_in(frame), device)))


async def _answer(socket: WebSocket, answers: asyncio.Queue[asyncio.Future]) -> None:
    while True:
        acks = await (await answers.get())
        await _send(socket, {"acks": [ack_fields(ack) for ack in acks]})


async def _tell_desired(
    socket: WebSocket, front: Front, device: str, where: Callable[[str], str | None], greeted: asyncio.Event
) -> None:
    """Greets, then tells what is desired whenever that has changed, or only how it is in the end where the device reads too slowly. Raises Refused
    once the device is to speak with another."""
    async with front.bus.subscribe(f"desired.{device}", max_pending=1) as changes:
        await _send(socket, {"hello": hello(front.twin(device))})
        greeted.set()
        async for _ in changes:
            now = desired_fields(front.twin(device))
            if where(device) is not None:
                raise Refused(ELSEWHERE, f"twin {device!r} is in another host now; ask the centre")
            await _send(socket, now)


async def _send(socket: WebSocket, content: dict[str, Any]) -> None:
    await socket.send_text(json.dumps(content, separators=(",", ":")))
