"""A host of twins: it holds them in memory, has one thread that writes them to its store in groups, and acknowledges what is on disk.

Everything that changes a twin passes through one bounded queue, so a twin has one order of changes. Where the store cannot write, devices
are told to keep their data ("retry"), and the host loads its twins anew before it goes on, since it cannot know what the store has.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import structlog

from edgetwin.errors import InputError
from edgetwin.twin import behaviour
from edgetwin.twin.kinds import Kind, checker
from edgetwin.twin.messages import Ack, Bad, Quarantined, Update
from edgetwin.twin.metrics import HostMetrics
from edgetwin.twin.record import Entry, Twin, applied, folded, is_newer, late
from edgetwin.twin.stores.store import Batch, Key, Store, StoreUnavailable, digest

MAX_PENDING = 20_000
MAX_PENDING_BYTES = 32 * 2**20
MAX_GROUP = 4_000
"""Messages that may wait, and that are written as one transaction."""
KEPT_BYTES = 4_096
"""How much of a message goes into quarantine."""
PAUSE_S = 0.2
"""Between attempts to reach a store that is away."""

log = structlog.get_logger("edgetwin.twin.host")


class Full(Exception):
    """More waits than the host's queue takes: come back later."""


class Refused(Exception):
    """What was asked of a twin cannot be done, and why: `status` is that of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


Arrival = Update | Bad


class _Letter(NamedTuple):
    """Messages that came together, each an update or what is wrong with it, with the line it came in; and who waits for their acks."""

    arrivals: Sequence[tuple[Arrival, bytes]]
    done: asyncio.Future

    @property
    def size(self) -> int:
        return len(self.arrivals)

    @property
    def size_bytes(self) -> int:
        return sum(len(line) for _, line in self.arrivals)


class _Errand(NamedTuple):
    """Something else to be done between two groups, in the order of the queue."""

    work: Callable[[], Any]
    done: asyncio.Future
    size: int = 1
    size_bytes: int = 0


class _Answer(NamedTuple):
    """What is told to who waits."""

    done: asyncio.Future
    result: Any
    error: Exception | None = None


class Host:
    """Twins of the given kinds over a store. `changed` is called in the event loop with the twins that a group changed, as they are then."""

    def __init__(
        self,
        name: str,
        store: Store,
        kinds: Mapping[str, Kind],
        changed: Callable[[Sequence[Twin]], None] = lambda twins: None,
        clock: Callable[[], float] = time.time,
        max_pending: int = MAX_PENDING,
    ):
        self.name, self.kinds, self.metrics = name, kinds, HostMetrics(name, lambda: self._pending)
        self._store, self._changed, self._clock, self._max_pending = store, changed, clock, max_pending
        self._checks = {kind: checker(what) for kind, what in kinds.items()}
        self._reader: Store | None = None
        self._readers = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-reader")
        self._queue: deque[_Letter | _Errand] = deque()
        self._pending = self._pending_bytes = 0
        self._wake = threading.Condition()
        self._closing = False
        self.available = False
        self._fenced: set[str] = set()
        self._load()
        for twin in self._twins.values():
            if twin.kind not in kinds:
                raise InputError(f"{name}: twin {twin.id} is of kind {twin.kind}, which is not among {', '.join(kinds)}")
        self._thread = threading.Thread(target=self._write, name=f"{name}-writer", daemon=True)

    def start(self) -> None:
        """Starts to write; to be called in the event loop that `changed` is called in."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Writes what waits, then stops and closes the store."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown()
        if self._reader is not None:
            self._reader.close()
        self._store.close()

    @property
    def twins(self) -> Mapping[str, Twin]:
        """What is durable, by id."""
        return self._twins

    @property
    def pending(self) -> int:
        """Messages that wait."""
        return self._pending

    def has_erased(self, device: str) -> bool:
        """Whether the device's data was erased here."""
        return bool(self._erased) and digest(device) in self._erased

    def submit(self, arrivals: Sequence[tuple[Arrival, bytes]]) -> asyncio.Future[list[Ack]]:
        """Queues messages at once; the future has their acknowledgements, in their order, once they are on disk.

        Raises Full where the queue has no room for them.
        """
        done = self._loop.create_future()
        self._put(_Letter(arrivals, done))
        return done

    async def create(self, twin: Twin) -> Twin:
        """Enrols a twin; where one of that id is there it stays as it is. Raises Refused for another kind than it has, Full."""

        def work() -> Twin:
            if twin.id not in self._twins:
                if not self._store.create(twin):
                    raise Refused(421, f"{twin.id} is held by another host")
                self._fenced.discard(twin.id)
                self._twins[twin.id] = twin
                self._erased.discard(digest(twin.id))
            return self._twins[twin.id]

        there = await self._do(work)
        if there.kind != twin.kind:
            raise Refused(409, f"{twin.id} is enrolled as {there.kind}, not {twin.kind}; erase it first")
        return there

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        """Changes the desired state, null taking a property away. Raises Refused where it is unknown, not allowed, or not at `if_revision`."""

        def work() -> Twin:
            twin = self._held(twin_id)
            if if_revision is not None and if_revision != twin.desired_revision:
                raise Refused(409, f"desired state of {twin_id} is at revision {twin.desired_revision}, not {if_revision}")
            desired = {name: value for name, value in {**twin.desired, **changes}.items() if value is not None}
            after = twin._replace(desired=desired, desired_revision=twin.desired_revision + 1)
            if self._store.commit(Batch(twins=[after])):
                raise Refused(421, f"{twin_id} is held by another host")
            self._twins[twin_id] = after
            return after

        return await self._do(work)

    async def erase(self, twin_id: str) -> None:
        """Erases a twin and all that its device sent; its later messages are refused and not kept."""

        def work() -> None:
            if not self._store.erase(twin_id):
                raise Refused(421, f"{twin_id} is held by another host")
            self._twins.pop(twin_id, None)
            self._erased.add(digest(twin_id))

        await self._do(work)

    async def trim(self) -> int:
        """Folds history older than each kind keeps it into the beginning of the log; returns how many entries went."""
        gone = 0
        for twin in list(self._twins.values()):
            before_s = self._clock() - self.kinds[twin.kind].retention_s
            with suppress(Full):
                while went := await self._do(partial(self._store.trim, twin.id, before_s)):
                    gone += went
        return gone

    async def entries(self, twin_id: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        """The newest entries of a twin's log before a (boot_id, seq), newest first."""
        self._held(twin_id)
        return await self._read(lambda store: store.entries(twin_id, limit, before))

    async def at(self, twin_id: str, revision: int | None = None, time_s: float | None = None) -> tuple[int, dict[str, Any]]:
        """Revision and reported state as they were at a revision, or at a time by the host's clock. Raises Refused where history does not reach."""
        twin = self._held(twin_id)
        return await self._read(lambda store: _as_it_was(store, twin, revision, time_s))

    async def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        """The newest messages in quarantine, newest first."""
        return await self._read(lambda store: store.quarantined(limit, device))

    async def quarantine_counts(self) -> dict[str, int]:
        """How many messages are in quarantine, by reason."""
        return await self._read(lambda store: store.quarantine_counts())

    def _held(self, twin_id: str) -> Twin:
        if twin_id not in self._twins:
            raise Refused(404, f"twin {twin_id!r}: not enrolled")
        return self._twins[twin_id]

    async def _read(self, read: Callable[[Store], Any]) -> Any:
        def work() -> Any:
            if self._reader is None:
                self._reader = self._store.reader()
            return read(self._reader)

        return await asyncio.wrap_future(self._readers.submit(work))

    async def _do(self, work: Callable[[], Any]) -> Any:
        done = self._loop.create_future()
        self._put(_Errand(work, done))
        return await done

    def _put(self, item: _Letter | _Errand) -> None:
        size, size_bytes = item.size, item.size_bytes
        with self._wake:
            if self._closing:
                raise Full(f"{self.name} is stopping")
            too_much = self._pending + size > self._max_pending or self._pending_bytes + size_bytes > MAX_PENDING_BYTES
            if not self.available or self._pending and too_much:
                raise Full(
                    f"{self.name} has {self._pending} messages waiting" if self.available else f"{self.name} cannot write now"
                )
            self._queue.append(item)
            self._pending += size
            self._pending_bytes += size_bytes
            self._wake.notify()

    def _load(self) -> None:
        self._twins = {twin.id: twin for twin in self._store.twins()}
        self._erased = self._store.erased()
        self.available = True
        self.metrics.twins.set(len(self._twins))

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                letters, errand = self._next()
            answers = self._write_group(letters) if errand is None else [self._run_errand(errand)]
            with self._wake:
                done: Sequence[_Letter | _Errand] = letters if errand is None else [errand]
                self._pending -= sum(item.size for item in done)
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
            if letters and size + len(first.arrivals) > MAX_GROUP:
                break
            letters.append(first)
            size += len(first.arrivals)
            self._queue.popleft()
        return letters, None

    def _turn_away(self) -> None:
        """Tells all who wait that nothing of theirs was kept."""
        with self._wake:
            waiting, self._pending, self._pending_bytes = list(self._queue), 0, 0
            self._queue.clear()
        self._answer([_Answer(item.done, None, Full(f"{self.name} cannot write now")) for item in waiting])

    def _reload(self) -> None:
        time.sleep(PAUSE_S)
        try:
            self._load()
        except StoreUnavailable:
            return
        except Exception:
            log.exception("store cannot be read", host=self.name)
            return
        log.info("store is back", host=self.name, twins=len(self._twins))

    def _run_errand(self, errand: _Errand) -> _Answer:
        try:
            result = errand.work()
        except StoreUnavailable as error:
            self._lost_store(error)
            return _Answer(errand.done, None, Full(f"{self.name} cannot write now"))
        except Exception as error:
            return _Answer(errand.done, None, error)
        self.metrics.twins.set(len(self._twins))
        return _Answer(errand.done, result)

    def _write_group(self, letters: list[_Letter]) -> list[_Answer]:
        began = time.perf_counter()
        try:
            answers, changed = self._apply(letters)
        except StoreUnavailable as error:
            self._lost_store(error)
            return [_Answer(letter.done, None, Full(f"{self.name} cannot write now")) for letter in letters]
        except Exception as error:
            log.exception("a group of messages could not be written", host=self.name)
            return [_Answer(letter.done, None, error) for letter in letters]
        self.metrics.commit_s.observe(time.perf_counter() - began)
        self.metrics.count(ack for answer in answers for ack in answer.result)
        if changed:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._changed, changed)
        return answers

    def _apply(self, letters: list[_Letter]) -> tuple[list[_Answer], list[Twin]]:
        """Decides about a group of messages, commits, and only then lets the twins be what they have become."""
        now_s = self._clock()
        work: dict[str, Twin] = {}
        entries: list[Entry] = []
        bad: list[Quarantined] = []
        new: set[Key] = set()
        known = self._store.known(self._doubtful(letters))
        answers: list[_Answer] = []
        for letter in letters:
            acks: list[Ack] = []
            for arrival, line in letter.arrivals:
                if isinstance(arrival, Update):
                    try:
                        acks.append(self._decide(arrival, now_s, work, entries, known, new))
                        continue
                    except Bad as found:
                        arrival = found
                acks.append(self._set_aside(arrival, line, now_s, bad))
            answers.append(_Answer(letter.done, acks))
        fenced = self._store.commit(Batch(list(work.values()), entries, bad)) if work or entries or bad else set()
        self._fenced |= fenced
        for twin_id in fenced:
            self._twins.pop(twin_id, None)
            work.pop(twin_id, None)
        self._twins.update(work)
        if fenced:
            for answer in answers:
                answer.result[:] = [
                    ack._replace(status="retry", revision=None, reason="moved") if ack.device in fenced else ack
                    for ack in answer.result
                ]
        return answers, list(work.values())

    def _doubtful(self, letters: Iterable[_Letter]) -> list[Key]:
        """Messages that are not newer than their twin, so that only the log tells whether they came before."""
        return [
            (arrival.device, arrival.boot_id, arrival.seq)
            for letter in letters
            for arrival, _ in letter.arrivals
            if isinstance(arrival, Update)
            and arrival.device in self._twins
            and not is_newer(self._twins[arrival.device], arrival)
        ]

    def _decide(self, update: Update, now_s: float, work: dict, entries: list, known: set[Key], new: set[Key]) -> Ack:
        twin = work.get(update.device) or self._twins.get(update.device)
        if twin is None and update.device in self._fenced:
            return Ack("retry", *update[:3], reason="moved")
        if twin is None:
            raise Bad("unknown-device", f"{update.device} is not enrolled", update.device, update.boot_id, update.seq)
        key = update[:3]
        if key in new or key in known:
            return Ack("duplicate", *key, twin.revision)
        self._checks[twin.kind](update, now_s)
        if is_newer(twin, update):
            twin, entry = applied(twin, update, behaviour.learned(self.kinds[twin.kind], twin, update), now_s)
            status = "applied"
        else:
            twin, entry = late(twin, update, now_s)
            status = "late"
        work[twin.id] = twin
        entries.append(entry)
        new.add(key)
        return Ack(status, *key, twin.revision)

    def _set_aside(self, found: Bad, line: bytes, now_s: float, bad: list[Quarantined]) -> Ack:
        who = (found.device, found.boot_id, found.seq)
        if found.device is not None and self.has_erased(found.device):
            return Ack("quarantined", *who, None, "erased", "the device's data was erased; enrol it anew")
        bad.append(Quarantined(found.reason, found.detail, found.device, line[:KEPT_BYTES], now_s))
        return Ack("damaged" if found.reason == "damaged" else "quarantined", *who, None, found.reason, found.detail)

    def _lost_store(self, error: StoreUnavailable) -> None:
        self.available = False
        self.metrics.unavailable.inc()
        log.error("store cannot be written to; devices keep their data", host=self.name, error=str(error))

    def _answer(self, answers: list[_Answer]) -> None:
        def tell() -> None:
            for done, result, error in answers:
                if not done.done():
                    done.set_exception(error) if error else done.set_result(result)

        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell)


def _as_it_was(store: Store, twin: Twin, revision: int | None, time_s: float | None) -> tuple[int, dict[str, Any]]:
    begin, state, entries = store.history(twin.id)
    known = [entry for entry in entries if entry.revision is not None]
    until = revision
    if until is None:
        assert time_s is not None
        until = max((entry.revision or 0 for entry in known if entry.received_s <= time_s), default=begin)
        if begin and until == begin:
            raise Refused(410, f"{twin.id}: history reaches back to revision {begin + 1} only")
    if until < begin:
        raise Refused(410, f"{twin.id}: history reaches back to revision {begin} only")
    if until > twin.revision:
        raise Refused(404, f"{twin.id} is at revision {twin.revision}; {until} is not there yet")
    return until, folded(state, [entry for entry in known if (entry.revision or 0) <= until])
