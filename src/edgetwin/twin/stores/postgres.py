"""A store in PostgreSQL, schema `edgetwin`, shared by all hosts: each twin has an owner and an epoch, and each write names both.

A host's writes are fenced in the statement itself, `WHERE owner = … AND epoch = …`, so that one which lost a twin without knowing it changes
nothing; and a twin moves to another host of the same database by one change of its row, without being copied. A session-level advisory lock
on the host's name keeps a second process from serving as the same host; it lives as long as the connection that writes. A lost connection is
made anew by the next call. Commits are synchronous whatever the server's default is.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.stores.postgres_arrays import arrays, arrays_of, columns_of
from edgetwin.twin.stores.postgres_schema import name_lock, place_of, require_version, upgrade
from edgetwin.twin.stores.postgres_session import Session
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
from edgetwin.twin.stores.store import (
    QUARANTINE_KEPT,
    TRIMMED_AT_ONCE,
    Batch,
    Conflict,
    Key,
    StoreRefused,
    digest,
    last_of_each,
)

NAME_WAIT_S = 0.5
"""How long the server may take to notice that the process which served before is gone."""
WRITTEN = ("id", "epoch", *CHANGED)
TWIN_COLUMNS, ENTRY_COLUMNS, QUARANTINE_COLUMNS = (", ".join(TABLES[name]) for name in ("twins", "log", "quarantine"))
UPDATE_TWINS = f"""
    UPDATE edgetwin.twins AS there SET {", ".join(f"{name} = new.{name}" for name in CHANGED)}
    FROM unnest({arrays(WRITTEN)}) AS new ({", ".join(WRITTEN)})
    WHERE there.id = new.id AND there.epoch = new.epoch AND there.owner = %s RETURNING there.id
"""
INSERT_ENTRIES = f"INSERT INTO edgetwin.log ({ENTRY_COLUMNS}) SELECT * FROM unnest({arrays(Entry._fields)})"
INSERT_QUARANTINED = f"""
    INSERT INTO edgetwin.quarantine (host, number, {QUARANTINE_COLUMNS})
    SELECT %s, number + (SELECT coalesce(max(number), 0) FROM edgetwin.quarantine WHERE host = %s), {QUARANTINE_COLUMNS}
    FROM unnest(%s::float8[], %s::text[], %s::text[], %s::text[], %s::bytea[]) WITH ORDINALITY AS new ({QUARANTINE_COLUMNS}, number)
