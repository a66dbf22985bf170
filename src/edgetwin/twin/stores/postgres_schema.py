"""PostgreSQL as the store needs it: addresses, connections whose commits are synchronous, the schema `edgetwin`, its versions and upgrades."""

import hashlib
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from edgetwin.twin.stores.store import StoreRefused, StoreUnavailable

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
    """
    ALTER TABLE edgetwin.twins ADD COLUMN move text, ADD COLUMN destination text, ADD COLUMN source text;
    CREATE TABLE edgetwin.hosts (name text COLLATE "C" PRIMARY KEY, url text, cordoned boolean NOT NULL);
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
    except psycopg.Error as error:
        raise opening_error(place, error) from None
    try:
        settings = ", ".join(["set_config(%s, %s, false)"] * len(SESSION))
        connection.execute(f"SELECT {settings}", [text for setting in SESSION.items() for text in setting])
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreRefused(f"{place}: a database in {encoding}, where UTF8 is needed")
    except BaseException as error:
        connection.close()
        if isinstance(error, psycopg.Error):
            raise opening_error(place, error) from None
        raise
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


def require_version(connection: psycopg.Connection, place: str) -> None:
    """Raises StoreRefused unless there is a store of this version."""
    version = version_of(connection, place)
    if version == 0:
        raise StoreRefused(f"{place}: there is no store")
    if version < len(STEPS):
        raise StoreRefused(f"{place}: a store of version {version}; edgetwin store upgrade brings it to {len(STEPS)}")


def upgrade(connection: psycopg.Connection, place: str) -> int:
    """Brings the store to this version, or makes it; returns the version it had. Hosts that do so at once do it one after the other."""
    version = version_of(connection, place)
    if version == len(STEPS):
        return version
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number("upgrade"),))
        version = version_of(connection, place)
        if version == 0 and connection.execute("SELECT to_regnamespace('edgetwin')").fetchone() == (None,):
            connection.execute("CREATE SCHEMA edgetwin")
        for step in STEPS[version:]:
            connection.execute(step)
        connection.execute("UPDATE edgetwin.version SET version = %s", (len(STEPS),))
    return version


def opening_error(place: str, error: psycopg.Error) -> StoreRefused | StoreUnavailable:
    """What an error at opening means: the server is away, or it does not let this program in."""
    away = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return (StoreUnavailable if away else StoreRefused)(f"{place}: {said(error)}")


def said(error: psycopg.Error) -> str:
    """An error in one line."""
    return " ".join((error.diag.message_primary or str(error)).split())


def lock_number(name: str) -> int:
    """The number of an advisory lock by its name."""
    return int.from_bytes(hashlib.sha256(f"edgetwin {name}".encode()).digest()[:8], "big", signed=True)


def name_lock(host: str) -> int:
    """The number of the advisory lock that the process which serves as a host holds."""
    return lock_number(f"host {host}")
