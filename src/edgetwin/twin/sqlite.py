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
from edgetwin.twin.record import Entry, Twin, folded
from edgetwin.twin.store import QUARANTINE_KEPT, Batch, Key, StoreRefused, StoreUnavailable, digest

APPLICATION_ID = 0x65747731
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
TWIN_COLUMNS = ", ".join(Twin._fields)
ENTRY_COLUMNS = ", ".join(Entry._fields)
CHANGED = [name for name in Twin._fields if name not in ("id", "kind", "epoch")]
UPDATE_TWIN = f"UPDATE twins SET {', '.join(f'{name} = ?' for name in CHANGED)} WHERE id = ? AND epoch = ?"
INSERT_ENTRY = f"INSERT INTO log ({ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


class SQLiteStore:
    """The store in the file at `path`, made where there is none. Raises StoreRefused."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock: IO[bytes] | None = _locked(path)
        self._connection = _opened(path)

    def reader(self) -> "SQLiteStore":
        reader = object.__new__(SQLiteStore)
        reader.path, reader._lock = self.path, None
        with reader._reading():
            reader._connection = _read_only(self.path)
        return reader

    def twins(self) -> list[Twin]:
        with self._reading():
            return [_twin(row) for row in self._connection.execute(f"SELECT {TWIN_COLUMNS} FROM twins")]

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
            self._connection.executemany(INSERT_ENTRY, [(*entry[:-1], _json(entry.changes)) for entry in batch.entries])
            self._keep_quarantined(batch.quarantined)
        return fenced

    def create(self, twin: Twin) -> None:
        values = [_json(value) if isinstance(value, dict) else value for value in twin]
        with self._transaction() as run:
            run(f"INSERT INTO twins ({TWIN_COLUMNS}) VALUES ({', '.join('?' * len(values))}) ON CONFLICT DO NOTHING", values)
            run("DELETE FROM erased WHERE digest = ?", (digest(twin.id),))

    def erase(self, twin: str) -> None:
        with self._transaction() as run:
            for table, column in (("twins", "id"), ("log", "twin"), ("base", "twin"), ("quarantine", "device")):
                run(f"DELETE FROM {table} WHERE {column} = ?", (twin,))
            run("INSERT INTO erased VALUES (?) ON CONFLICT DO NOTHING", (digest(twin),))
        with self._reading():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def entries(self, twin: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        where, values = ("", [twin]) if before is None else ("AND (boot_id, seq) < (?, ?)", [twin, *before])
        query = f"SELECT {ENTRY_COLUMNS} FROM log WHERE twin = ? {where} ORDER BY boot_id DESC, seq DESC LIMIT ?"
        with self._reading():
            return [_entry(row) for row in self._connection.execute(query, [*values, limit])]

    def history(self, twin: str) -> tuple[int, dict, Iterator[Entry]]:
        with self._reading():
            row = self._connection.execute("SELECT revision, state FROM base WHERE twin = ?", (twin,)).fetchone()
            rows = self._connection.execute(f"SELECT {ENTRY_COLUMNS} FROM log WHERE twin = ? ORDER BY boot_id, seq", (twin,))
            revision, state = (row[0], json.loads(row[1])) if row else (0, {})
            return revision, state, map(_entry, rows.fetchall())

    def trim(self, twin: str, before_s: float) -> int:
        revision, state, entries = self.history(twin)
        kept = list(entries)
        newest = max((entry.revision or 0 for entry in kept), default=0)
        keep_from = min(
            (e.revision for e in kept if e.revision and (e.measured_s >= before_s or e.revision == newest)), default=newest
        )
        gone = [e for e in kept if (e.revision < keep_from if e.revision else e.measured_s < before_s)]
        if not gone:
            return 0
        base = (twin, max([revision, *(e.revision for e in gone if e.revision)]), _json(folded(state, gone)))
        with self._transaction() as run:
            run("INSERT OR REPLACE INTO base VALUES (?, ?, ?)", base)
            self._connection.executemany(
                "DELETE FROM log WHERE twin = ? AND boot_id = ? AND seq = ?", [(e.twin, e.boot_id, e.seq) for e in gone]
            )
        return len(gone)

    def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        where, values = ("", []) if device is None else ("WHERE device = ?", [device])
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
        rows = [(bad.received_s, bad.reason, bad.detail, bad.device, bad.message) for bad in messages]
        insert = "INSERT INTO quarantine (received_s, reason, detail, device, message) VALUES (?, ?, ?, ?, ?)"
        self._connection.executemany(insert, rows)
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


def version_of(path: Path) -> int | None:
    """A store file's version, None where there is no file or an empty one. Raises StoreRefused for one that is not a store, or is newer."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        connection = _read_only(path)
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
    """Reads every page of a store file. Raises StoreRefused where anything is damaged."""
    if version_of(path) is None:
        raise StoreRefused(f"{path}: there is no store")
    connection = _read_only(path)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        found = [str(error)]
    finally:
        connection.close()
    if found != ["ok"]:
        raise StoreRefused(f"{path}: damaged ({'; '.join(found)}); restore it from a backup")


def _locked(path: Path) -> IO[bytes]:
    """The file beside the store whose lock says that a process writes to it. The lock ends with the process, however that ends."""
    lock = path.with_name(f"{path.name}.lock").open("ab")  # noqa: SIM115  (held as long as the store)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreRefused(f"{path}: another process has this store open") from None
    return lock


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


def _opened(path: Path) -> sqlite3.Connection:
    version = version_of(path) or 0
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        for number, step in enumerate(STEPS[version:], version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
            )
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: cannot be read as a store ({error}); restore it from a backup") from None
    return connection


def _changed(twin: Twin) -> list[Any]:
    values = [getattr(twin, name) for name in CHANGED]
    return [*(_json(value) if isinstance(value, dict) else value for value in values), twin.id, twin.epoch]


def _twin(row: Sequence[Any]) -> Twin:
    twin = Twin(*row)
    return twin._replace(reported=json.loads(row[4]), desired=json.loads(row[5]), model=json.loads(row[-1]))


def _entry(row: Sequence[Any]) -> Entry:
    twin, boot_id, seq, revision, measured_s, received_s, changes = row
    return Entry(twin, boot_id, seq, revision, measured_s, received_s, json.loads(changes))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
