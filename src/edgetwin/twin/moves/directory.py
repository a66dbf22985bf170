"""The directory of places in a file of its own, for hosts with stores of their own. A change is one statement, on disk when it returns."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgetwin.errors import InputError
from edgetwin.twin.moves.place import Known, Place
from edgetwin.twin.stores.sqlite_file import Form, locked, opened
from edgetwin.twin.stores.store import StoreUnavailable

DIRECTORY = Form(
    "directory",
    0x65747764,
    (
        """
    CREATE TABLE places (
        twin TEXT PRIMARY KEY, host TEXT NOT NULL, epoch INTEGER NOT NULL, move TEXT, destination TEXT, source TEXT
    ) WITHOUT ROWID;
    CREATE TABLE hosts (name TEXT PRIMARY KEY, url TEXT, cordoned INTEGER NOT NULL) WITHOUT ROWID;
    """,
    ),
)
COLUMNS = ", ".join(Place._fields)
ENROL = "INSERT INTO places (twin, host, epoch) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
BEGIN = "UPDATE places SET move = ?, destination = ? WHERE twin = ? AND host = ? AND epoch = ? AND move IS NULL"
COMMIT = (
    "UPDATE places SET host = destination, epoch = epoch + 1, source = host, destination = NULL "
    "WHERE twin = ? AND move = ? AND destination IS NOT NULL"
)
ABORT = "UPDATE places SET move = NULL, destination = NULL WHERE twin = ? AND move = ? AND destination IS NOT NULL"
RELEASE = "UPDATE places SET move = NULL, source = NULL WHERE twin = ? AND move = ? AND source IS NOT NULL"
KNOW = "INSERT OR REPLACE INTO hosts (name, url, cordoned) VALUES (?, ?, ?)"


class SQLiteDirectory:
    """The directory in the file at `path`, made where there is none. Raises StoreRefused, also where another process has it open."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = locked(path, DIRECTORY)
        try:
            self._connection = opened(path, DIRECTORY)
        except BaseException:
            self._lock.close()
            raise

    def places(self) -> list[Place]:
        with self._run(f"SELECT {COLUMNS} FROM places") as found:
            return [Place(*row) for row in found]

    def open_places(self) -> list[Place]:
        with self._run(f"SELECT {COLUMNS} FROM places WHERE move IS NOT NULL") as found:
            return [Place(*row) for row in found]

    def place(self, twin: str) -> Place | None:
        with self._run(f"SELECT {COLUMNS} FROM places WHERE twin = ?", twin) as found:
            return next((Place(*row) for row in found), None)

    def enrol(self, twin: str, host: str, epoch: int = 1) -> Place:
        self._changed(ENROL, twin, host, epoch)
        return self.place(twin) or Place(twin, host, epoch)

    def begin(self, place: Place, move: str, destination: str) -> bool:
        return place.move is None and self._changed(BEGIN, move, destination, place.twin, place.host, place.epoch)

    def commit(self, twin: str, move: str) -> Place | None:
        return self.place(twin) if self._changed(COMMIT, twin, move) else None

    def abort(self, twin: str, move: str) -> bool:
        return self._changed(ABORT, twin, move)

    def release(self, twin: str, move: str) -> None:
        self._changed(RELEASE, twin, move)

    def fail_over(self, host: str, to: Mapping[str, str]) -> list[Place]:
        raise InputError(
            f"twins of {host} are in its own store: they wait for it; only on a store that hosts share do others take them"
        )

    def erase(self, twin: str) -> None:
        self._changed("DELETE FROM places WHERE twin = ?", twin)

    def hosts(self) -> dict[str, Known]:
        with self._run("SELECT name, url, cordoned FROM hosts") as found:
            return {name: Known(name, url, bool(cordoned)) for name, url, cordoned in found}

    def know(self, host: Known) -> None:
        self._changed(KNOW, *host)

    def forget(self, host: str) -> None:
        self._changed("DELETE FROM hosts WHERE name = ?", host)

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def _changed(self, statement: str, *values: object) -> bool:
        with self._run(statement, *values) as done:
            return done.rowcount > 0

    @contextmanager
    def _run(self, statement: str, *values: object) -> Iterator[sqlite3.Cursor]:
        try:
            yield self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error
