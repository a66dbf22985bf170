"""Stores checked, backed up, restored and brought up: a backup is one SQLite file, itself a store, of one host's twins in either kind of store.

A backup is taken of one moment while the store is served, and is checked before it stands under its name. It is restored only where there
is no store yet, so that nothing is ever replaced, and twins keep their epochs. In PostgreSQL, which knows of it, twins whose data was
erased meanwhile do not come back.

Moves do not stop for a backup. A twin that was frozen comes back frozen, a copy that was not served comes back so, and the directory of places
says what becomes of each, as after any restart. It alone says who has a twin: one that moved away after its backup was taken is in the restored
store, at its old epoch, and not its host's. In PostgreSQL the rows of twins are the directory: what is restored belongs to the host it is
restored to, so a backup with a frozen twin, which may be another host's by now, is refused, and copies are left out.
"""

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from edgetwin.errors import InputError
from edgetwin.files import replacing
from edgetwin.twin.record import folded
from edgetwin.twin.stores import sqlite, sqlite_file, sqlite_schema
from edgetwin.twin.stores.rows import TABLES, entry_of, twin_of
from edgetwin.twin.stores.store import StoreRefused, digest, is_postgres, postgres_module

Rows = Callable[[str], Iterable[tuple]]
"""The rows of a table of `COLUMNS`, all tables at one moment."""
OF_A_HOST = {
    "twins": "twins WHERE owner = %(host)s ORDER BY id",
    "base": "base JOIN edgetwin.twins ON twins.id = base.twin WHERE owner = %(host)s ORDER BY twin",
    "log": "log JOIN edgetwin.twins ON twins.id = log.twin WHERE owner = %(host)s ORDER BY twin, log.boot_id, log.seq",
    "quarantine": "quarantine WHERE host = %(host)s ORDER BY number",
    "erased": "erased ORDER BY digest",
}
"""What in PostgreSQL belongs to a host, in the order of a file's."""
COLUMNS = TABLES | {"leaving": ("twin", "move"), "arriving": ("id", "move"), "remnants": ("twin",)}
"""What a file has; PostgreSQL has no more than `TABLES`."""
CHUNK = 10_000


class Found(NamedTuple):
    """What is in a store: numbers of twins, entries of their logs, messages in quarantine, devices that were erased, twins that are frozen,
    and copies that are not served; neither these nor their logs are counted among the twins'."""

    twins: int
    entries: int
    quarantined: int
    erased: int
    leaving: int = 0
    arriving: int = 0


def check(address: str, host: str | None = None) -> Found:
    """Reads all of a store, served or not. Raises StoreRefused where a page is damaged, or a twin's log does not lead to its state."""
    if not is_postgres(address):
        _no_host(host)
        sqlite_schema.check(Path(address))
    with _snapshot(address, host) as rows:
        return _whole(rows, address if host is None else f"host {host}")


def backup(address: str, target: Path, host: str | None = None) -> Found:
    """A backup of a store, served or not, at `target`, where nothing may be yet. Raises InputError, StoreUnavailable."""
    if target.exists():
        raise InputError(f"{target}: is there already; name a new file")
    if not is_postgres(address):
        _no_host(host)
        _there(Path(address))
    with _written_whole(target) as file:
        if is_postgres(address):
            with _snapshot(address, host) as rows:
                _fill(file, rows)
        else:
            _copy(Path(address), file)
        return _checked_copy(file, address)


def restore(source: Path, address: str, host: str | None = None) -> Found:
    """What was restored from a backup into a place without a store. Raises InputError, StoreRefused, StoreUnavailable."""
    _there(source)
    if is_postgres(address):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "backup"
            _copy(source, file)
            _checked_copy(file, str(source))
            return _restored_into_postgres(file, source, address, _host(host))
    _no_host(host)
    target = Path(address)
    with sqlite_file.locked(target, sqlite_schema.STORE):
        for name in (target.name, f"{target.name}-wal", f"{target.name}-journal"):
            if target.with_name(name).exists():
                raise StoreRefused(f"{target.with_name(name)}: is there already; restore to a new place")
        with _written_whole(target) as file:
            _copy(source, file)
            return _checked_copy(file, str(source))


def upgrade(address: str) -> tuple[int, int]:
    """Brings a store to this version: the version it had, and has. Raises StoreRefused, also where a file is being served."""
    if is_postgres(address):
        postgres_module()
        from edgetwin.twin.stores import postgres_schema

        place = postgres_schema.place_of(address)
        with postgres_schema.connected(address) as connection:
            if postgres_schema.version_of(connection, place) == 0:
                raise StoreRefused(f"{place}: there is no store")
            return postgres_schema.upgrade(connection, place), len(postgres_schema.STEPS)
    version = _there(Path(address))
    sqlite.SQLiteStore(Path(address)).close()
    return version, len(sqlite_schema.STORE.steps)


def _there(path: Path) -> int:
    version = sqlite_file.version_of(path, sqlite_schema.STORE)
    if not version:
        raise StoreRefused(f"{path}: there is no store")
    return version


def _host(host: str | None) -> str:
    if host is None:
        raise InputError("--host: PostgreSQL holds the twins of many hosts; name one")
    return host


def _no_host(host: str | None) -> None:
    if host is not None:
        raise InputError(f"--host {host}: a file holds the twins of one host; leave it out")


@contextmanager
def _snapshot(address: str, host: str | None) -> Iterator[Rows]:
    """A store's tables as they are now, whatever is written meanwhile."""
    if is_postgres(address):
        store = postgres_module().PostgresStore.reading(address, _host(host))
        with closing(store), store.transaction() as database:
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            database.execute("SET LOCAL statement_timeout = 0")
            database.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield lambda table: _streamed(database, table, _host(host))
    else:
        with closing(sqlite_file.read_only(Path(address))) as connection:
            connection.execute("BEGIN")
            yield lambda table: connection.execute(f"SELECT {', '.join(COLUMNS[table])} FROM {table}")


