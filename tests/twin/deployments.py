"""Services of twins that tests start: a centre, with its edge hosts in its process or in processes of their own, over files or over one database;
and what is in their stores once they have stopped."""

import time
from contextlib import contextmanager
from typing import NamedTuple

from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.stores.sqlite import SQLiteStore
from twin.hosts import logs
from twin.service import HostProcess, ServiceProcess

CENTRE = "centre"
EDGE = ("edge-1", "edge-2", "edge-3")


class Held(NamedTuple):
    """What stores hold in the end: twins with their logs, as the checker reads them, and what must not be once all is settled, in words."""

    twins: dict
    violations: list[str]


class Deployment:
    """A service below a folder. address: of the PostgreSQL database that all share, None for a file each. processes: edge hosts are processes of
    their own. program: what stands in for `-m edgetwin` where a test breaks the layer. machines: by member, where they do not all run here.

    `members`: the processes, the centre first. `edge`: hosts that twins move between.
    """

    def __init__(self, folder, address=None, processes=False, program=("-m", "edgetwin"), edge=EDGE, machines=None):
        machines = machines or {}
        self.data, self.address, self.edge = folder / "twins", address, edge
        store = () if address is None else ("--store", address)
        inside = ["--no-hosts"] if processes else [part for name in edge for part in ("--host", name)]
        self.centre = ServiceProcess(self.data, *store, *inside, program=program, machine=machines.get(CENTRE))
        self.members = {CENTRE: self.centre}
        if processes:
            for name in edge:
                host = HostProcess(name, self.centre, self.data, *store, program=program, machine=machines.get(name))
                self.members[name] = host

    @property
    def kind(self):
        """In a few words, for tables."""
        return f"{'SQLite' if self.address is None else 'PostgreSQL'}, hosts in {'one process' if len(self.members) == 1 else 'processes'}"

    def start(self):
        """Starts all and waits until the centre knows of all hosts."""
        for member in self.members.values():
            member.start()
        self.await_hosts()

    def await_hosts(self, timeout_s=30):
        """Waits until all edge hosts are there."""
        end = time.monotonic() + timeout_s
        while not self.has_all():
            assert time.monotonic() < end, self.centre.get("/v1/hosts", None)
            time.sleep(0.02)

    def has_all(self):
        """Whether the centre sees all edge hosts."""
        hosts = self.centre.get("/v1/hosts", {"hosts": []})["hosts"]
        return {host["name"] for host in hosts if host["available"]} >= set(self.edge)

    def stop(self):
        """Stops all, hosts first; what did not end in order, in words."""
        wrong = []
        for name, member in reversed(self.members.items()):
            if (status := member.stop()) != 0:
                wrong.append(f"{name} ended with status {status}: {member.log.read_text()[-500:]}")
        return wrong

    def kill(self):
        """Ends all at once, as far as they run."""
        for member in self.members.values():
            if member.process is not None and member.process.poll() is None:
                member.kill()

    @contextmanager
    def directory(self):
        """The directory, while the centre is not running."""
        if self.address is None:
            opened = SQLiteDirectory(self.data / "directory.sqlite")
        else:
            from edgetwin.twin.moves.postgres_directory import PostgresDirectory

            opened = PostgresDirectory(self.address)
        try:
            yield opened
        finally:
            opened.close()

    def held(self):
        """What there is, once all has stopped."""
        twins, wrong, where = {}, [], {}
        for name in (CENTRE, *self.edge):
            store = self._store(name)
            try:
                for twin, log in logs(store).items():
                    twins[twin] = log
                    where.setdefault(twin, []).append(name)
                wrong += [f"{twin}: still frozen at {name} by {move}" for twin, move in store.leaving()]
                wrong += [f"{twin}: a copy is left at {name} by {move}" for twin, move in store.arriving()]
            finally:
                store.close()
        with self.directory() as directory:
            places = {place.twin: place for place in directory.places()}
        for twin in twins.keys() | places.keys():
            wrong += _misplaced(twin, where.get(twin, []), places.get(twin), twins.get(twin))
        return Held(twins, wrong)

    def _store(self, name):
        if self.address is None:
            return SQLiteStore(self.data / f"{name}.sqlite")
        from edgetwin.twin.stores.postgres import PostgresStore

        return PostgresStore(self.address, name)


def _misplaced(twin, hosts, place, log):
    if len(hosts) != 1:
        return [f"{twin}: {' and '.join(hosts) or 'no host'} owns it"]
    if place is None:
        return [f"{twin}: the directory does not know it"]
    if (place.host, place.epoch, place.move) != (hosts[0], log["epoch"], None):
        return [f"{twin}: at {hosts[0]} at epoch {log['epoch']}, and the directory says {place}"]
    return []