"""
FIND_KEYS = (
    "SELECT twin, boot_id, seq FROM edgetwin.log JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS new (twin, boot_id, seq)"
)
OLDEST = "SELECT measured_s FROM edgetwin.log WHERE twin = %s ORDER BY boot_id, seq LIMIT 1"
HELD = "SELECT 1 FROM edgetwin.twins WHERE id = %s AND owner = %s FOR UPDATE"


class PostgresStore:
    """The part of `host` in the store at an address, made where there is none. Raises StoreRefused, StoreUnavailable."""

    shared = True

    def __init__(self, address: str, host: str):
        self.host, self.place, self._address = host, place_of(address), address
        self._session = Session(address, self._serving)
        self._session.open()

    @classmethod
    def reading(cls, address: str, host: str) -> "PostgresStore":
        """A host's part for reading only: it takes no lock, so another process may serve as the host."""
        reader = object.__new__(cls)
        reader.host, reader.place, reader._address = host, place_of(address), address
        reader._session = Session(address, reader._only_reading)
        return reader

    def reader(self) -> "PostgresStore":
        return self.reading(self._address, self.host)

    def twins(self) -> list[Twin]:
        with self.transaction() as database:
            rows = database.execute(f"SELECT {TWIN_COLUMNS} FROM edgetwin.twins WHERE owner = %s", (self.host,))
            return [twin_of(row) for row in rows]

    def erased(self) -> set[str]:
        with self.transaction() as database:
            return {row[0] for row in database.execute("SELECT digest FROM edgetwin.erased")}

    def known(self, keys: Sequence[Key]) -> set[Key]:
        if not keys:
            return set()
        with self.transaction() as database:
            return set(database.execute(f"{FIND_KEYS} USING (twin, boot_id, seq)", columns_of(keys)).fetchall())

    def commit(self, batch: Batch) -> set[str]:
        twins = last_of_each(batch.twins)
        held: set[str] = set()
        with self.transaction() as database:
            if twins:
                held = {row[0] for row in database.execute(UPDATE_TWINS, [*arrays_of(map(_written, twins)), self.host])}
            if entries := [entry_row(entry) for entry in batch.entries if entry.twin in held]:
                database.execute(INSERT_ENTRIES, arrays_of(entries))
            if batch.quarantined:
                database.execute(INSERT_QUARANTINED, [self.host, self.host, *columns_of(map(quarantine_row, batch.quarantined))])
                database.execute(
                    "DELETE FROM edgetwin.quarantine WHERE host = %s AND number <= "
                    "(SELECT max(number) FROM edgetwin.quarantine WHERE host = %s) - %s",
                    (self.host, self.host, QUARANTINE_KEPT),
                )
        return {twin.id for twin in twins} - held

    def create(self, twin: Twin) -> Twin | None:
        values = [*twin_row(twin), self.host]
        places = ", ".join(["%s"] * len(values))
        with self.transaction() as database:
            database.execute(
                f"INSERT INTO edgetwin.twins ({TWIN_COLUMNS}, owner) VALUES ({places}) ON CONFLICT DO NOTHING", values
            )
            held = f"SELECT {TWIN_COLUMNS} FROM edgetwin.twins WHERE id = %s AND owner = %s FOR UPDATE"
            if (row := database.execute(held, (storable(twin.id), self.host)).fetchone()) is None:
                return None
            database.execute("DELETE FROM edgetwin.erased WHERE digest = %s", (digest(twin.id),))
        return twin_of(row)

    def erase(self, twin: str) -> bool:
        twin = storable(twin)
        with self.transaction() as database:
            if database.execute(
                "SELECT 1 FROM edgetwin.twins WHERE id = %s AND owner <> %s FOR UPDATE", (twin, self.host)
            ).fetchone():
                return False
            for table, column in OF_DEVICE.items():
                database.execute(f"DELETE FROM edgetwin.{table} WHERE {column} = %s", (twin,))
            database.execute("INSERT INTO edgetwin.erased VALUES (%s) ON CONFLICT DO NOTHING", (digest(twin),))
        return True

    def entries(self, twin: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        where, values = ("", [twin]) if before is None else ("AND (boot_id, seq) < (%s, %s)", [twin, *before])
        query = f"SELECT {ENTRY_COLUMNS} FROM edgetwin.log WHERE twin = %s {where} ORDER BY boot_id DESC, seq DESC LIMIT %s"
        with self.transaction() as database:
            return [entry_of(row) for row in database.execute(query, [*values, limit])]

    def history(self, twin: str) -> tuple[int, dict, Iterator[Entry]]:
        with self.transaction() as database:
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return _history(database, twin)

    def trim(self, twin: str, before_s: float) -> int:
        with self.transaction() as database:
            if database.execute(HELD, (twin, self.host)).fetchone() is None:
                return 0
            first = database.execute(OLDEST, (twin,)).fetchone()
            if first is None or first[0] >= before_s:
                return 0
            begin, state, gone = trimmed(*_history(database, twin, TRIMMED_AT_ONCE), before_s)
            if gone:
                database.execute(
                    "INSERT INTO edgetwin.base VALUES (%s, %s, %s) "
                    "ON CONFLICT (twin) DO UPDATE SET revision = excluded.revision, state = excluded.state",
                    (twin, begin, as_text(state)),
                )
                database.execute(
                    "DELETE FROM edgetwin.log USING unnest(%s::bigint[], %s::bigint[]) AS gone (boot_id, seq) "
                    "WHERE twin = %s AND log.boot_id = gone.boot_id AND log.seq = gone.seq",
                    [*columns_of((entry.boot_id, entry.seq) for entry in gone), twin],
                )
        return len(gone)

    def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        where, values = ("", [self.host]) if device is None else ("AND device = %s", [self.host, storable(device)])
        columns = ", ".join(Quarantined._fields)
        query = f"SELECT {columns} FROM edgetwin.quarantine WHERE host = %s {where} ORDER BY number DESC LIMIT %s"
        with self.transaction() as database:
            return [Quarantined(*row) for row in database.execute(query, [*values, limit])]

    def quarantine_counts(self) -> dict[str, int]:
        query = "SELECT reason, count(*) FROM edgetwin.quarantine WHERE host = %s GROUP BY reason ORDER BY reason"
        with self.transaction() as database:
            return dict(database.execute(query, (self.host,)).fetchall())

    def leaving(self) -> list[tuple[str, str]]:
        return []

    def freeze(self, twin: str, move: str) -> bool:
        with self.transaction() as database:
            return database.execute(HELD, (twin, self.host)).fetchone() is not None

    def thaw(self, twin: str, move: str) -> None:
        pass

    def release(self, twin: str, move: str) -> bool:
        return False

    def arriving(self) -> list[tuple[str, str]]:
        return []

    def stage(self, parcel: Parcel, move: str) -> None:
        with self.transaction() as database:
            if database.execute(HELD, (parcel.twin.id, self.host)).fetchone():
                raise Conflict(f"{parcel.twin.id} is here itself")

    def extend(self, tail: Tail, move: str) -> bool:
        return True

    def staged(self, twin: str, move: str) -> Parcel | None:
        with self.transaction() as database:
            row = database.execute(f"SELECT {TWIN_COLUMNS} FROM edgetwin.twins WHERE id = %s", (twin,)).fetchone()
            return None if row is None else Parcel(twin_of(row), Base(), [])

    def record(self, twin: str, move: str) -> Twin | None:
        copy = self.staged(twin, move)
        return None if copy is None else copy.twin

    def found(self, keys: Sequence[Key]) -> list[Entry]:
        if not keys:
            return []
        query = f"SELECT {ENTRY_COLUMNS} FROM edgetwin.log JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS new (twin, boot_id, seq)"
        with self.transaction() as database:
            rows = database.execute(f"{query} USING (twin, boot_id, seq)", columns_of(keys))
            return [entry_of(row) for row in rows]

    def activate(self, twin: str, move: str, epoch: int) -> Twin | None:
        given = f"SELECT {TWIN_COLUMNS} FROM edgetwin.twins WHERE id = %s AND owner = %s AND epoch = %s"
        with self.transaction() as database:
            row = database.execute(given, (twin, self.host, epoch)).fetchone()
            return None if row is None else twin_of(row)

    def discard(self, twin: str, move: str) -> bool:
        return False

    def clean(self) -> bool:
        return False

    def close(self) -> None:
        self._session.close()

    def transaction(self) -> AbstractContextManager[psycopg.Connection]:
        """A connection in one transaction, which is committed where the block ends well. Raises StoreUnavailable, the connection dropped."""
        return self._session.transaction()

    def _serving(self, connection: psycopg.Connection) -> None:
        self._take_name(connection)
        upgrade(connection, self.place)

    def _only_reading(self, connection: psycopg.Connection) -> None:
        connection.execute("SET default_transaction_read_only = on")
        require_version(connection, self.place)

    def _take_name(self, connection: psycopg.Connection) -> None:
        until = time.monotonic() + NAME_WAIT_S
        while connection.execute("SELECT pg_try_advisory_lock(%s)", (name_lock(self.host),)).fetchone() != (True,):
            if time.monotonic() > until:
                raise StoreRefused(f"{self.place}: another process serves as host {self.host}")
            time.sleep(0.02)


def _written(twin: Twin) -> list[Any]:
    row = twin_row(twin)
    return [row[0], *row[2:]]


def _history(database: psycopg.Connection, twin: str, limit: int | None = None) -> tuple[int, dict, Iterator[Entry]]:
    row = database.execute("SELECT revision, state FROM edgetwin.base WHERE twin = %s", (twin,)).fetchone()
    query = f"SELECT {ENTRY_COLUMNS} FROM edgetwin.log WHERE twin = %s ORDER BY boot_id, seq LIMIT %s"
    rows = database.execute(query, (twin, limit)).fetchall()
    revision, state = (row[0], json.loads(row[1])) if row else (0, {})
    return revision, state, map(entry_of, rows)
