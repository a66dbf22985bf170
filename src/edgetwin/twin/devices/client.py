"""The device client: reports what a device measures to its twin, and keeps every report until it was acknowledged.

    async with Device("http://127.0.0.1:8700", "car-7", kind="vehicle") as car:
        await car.report({"x_m": 12.5, "y_m": 88.1})

Reports go out over one WebSocket, oldest first. Whatever breaks, the client connects again and sends what is not settled, under the same
(boot_id, seq), so that the twin layer knows what it has already.

A device knows the centre only. Where the twin lives in a host of its own, the centre answers with a redirect, and the client goes there; when the
twin moves on, that host closes the connection, and the client asks the centre again at once. The token goes where the centre sends the client,
one redirect far and never from https to http: who answers at the centre's address has been shown it already.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib import error, parse, request

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from edgetwin.errors import InputError
from edgetwin.twin.devices.outbox import Message, Outbox, OutboxFull
from edgetwin.twin.messages import MAX_LINE_BYTES, NAME, SETTLED, Ack, Update, arrived_damaged, line_of
from edgetwin.twin.refusal import line_in

__all__ = ["Device", "OutboxFull", "Unacknowledged"]

FRAME_MESSAGES, FRAME_BYTES = 256, 2**20
"""What goes in one frame at most; the next goes when all of it was answered, which keeps their order."""
DAMAGED_MAX = 5
"""How often a message that arrives damaged is sent before it is given up."""
PAUSE_S = (0.1, 10.0)
"""Before the first attempt to connect or send again, and at most; doubled each time, of which a random half to the whole is waited."""
START_S = 5.0
"""How long a device waits at its start for the service; then it measures on and keeps what it reports."""
CLOSE_S = 10.0
UNKNOWN_DEVICE, MOVED = 4404, 4307
REDIRECT = 307

log = logging.getLogger("edgetwin.twin.devices.client")


class Unacknowledged(ConnectionError):
    """A device without a folder ended before all it had reported was acknowledged."""


class Device:
    """A device that reports to the service at `url` under a name; with a `kind` it is enrolled where it is not yet.

    folder: where what is not yet acknowledged outlives the process; each report is then on disk before `report` returns.
    capacity: messages kept at most. on_desired: called with the desired state when it is first known and whenever it changes.
    token: of a service that asks for one. Raises InputError on entry where the service refuses the device.
    """

    def __init__(
        self,
        url: str,
        name: str,
        kind: str | None = None,
        *,
        folder: Path | str | None = None,
        capacity: int = 10_000,
        on_desired: Callable[[Mapping[str, Any]], None] = lambda desired: None,
        token: str | None = None,
    ):
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url = {url}: http://HOST:PORT or https://HOST:PORT of the service")
        if not NAME.fullmatch(name):
            raise InputError(f"device {name!r}: letters, digits, _ and -, at most 128")
        self.name, self.desired, self.desired_revision = name, {}, 0  # type: tuple[str, Mapping[str, Any], int]
        self._url, self._kind, self._on_desired = url.rstrip("/"), kind, on_desired
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._folder, self._capacity = folder, capacity
        self._seq, self._known = 0, False
        self._waiting: dict[tuple[int, int], asyncio.Future[Ack]] = {}
        self._damaged: dict[tuple[int, int], int] = {}

    async def __aenter__(self) -> Self:
        self._outbox = Outbox(self._capacity, Path(self._folder) / f"{self.name}.outbox" if self._folder is not None else None)
        self._begin(max(int(time.time() * 1000), self._outbox.boot_id + 1))
        self._started, self._some, self._room, self._empty = (asyncio.Event() for _ in range(4))
        self._mark()
        self._task = asyncio.create_task(self._run())
        try:
            with suppress(TimeoutError):
                await self._unless_ended(self._started.wait(), START_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits up to `CLOSE_S` for what is not acknowledged, unless an exception is under way. Raises Unacknowledged."""
        try:
            if kind is None:
                with suppress(TimeoutError):
                    await self._unless_ended(self._empty.wait(), CLOSE_S)
        finally:
            left = await self._end()
        if left and self._folder is None and kind is None:
            raise Unacknowledged(f"{self.name}: {left} reports were not acknowledged and are lost")

    async def _end(self) -> int:
        """Ends the connection; returns how many reports are not acknowledged."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._outbox.close()
        return len(self._outbox)

    @property
    def boot_id(self) -> int:
        """The number of this start of the device, higher than any before."""
        return self._outbox.boot_id

    @property
    def pending(self) -> int:
        """Reports that are not yet acknowledged."""
        return len(self._outbox)

    async def report(self, state: Mapping[str, Any], time_s: float | None = None, *, wait: bool = False) -> Ack | None:
        """Reports what changed, null for a property that is no more; `time_s` is when it was measured, now unless given.

        Returns at once, or with `wait` the acknowledgement when it has come. Raises OutboxFull where nothing more can be kept (with `wait`
        it waits for room), InputError for what no message can hold or where the service refuses the device.
        """
        self._raise_if_ended()
        while wait and self._outbox.is_full:
            await self._unless_ended(self._room.wait())
        key = (self.boot_id, self._seq + 1)
        try:
            line = line_of(Update(self.name, *key, time.time() if time_s is None else time_s, dict(state)))
        except (TypeError, ValueError) as wrong:
            raise InputError(f"state of {self.name}: {wrong}") from None
        if len(line) > MAX_LINE_BYTES or not state:
            raise InputError(
                f"state of {self.name}: {len(line)} bytes as a message: at least one property and {MAX_LINE_BYTES} bytes at most"
            )
        self._outbox.put(Message(*key, line))
        self._seq += 1
        self._mark()
        if not wait:
            return None
        self._waiting[key] = asyncio.get_running_loop().create_future()
        return await self._unless_ended(self._waiting[key])

    async def flush(self) -> None:
        """Waits until all that was reported is acknowledged. Raises InputError where the service refuses the device."""
        await self._unless_ended(self._empty.wait())

    def _begin(self, boot_id: int) -> None:
        self._outbox.begin(boot_id)
        self._seq = 0

    def _mark(self) -> None:
        """Tells who waits what there is in the outbox."""
        for event, is_so in (
            (self._some, len(self._outbox) > 0),
            (self._room, not self._outbox.is_full),
            (self._empty, len(self._outbox) == 0),
        ):
            event.set() if is_so else event.clear()

    async def _unless_ended(self, what: Awaitable[Any], timeout_s: float | None = None) -> Any:
        """What something gives, unless the connection ends for good before. Raises what ended that, Unacknowledged, TimeoutError."""
        happens = asyncio.ensure_future(what)
        try:
            done, _ = await asyncio.wait([happens, self._task], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            self._raise_if_ended()
            if not done:
                raise TimeoutError
            if not happens.done():
                raise Unacknowledged(f"{self.name} has ended")
            return happens.result()
        finally:
            happens.cancel()

    def _raise_if_ended(self) -> None:
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _run(self) -> None:
        """Connects, again and again, until the service says that there is no such device."""
        pause_s = PAUSE_S[0]
        while True:
            is_served = False
            try:
                async with await self._connect() as socket:
                    await self._greet(socket)
                    pause_s, is_served = PAUSE_S[0], True
                    await self._serve(socket)
            except ConnectionClosed as closed:
                if is_served and closed.rcvd is not None and closed.rcvd.code == MOVED:
                    continue
                with suppress(OSError):
                    await self._heed(closed)
            except InvalidStatus as refused:
                if refused.response.status_code == 401:
                    raise InputError(f"{self.name}: {self._url} does not accept its token") from None
                if refused.response.status_code == 403:
                    raise InputError(f"{self.name}: {self._url}: {line_in(refused.response.body) or 'not allowed'}") from None
            except (OSError, WebSocketException, TimeoutError) as away:
                log.debug("%s: no connection: %s", self.name, away)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, PAUSE_S[1])

    async def _connect(self) -> ClientConnection:
        """A connection with the centre, or with the host that it sends the device to."""
        secure = self._url.startswith("https")
        try:
            return await self._open(f"ws{self._url.removeprefix('http')}/v1/stream?device={self.name}")
        except InvalidStatus as answer:
            there = answer.response.headers.get("Location", "")
            if answer.response.status_code != REDIRECT or not there.startswith("wss://" if secure else ("ws://", "wss://")):
                raise
            return await self._open(there)

    async def _open(self, address: str) -> ClientConnection:
        return await _Once(address, additional_headers=self._headers, ping_interval=5, ping_timeout=5)

    async def _heed(self, closed: ConnectionClosed) -> None:
        """Enrols the device where the service does not know it, once at the start: a device that was erased later stays so."""
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (0, "")
        if code == UNKNOWN_DEVICE and (self._known or self._kind is None):
            raise InputError(f"{self.name}: {reason or 'refused'}")
        if code == UNKNOWN_DEVICE:
            await asyncio.to_thread(self._enrol)

    def _enrol(self) -> None:
        body = json.dumps({"kind": self._kind}).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        put = request.Request(f"{self._url}/v1/twins/{parse.quote(self.name)}", body, headers, method="PUT")
        try:
            with request.urlopen(put, timeout=START_S):
                pass
        except error.HTTPError as refused:
            with refused:
                if refused.code >= 500:
                    raise OSError(f"{self.name} cannot be enrolled now: {refused}") from None
                raise InputError(f"{self.name}: {line_in(refused.read()) or refused}") from None

    async def _greet(self, socket: ClientConnection) -> None:
        """Takes the service's first word: what it knows of the device. A boot that is not later than what it knows is numbered anew."""
        hello = _heard(await asyncio.wait_for(socket.recv(), START_S), "hello")["hello"]
        if hello["boot_id"] > self.boot_id or hello["boot_id"] == self.boot_id and not self._known:
            self._begin(hello["boot_id"] + 1)
        self._known = True
        self._learn(hello)
        self._started.set()

    def _learn(self, news: Mapping[str, Any]) -> None:
        if news["desired_revision"] != self.desired_revision:
            self.desired, self.desired_revision = news["desired"], news["desired_revision"]
            self._on_desired(self.desired)

    async def _serve(self, socket: ClientConnection) -> None:
        """Sends in a task of its own, and takes what the service says, until the connection ends."""
        answers: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue()
        sending = asyncio.create_task(self._send(socket, answers))
        hearing = asyncio.create_task(self._hear(socket, answers))
        try:
            done, _ = await asyncio.wait({sending, hearing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sending, hearing):
                task.cancel()
            await asyncio.gather(sending, hearing, return_exceptions=True)

    async def _hear(self, socket: ClientConnection, answers: asyncio.Queue[list[dict[str, Any]]]) -> None:
        while True:
            said = _heard(await socket.recv(), "acks", "desired")
            if "acks" in said:
                answers.put_nowait(said["acks"])
            else:
                self._learn(said)

    async def _send(self, socket: ClientConnection, answers: asyncio.Queue[list[dict[str, Any]]]) -> None:
        pause_s = PAUSE_S[0]
        while True:
            await self._some.wait()
            messages = self._outbox.first(FRAME_MESSAGES, FRAME_BYTES)
            await socket.send(b"\n".join(message.line for message in messages))
            acks = await answers.get()
            if len(acks) != len(messages):
                await socket.close(1002, "as many acks as lines, please")
                return
            if self._settle(messages, [_ack(ack) for ack in acks]):
                pause_s = PAUSE_S[0]
            else:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))
                pause_s = min(2 * pause_s, PAUSE_S[1])

    def _settle(self, messages: list[Message], acks: list[Ack]) -> bool:
        """Forgets what is settled; returns whether nothing is to be kept for later."""
        settled = []
        for message, ack in zip(messages, acks, strict=True):
            key = (message.boot_id, message.seq)
            broken = arrived_damaged(ack.status, ack.seq)
            damaged = self._damaged[key] = self._damaged.get(key, 0) + broken
            if ack.status in SETTLED and not broken or damaged >= DAMAGED_MAX:
                settled.append(message)
                del self._damaged[key]
                if ack.status not in ("applied", "duplicate", "late"):
                    log.warning("%s: report %d.%d was not taken: %s %s", self.name, *key, ack.reason, ack.detail)
                if (waiting := self._waiting.pop(key, None)) is not None and not waiting.done():
                    waiting.set_result(ack)
        self._outbox.settle(settled)
        self._mark()
        return all(ack.status != "retry" for ack in acks)


class _Once(connect):
    """A connection to an address and to no other: redirects are the device's to follow, with its token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _heard(frame: str | bytes, *words: str) -> dict[str, Any]:
    """What a frame says, which is one of `words`. Raises OSError for what a twin layer would not say."""
    with suppress(ValueError):
        said = json.loads(frame)
        if isinstance(said, dict) and any(word in said for word in words):
            return said
    raise OSError(f"not the word of a twin layer: {frame[:100]!r}")


def _ack(fields: Mapping[str, Any]) -> Ack:
    """An acknowledgement from its fields, whatever a newer service adds."""
    return Ack(fields["status"])._replace(**{name: fields[name] for name in Ack._fields if name in fields})