def _streamed(database: Any, table: str, host: str) -> Iterator[tuple]:
    if table not in OF_A_HOST:
        return
    columns = ", ".join(f"{table}.{column}" for column in TABLES[table])
    with database.cursor(name=f"{table}_rows") as cursor:
        cursor.itersize = CHUNK
        yield from cursor.execute(f"SELECT {columns} FROM edgetwin.{OF_A_HOST[table]}", {"host": host})


def _whole(rows: Rows, place: str) -> Found:
    """Counts what there is, having seen that each twin's log leads to its state, every revision once."""
    twins = {twin.id: twin for twin in map(twin_of, rows("twins"))}
    unserved = _unserved(rows)
    begins = {twin: (revision, json.loads(state)) for twin, revision, state in rows("base") if twin not in unserved}
    entries = 0
    unproven = {twin.id for twin in twins.values() if twin.revision}
    served = (row for row in rows("log") if row[0] not in unserved)
    for name, of_twin in groupby(map(entry_of, served), key=lambda entry: entry.twin):
        log = list(of_twin)
        entries += len(log)
        revision, state = begins.get(name, (0, {}))
        numbers = sorted(entry.revision for entry in log if entry.revision is not None)
        if (
            name not in twins
            or numbers != list(range(revision + 1, twins[name].revision + 1))
            or folded(state, log) != twins[name].reported
        ):
            raise StoreRefused(f"{place}: the log of {name} does not lead to its state; restore it from a backup")
        unproven.discard(name)
    if unproven or not begins.keys() <= twins.keys():
        raise StoreRefused(f"{place}: the log of {min(unproven or begins.keys() - twins)} is missing; restore it from a backup")
    return Found(len(twins), entries, *(sum(1 for _ in rows(name)) for name in ("quarantine", "erased", "leaving", "arriving")))


def _unserved(rows: Rows) -> set[str]:
    """Twins whose log is that of a copy, or is being deleted."""
    return {row[0] for table in ("arriving", "remnants") for row in rows(table)}


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A new file that stands at `target`, on disk, once it is whole."""
    try:
        with replacing(target) as file:
            yield Path(file.name)
            os.fsync(file.fileno())
    except sqlite3.Error as error:
        raise InputError(f"{target}: cannot be written ({error})") from None
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _copy(source: Path, file: Path) -> None:
    """Copies a store as it is now, also one that is served, and brings the copy to this version."""
    with closing(sqlite_file.read_only(source)) as there, closing(sqlite3.connect(file, isolation_level=None)) as copy:
        there.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        sqlite_file.upgrade(copy, sqlite_schema.STORE, copy.execute("PRAGMA user_version").fetchone()[0])


def _fill(file: Path, rows: Rows) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        sqlite_file.upgrade(connection, sqlite_schema.STORE, 0)
        connection.execute("BEGIN")
        for table, columns in TABLES.items():
            places = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows(table))
        connection.execute("COMMIT")


def _checked_copy(file: Path, source: str) -> Found:
    """What is in a copy; what is wrong with it is said of its source."""
    try:
        return check(str(file))
    except StoreRefused as error:
        raise StoreRefused(str(error).replace(str(file), source)) from None


def _restored_into_postgres(file: Path, source: Path, address: str, host: str) -> Found:
    store = postgres_module().PostgresStore(address, host)
    with closing(store), _snapshot(str(file), None) as rows, store.transaction() as database:
        database.execute("SET LOCAL statement_timeout = 0")
        held = {row[0]: row[1] for row in database.execute("SELECT id, owner FROM edgetwin.twins")}
        if (
            host in held.values()
            or database.execute("SELECT 1 FROM edgetwin.quarantine WHERE host = %s LIMIT 1", (host,)).fetchone()
        ):
            raise StoreRefused(f"{store.place}: host {host} has a store there already; restore to a new place")
        if both := sorted(held.keys() & {row[0] for row in rows("twins")}):
            raise StoreRefused(
                f"{store.place}: {both[0]} is held by host {held[both[0]]}; {len(both)} of the backup's twins are there"
            )
        for twin, _ in rows("leaving"):
            raise StoreRefused(
                f"{source}: {twin} was moving to another host; restore to a file, let its host end that, and back it up"
            )
        unserved = _unserved(rows)
        gone = {row[0] for row in database.execute("SELECT digest FROM edgetwin.erased")}
        there = {digest(twin) for twin in held}
        kept = {
            "twins": ((*row, host) for row in rows("twins") if digest(row[0]) not in gone),
            "base": (row for row in rows("base") if row[0] not in unserved and digest(row[0]) not in gone),
            "log": (row for row in rows("log") if row[0] not in unserved and digest(row[0]) not in gone),
            "quarantine": (
                (*row, host, n) for n, row in enumerate(rows("quarantine"), 1) if not row[3] or digest(row[3]) not in gone
            ),
            "erased": (row for row in rows("erased") if row[0] not in gone | there),
        }
        added = {"twins": ("owner",), "quarantine": ("host", "number")}
        counts = {table: _loaded(database, table, (*TABLES[table], *added.get(table, ())), kept[table]) for table in TABLES}
    return Found(counts["twins"], counts["log"], counts["quarantine"], counts["erased"])


def _loaded(database: Any, table: str, columns: Iterable[str], rows: Iterable[tuple]) -> int:
    """How many rows were put into a table of PostgreSQL."""
    count = 0
    with database.cursor() as cursor, cursor.copy(f"COPY edgetwin.{table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count
