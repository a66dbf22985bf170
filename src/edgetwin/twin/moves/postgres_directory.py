"""The directory in the PostgreSQL that hosts share: a twin's place is its row among the twins, owner and epoch, and columns of the move under way.

The one statement that commits a move changes owner and epoch, which every write of a host names: from then on the source's writes are refused
by the store. What a host writes changes no place.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import errors

from edgetwin.twin.moves.place import Known, Place
from edgetwin.twin.stores.postgres_schema import name_lock, upgrade
from edgetwin.twin.stores.postgres_session import Session

LOCK_WAIT_MS = 300
"""How long a host that is gone may keep its twins' rows in a transaction that it does not end."""
COLUMNS = "there.id, there.owner, there.epoch, there.move, there.destination, there.source"
PLACES = f"SELECT {COLUMNS} FROM edgetwin.twins AS there"
BEGIN = "UPDATE edgetwin.twins SET move = %s, destination = %s WHERE id = %s AND owner = %s AND epoch = %s AND move IS NULL"
COMMIT = (
    "UPDATE edgetwin.twins AS there SET owner = destination, epoch = epoch + 1, source = owner, destination = NULL "
    f"WHERE id = %s AND move = %s AND destination IS NOT NULL RETURNING {COLUMNS}"
)
ABORT = "UPDATE edgetwin.twins SET move = NULL, destination = NULL WHERE id = %s AND move = %s AND destination IS NOT NULL"
RELEASE = "UPDATE edgetwin.twins SET move = NULL, source = NULL WHERE id = %s AND move = %s AND source IS NOT NULL"
FAIL_OVER = (
    "UPDATE edgetwin.twins AS there SET owner = new.host, epoch = epoch + 1, move = NULL, destination = NULL, source = NULL "
    f"FROM unnest(%s::text[], %s::text[]) AS new (id, host) WHERE there.id = new.id AND there.owner = %s RETURNING {COLUMNS}"
)
END_SESSION = """
    SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND (classid::bigint << 32 | objid::bigint) = %s
"""
KNOW = (
    "INSERT INTO edgetwin.hosts (name, url, cordoned) VALUES (%s, %s, %s) "
    "ON CONFLICT (name) DO UPDATE SET url = excluded.url, cordoned = excluded.cordoned"
)


class PostgresDirectory:
    """The directory in the store at an address, made where there is none. Raises StoreRefused, StoreUnavailable.

    A twin has a place from when its host creates it: `enrol` only says where. `erase` does nothing, since the place goes with the row that
    the host's `erase` takes away.
    """

    def __init__(self, address: str):
        self._session = Session(address, lambda connection: upgrade(connection, self._session.place))
        self._session.open()

    def places(self) -> list[Place]:
        with self._session.transaction() as database:
            return [Place(*row) for row in database.execute(PLACES)]

    def open_places(self) -> list[Place]:
        with self._session.transaction() as database:
            return [Place(*row) for row in database.execute(f"{PLACES} WHERE move IS NOT NULL")]

    def place(self, twin: str) -> Place | None:
        return self._place(f"{PLACES} WHERE id = %s", twin)

    def enrol(self, twin: str, host: str, epoch: int = 1) -> Place:
        return self.place(twin) or Place(twin, host, epoch)

    def begin(self, place: Place, move: str, destination: str) -> bool:
        return place.move is None and self._changed(BEGIN, move, destination, place.twin, place.host, place.epoch)

    def commit(self, twin: str, move: str) -> Place | None:
        return self._place(COMMIT, twin, move)

    def abort(self, twin: str, move: str) -> bool:
        return self._changed(ABORT, twin, move)

    def release(self, twin: str, move: str) -> None:
        self._changed(RELEASE, twin, move)

    def fail_over(self, host: str, to: Mapping[str, str]) -> list[Place]:
        """A transaction that the host has open is waited for, and was then committed before; where it does not end, the server ends it."""

        def given(database: psycopg.Connection) -> list[Place]:
            return [Place(*row) for row in database.execute(FAIL_OVER, (list(to), list(to.values()), host))]

        with self._session.transaction() as database:
            try:
                with database.transaction():
                    database.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
                    return given(database)
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                database.execute(END_SESSION, (name_lock(host),))
                return given(database)

    def erase(self, twin: str) -> None:
        pass

    def hosts(self) -> dict[str, Known]:
        with self._session.transaction() as database:
            return {row[0]: Known(*row) for row in database.execute("SELECT name, url, cordoned FROM edgetwin.hosts")}

    def know(self, host: Known) -> None:
        self._changed(KNOW, *host)

    def forget(self, host: str) -> None:
        self._changed("DELETE FROM edgetwin.hosts WHERE name = %s", host)

    def close(self) -> None:
        self._session.close()

    def _changed(self, statement: str, *values: Any) -> bool:
        with self._session.transaction() as database:
            return database.execute(statement, values).rowcount > 0

    def _place(self, statement: str, *values: Any) -> Place | None:
        with self._session.transaction() as database:
            row = database.execute(statement, values).fetchone()
            return None if row is None else Place(*row)
