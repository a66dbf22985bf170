"""A store in PostgreSQL, schema `edgetwin`, shared by all hosts: each twin has an owner and an epoch, and each write names both.

A host's writes are fenced in the statement itself, `WHERE owner = … AND epoch = …`, so that one which lost a twin without knowing it changes
nothing. A session-level advisory lock on the host's name keeps a second process from serving as the same host; it lives as long as the
connection that writes. A lost connection is made anew by the next call. Commits are synchronous whatever the server's default is.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.rows import (
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
from edgetwin.twin.store import QUARANTINE_KEPT, Batch, Key, StoreRefused, StoreUnavailable, digest, last_of_each

STEPS = (
    """
    CREATE TABLE edgetwin.version (version integer NOT NULL);
    INSERT INTO edgetwin.version VALUES (1);
    CREATE TABLE edgetwin.twins (
        id text COLLATE "C" PRIMARY KEY, owner text NOT NULL, kind text NOT NULL, epoch bigint NOT NULL, revision bigint NOT NULL,
        reported text NOT NULL, desired text NOT NULL, desired_revision bigint NOT NULL, boot_id bigint NOT NULL, seq bigint NOT NULL,
        measured_s double precision NOT NULL, received_s double precision NOT NULL, missing bigint NOT NULL, model text NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE edgetwin.log (
        twin text COLLATE "C" NOT NULL, boot_id bigint NOT NULL, seq bigint NOT NULL, revision bigint,
        measured_s double precision NOT NULL, received_s double precision NOT NULL, changes text NOT NULL,
        PRIMARY KEY (twin, boot_id, seq)
    );
    CREATE TABLE edgetwin.base (twin text COLLATE "C" PRIMARY KEY, revision bigint NOT NULL, state text NOT NULL);
    CREATE TABLE edgetwin.quarantine (
        host text NOT NULL, number bigint NOT NULL, received_s double precision NOT NULL, reason text NOT NULL, detail text NOT NULL,
        device text, message bytea NOT NULL, PRIMARY KEY (host, number)
    );
    """,
    """
    CREATE TABLE edgetwin.erased (digest text PRIMARY KEY);
    CREATE INDEX quarantine_device ON edgetwin.quarantine (device) WHERE device IS NOT NULL;
    CREATE INDEX twins_owner ON edgetwin.twins (owner);
    """,
)
"""What each version adds to the one before."""
FIRST_TABLES = {"version", "twins", "log", "base", "quarantine"}
LINK: Mapping[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "client_encoding": "utf8",
    "application_name": "edgetwin",
}
"""How a connection is made: seconds, but tcp_user_timeout in milliseconds."""
SESSION = {
    "synchronous_commit": "on",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""Settings of a session. The server's own keepalives free the lock on the name of a host whose machine is gone."""

TYPES = {"id": "text", "twin": "text", "reported": "text", "desired": "text", "model": "text", "changes": "text"} | {
    "measured_s": "float8",
    "received_s": "float8",
}
WRITTEN = ("id", "epoch", *CHANGED)
TWIN_COLUMNS, ENTRY_COLUMNS, QUARANTINE_COLUMNS = (", ".join(TABLES[name]) for name in ("twins", "log", "quarantine"))


def _arrays(columns: Iterable[str]) -> str:
    return ", ".join(f"%s::{TYPES.get(name, 'bigint')}[]" for name in columns)


UPDATE_TWINS = f"""
    UPDATE edgetwin.twins AS there SET {", ".join(f"{name} = new.{name}" for name in CHANGED)}
    FROM unnest({_arrays(WRITTEN)}) AS new ({", ".join(WRITTEN)})
    WHERE there.id = new.id AND there.epoch = new.epoch AND there.owner = %s RETURNING there.id
"""
INSERT_ENTRIES = f"INSERT INTO edgetwin.log ({ENTRY_COLUMNS}) SELECT * FROM unnest({_arrays(Entry._fields)})"
INSERT_QUARANTINED = f"""
    INSERT INTO edgetwin.quarantine (host, number, {QUARANTINE_COLUMNS})
    SELECT %s, number + (SELECT coalesce(max(number), 0) FROM edgetwin.quarantine WHERE host = %s), {QUARANTINE_COLUMNS}
    FROM unnest(%s::float8[], %s::text[], %s::text[], %s::text[], %s::bytea[]) WITH ORDINALITY AS new ({QUARANTINE_COLUMNS}, number)
"""
FIND_KEYS = (
    "SELECT twin, boot_id, seq FROM edgetwin.log JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS new (twin, boot_id, seq)"
)
HELD = "SELECT 1 FROM edgetwin.twins WHERE id = %s AND owner = %s FOR UPDATE"


class PostgresStore:
    """The part of `host` in the store at an address, made where there is none. Raises StoreRefused, StoreUnavailable."""

    def __init__(self, address: str, host: str):
        self.host, self.place = host, place_of(address)
        self._address, self._writes = address, True
        self._connection: psycopg.Connection | None = self._connected()

    @classmethod
    def reading(cls, address: str, host: str) -> "PostgresStore":
        """A host's part for reading only: it takes no lock, so another process may serve as the host."""
        reader = object.__new__(cls)
        reader.host, reader.place = host, place_of(address)
        reader._address, reader._writes, reader._connection = address, False, None
        return reader

    def reader(self) -> "PostgresStore":
        return self.reading(self._address, self.host)

    def twins(self) -> list[Twin]:
        with self.transaction() as run:
            rows = run(f"SELECT {TWIN_COLUMNS} FROM edgetwin.twins WHERE owner = %s", (self.host,))
            return [twin_of(row) for row in rows]

    def erased(self) -> set[str]:
        with self.transaction() as run:
            return {row[0] for row in run("SELECT digest FROM edgetwin.erased")}

    def known(self, keys: Sequence[Key]) -> set[Key]:
        if not keys:
            return set()
        with self.transaction() as run:
            return set(run(f"{FIND_KEYS} USING (twin, boot_id, seq)", _columns(keys)).fetchall())

    def commit(self, batch: Batch) -> set[str]:
        twins = last_of_each(batch.twins)
        held: set[str] = set()
        with self.transaction() as run:
            if twins:
                held = {row[0] for row in run(UPDATE_TWINS, [*_arrays_of(map(_written, twins)), self.host])}
            if entries := [entry_row(entry) for entry in batch.entries if entry.twin in held]:
                run(INSERT_ENTRIES, _arrays_of(entries))
            if batch.quarantined:
                run(INSERT_QUARANTINED, [self.host, self.host, *_columns(map(quarantine_row, batch.quarantined))])
                run(
                    "DELETE FROM edgetwin.quarantine WHERE host = %s AND number <= "
                    "(SELECT max(number) FROM edgetwin.quarantine WHERE host = %s) - %s",
                    (self.host, self.host, QUARANTINE_KEPT),
                )
        return {twin.id for twin in twins} - held

    def create(self, twin: Twin) -> None:
        values = [*twin_row(twin), self.host]
        places = ", ".join(["%s"] * len(values))
        with self.transaction() as run:
            run(f"INSERT INTO edgetwin.twins ({TWIN_COLUMNS}, owner) VALUES ({places}) ON CONFLICT DO NOTHING", values)
            run("DELETE FROM edgetwin.erased WHERE digest = %s", (digest(twin.id),))

    def erase(self, twin: str) -> bool:
        twin = storable(twin)
        with self.transaction() as run:
            if run("SELECT 1 FROM edgetwin.twins WHERE id = %s AND owner <> %s FOR UPDATE", (twin, self.host)).fetchone():
                return False
            for table, column in OF_DEVICE.items():
                run(f"DELETE FROM edgetwin.{table} WHERE {column} = %s", (twin,))
            run("INSERT INTO edgetwin.erased VALUES (%s) ON CONFLICT DO NOTHING", (digest(twin),))
        return True

    def entries(self, twin: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        where, values = ("", [twin]) if before is None else ("AND (boot_id, seq) < (%s, %s)", [twin, *before])
        query = f"SELECT {ENTRY_COLUMNS} FROM edgetwin.log WHERE twin = %s {where} ORDER BY boot_id DESC, seq DESC LIMIT %s"
        with self.transaction() as run:
            return [entry_of(row) for row in run(query, [*values, limit])]

    def history(self, twin: str) -> tuple[int, dict, Iterator[Entry]]:
        with self.transaction() as run:
            run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return _history(run, twin)

    def trim(self, twin: str, before_s: float) -> int:
        with self.transaction() as run:
            if run(HELD, (twin, self.host)).fetchone() is None:
                return 0
            begin, state, gone = trimmed(*_history(run, twin), before_s)
            if gone:
                run(
                    "INSERT INTO edgetwin.base VALUES (%s, %s, %s) "
                    "ON CONFLICT (twin) DO UPDATE SET revision = excluded.revision, state = excluded.state",
                    (twin, begin, as_text(state)),
                )
                run(
                    "DELETE FROM edgetwin.log USING unnest(%s::bigint[], %s::bigint[]) AS gone (boot_id, seq) "
                    "WHERE twin = %s AND log.boot_id = gone.boot_id AND log.seq = gone.seq",
                    [*_columns((entry.boot_id, entry.seq) for entry in gone), twin],
                )
        return len(gone)

    def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        where, values = ("", [self.host]) if device is None else ("AND device = %s", [self.host, storable(device)])
        columns = ", ".join(Quarantined._fields)
        query = f"SELECT {columns} FROM edgetwin.quarantine WHERE host = %s {where} ORDER BY number DESC LIMIT %s"
        with self.transaction() as run:
            return [Quarantined(*row) for row in run(query, [*values, limit])]

    def quarantine_counts(self) -> dict[str, int]:
        query = "SELECT reason, count(*) FROM edgetwin.quarantine WHERE host = %s GROUP BY reason ORDER BY reason"
        with self.transaction() as run:
            return dict(run(query, (self.host,)).fetchall())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """One transaction: runs statements, and commits where the block ends well. Raises StoreUnavailable, the connection dropped."""
        try:
            if self._connection is None:
                self._connection = self._connected_again()
            with self._connection.transaction():
                yield self._connection.execute
        except psycopg.Error as error:
            with suppress(psycopg.Error):
                self.close()
            raise StoreUnavailable(f"{self.place}: {_said(error)}") from None

    def _connected_again(self) -> psycopg.Connection:
        try:
            return self._connected()
        except StoreRefused as error:
            raise StoreUnavailable(str(error)) from None

    def _connected(self) -> psycopg.Connection:
        connection = connected(self._address)
        try:
            if self._writes:
                if not connection.execute("SELECT pg_try_advisory_lock(%s)", (_lock(f"host {self.host}"),)).fetchone()[0]:  # type: ignore[index]
                    raise StoreRefused(f"{self.place}: another process serves as host {self.host}")
                upgrade(connection, self.place)
            else:
                connection.execute("SET default_transaction_read_only = on")
                if version_of(connection, self.place) != len(STEPS):
                    raise StoreRefused(
                        f"{self.place}: there is no store of version {len(STEPS)}; edgetwin store upgrade makes it one"
                    )
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise _opening(self.place, error) from None
            raise
        return connection


def place_of(address: str) -> str:
    """An address for people, without its password. Raises StoreRefused where it is none, or names no database."""
    try:
        parts: Mapping[str, Any] = conninfo_to_dict(address)
    except psycopg.Error:
        parts = {}
    where = str(parts.get("host") or parts.get("hostaddr") or "localhost")
    if "dbname" not in parts or "@" in where:
        raise StoreRefused(
            "not an address of PostgreSQL: postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @ in a password"
        )
    return f"postgresql://{where}:{parts.get('port') or 5432}/{parts['dbname']}"


def connected(address: str) -> psycopg.Connection:
    """A connection with its session set. Raises StoreUnavailable, or StoreRefused for a database that is not in UTF-8."""
    place = place_of(address)
    try:
        connection = psycopg.connect(address, autocommit=True, **LINK)
        connection.execute(
            f"SELECT {', '.join(['set_config(%s, %s, false)'] * len(SESSION))}", [x for one in SESSION.items() for x in one]
        )
        encoding = connection.info.parameter_status("server_encoding")
    except psycopg.Error as error:
        raise _opening(place, error) from None
    if encoding != "UTF8":
        connection.close()
        raise StoreRefused(f"{place}: a database in {encoding}, where UTF8 is needed")
    return connection


def version_of(connection: psycopg.Connection, place: str) -> int:
    """The store's version, 0 where there is none. Raises StoreRefused for a schema that is not a store, or of a newer version."""
    rows = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('edgetwin') AND relkind = 'r'")
    tables = {row[0] for row in rows}
    if not tables:
        return 0
    try:
        versions = connection.execute("SELECT version FROM edgetwin.version").fetchall() if tables >= FIRST_TABLES else []
    except psycopg.ProgrammingError:
        versions = []
    if len(versions) != 1:
        raise StoreRefused(f"{place}: its schema edgetwin is not one of edgetwin's, or damaged")
    version = versions[0][0]
    if version > len(STEPS):
        raise StoreRefused(
            f"{place}: a store of version {version}, written by a newer edgetwin; this one knows up to {len(STEPS)}"
        )
    return version


def upgrade(connection: psycopg.Connection, place: str) -> int:
    """Brings the store to this version, or makes it; returns the version it had. Hosts that do so at once do it one after the other."""
    version = version_of(connection, place)
    if version == len(STEPS):
        return version
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_lock("upgrade"),))
        version = version_of(connection, place)
        if version == 0 and connection.execute("SELECT to_regnamespace('edgetwin')").fetchone() == (None,):
            connection.execute("CREATE SCHEMA edgetwin")
        for step in STEPS[version:]:
            connection.execute(step)
        connection.execute("UPDATE edgetwin.version SET version = %s", (len(STEPS),))
    return version


