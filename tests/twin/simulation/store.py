"""Stores in memory that keep the contract of `Store`. A `Disk` is what outlives a crash: of one host, or of several where they share it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.moves.place import Place
from edgetwin.twin.record import Entry, Twin, fold
from edgetwin.twin.stores.rows import storable
from edgetwin.twin.stores.store import Batch, Conflict, Key, digest

CHUNK = 5
"""Entries of a log that go at once."""


class Disk:
    """What is durable. owners: whose each twin is. commits: for the judge, which host wrote under which epoch of a twin. trouble: is called before
    and after each change, and raises StoreUnavailable where it shall."""

    def __init__(self, shared: bool = False) -> None:
        self.shared = shared
        self.twins: dict[str, Twin] = {}
        self.owners: dict[str, str] = {}
        self.log: dict[str, dict[tuple[int, int], Entry]] = {}
        self.base: dict[str, tuple[int, dict]] = {}
        self.leaving: dict[str, str] = {}
        self.arriving: dict[str, tuple[str, Twin]] = {}
        self.remnants: set[str] = set()
        self.quarantine: list[Quarantined] = []
        self.erased: set[str] = set()
        self.commits: set[tuple[str, int, str]] = set()
        self.trouble: Callable[[str], None] = lambda when: None

    def given(self, place: Place) -> None:
        """The directory, which on a shared disk is in it, has given a twin to another owner."""
        if self.shared and place.twin in self.twins:
            self.twins[place.twin] = self.twins[place.twin]._replace(epoch=place.epoch)
            self.owners[place.twin] = place.host


def on_disk(change: Callable[..., Any]) -> Callable[..., Any]:
    """A change, which the disk may refuse, or make without saying so."""

    @wraps(change)
    def call(self: "MemoryStore", *values: Any) -> Any:
        self.disk.trouble("before")
        result = change(self, *values)
        self.disk.trouble("after")
        return result

    return call


class MemoryStore:
    """Implements Store for a host over a disk."""

    def __init__(self, disk: Disk, host: str = "edge-1"):
        self.disk, self.host = disk, host
        self.place, self.shared = "shared" if disk.shared else f"of {host}", disk.shared

    def reader(self) -> "MemoryStore":
        return self

    @on_disk
    def twins(self) -> list[Twin]:
        return [twin for twin in self.disk.twins.values() if self.disk.owners[twin.id] == self.host]

    def erased(self) -> set[str]:
        return set(self.disk.erased)

    def known(self, keys: Sequence[Key]) -> set[Key]:
        return {key for key in keys if key[1:] in self.disk.log.get(key[0], {})}

    @on_disk
    def commit(self, batch: Batch) -> set[str]:
        fenced = {twin.id for twin in batch.twins if self.fences(twin)}
        for twin in batch.twins:
            if twin.id not in fenced:
                self.disk.twins[twin.id] = twin
                self.disk.commits.add((twin.id, twin.epoch, self.host))
        for entry in batch.entries:
            if entry.twin not in fenced:
                self.disk.log.setdefault(entry.twin, {})[entry.boot_id, entry.seq] = entry
        self.disk.quarantine += [bad._replace(detail=storable(bad.detail)) for bad in batch.quarantined]
        return fenced

    def fences(self, twin: Twin) -> bool:
        """Whether a change of a twin is refused."""
        there = self.disk.twins.get(twin.id)
        if there is None or self.disk.owners[twin.id] != self.host or there.epoch != twin.epoch:
            return True
        return twin.id in self.disk.leaving

    @on_disk
    def create(self, twin: Twin) -> Twin | None:
        while self._shortened(twin.id):
            pass
        self.disk.twins.setdefault(twin.id, twin)
        self.disk.erased.discard(digest(twin.id))
        return self.disk.twins[twin.id] if self.disk.owners.setdefault(twin.id, self.host) == self.host else None

    @on_disk
    def erase(self, twin: str) -> bool:
        for table in (self.disk.twins, self.disk.owners, self.disk.log, self.disk.base, self.disk.leaving, self.disk.arriving):
            table.pop(twin, None)
        self.disk.quarantine = [bad for bad in self.disk.quarantine if bad.device != twin]
        self.disk.erased.add(digest(twin))
        return True

    def entries(self, twin: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        found = [entry for entry in self._log(twin) if before is None or (entry.boot_id, entry.seq) < before]
        return found[::-1][:limit]

    def history(self, twin: str) -> tuple[int, dict, Iterator[Entry]]:
        return (*self.disk.base.get(twin, (0, {})), iter(self._log(twin)))

    def trim(self, twin: str, before_s: float) -> int:
        log = self._log(twin)
        if not log or log[0].measured_s >= before_s:
            return 0
        newest = max((entry.revision for entry in log if entry.revision is not None), default=0)
        kept = [e.revision for e in log if e.revision is not None and (e.measured_s >= before_s or e.revision == newest)]
        revision, state = self.disk.base.get(twin, (0, {}))
        gone = [e for e in log if (e.measured_s < before_s if e.revision is None else e.revision < min(kept))]
        for entry in sorted((entry for entry in gone if entry.revision is not None), key=lambda entry: entry.revision or 0):
            revision, state = entry.revision or 0, dict(fold(state, entry.changes))
        for entry in gone:
            del self.disk.log[twin][entry.boot_id, entry.seq]
        if gone:
            self.disk.base[twin] = (revision, state)
        return len(gone)

    def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        return [bad for bad in self.disk.quarantine[::-1] if device is None or bad.device == device][:limit]

    def quarantine_counts(self) -> dict[str, int]:
        return dict(Counter(bad.reason for bad in self.disk.quarantine))

    def leaving(self) -> list[tuple[str, str]]:
        return list(self.disk.leaving.items())

    @on_disk
    def freeze(self, twin: str, move: str) -> bool:
        if self.disk.shared:
            return self.disk.owners.get(twin) == self.host
        return twin in self.disk.twins and self.disk.leaving.setdefault(twin, move) == move

    @on_disk
    def thaw(self, twin: str, move: str) -> None:
        if self.disk.leaving.get(twin) == move:
            del self.disk.leaving[twin]

    @on_disk
    def release(self, twin: str, move: str) -> bool:
        if self.disk.leaving.get(twin) == move:
            for table in (self.disk.twins, self.disk.owners, self.disk.leaving):
                table.pop(twin)
            self.disk.remnants.add(twin)
        return self._shortened(twin)

    def arriving(self) -> list[tuple[str, str]]:
        return [(twin, move) for twin, (move, _) in self.disk.arriving.items()]

    @on_disk
    def stage(self, parcel: Parcel, move: str) -> None:
        twin = parcel.twin.id
        if self.disk.shared:
            return
        if twin in self.disk.twins:
            raise Conflict(f"{twin} is held here")
        self.disk.remnants.discard(twin)
        self.disk.log[twin] = {(entry.boot_id, entry.seq): entry for entry in parcel.entries}
        self.disk.base[twin] = (parcel.base.revision, dict(parcel.base.state))
        self.disk.arriving[twin] = (move, parcel.twin)

    @on_disk
    def extend(self, tail: Tail, move: str) -> bool:
        if self.disk.shared:
            return True
        there, before = self.disk.arriving.get(tail.twin.id, ("", tail.twin))
        if there != move:
            return False
        if _age(before) <= _age(tail.twin) and before.desired_revision <= tail.twin.desired_revision:
            self.disk.arriving[tail.twin.id] = (move, tail.twin)
        self.disk.log[tail.twin.id].update({(entry.boot_id, entry.seq): entry for entry in tail.entries})
        return True

    def staged(self, twin: str, move: str) -> Parcel | None:
        if self.disk.shared:
            return Parcel(self.disk.twins[twin], Base(), []) if twin in self.disk.twins else None
        if self.disk.arriving.get(twin, (None,))[0] != move:
            return None
        return Parcel(self.disk.arriving[twin][1], Base(*self.disk.base[twin]), self._log(twin))

    def record(self, twin: str, move: str) -> Twin | None:
        there = self.staged(twin, move)
        return None if there is None else there.twin

    def found(self, keys: Sequence[Key]) -> list[Entry]:
        return [self.disk.log[key[0]][key[1:]] for key in keys if key[1:] in self.disk.log.get(key[0], {})]

    @on_disk
    def activate(self, twin: str, move: str, epoch: int) -> Twin | None:
        there = self.disk.twins.get(twin)
        if there is not None and there.epoch == epoch and self.disk.owners[twin] == self.host:
            return there
        if self.disk.shared or self.disk.arriving.get(twin, (None,))[0] != move:
            return None
        return self.made_active(self.disk.arriving.pop(twin)[1]._replace(epoch=epoch))

    def made_active(self, twin: Twin) -> Twin:
        """Makes a copy a twin."""
        self.disk.twins[twin.id], self.disk.owners[twin.id] = twin, self.host
        return twin

    @on_disk
    def discard(self, twin: str, move: str) -> bool:
        if self.disk.arriving.get(twin, (None,))[0] == move:
            del self.disk.arriving[twin]
            self.disk.remnants.add(twin)
        return self._shortened(twin)

    @on_disk
    def clean(self) -> bool:
        for twin in list(self.disk.remnants)[:1]:
            self._shortened(twin)
            return True
        return False

    def open_again(self) -> None:
        """What is done as a process opens the store: what was deleted in part goes as a whole."""
        for twin in list(self.disk.remnants):
            while self._shortened(twin):
                pass

    def close(self) -> None:
        pass

    def _log(self, twin: str) -> list[Entry]:
        log: dict[Any, Entry] = self.disk.log.get(twin, {})
        return [log[key] for key in sorted(log)]

    def _shortened(self, twin: str) -> bool:
        """Takes a chunk of what is left of a twin away; False once that is nothing."""
        if twin not in self.disk.remnants:
            return False
        log = self.disk.log.get(twin, {})
        for key in list(log)[:CHUNK]:
            del log[key]
        if log:
            return True
        self.disk.remnants.discard(twin)
        self.disk.log.pop(twin, None)
        self.disk.base.pop(twin, None)
        return False


def _age(twin: Twin) -> tuple[int, int]:
    """Grows with each change of what a twin reports: within a revision `missing` only falls."""
    return twin.revision, -twin.missing
