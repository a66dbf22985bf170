"""What tests of hosts share: devices that number their messages, hosts over a SQLite file, and a host's logs in the checker's form."""

import asyncio
import sqlite3
import time

from edgetwin.twin.host import Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import Update, line_of, parse
from edgetwin.twin.record import Twin
from edgetwin.twin.stores.sqlite import SQLiteStore


def update(device="car-1", seq=1, boot_id=1, time_s=None, **state):
    """An update measured now, at (1, 2) unless the state says otherwise."""
    return Update(device, boot_id, seq, time.time() if time_s is None else time_s, state or {"x_m": 1.0, "y_m": 2.0})


def arrivals(*updates):
    """Updates as a host takes them."""
    return [(parse(line), line) for line in map(line_of, updates)]


def with_host(folder, work, twins=("car-1",), **options):
    """Runs `await work(host)` on a host over the store in a folder, with vehicles enrolled."""

    async def main():
        host = Host("edge-1", SQLiteStore(folder / "edge-1.sqlite"), read_kinds(), **options)
        host.start()
        try:
            for twin in twins:
                await host.create(Twin(twin, "vehicle"))
            return await work(host)
        finally:
            await host.close()

    return asyncio.run(main())


def logs(store):
    """All twins of a store with their logs, as the checker reads them."""
    found = {}
    for twin in store.twins():
        revision, state, entries = store.history(twin.id)
        found[twin.id] = {
            "revision": twin.revision,
            "epoch": twin.epoch,
            "reported": dict(twin.reported),
            "base": {"revision": revision, "state": state},
            "log": [{name: value for name, value in entry._asdict().items() if name != "twin"} for entry in entries],
        }
    return found


def store_files(folder):
    """The stores in a folder, without the directory of places."""
    return sorted(path for path in folder.glob("*.sqlite") if path.stem != "directory")


def logs_in(folder):
    """The same of every store file in a folder, once nothing serves them."""
    found = {}
    for path in store_files(folder):
        store = SQLiteStore(path)
        found |= logs(store)
        store.close()
    return found


class FullDisk:
    """A store whose file may not grow while it is `full`, as SQLite itself refuses it."""

    def __init__(self, store):
        self._store = store

    def fill(self):
        pages = self._store._connection.execute("PRAGMA page_count").fetchone()[0]
        self._store._connection.execute(f"PRAGMA max_page_count = {pages}")

    def empty(self):
        self._store._connection.execute("PRAGMA max_page_count = 1000000000")

    def __getattr__(self, name):
        return getattr(self._store, name)


def sqlite_calls(path, query, *values):
    """Rows of a store file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()
