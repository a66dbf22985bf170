"""A device's WebSocket: lines in, acknowledgements out in the same order, and news of its desired state.

Frames are taken one after the other but need not wait for each other's disk: up to `IN_FLIGHT` are under way, after which the socket is not
read, so that back-pressure reaches the device.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from edgetwin.twin.bus import desired_fields
from edgetwin.twin.centre import Centre
from edgetwin.twin.messages import TooMany, ack_fields, lines_in
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Refused

IN_FLIGHT = 16
UNKNOWN_DEVICE, TOO_BIG = 4404, 1009


def stream(centre: Centre) -> Callable[[WebSocket], Awaitable[None]]:
    """The endpoint of streams into a centre."""

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        device = socket.query_params.get("device")
        unknown = set(socket.query_params) - {"device"}
        if unknown:
            await socket.close(4400, f"{', '.join(sorted(unknown))}: unknown; there is device"[:120])
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                answers: asyncio.Queue[asyncio.Future] = asyncio.Queue(IN_FLIGHT)
                if device is not None:
                    greeted = asyncio.Event()
                    tasks.create_task(_tell_desired(socket, centre, device, greeted))
                    await greeted.wait()
                tasks.create_task(_answer(socket, answers))
                await _read(socket, centre, device, answers)
                raise WebSocketDisconnect
        except* Refused as refused:
            await socket.close(UNKNOWN_DEVICE, str(refused.exceptions[0])[:120])
        except* TooMany as many:
            await socket.close(TOO_BIG, str(many.exceptions[0])[:120])
        except* WebSocketDisconnect:
            pass

    return endpoint


def hello(twin: Twin) -> dict[str, Any]:
    """What a device is told first: its last applied message, and what is desired of it."""
    return {"device": twin.id, "boot_id": twin.boot_id, "seq": twin.seq, **desired_fields(twin)}


async def _read(socket: WebSocket, centre: Centre, device: str | None, answers: asyncio.Queue[asyncio.Future]) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        frame = message.get("bytes") or (message.get("text") or "").encode(errors="surrogatepass")
        await answers.put(asyncio.ensure_future(centre.take(lines_in(frame), device)))


async def _answer(socket: WebSocket, answers: asyncio.Queue[asyncio.Future]) -> None:
    while True:
        acks = await (await answers.get())
        await _send(socket, {"acks": [ack_fields(ack) for ack in acks]})


async def _tell_desired(socket: WebSocket, centre: Centre, device: str, greeted: asyncio.Event) -> None:
    """Greets, then tells what is desired whenever that has changed, or only how it is in the end where the device reads too slowly."""
    async with centre.bus.subscribe(f"desired.{device}", max_pending=1) as changes:
        await _send(socket, {"hello": hello(centre.twin(device))})
        greeted.set()
        async for _ in changes:
            await _send(socket, desired_fields(centre.twin(device)))


async def _send(socket: WebSocket, content: dict[str, Any]) -> None:
    await socket.send_text(json.dumps(content, separators=(",", ":")))
