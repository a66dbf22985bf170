"""Where tests keep stores of either kind, and what to look at behind their backs."""

import contextlib
import sqlite3
from pathlib import Path

from edgetwin.twin.messages import Update
from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.moves.place import Directory
from edgetwin.twin.moves.postgres_directory import PostgresDirectory
from edgetwin.twin.record import Entry, Twin, applied
from edgetwin.twin.stores.postgres import PostgresStore
from edgetwin.twin.stores.postgres_schema import STEPS
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.sqlite_file import opened
from edgetwin.twin.stores.sqlite_schema import STORE
from edgetwin.twin.stores.store import Batch, Store
from twin.servers import PostgresServer


class Place:
    """Where stores of one kind are kept in a test, and what to look at behind their backs."""

    def __init__(self, kind: str, folder: Path, server: PostgresServer | None):
        self.kind, self.server, self.path = kind, server, folder / "store.sqlite"
        self.opened: list[Store | Directory] = []

    def open(self, host: str = "edge-1") -> Store:
        store: Store = SQLiteStore(self.path) if self.server is None else PostgresStore(self.server.address, host)
        self.opened.append(store)
        return store

    def directory(self) -> Directory:
        """The directory of the place, opened once."""
        found = next((one for one in self.opened if isinstance(one, SQLiteDirectory | PostgresDirectory)), None)
        if found is None:
            folder = self.path.parent
            found = (
                SQLiteDirectory(folder / "directory.sqlite") if self.server is None else PostgresDirectory(self.server.address)
            )
            self.opened.append(found)
        return found

    def run(self, statement: str) -> list[tuple]:
        if self.server is not None:
            return self.server.run(statement)
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement.replace("edgetwin.", "")).fetchall()

    def make(self, version: int) -> None:
        """An empty store as an edgetwin of that version made it."""
        if self.server is None:
            opened(self.path, STORE._replace(steps=STORE.steps[:version])).close()
            return
        for step in ("CREATE SCHEMA edgetwin", *STEPS[:version], f"UPDATE edgetwin.version SET version = {version}"):
            self.run(step)

    def clear(self) -> None:
        for store in self.opened:
            store.close()
        self.opened.clear()
        if self.server is not None:
            self.server.run("DROP SCHEMA IF EXISTS edgetwin CASCADE")
        for file in [*self.path.parent.glob(f"{self.path.name}*"), *self.path.parent.glob("directory.sqlite*")]:
            file.unlink()


def update(twin: str, seq: int, boot_id: int = 1, **state: object) -> Update:
    return Update(twin, boot_id, seq, 1000.0 + seq, state or {"x_m": float(seq)})


def grown(store: Store, twin: Twin, count: int) -> tuple[Twin, list[Entry]]:
    """The twin after some updates that are in the store, and its entries."""
    entries = []
    for seq in range(twin.seq + 1, twin.seq + 1 + count):
        twin, entry = applied(twin, update(twin.id, seq), {}, 2000.0 + seq)
        entries.append(entry)
    assert store.commit(Batch([twin], entries)) == set()
    return twin, entries
