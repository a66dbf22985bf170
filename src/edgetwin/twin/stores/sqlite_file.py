"""SQLite files that belong to one process: made, opened, brought up, and refused where they are another program's, newer or damaged.

A file's version is its `user_version`; the steps of its form bring an older one up, each in a transaction of its own. What is refused was
not written to. Changes are on disk when they are committed: write-ahead log, synchronous=FULL.
"""

import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from edgetwin.twin.stores.store import StoreRefused, StoreUnavailable

SMALLEST_FILE = 512
"""Bytes of the smallest SQLite file. SQLite takes a shorter one for an empty one, whatever it holds."""


class Form(NamedTuple):
    """A kind of file: what people call it, its application id, and what each version adds to the one before."""

    name: str
    application_id: int
    steps: Sequence[str]


def version_of(path: Path, form: Form) -> int | None:
    """A file's version, None where there is no file or an empty one. Raises StoreRefused for one of another form, or newer."""
    try:
        if not path.exists() or path.stat().st_size == 0:
            return None
        if path.stat().st_size < SMALLEST_FILE:
            raise StoreRefused(f"{path}: not an SQLite file, or damaged; restore it from a backup")
    except OSError as error:
        raise StoreRefused(f"{path}: cannot be read ({error.strerror})") from None
    try:
        connection = read_only(path)
        try:
            application, version = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: cannot be read as a {form.name} ({error}); restore it from a backup") from None
    if application != form.application_id and (application or version or tables):
        raise StoreRefused(f"{path}: an SQLite file of another program, not a {form.name} of edgetwin")
    if version > len(form.steps):
        raise StoreRefused(
            f"{path}: a {form.name} of version {version}, written by a newer edgetwin; this one knows up to {len(form.steps)}"
        )
    return version


def locked(path: Path, form: Form) -> IO[bytes]:
    """The file beside it whose lock says that a process writes to it. The lock ends with the process, however that ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise StoreRefused(f"{path}: no {form.name} can be kept there ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreRefused(f"{path}: another process has this {form.name} open") from None
    return lock


def opened(path: Path, form: Form) -> sqlite3.Connection:
    """A connection that writes, to a file that is `locked`, made or brought up. Raises StoreRefused, StoreUnavailable."""
    version = version_of(path, form) or 0
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        upgrade(connection, form, version)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was erased when the process was killed leaves the log now
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: cannot be read as a {form.name} ({error}); restore it from a backup") from None
    return connection


def read_only(path: Path) -> sqlite3.Connection:
    """A connection to a file that another may be writing to meanwhile."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


def upgrade(connection: sqlite3.Connection, form: Form, version: int) -> None:
    """Brings a file of a version up to this one, each step in a transaction of its own."""
    for number, step in enumerate(form.steps[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {form.application_id}; PRAGMA user_version = {number}; COMMIT;"
        )
