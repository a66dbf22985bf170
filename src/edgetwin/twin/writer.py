"""The one thread that writes for a host: messages that wait together become one transaction, errands are done between them, all in their order.

The queue is bounded. Where the store cannot write, all who wait are told to come back, and the host loads its twins anew before it goes on,
since it cannot know what the store has.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import structlog

from edgetwin.twin.messages import Ack, Bad, Update
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.store import StoreUnavailable

MAX_PENDING = 20_000
MAX_PENDING_BYTES = 32 * 2**20
MAX_GROUP = 4_000
"""Messages that may wait, and that are written as one transaction."""
PAUSE_S = 0.2
"""Between attempts to reach a store that is away."""

log = structlog.get_logger("edgetwin.twin.host")

Arrival = Update | Bad
Lines = Sequence[tuple[Arrival, bytes]]
"""Messages that came together, each an update or what is wrong with it, with the line it came in."""


class Written(Protocol):
    """For whom is written. All of it is called in the writer's thread."""

    name: str

    def apply(self, letters: Sequence[Lines]) -> list[list[Ack]]:
        """Writes messages in one transaction; the acknowledgements of each letter. Raises StoreUnavailable."""

    def load(self) -> int:
        """Reads the twins from the store; how many. Raises StoreUnavailable."""

    def lost(self, error: StoreUnavailable) -> None:
        """The store is away."""


class _Letter(NamedTuple):
    lines: Lines
    done: asyncio.Future

    @property
    def size(self) -> int:
        return len(self.lines)

    @property
    def size_bytes(self) -> int:
        return sum(len(line) for _, line in self.lines)


class _Errand(NamedTuple):
    work: Callable[[], Any]
    done: asyncio.Future
    size: int = 1
    size_bytes: int = 0


class _Answer(NamedTuple):
    done: asyncio.Future
    result: Any
    error: Exception | None = None


class Writer:
    """Writes for a host, from `start` to `close`."""

    def __init__(self, host: Written, max_pending: int = MAX_PENDING):
        self._host, self._max_pending = host, max_pending
        self._queue: deque[_Letter | _Errand] = deque()
        self.pending = self._pending_bytes = 0
        self._wake = threading.Condition()
        self._closing = False
        self.available = True
        self._thread = threading.Thread(target=self._run, name=f"{host.name}-writer", daemon=True)

    def start(self) -> None:
        """Starts to write, and answers in the running event loop."""
        self.loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Writes what waits, then stops."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def submit(self, lines: Lines) -> asyncio.Future[list[Ack]]:
        """Queues messages. Raises Full."""
        done = self.loop.create_future()
        self._put(_Letter(lines, done))
        return done

    async def do(self, work: Callable[[], Any]) -> Any:
        """Has something else done, in the order of the queue. Raises Full, and what it raises."""
        done = self.loop.create_future()
        self._put(_Errand(work, done))
        return await done

    def tell(self, what: Callable[[], None]) -> None:
        """Has something called in the event loop, before any answer that is given later."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(what)

    def _put(self, item: _Letter | _Errand) -> None:
        size, size_bytes = item.size, item.size_bytes
        with self._wake:
            if self._closing:
                raise Full(f"{self._host.name} is stopping")
            too_much = self.pending + size > self._max_pending or self._pending_bytes + size_bytes > MAX_PENDING_BYTES
            if not self.available or self.pending and too_much:
                waits = f"{self._host.name} has {self.pending} messages waiting"
                raise Full(waits if self.available else f"{self._host.name} cannot write now")
            self._queue.append(item)
            self.pending += size
            self._pending_bytes += size_bytes
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                letters, errand = self._next()
            answers = self._written(letters) if errand is None else [self._done(errand)]
            with self._wake:
                done: Sequence[_Letter | _Errand] = letters if errand is None else [errand]
                self.pending -= sum(item.size for item in done)
                self._pending_bytes -= sum(item.size_bytes for item in done)
            self._answer(answers)
            while not self.available:
                self._turn_away()
                if self._closing:
                    break
                self._reload()

    def _next(self) -> tuple[list[_Letter], _Errand | None]:
        """What is done next: letters that are written together, or one errand."""
        letters: list[_Letter] = []
        size = 0
        while self._queue:
            first = self._queue[0]
            if isinstance(first, _Errand):
                if letters:
                    break
                self._queue.popleft()
                return [], first
            if letters and size + first.size > MAX_GROUP:
                break
            letters.append(first)
            size += first.size
            self._queue.popleft()
        return letters, None

    def _written(self, letters: list[_Letter]) -> list[_Answer]:
        try:
            acks = self._host.apply([letter.lines for letter in letters])
        except StoreUnavailable as error:
            self._lost(error)
            return [_Answer(letter.done, None, Full(f"{self._host.name} cannot write now")) for letter in letters]
        except Exception as error:
            log.exception("a group of messages could not be written", host=self._host.name)
            return [_Answer(letter.done, None, error) for letter in letters]
        return [_Answer(letter.done, theirs) for letter, theirs in zip(letters, acks, strict=True)]

    def _done(self, errand: _Errand) -> _Answer:
        try:
            return _Answer(errand.done, errand.work())
        except StoreUnavailable as error:
            self._lost(error)
            return _Answer(errand.done, None, Full(f"{self._host.name} cannot write now"))
        except Exception as error:
            return _Answer(errand.done, None, error)

    def _lost(self, error: StoreUnavailable) -> None:
        self.available = False
        self._host.lost(error)

    def _turn_away(self) -> None:
        """Tells all who wait that nothing of theirs was kept."""
        with self._wake:
            waiting, self.pending, self._pending_bytes = list(self._queue), 0, 0
            self._queue.clear()
        self._answer([_Answer(item.done, None, Full(f"{self._host.name} cannot write now")) for item in waiting])

    def _reload(self) -> None:
        time.sleep(PAUSE_S)
        try:
            twins = self._host.load()
        except StoreUnavailable:
            return
        except Exception:
            log.exception("store cannot be read", host=self._host.name)
            return
        self.available = True
        log.info("store is back", host=self._host.name, twins=twins)

    def _answer(self, answers: list[_Answer]) -> None:
        def tell() -> None:
            for done, result, error in answers:
                if not done.done():
                    done.set_exception(error) if error else done.set_result(result)

        self.tell(tell)
