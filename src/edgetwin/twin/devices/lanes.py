"""The way of an emulated fleet's messages: each connection (a lane) carries those of its devices, a batch at a time, until all are settled.

What the service does not take, and what the network loses or damages, is sent again; what becomes of each message goes into the history.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from numpy.random import Generator

from edgetwin.errors import InputError
from edgetwin.twin.devices.couriers import Courier
from edgetwin.twin.devices.faults import Faults, arrivals
from edgetwin.twin.devices.figures import Figures
from edgetwin.twin.messages import SETTLED, arrived_damaged

BATCH = 1000
RESEND_S = 0.5
"""After how long a device sends again what the network lost."""
DAMAGED_MAX = 5
"""How often a message may arrive damaged before it is given up."""
PAUSE_S = (0.05, 1.0)
"""Before sending again to a service that is away or full: at first, and at most."""
SENT = b'{"event":"sent","device":"%b","boot_id":%d,"seq":%d,"time_s":%.6f,"state":%b}\n'
ACKED = b'{"event":"acked","device":"%b","boot_id":%d,"seq":%d,"status":"%b","revision":%b}\n'


class Message(NamedTuple):
    """A report on its way. state: what the device meant to say, as JSON. line: what it says. made_s: when, by the monotonic clock."""

    device: str
    boot_id: int
    seq: int
    time_s: float
    state: bytes
    line: bytes
    made_s: float


class History:
    """What devices meant to send and what was settled, one JSON object a line, in the file at `path`; nowhere without one."""

    def __init__(self, path: Path | None):
        try:
            self._file = None if path is None else path.open("wb")
        except OSError as error:
            raise InputError(f"history {path}: cannot be written ({error.strerror})") from None

    def sent(self, messages: Sequence[Message]) -> None:
        """Messages that will now be sent for the first time."""
        if self._file is not None:
            self._write(SENT % (m.device.encode(), m.boot_id, m.seq, m.time_s, m.state) for m in messages)

    def acked(self, settled: Sequence[tuple[Message, Mapping[str, Any]]]) -> None:
        """Messages with the acknowledgements that settled them."""
        if self._file is not None:
            self._write(
                ACKED % (m.device.encode(), m.boot_id, m.seq, ack["status"].encode(), str(ack.get("revision") or "null").encode())
                for m, ack in settled
            )

    def _write(self, lines: Iterable[bytes]) -> None:
        assert self._file is not None
        self._file.writelines(lines)
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Lane:
    """A connection and the messages that its devices have to send, in order. `draw` is what the network's faults are drawn from."""

    def __init__(self, courier: Courier, faults: Faults, draw: Generator, figures: Figures, history: History):
        self._courier, self._faults, self._draw, self._figures, self._history = courier, faults, draw, figures, history
        self._ready: deque[Message] = deque()
        self._later: deque[tuple[float, Message]] = deque()
        self._forgotten: dict[str, int] = {}
        self._damaged: dict[tuple[str, int, int], int] = {}
        self._some = asyncio.Event()

    def put(self, message: Message) -> None:
        """Adds a message at the end."""
        self._ready.append(message)
        self._some.set()

    def forget(self, device: str, boot_id: int) -> None:
        """Drops what a device has to send from before a boot."""
        self._forgotten[device] = boot_id

    async def carry(self) -> None:
        """Delivers messages, batch after batch, for ever. Raises InputError where the service refuses to be sent any."""
        pause_s = PAUSE_S[0]
        while True:
            batch = self._kept(await self._take())
            sent = arrivals(self._faults, self._draw, [message.line for message in batch])
            places = [place for place, _ in sent]
            self._figures.transmitted += len(sent)
            acks: Sequence[Mapping[str, Any] | None]
            try:
                acks = (
                    await self._courier.deliver([batch[place].device for place in places], [line for _, line in sent])
                    if sent
                    else []
                )
            except OSError:
                self._figures.connections_lost += 1
                acks = [None] * len(sent)
            if self._heed(batch, places, acks):
                pause_s = PAUSE_S[0]
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S[1])

    async def close(self) -> None:
        await self._courier.close()

    async def _take(self) -> list[Message]:
        """The next messages, at least one."""
        while True:
            while self._later and self._later[0][0] <= time.monotonic():
                self._ready.append(self._later.popleft()[1])
            if self._ready:
                return [self._ready.popleft() for _ in range(min(BATCH, len(self._ready)))]
            self._some.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(RESEND_S / 5 if self._later else None):
                    await self._some.wait()

    def _kept(self, batch: list[Message]) -> list[Message]:
        """A batch without what its devices lost when they started anew."""
        if not self._forgotten:
            return batch
        kept = [message for message in batch if message.boot_id >= self._forgotten.get(message.device, 0)]
        self._figures.lost_by_reboot += len(batch) - len(kept)
        return kept

    def _heed(self, batch: list[Message], places: list[int], acks: Sequence[Mapping[str, Any] | None]) -> bool:
        """Settles what can be, and puts the rest back. places: of what was sent, in the batch. Returns whether all that was sent was taken."""
        now_s, figures = time.monotonic(), self._figures
        unsettled = dict.fromkeys(range(len(batch)))
        settled: list[tuple[Message, Mapping[str, Any]]] = []
        took_all = True
        for place, ack in zip(places, acks, strict=True):
            if ack is None:
                took_all = False
                continue
            status = ack["status"]
            figures.count(ack)
            took_all = took_all and status != "retry"
            broken = arrived_damaged(status, ack.get("seq"))
            if place in unsettled and (self._give_up(batch[place]) if broken else status in SETTLED):
                del unsettled[place]
                settled.append((batch[place], ack))
                if not broken:
                    figures.settle(now_s - batch[place].made_s)
        self._history.acked(settled)
        arrived = set(places)
        self._ready.extendleft(batch[place] for place in reversed(unsettled) if place in arrived)
        self._later.extend((now_s + RESEND_S, batch[place]) for place in unsettled if place not in arrived)
        return took_all

    def _give_up(self, message: Message) -> bool:
        """Whether a message that arrived damaged did so too often."""
        key = message[:3]
        self._damaged[key] = self._damaged.get(key, 0) + 1
        if self._damaged[key] < DAMAGED_MAX:
            return False
        del self._damaged[key]
        self._figures.given_up += 1
        return True
