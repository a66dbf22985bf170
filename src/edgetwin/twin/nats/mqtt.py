"""Devices that speak MQTT, through the listener of a NATS server: their messages wait in a stream there until the twin layer has settled them.

A device publishes lines to `edgetwin/v1/updates/DEVICE` and is told what became of them on `edgetwin/v1/acks/DEVICE`; its desired state comes on
`edgetwin/v1/desired/DEVICE` when it changes, after the first message of each boot, and after an empty message, which asks for it. A message
leaves the stream once its acknowledgement is given. Where a host cannot take messages now, those of its devices wait here in their order, and
the stream fills.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from edgetwin.twin.bus import Bus, Lost, desired_payload
from edgetwin.twin.messages import NAME, Ack, ack_fields
from edgetwin.twin.nats.link import while_connected
from edgetwin.twin.nats.stream import ASK_S, Reader, made_ready
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Refused

STREAM = "EDGETWIN_UPDATES"
READER = "edgetwin"
UPDATES = "edgetwin.v1.updates."
ACKS = "edgetwin.v1.acks."
DESIRED = "edgetwin.v1.desired."
RETRY_S = 0.5
"""Until a host is asked again that could not take messages."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Of messages that wait here, beyond which no others are asked for."""

log = structlog.get_logger("edgetwin.twin.nats.mqtt")


class Front(Protocol):
    """What takes the messages: the control centre, or anything like it."""

    bus: Bus

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of lines, in their order, where `sender` may speak for itself only."""

    def twin(self, twin_id: str) -> Twin:
        """A twin. Raises Refused."""


async def serve_mqtt(url: str, front: Front, stop: asyncio.Event) -> None:
    """Takes the messages of devices that speak MQTT to the NATS server at `url` until `stop`. The server may come and go. Raises InputError."""

    async def use(client: Client) -> None:
        await _Devices(client, front).serve()

    serving = asyncio.create_task(while_connected(url, "mqtt", use))
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)


@dataclass
class _Letter:
    """A message from the stream, its lines, and what has become of each: "retry" as long as it is not settled."""

    message: Msg
    lines: list[bytes]
    acks: list[Ack]

    @property
    def settled(self) -> bool:
        return all(ack.status != "retry" for ack in self.acks)


class _Devices:
    """The devices behind one connection. `_held`: by device, its messages that are not settled, by their number in the stream."""

    def __init__(self, client: Client, front: Front):
        self._client, self._front = client, front
        self._held: dict[str, dict[int, _Letter]] = {}
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._not_before_s: dict[str, float] = {}
        self._told: dict[str, tuple[int, int]] = {}

    async def serve(self) -> None:
        await made_ready(self._client, STREAM, UPDATES + "*")
        reader = Reader(self._client, STREAM, READER)
        await reader.open()
        telling = asyncio.create_task(self._tell_changes())
        try:
            while True:
                if self._held_bytes() < MAX_HELD_BYTES:
                    for message in await reader.next(RETRY_S if self._held else ASK_S):
                        self._hold(message)
                else:
                    await asyncio.sleep(RETRY_S)
                if telling.done():
                    telling.result()
                now_s = time.monotonic()
                for device in self._held.keys() - self._settling.keys():
                    if self._not_before_s.get(device, 0.0) <= now_s:
                        self._settling[device] = asyncio.create_task(self._settle(device))
        finally:
            tasks = [telling, *self._settling.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _held_bytes(self) -> int:
        return sum(len(letter.message.data) for letters in self._held.values() for letter in letters.values())

    def _hold(self, message: Msg) -> None:
        letters = self._held.setdefault(message.subject.removeprefix(UPDATES), {})
        number = message.metadata.sequence.stream
        if number in letters:
            letters[number].message = message
        else:
            lines = [line for line in message.data.split(b"\n") if line.strip()]
            letters[number] = _Letter(message, lines, [Ack("retry")] * len(lines))

    async def _settle(self, device: str) -> None:
        """Hands in what a device has sent until all of it is settled, or its host cannot take it now."""
        while await self._handed_in(device):
            if not self._held[device]:
                del self._held[device]
                break
        else:
            self._not_before_s[device] = time.monotonic() + RETRY_S
        del self._settling[device]

    async def _handed_in(self, device: str) -> bool:
        """Hands in at once all of a device's lines that are not settled, so that none overtakes another; tells it of those that are then.

        Returns whether all are.
        """
        letters = [letter for _, letter in sorted(self._held[device].items())]
        open_ = [(letter, i) for letter in letters for i, ack in enumerate(letter.acks) if ack.status == "retry"]
        try:
            acks = await self._front.take([letter.lines[i] for letter, i in open_], device) if open_ else []
            for (letter, i), ack in zip(open_, acks, strict=True):
                letter.acks[i] = ack
            for letter in letters:
                if letter.settled:
                    await self._answer(device, letter)
        except (OSError, Error) as error:
            log.debug("not told", device=device, error=str(error))
            return False
        except Exception:
            log.exception("messages could not be taken", device=device)
            return False
        return all(letter.settled for letter in letters)

    async def _answer(self, device: str, letter: _Letter) -> None:
        """Tells a device the acknowledgements of a message, and its desired state where that is due; then lets the stream forget the message."""
        if NAME.fullmatch(device):
            for frame in frames(letter.acks, self._client.max_payload):
                await self._client.publish(ACKS + device, frame)
            await self._tell(device, asked=not letter.lines)
        await letter.message.ack()
        del self._held[device][letter.message.metadata.sequence.stream]

    async def _tell(self, device: str, asked: bool) -> None:
        """Tells a device its desired state where it asked, or was not told of it since its boot."""
        try:
            twin = self._front.twin(device)
        except Refused:
            self._told.pop(device, None)
            return
        now = (twin.boot_id, twin.desired_revision)
        if asked or (twin.desired_revision and self._told.get(device) != now):
            self._told[device] = now
            await self._client.publish(DESIRED + device, desired_payload(twin))

    async def _tell_changes(self) -> None:
        """Passes on changes of desired states. What was lost on the way is told after the device's next message."""
        async with self._front.bus.subscribe("desired.*") as subscription:
            async for news in subscription:
                if isinstance(news, Lost):
                    self._told.clear()
                else:
                    await self._client.publish(DESIRED + news.subject.removeprefix("desired."), news.payload)


def frames(acks: Sequence[Ack], max_bytes: int) -> list[bytes]:
    """`{"acks": [...]}` in as few parts as fit into max_bytes each."""
    whole = json.dumps({"acks": [ack_fields(ack) for ack in acks]}, separators=(",", ":")).encode()
    if len(whole) <= max_bytes or len(acks) == 1:
        return [whole]
    half = len(acks) // 2
    return frames(acks[:half], max_bytes) + frames(acks[half:], max_bytes)
