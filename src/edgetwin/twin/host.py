"""A host of twins: it holds them in memory, has one thread that writes them to its store in groups, and acknowledges what is on disk.

Everything that changes a twin passes through the writer's queue, so a twin has one order of changes.
"""

import asyncio
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from edgetwin.errors import InputError
from edgetwin.twin import behaviour
from edgetwin.twin.kinds import Kind, checker
from edgetwin.twin.messages import Ack, Bad, Quarantined, Update
from edgetwin.twin.metrics import HostMetrics
from edgetwin.twin.moves.host_moves import HostMoves
from edgetwin.twin.record import Entry, Twin, applied, folded, is_newer, late
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.store import Batch, Key, Store, StoreUnavailable, digest
from edgetwin.twin.writer import MAX_PENDING, Lines, Writer

KEPT_BYTES = 4_096
"""How much of a message goes into quarantine."""

log = structlog.get_logger("edgetwin.twin.host")


class Host:
    """Twins of the given kinds over a store.

    `changed` is called in the event loop with the twins that a group changed, as they are then, and `gone` with the ids of those that are
    no longer here. others: there are hosts that this one does not know of, so that a twin unknown here may be elsewhere.
    """

    url: str | None = None
    version = importlib.metadata.version("edgetwin")

    def __init__(
        self,
        name: str,
        store: Store,
        kinds: Mapping[str, Kind],
        changed: Callable[[Sequence[Twin]], None] = lambda twins: None,
        clock: Callable[[], float] = time.time,
        max_pending: int = MAX_PENDING,
        gone: Callable[[Sequence[str]], None] = lambda ids: None,
        others: bool = False,
    ):
        self.name, self.kinds, self.store, self.metrics = name, kinds, store, HostMetrics(name, lambda: self.pending)
        self._changed, self._gone, self._clock, self._others = changed, gone, clock, others
        self._checks = {kind: checker(what) for kind, what in kinds.items()}
        self._reader: Store | None = None
        self._readers = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-reader")
        self._writer = Writer(self, max_pending)
        self._twins: dict[str, Twin] = {}
        self._elsewhere: set[str] = set()
        self.shelved: set[str] = set()
        """Twins of a store of its own that are not served, since another host has them. A shared store says itself whose they are."""
        self.fenced_writes = 0
        self.endpoint = HostMoves(self)
        self.load()
        for twin in self._twins.values():
            if twin.kind not in kinds:
                raise InputError(f"{name}: twin {twin.id} is of kind {twin.kind}, which is not among {', '.join(kinds)}")

    def start(self) -> None:
        """Starts to write; to be called in the event loop that `changed` is called in."""
        self._writer.start()

    async def close(self) -> None:
        """Writes what waits, then stops and closes the store."""
        await self._writer.close()
        self._readers.shutdown()
        if self._reader is not None:
            self._reader.close()
        self.store.close()

    @property
    def twins(self) -> Mapping[str, Twin]:
        """What is durable, by id."""
        return self._twins

    @property
    def pending(self) -> int:
        """Messages that wait."""
        return self._writer.pending

    @property
    def available(self) -> bool:
        """Whether its store can be written to."""
        return self._writer.available

    def has_erased(self, device: str) -> bool:
        """Whether the device's data was erased here."""
        return bool(self._erased) and digest(device) in self._erased

    def submit(self, arrivals: Lines) -> asyncio.Future[list[Ack]]:
        """Queues messages at once; the future has their acknowledgements, in their order, once they are on disk.

        Raises Full where the queue has no room for them.
        """
        return self._writer.submit(arrivals)

    async def create(self, twin: Twin) -> Twin:
        """Enrols a twin; where one of that id is there it stays as it is. Raises Refused for another kind than it has, Full."""

        def work() -> Twin:
            if twin.id not in self._twins:
                there = self.store.create(twin)
                if there is None:
                    raise Refused(421, f"{twin.id} is held by another host")
                self.hold([there])
            return self._twins[twin.id]

        there = await self.do(work)
        if there.kind != twin.kind:
            raise Refused(409, f"{twin.id} is enrolled as {there.kind}, not {twin.kind}; erase it first")
        return there

    async def adopt(self, ids: Iterable[str]) -> list[Twin]:
        """Takes up twins that the store has given to this host, and returns those of them that it has. Raises Full."""
        wanted = set(ids)

        def work() -> list[Twin]:
            mine = [twin for twin in self.store.twins() if twin.id in wanted]
            self.hold(mine)
            return mine

        return await self.do(work)

    async def shelve(self, ids: Iterable[str]) -> None:
        """Serves these no longer: another host has them. Nothing is taken away from the store."""
        gone = list(ids)

        def work() -> None:
            if not self.store.shared:
                self.shelved.update(gone)
            self.drop(gone)

        await self.do(work)

    def set_aside(self, ids: Iterable[str]) -> None:
        """The same before the start, also of twins that are not here though they should be: their devices keep their data."""
        for twin_id in ids:
            self._elsewhere.add(twin_id)
            if self._twins.pop(twin_id, None) is not None and not self.store.shared:
                self.shelved.add(twin_id)

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        """Changes the desired state, null taking a property away. Raises Refused where it is unknown, not allowed, or not at `if_revision`, Full."""

        def work() -> Twin:
            twin = self._held(twin_id)
            if twin_id in self.endpoint.frozen:
                raise Full(f"{twin_id} is moving to another host")
            if if_revision is not None and if_revision != twin.desired_revision:
                raise Refused(409, f"desired state of {twin_id} is at revision {twin.desired_revision}, not {if_revision}")
            desired = {name: value for name, value in {**twin.desired, **changes}.items() if value is not None}
            after = twin._replace(desired=desired, desired_revision=twin.desired_revision + 1)
            if self.store.commit(Batch(twins=[after])):
                self._lost_to_another({twin_id})
                raise Refused(421, f"{twin_id} is held by another host")
            self._twins[twin_id] = after
            return after

        return await self.do(work)

    async def erase(self, twin_id: str) -> None:
        """Erases a twin and all that its device sent; its later messages are refused and not kept."""

        def work() -> None:
            if not self.store.erase(twin_id):
                raise Refused(421, f"{twin_id} is held by another host")
            self.drop([twin_id])
            self.endpoint.forget([twin_id])
            self.shelved.discard(twin_id)
            self._elsewhere.discard(twin_id)
            self._erased.add(digest(twin_id))

        await self.do(work)

    async def trim(self) -> int:
        """Folds history older than each kind keeps it into the beginning of the log; returns how many entries went. Of what moves, none. What moves
        have left that were interrupted goes as well."""
        gone = 0
        await self.clean()
        for twin in list(self._twins.values()):
            before_s = self._clock() - self.kinds[twin.kind].retention_s
            with suppress(Full):
                while went := await self.do(partial(self._trim, twin.id, before_s)):
                    gone += went
        return gone

    async def clean(self) -> None:
        """Takes away what is left of logs of twins that have gone to other hosts."""
        with suppress(Full):
            while await self.do(self.store.clean):
                pass

    async def entries(self, twin_id: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        """The newest entries of a twin's log before a (boot_id, seq), newest first."""
        self._held(twin_id)
        return await self.read(lambda store: store.entries(twin_id, limit, before))

    async def at(self, twin_id: str, revision: int | None = None, time_s: float | None = None) -> tuple[int, dict[str, Any]]:
        """Revision and reported state as they were at a revision, or at a time by the host's clock. Raises Refused where history does not reach."""
        twin = self._held(twin_id)
        return await self.read(lambda store: _as_it_was(store, twin, revision, time_s))

    async def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        """The newest messages in quarantine, newest first."""
        return await self.read(lambda store: store.quarantined(limit, device))

    async def quarantine_counts(self) -> dict[str, int]:
        """How many messages are in quarantine, by reason."""
        return await self.read(lambda store: store.quarantine_counts())

    async def do(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, done in the writer's thread between two groups. Raises Full."""
        return await self._writer.do(work)

    async def read(self, read: Callable[[Store], Any]) -> Any:
        """What `read` finds in the store, in a thread of its own that holds up no writing."""

        def work() -> Any:
            if self._reader is None:
                self._reader = self.store.reader()
            return read(self._reader)

        return await asyncio.wrap_future(self._readers.submit(work))

    def hold(self, twins: Sequence[Twin]) -> None:
        """From now on these are served here. In the writer's thread, once that is on disk."""
        for twin in twins:
            self._twins[twin.id] = twin
            self.shelved.discard(twin.id)
            self._elsewhere.discard(twin.id)
            self._erased.discard(digest(twin.id))
        self.metrics.twins.set(len(self._twins))
        self._writer.tell(lambda: self._changed(twins))

    def drop(self, ids: Iterable[str]) -> None:
        """These are no longer served here; who asks for them is sent elsewhere. In the writer's thread, once that is on disk."""
        gone = [twin_id for twin_id in ids if self._twins.pop(twin_id, None) is not None]
        self._elsewhere.update(gone)
        self.metrics.twins.set(len(self._twins))
        if gone:
            self._writer.tell(lambda: self._gone(gone))

    def load(self) -> int:
        """Reads all from the store; how many twins there are. Raises StoreUnavailable."""
        before = set(self._twins)
        self._twins = {twin.id: twin for twin in self.store.twins() if twin.id not in self.shelved}
        self._erased = self.store.erased()
        self.endpoint.load()
        self.metrics.twins.set(len(self._twins))
        if self._writer.is_started:
            gone = list(before - self._twins.keys())
            self._elsewhere.update(gone)
            self._writer.tell(lambda: self._gone(gone))
            self._writer.tell(lambda: self._changed(list(self._twins.values())))
        return len(self._twins)

    def lost(self, error: StoreUnavailable) -> None:
        """The store is away."""
        self.metrics.unavailable.inc()
        log.error("store cannot be written to; devices keep their data", host=self.name, error=str(error))

    def apply(self, letters: Sequence[Lines]) -> list[list[Ack]]:
        """Decides about messages, commits, and only then lets the twins be what they have become. In the writer's thread."""
        began = time.perf_counter()
        now_s = self._clock()
        work: dict[str, Twin] = {}
        entries: list[Entry] = []
        bad: list[Quarantined] = []
        new: set[Key] = set()
        known = self.store.known(self._doubtful(letters))
        answers: list[list[Ack]] = []
        for letter in letters:
            acks: list[Ack] = []
            for arrival, line in letter:
                if isinstance(arrival, Update):
                    try:
                        acks.append(self._decide(arrival, now_s, work, entries, known, new))
                        continue
                    except Bad as found:
                        arrival = found
                acks.append(self._set_aside(arrival, line, now_s, bad))
            answers.append(acks)
        fenced = self.store.commit(Batch(list(work.values()), entries, bad)) if work or entries or bad else set()
        if fenced:
            self._lost_to_another(fenced)
            for acks in answers:
                acks[:] = [_moved(ack) if ack.device in fenced else ack for ack in acks]
            work = {twin_id: twin for twin_id, twin in work.items() if twin_id not in fenced}
        self._twins.update(work)
        if self.endpoint.followed:
            self.endpoint.heard(entry for entry in entries if entry.twin not in fenced)
        self.metrics.commit_s.observe(time.perf_counter() - began)
        self.metrics.count(ack for acks in answers for ack in acks)
        if changed := list(work.values()):
            self._writer.tell(lambda: self._changed(changed))
        return answers

    def _doubtful(self, letters: Iterable[Lines]) -> list[Key]:
        """Messages that are not newer than their twin, so that only the log tells whether they came before."""
        return [
            (arrival.device, arrival.boot_id, arrival.seq)
            for letter in letters
            for arrival, _ in letter
            if isinstance(arrival, Update)
            and arrival.device in self._twins
            and not is_newer(self._twins[arrival.device], arrival)
        ]

    def _decide(self, update: Update, now_s: float, work: dict, entries: list, known: set[Key], new: set[Key]) -> Ack:
        twin = work.get(update.device) or self._twins.get(update.device)
        if twin is None and (self._others or update.device in self._elsewhere):
            return Ack("retry", *update[:3], reason="moved")
        if twin is None:
            raise Bad("unknown-device", f"{update.device} is not enrolled", update.device, update.boot_id, update.seq)
        if update.device in self.endpoint.frozen:
            return Ack("retry", *update[:3], reason="moving")
        key = update[:3]
        if key in new or key in known:
            return Ack("duplicate", *key, twin.revision, epoch=twin.epoch)
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
        return Ack(status, *key, twin.revision, epoch=twin.epoch)

    def _set_aside(self, found: Bad, line: bytes, now_s: float, bad: list[Quarantined]) -> Ack:
        who = (found.device, found.boot_id, found.seq)
        if found.device is not None and self.has_erased(found.device):
            return Ack("quarantined", *who, None, "erased", "the device's data was erased; enrol it anew")
        bad.append(Quarantined(found.reason, found.detail, found.device, line[:KEPT_BYTES], now_s))
        return Ack("damaged" if found.reason == "damaged" else "quarantined", *who, None, found.reason, found.detail)

    def _lost_to_another(self, ids: set[str]) -> None:
        """The store has refused writes to these: another host owns them."""
        self.fenced_writes += len(ids)
        self.metrics.fenced.inc(len(ids))
        self.endpoint.forget(ids)
        self.drop(ids)

    def _trim(self, twin_id: str, before_s: float) -> int:
        moving = twin_id in self.endpoint.followed or twin_id in self.endpoint.frozen or twin_id not in self._twins
        return 0 if moving else self.store.trim(twin_id, before_s)

    def _held(self, twin_id: str) -> Twin:
        if twin_id not in self._twins:
            raise Refused(404, f"twin {twin_id!r}: not enrolled")
        return self._twins[twin_id]


def _moved(ack: Ack) -> Ack:
    return Ack("retry", ack.device, ack.boot_id, ack.seq, reason="moved")


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
