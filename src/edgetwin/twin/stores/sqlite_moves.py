"""Twins that move, in a store's file. `leaving`: those that are frozen. `arriving`: records of copies that are not served. `remnants`: see below.

The log of a copy, and what it begins with, stand in the live tables from the first, so that to serve it is to put its record among the twins,
however long its log is. A log is that of a row in `twins`, in `arriving` or in `remnants`, and in one of them only. A remnant is what is
left of a twin or a copy that is gone, while its log is deleted step by step; it is gone as a whole before the twin comes again, and at
the latest when the file is next opened. Each function works in its caller's transaction.
"""

import sqlite3
from collections.abc import Iterable

from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.stores.rows import CHANGED, TABLES, as_text, entry_row, twin_of, twin_row
from edgetwin.twin.stores.store import TRIMMED_AT_ONCE, Conflict, digest

TWIN_COLUMNS = ", ".join(TABLES["twins"])
SERVED_COLUMNS = TWIN_COLUMNS.replace("epoch", "?")
TABLES_OF_MOVES = {"leaving": "twin", "arriving": "id", "remnants": "twin"}
"""Each with the column that names the device."""
NOT_LEAVING = "NOT EXISTS (SELECT 1 FROM leaving WHERE leaving.twin = twins.id)"
UPDATE_COPY = (
    f"UPDATE arriving SET {', '.join(f'{name} = ?' for name in CHANGED)} WHERE id = ? AND move = ? "
    "AND (revision, -missing) <= (?, ?) AND desired_revision <= ?"
)
"""A tail that comes again after a later one does not take the record back: within a revision `missing` only falls."""
KEEP_ENTRY = f"INSERT OR REPLACE INTO log ({', '.join(TABLES['log'])}) VALUES (?, ?, ?, ?, ?, ?, ?)"
SHORTEN = (
    "DELETE FROM log WHERE (twin, boot_id, seq) IN "
    "(SELECT twin, boot_id, seq FROM log WHERE twin = ? ORDER BY boot_id, seq LIMIT ?)"
)


def freeze(database: sqlite3.Connection, twin: str, move: str) -> bool:
    """Freezes a twin that is there and is not frozen yet. Returns whether it is frozen by this move now."""
    database.execute("INSERT INTO leaving SELECT id, ? FROM twins WHERE id = ? ON CONFLICT DO NOTHING", (move, twin))
    return database.execute("SELECT 1 FROM leaving WHERE twin = ? AND move = ?", (twin, move)).fetchone() is not None


def thaw(database: sqlite3.Connection, twin: str, move: str) -> bool:
    """Ends a freeze by this move. Returns whether there was one."""
    return database.execute("DELETE FROM leaving WHERE twin = ? AND move = ?", (twin, move)).rowcount > 0


def release(database: sqlite3.Connection, twin: str, move: str) -> None:
    """Makes a remnant of a twin that is frozen by this move."""
    if thaw(database, twin, move):
        database.execute("DELETE FROM twins WHERE id = ?", (twin,))
        _leave_remnant(database, twin)


def discard(database: sqlite3.Connection, twin: str, move: str) -> None:
    """Makes a remnant of a copy of this move."""
    if database.execute("DELETE FROM arriving WHERE id = ? AND move = ?", (twin, move)).rowcount:
        _leave_remnant(database, twin)


def make_way(database: sqlite3.Connection, twin: str) -> None:
    """Makes a remnant of a copy, whichever move's. Raises Conflict where the twin itself is there."""
    if database.execute("SELECT 1 FROM twins WHERE id = ?", (twin,)).fetchone():
        raise Conflict(f"{twin} is here itself")
    if database.execute("DELETE FROM arriving WHERE id = ?", (twin,)).rowcount:
        _leave_remnant(database, twin)


def stage(database: sqlite3.Connection, parcel: Parcel, move: str) -> None:
    """Keeps a copy where there is neither the twin, a copy nor a remnant."""
    values = [*twin_row(parcel.twin), move]
    database.execute(f"INSERT INTO arriving ({TWIN_COLUMNS}, move) VALUES ({', '.join('?' * len(values))})", values)
    if parcel.base != Base():
        revision, state = parcel.base
        database.execute("INSERT INTO base VALUES (?, ?, ?)", (parcel.twin.id, revision, as_text(state)))
    _keep(database, parcel.twin.id, parcel.entries)


def extend(database: sqlite3.Connection, tail: Tail, move: str) -> bool:
    """Adds a tail to the copy of this move. Returns whether there is one."""
    twin = tail.twin
    if copied(database, twin.id, move) is None:
        return False
    values = [*twin_row(twin)[3:], twin.id, move, twin.revision, -twin.missing, twin.desired_revision]
    database.execute(UPDATE_COPY, values)
    _keep(database, twin.id, tail.entries)
    return True


def copied(database: sqlite3.Connection, twin: str, move: str) -> Twin | None:
    """The record of the copy of this move."""
    query = f"SELECT {TWIN_COLUMNS} FROM arriving WHERE id = ? AND move = ?"
    row = database.execute(query, (twin, move)).fetchone()
    return None if row is None else twin_of(row)


def activate(database: sqlite3.Connection, twin: str, move: str, epoch: int) -> Twin | None:
    """Puts the record of the copy of this move among the twins. Returns the twin at that epoch, also where it was there before."""
    copy = "FROM arriving WHERE id = ? AND move = ?"
    database.execute(f"INSERT INTO twins ({TWIN_COLUMNS}) SELECT {SERVED_COLUMNS} {copy}", (epoch, twin, move))
    if database.execute(f"DELETE {copy}", (twin, move)).rowcount:
        database.execute("DELETE FROM erased WHERE digest = ?", (digest(twin),))
    row = database.execute(f"SELECT {TWIN_COLUMNS} FROM twins WHERE id = ? AND epoch = ?", (twin, epoch)).fetchone()
    return None if row is None else twin_of(row)


def shorten(database: sqlite3.Connection, twin: str) -> bool:
    """Deletes the oldest entries of a remnant, `TRIMMED_AT_ONCE` at most, or the remnant with its last ones. Returns whether more are left."""
    if database.execute("SELECT 1 FROM remnants WHERE twin = ?", (twin,)).fetchone() is None:
        return False
    if database.execute(SHORTEN, (twin, TRIMMED_AT_ONCE)).rowcount == TRIMMED_AT_ONCE:
        return True
    database.execute("DELETE FROM remnants WHERE twin = ?", (twin,))
    return False


def forget(database: sqlite3.Connection, twin: str) -> None:
    """Takes away all that moves have left of a twin but its log and what that begins with."""
    for table, column in TABLES_OF_MOVES.items():
        database.execute(f"DELETE FROM {table} WHERE {column} = ?", (twin,))


def _leave_remnant(database: sqlite3.Connection, twin: str) -> None:
    database.execute("DELETE FROM base WHERE twin = ?", (twin,))
    database.execute("INSERT INTO remnants VALUES (?)", (twin,))


def _keep(database: sqlite3.Connection, twin: str, entries: Iterable[Entry]) -> None:
    """Adds entries to the log of this twin and of no other, whatever they say."""
    database.executemany(KEEP_ENTRY, ((twin, *entry_row(entry)[1:]) for entry in entries))
