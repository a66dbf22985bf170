"""A store's file as SQLite holds it: its tables, its versions, and whether it is whole."""

import sqlite3
from pathlib import Path

from edgetwin.twin.stores.sqlite_file import Form, read_only, version_of
from edgetwin.twin.stores.store import StoreRefused

STORE = Form(
    "store",
    0x65747731,
    (
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
        """
    CREATE TABLE leaving (twin TEXT PRIMARY KEY, move TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE arriving (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, epoch INTEGER NOT NULL, revision INTEGER NOT NULL, reported TEXT NOT NULL,
        desired TEXT NOT NULL, desired_revision INTEGER NOT NULL, boot_id INTEGER NOT NULL, seq INTEGER NOT NULL,
        measured_s REAL NOT NULL, received_s REAL NOT NULL, missing INTEGER NOT NULL, model TEXT NOT NULL, move TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE remnants (twin TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    ),
)
"""What `leaving`, `arriving` and `remnants` are is told in `sqlite_moves`."""


def check(path: Path) -> None:
    """Reads every page of a store file, served or not. Raises StoreRefused where anything is damaged, or it is of an older version."""
    version = version_of(path, STORE)
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
    if version < len(STORE.steps):
        raise StoreRefused(f"{path}: a store of version {version}; edgetwin store upgrade brings it to {len(STORE.steps)}")