def _opening(place: str, error: psycopg.Error) -> StoreRefused | StoreUnavailable:
    away = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return (StoreUnavailable if away else StoreRefused)(f"{place}: {_said(error)}")


def _said(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())


def _lock(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"edgetwin {name}".encode()).digest()[:8], "big", signed=True)


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _arrays_of(rows: Iterable[Sequence[Any]]) -> list[str]:
    """The columns of rows as PostgreSQL reads arrays, made ten times faster than the driver makes them of lists."""
    return [_quoted(column) if isinstance(column[0], str) else _plain(column) for column in zip(*rows, strict=True)]


def _quoted(texts: Iterable[str]) -> str:
    return '{"' + '","'.join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts) + '"}'


def _plain(numbers: Iterable[float | None]) -> str:
    return "{" + ",".join("NULL" if number is None else repr(number) for number in numbers) + "}"


def _written(twin: Twin) -> list[Any]:
    row = twin_row(twin)
    return [row[0], *row[2:]]


def _history(run: Any, twin: str) -> tuple[int, dict, Iterator[Entry]]:
    row = run("SELECT revision, state FROM edgetwin.base WHERE twin = %s", (twin,)).fetchone()
    rows = run(f"SELECT {ENTRY_COLUMNS} FROM edgetwin.log WHERE twin = %s ORDER BY boot_id, seq", (twin,)).fetchall()
    revision, state = (row[0], json.loads(row[1])) if row else (0, {})
    return revision, state, map(entry_of, rows)
