"""What a host asks of a store: twins loaded, changes committed as one, history read. `sqlite.py` and `postgres.py` each are one.

A store belongs to one host and is called from one thread. What `commit` returned from is on disk; what it raised on is not, or, where a
connection broke in between, may be: then the host loads its twins anew before it goes on.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

from edgetwin.errors import InputError
from edgetwin.twin.messages import Quarantined
from edgetwin.twin.moves.parcel import Parcel, Tail
from edgetwin.twin.record import Entry, Twin

TRIMMED_AT_ONCE = 2_000
"""Entries of a log that are looked at together, so that other twins need not wait long."""
QUARANTINE_KEPT = 1_000_000
"""Messages in quarantine beyond which the oldest go."""

Key = tuple[str, int, int]
"""A message: device, boot_id, seq."""


class StoreUnavailable(Exception):
    """The store cannot take changes now: its disk is full, its server is away. Devices keep their data; the host tries again."""


class StoreRefused(InputError):
    """The store is damaged, of a newer version, or not of this program. Nothing in it was changed."""


class Conflict(Exception):
    """A copy of a twin cannot be kept where the twin itself is."""


class Batch(NamedTuple):
    """Changes that are committed together: twins as they are afterwards, their new entries, and messages for quarantine."""

    twins: Sequence[Twin] = ()
    entries: Sequence[Entry] = ()
    quarantined: Sequence[Quarantined] = ()


class Store(Protocol):
    """A host's durable memory. Every method may raise StoreUnavailable."""

    def reader(self) -> "Store":
        """The same store for another thread, which may only read."""

    def twins(self) -> list[Twin]:
        """All twins that this host owns."""

    def erased(self) -> set[str]:
        """`digest`s of devices whose data was erased."""

    def known(self, keys: Sequence[Key]) -> set[Key]:
        """Those of the messages that are in the log."""

    def commit(self, batch: Batch) -> set[str]:
        """Makes the batch durable, all or nothing of each twin; returns ids of twins that another owner or epoch holds, left unchanged."""

    def create(self, twin: Twin) -> Twin | None:
        """A new twin. Where one of that id is there nothing changes. The twin as it is then; None: another host's."""

    def erase(self, twin: str) -> bool:
        """Takes away the twin, its log, and what its device has in quarantine; only its `digest` stays. False: another host's, unchanged."""

    def entries(self, twin: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        """The newest entries before a (boot_id, seq), newest first."""

    def history(self, twin: str) -> tuple[int, dict, Iterator[Entry]]:
        """Where the log begins: revision and state; and all entries since, in order of (boot_id, seq)."""

    def trim(self, twin: str, before_s: float) -> int:
        """Folds entries measured before a time into the state that the log begins with, from the oldest on and `TRIMMED_AT_ONCE` at most;
        returns how many. The newest applied one stays, and all do as long as the first message of the log is not older."""

    def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        """The newest messages in quarantine, newest first."""

    def quarantine_counts(self) -> dict[str, int]:
        """How many messages there are by reason."""

    place: str
    """What it is in: a file or a database. Hosts of one place see each other's rows, so that between them twins move without being copied."""

    shared: bool
    """Whether hosts share it, so that moves between them leave all where it is."""

    def leaving(self) -> list[tuple[str, str]]:
        """Twins that are frozen, each with its move. They are among `twins()`; `commit` changes none of them and returns them as held by another."""

    def freeze(self, twin: str, move: str) -> bool:
        """Takes no more changes of a twin, on disk. Repeated, nothing; False, and nothing changed: not held, or frozen by another move."""

    def thaw(self, twin: str, move: str) -> None:
        """Ends a freeze by this move; of another move nothing."""

    def release(self, twin: str, move: str) -> bool:
        """Takes away a twin frozen by this move: itself at once, its log at most `TRIMMED_AT_ONCE` entries at a time: True until all is gone."""

    def arriving(self) -> list[tuple[str, str]]:
        """Copies that are kept but not served, each twin with its move. They are not among `twins()`."""

    def stage(self, parcel: Parcel, move: str) -> None:
        """Keeps a copy in place of any older one of that twin; where the store is shared, nothing. Raises Conflict where it holds the twin."""

    def extend(self, tail: Tail, move: str) -> bool:
        """Adds to the copy of this move. Entries may be there already. False: there is no such copy."""

    def staged(self, twin: str, move: str) -> Parcel | None:
        """The copy of this move, read back from disk; where the store is shared, the twin itself, whoever owns it, without log."""

    def record(self, twin: str, move: str) -> Twin | None:
        """The record of that copy alone, read back from disk; where the store is shared, the twin's, whoever owns it."""

    def found(self, keys: Sequence[Key]) -> list[Entry]:
        """Those entries of the messages that are in the log, whoever holds the twin."""

    def activate(self, twin: str, move: str, epoch: int) -> Twin | None:
        """Makes the copy of this move a twin at an epoch; where the store is shared, reads the twin that the directory has given to this host at
        that epoch. Repeated, the twin again. None: no such copy, or not given."""

    def discard(self, twin: str, move: str) -> bool:
        """Takes away the copy of this move, its log as `release` does. True until all is gone. What is active stays."""

    def clean(self) -> bool:
        """Takes away more of what `release` and `discard` have left, where they were not asked until all was gone. True until it is."""

    def close(self) -> None:
        """Ends the use of the store."""


def digest(device: str) -> str:
    """What is kept of an erased device's name, so that what it still sends is refused and not kept."""
    return hashlib.sha256(device.encode(errors="surrogatepass")).hexdigest()


def last_of_each(twins: Iterable[Twin]) -> list[Twin]:
    """The last record of each twin."""
    return list({twin.id: twin for twin in twins}.values())


def is_postgres(address: str) -> bool:
    """Whether an address of a store names a PostgreSQL server, not a file."""
    return address.startswith(("postgresql://", "postgres://"))


def postgres_module() -> ModuleType:
    """`edgetwin.twin.stores.postgres`. Raises InputError where its driver is not installed."""
    try:
        from edgetwin.twin.stores import postgres
    except ImportError:
        raise InputError("a store in PostgreSQL needs psycopg: pip install 'edgetwin[postgres]'") from None
    return postgres


def opened(address: str, host: str) -> Store:
    """The store of a host at an address, a file or postgresql://…, made where there is none. Raises StoreRefused, StoreUnavailable."""
    if is_postgres(address):
        return postgres_module().PostgresStore(address, host)
    from edgetwin.twin.stores.sqlite import SQLiteStore

    return SQLiteStore(Path(address))
