"""A store in one SQLite file, for one host: write-ahead log, synchronous=FULL, one transaction a batch.

Its version is the file's `user_version`; `STEPS` bring an older file up, each in a transaction of its own. A file of another program, of
a newer version, or damaged is refused before anything is written to it.
"""

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.stores.rows import (
    CHANGED,
    OF_DEVICE,
    TABLES,
    as_text,
    entry_of,
    entry_row,
    quarantine_row,
    storable,
    trimmed,
    twin_of,
    twin_row,
)
from edgetwin.twin.stores.store import QUARANTINE_KEPT, TRIMMED_AT_ONCE, Batch, Key, StoreRefused, StoreUnavailable, digest

APPLICATION_ID = 0x65747731
SMALLEST_FILE = 512
"""Bytes of the smallest SQLite file. SQLite takes a shorter one for an empty one, whatever it holds."""
STEPS = (
    """
    CREATE TABLE twins (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, epoch INTEGER NOT NULL, revision INTEGER NOT NULL, reported TEXT NOT NULL,
        desired TEXT NOT NULL, desired_revision INTEGER NOT NULL, boot_id INTEGER NOT NULL, seq INTEGER NOT NULL,
        measured_s REAL NOT NULL, received_s REAL NOT NULL, missing INTEGER NOT NULL, model TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE log (
        twin TEXT NOT NULL, boot_id INTEGER NOT NULL, seq INTEGER NOT NULL, revision INTEGER,
        measured_s REAL NOT NULL, received_s REAL NOT NULL, changes TEXT NOT NULL, PRIMARY KEY (twin, boot_id, seq)
    ) WITHOUT ROWID;
    CREATE TABLE base (twin TEXT PRIMARY KEY, revision INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY, received_s REAL NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, device TEXT, message BLOB NOT NULL
    );
    """,
    """
    CREATE TABLE erased (digest TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE INDEX quarantine_device ON quarantine (device) WHERE device IS NOT NULL;
    """,
)
"""What each version adds to the one before."""
TWIN_COLUMNS, ENTRY_COLUMNS, QUARANTINE_COLUMNS = (", ".join(TABLES[name]) for name in ("twins", "log", "quarantine"))
UPDATE_TWIN = f"UPDATE twins SET {', '.join(f'{name} = ?' for name in CHANGED)} WHERE id = ? AND epoch = ?"
INSERT_ENTRY = f"INSERT INTO log ({ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_QUARANTINED = f"INSERT INTO quarantine ({QUARANTINE_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
BUSY_MS = 5_000
"""How long a change waits for other readers and writers of the file."""


class SQLiteStore:
    """The store in the file at `path`, made where there is none. Raises StoreRefused."""

    def __init__(self, path: Path):
        self.path = path
        self._lock: IO[bytes] | None = locked(path)
        self._forgetting = False
        try:
            self._connection = _opened(path)
        except BaseException:
            self._lock.close()
            raise

    def reader(self) -> "SQLiteStore":
        reader = object.__new__(SQLiteStore)
        reader.path, reader._lock, reader._forgetting = self.path, None, False
        with reader._reading():
            reader._connection = read_only(self.path)
        return reader

    def twins(self) -> list[Twin]:
        with self._reading():
            return [twin_of(row) for row in self._connection.execute(f"SELECT {TWIN_COLUMNS} FROM twins")]

    def erased(self) -> set[str]:
        with self._reading():
            return {row[0] for row in self._connection.execute("SELECT digest FROM erased")}

    def known(self, keys: Sequence[Key]) -> set[Key]:
        find = "SELECT 1 FROM log WHERE twin = ? AND boot_id = ? AND seq = ?"
        with self._reading():
            return {key for key in keys if self._connection.execute(find, key).fetchone()}

    def commit(self, batch: Batch) -> set[str]:
        with self._transaction() as run:
            fenced = {twin.id for twin in batch.twins if run(UPDATE_TWIN, _changed(twin)).rowcount == 0}
            if fenced:
                batch = batch._replace(entries=[entry for entry in batch.entries if entry.twin not in fenced])
            self._connection.executemany(INSERT_ENTRY, [entry_row(entry) for entry in batch.entries])
            self._keep_quarantined(batch.quarantined)
        return fenced

    def create(self, twin: Twin) -> bool:
        values = twin_row(twin)
        with self._transaction() as run:
            run(f"INSERT INTO twins ({TWIN_COLUMNS}) VALUES ({', '.join('?' * len(values))}) ON CONFLICT DO NOTHING", values)
            run("DELETE FROM erased WHERE digest = ?", (digest(twin.id),))
        return True

    def erase(self, twin: str) -> bool:
        twin = storable(twin)
        with self._transaction() as run:
            for table, column in OF_DEVICE.items():
                run(f"DELETE FROM {table} WHERE {column} = ?", (twin,))
            run("INSERT INTO erased VALUES (?) ON CONFLICT DO NOTHING", (digest(twin),))
            self._forgetting = True
        return True

    def entries(self, twin: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        where, values = ("", [twin]) if before is None else ("AND (boot_id, seq) < (?, ?)", [twin, *before])
        query = f"SELECT {ENTRY_COLUMNS} FROM log WHERE twin = ? {where} ORDER BY boot_id DESC, seq DESC LIMIT ?"
        with self._reading():
            return [entry_of(row) for row in self._connection.execute(query, [*values, limit])]

    def history(self, twin: str, limit: int = -1) -> tuple[int, dict, Iterator[Entry]]:
        with self._reading():
            row = self._connection.execute("SELECT revision, state FROM base WHERE twin = ?", (twin,)).fetchone()
            query = f"SELECT {ENTRY_COLUMNS} FROM log WHERE twin = ? ORDER BY boot_id, seq LIMIT ?"
            rows = self._connection.execute(query, (twin, limit))
            revision, state = (row[0], json.loads(row[1])) if row else (0, {})
            return revision, state, map(entry_of, rows.fetchall())

    def trim(self, twin: str, before_s: float) -> int:
        oldest = "SELECT measured_s FROM log WHERE twin = ? ORDER BY boot_id, seq LIMIT 1"
        with self._reading():
            first = self._connection.execute(oldest, (twin,)).fetchone()
        if first is None or first[0] >= before_s:
            return 0
        begin, state, gone = trimmed(*self.history(twin, TRIMMED_AT_ONCE), before_s)
        if gone:
            with self._transaction() as run:
                run("INSERT OR REPLACE INTO base VALUES (?, ?, ?)", (twin, begin, as_text(state)))
                self._connection.executemany(
                    "DELETE FROM log WHERE twin = ? AND boot_id = ? AND seq = ?", [(e.twin, e.boot_id, e.seq) for e in gone]
                )
        return len(gone)

    def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        where, values = ("", []) if device is None else ("WHERE device = ?", [storable(device)])
        query = f"SELECT reason, detail, device, message, received_s FROM quarantine {where} ORDER BY id DESC LIMIT ?"
        with self._reading():
            return [Quarantined(*row) for row in self._connection.execute(query, [*values, limit])]

    def quarantine_counts(self) -> dict[str, int]:
        with self._reading():
            return dict(self._connection.execute("SELECT reason, count(*) FROM quarantine GROUP BY reason ORDER BY reason"))

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def _keep_quarantined(self, messages: Sequence[Quarantined]) -> None:
        if not messages:
            return
        self._connection.executemany(INSERT_QUARANTINED, map(quarantine_row, messages))
        self._connection.execute("DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (QUARANTINE_KEPT,))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._reading():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            if self._forgetting:
                self._forget()

    def _forget(self) -> None:
        """Empties the write-ahead log, where erased data still stands. As long as a reader holds it, this waits for the next change."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            self._forgetting = bool(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


def version_of(path: Path) -> int | None:
    """A store file's version, None where there is no file or an empty one. Raises StoreRefused for one that is not a store, or is newer."""
    try:
        if not path.exists() or path.stat().st_size == 0:
            return None
        if path.stat().st_size < SMALLEST_FILE:
            raise StoreRefused(f"{path}: not an SQLite file, or damaged; restore it from a backup")
    except OSError as error:
        raise StoreRefused(f"{path}: cannot be read ({error.strerror})") from None
    try:
        connection = read_only(path)
        try:
            application, version = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: cannot be read as a store ({error}); restore it from a backup") from None
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreRefused(f"{path}: an SQLite file of another program, not a store of edgetwin")
    if version > len(STEPS):
        raise StoreRefused(
            f"{path}: a store of version {version}, written by a newer edgetwin; this one knows up to {len(STEPS)}"
        )
    return version


def check(path: Path) -> None:
    """Reads every page of a store file, served or not. Raises StoreRefused where anything is damaged, or it is of an older version."""
    version = version_of(path)
    if not version:
        raise StoreRefused(f"{path}: there is no store")
    connection = read_only(path)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        found = [str(error)]
    finally:
        connection.close()
    if found != ["ok"]:
        raise StoreRefused(f"{path}: damaged ({'; '.join(found)}); restore it from a backup")
    if version < len(STEPS):
        raise StoreRefused(f"{path}: a store of version {version}; edgetwin store upgrade brings it to {len(STEPS)}")


def locked(path: Path) -> IO[bytes]:
    """The file beside the store whose lock says that a process writes to it. The lock ends with the process, however that ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise StoreRefused(f"{path}: no store can be kept there ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreRefused(f"{path}: another process has this store open") from None
    return lock


def read_only(path: Path) -> sqlite3.Connection:
    """A connection to a store file that may be served meanwhile."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Brings a file of a version up to this one, each step in a transaction of its own."""
    for number, step in enumerate(STEPS[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def _opened(path: Path) -> sqlite3.Connection:
    version = version_of(path) or 0
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        upgrade(connection, version)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was erased when the process was killed leaves the log now
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: cannot be read as a store ({error}); restore it from a backup") from None
    return connection


def _changed(twin: Twin) -> list[Any]:
    row = twin_row(twin)
    return [*row[3:], twin.id, twin.epoch]
