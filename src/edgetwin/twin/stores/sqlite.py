"""A store in one SQLite file, for one host: one transaction a batch. A twin that is frozen is fenced in the statement that would change it."""

import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.stores import sqlite_moves as moves
from edgetwin.twin.stores import sqlite_schema
from edgetwin.twin.stores.rows import (
    CHANGED,
    OF_DEVICE,
    TABLES,
    RowDamaged,
    as_text,
    entry_of,
    entry_row,
    quarantine_row,
    storable,
    trimmed,
    twin_of,
    twin_row,
)
from edgetwin.twin.stores.sqlite_file import locked, opened, read_only
from edgetwin.twin.stores.store import QUARANTINE_KEPT, TRIMMED_AT_ONCE, Batch, Key, StoreRefused, StoreUnavailable, digest

TWIN_COLUMNS, ENTRY_COLUMNS, QUARANTINE_COLUMNS = (", ".join(TABLES[name]) for name in ("twins", "log", "quarantine"))
UPDATE_TWIN = (
    f"UPDATE twins SET {', '.join(f'{name} = ?' for name in CHANGED)} WHERE id = ? AND epoch = ? AND {moves.NOT_LEAVING}"
)
INSERT_ENTRY = f"INSERT INTO log ({ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_QUARANTINED = f"INSERT INTO quarantine ({QUARANTINE_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
OLDEST = (
    "SELECT log.measured_s FROM twins CROSS JOIN log ON log.twin = twins.id "
    f"WHERE twins.id = ? AND {moves.NOT_LEAVING} ORDER BY log.boot_id, log.seq LIMIT 1"
)
"""When the first entry was measured that may be trimmed: nothing of a twin that is frozen, or of a copy."""
BUSY_MS = 5_000
"""How long a change waits for other readers and writers of the file."""


class SQLiteStore:
    """The store in the file at `path`, made where there is none. `place` is another each time, so that no two files are ever taken for one.
    Raises StoreRefused."""

    shared = False

    def __init__(self, path: Path):
        self.path, self.place = path, f"sqlite:{path.name}:{secrets.token_hex(8)}"
        self._lock: IO[bytes] | None = locked(path, sqlite_schema.STORE)
        self._forgetting = False
        try:
            self._connection = opened(path, sqlite_schema.STORE)
        except BaseException:
            self._lock.close()
            raise
        with (
            suppress(StoreUnavailable),
            self._reading(),
        ):  # on a full disk remnants stay, and are in the way of nobody but their own twins
            while self.clean():
                pass

    def reader(self) -> "SQLiteStore":
        reader = object.__new__(SQLiteStore)
        reader.path, reader.place, reader._lock, reader._forgetting = self.path, self.place, None, False
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

    def create(self, twin: Twin) -> Twin | None:
        values = twin_row(twin)
        self._finish(twin.id)
        with self._transaction() as run:
            if run("SELECT 1 FROM arriving WHERE id = ?", (twin.id,)).fetchone():
                return None
            run(f"INSERT INTO twins ({TWIN_COLUMNS}) VALUES ({', '.join('?' * len(values))}) ON CONFLICT DO NOTHING", values)
            run("DELETE FROM erased WHERE digest = ?", (digest(twin.id),))
            return twin_of(run(f"SELECT {TWIN_COLUMNS} FROM twins WHERE id = ?", (values[0],)).fetchone())

    def erase(self, twin: str) -> bool:
        twin = storable(twin)
        with self._transaction() as run:
            for table, column in OF_DEVICE.items():
                run(f"DELETE FROM {table} WHERE {column} = ?", (twin,))
            moves.forget(self._connection, twin)
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
        with self._reading():
            first = self._connection.execute(OLDEST, (twin,)).fetchone()
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

    def leaving(self) -> list[tuple[str, str]]:
        with self._reading():
            return self._connection.execute("SELECT twin, move FROM leaving").fetchall()

    def freeze(self, twin: str, move: str) -> bool:
        with self._transaction():
            return moves.freeze(self._connection, twin, move)

    def thaw(self, twin: str, move: str) -> None:
        with self._transaction():
            moves.thaw(self._connection, twin, move)

    def release(self, twin: str, move: str) -> bool:
        with self._transaction():
            moves.release(self._connection, twin, move)
            return moves.shorten(self._connection, twin)

    def arriving(self) -> list[tuple[str, str]]:
        with self._reading():
            return self._connection.execute("SELECT id, move FROM arriving").fetchall()

    def stage(self, parcel: Parcel, move: str) -> None:
        with self._transaction():
            moves.make_way(self._connection, parcel.twin.id)
        self._finish(parcel.twin.id)
        with self._transaction():
            moves.stage(self._connection, parcel, move)

    def extend(self, tail: Tail, move: str) -> bool:
        with self._transaction():
            return moves.extend(self._connection, tail, move)

    def staged(self, twin: str, move: str) -> Parcel | None:
        with (
            closing(self.reader()) as fresh,
            fresh._reading(),
        ):  # pages that were written are not read from this connection's memory
            fresh._connection.execute("BEGIN")
            record = moves.copied(fresh._connection, twin, move)
            if record is None:
                return None
            begin, state, entries = fresh.history(twin)
            return Parcel(record, Base(begin, state), list(entries))

    def record(self, twin: str, move: str) -> Twin | None:
        with self._reading():
            return moves.copied(self._connection, twin, move)

    def found(self, keys: Sequence[Key]) -> list[Entry]:
        query = f"SELECT {ENTRY_COLUMNS} FROM log WHERE twin = ? AND boot_id = ? AND seq = ?"
        with self._reading():
            rows = [self._connection.execute(query, key).fetchone() for key in keys]
        return [entry_of(row) for row in rows if row is not None]

    def activate(self, twin: str, move: str, epoch: int) -> Twin | None:
        with self._transaction():
            return moves.activate(self._connection, twin, move, epoch)

    def discard(self, twin: str, move: str) -> bool:
        with self._transaction():
            moves.discard(self._connection, twin, move)
            return moves.shorten(self._connection, twin)

    def clean(self) -> bool:
        with self._transaction() as run:
            row = run("SELECT twin FROM remnants LIMIT 1").fetchone()
            if row is not None:
                moves.shorten(self._connection, row[0])
            return row is not None

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def _keep_quarantined(self, messages: Sequence[Quarantined]) -> None:
        if not messages:
            return
        self._connection.executemany(INSERT_QUARANTINED, map(quarantine_row, messages))
        self._connection.execute("DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (QUARANTINE_KEPT,))

    def _finish(self, twin: str) -> None:
        """Deletes all that is left of a twin that is gone."""
        more = True
        while more:
            with self._transaction():
                more = moves.shorten(self._connection, twin)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error
        except RowDamaged as damaged:
            raise StoreRefused(f"{self.path}: {damaged}; restore it from a backup") from None

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


def _changed(twin: Twin) -> list[Any]:
    row = twin_row(twin)
    return [*row[3:], twin.id, twin.epoch]
