"""A service of twins, and its hosts, as processes of their own, started, killed and started again on the same data."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from twin.servers import free_port


class Machine(NamedTuple):
    """Where a process runs: its address, the token it asks for, in a file, and what its command begins with."""

    address: str = "127.0.0.1"
    token_file: Path | None = None
    prefix: tuple[str, ...] = ()

    @property
    def headers(self):
        """What requests to it must carry."""
        return {} if self.token_file is None else {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}


class Process:
    """`edgetwin COMMAND …`, listening on a port of its own. `program` stands in for `-m edgetwin` where a test breaks the layer."""

    def __init__(self, log, command, program=("-m", "edgetwin"), environment=None, machine=None):
        self.machine, self.port, self.log = machine or Machine(), free_port(), log
        self.url = f"http://{self.machine.address}:{self.port}"
        self.headers = self.machine.headers
        token = [] if self.machine.token_file is None else ["--token-file", str(self.machine.token_file)]
        listen = ["--listen", f"{self.machine.address}:{self.port}", *token]
        self._command = [*self.machine.prefix, sys.executable, *program, *command, *listen]
        self._environment = {**os.environ, **(environment or {})}
        self.process = None

    def start(self, wait=True, failpoint=""):
        """Starts it, with failpoints armed; returns seconds until it was ready."""
        began = time.perf_counter()
        environment = {**self._environment, "EDGETWIN_FAILPOINT": failpoint}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        while wait:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            if self.get("/ready", None) is not None:
                break
            if time.perf_counter() - began > 60:
                raise TimeoutError(self.log.read_text()[-2000:])
            time.sleep(0.005)
        return time.perf_counter() - began

    def kill(self):
        """SIGKILL, as a crash would end it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def get(self, path, *default):
        """An answer as JSON; the default, where there is one, for no answer or an error."""
        return self.ask("GET", path, None, *default)

    def ask(self, method, path, body=None, *default):
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers}
        asked = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        except (OSError, ValueError):
            if default:
                return default[0]
            raise

    def refused(self, method, path, body=None):
        """Status and message of an error."""
        try:
            found = self.ask(method, path, body)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()).get("error")
        raise AssertionError(f"not refused: {found}")

    def logged(self):
        """What it logged so far, a dictionary for each line."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


class ServiceProcess(Process):
    """`edgetwin serve` on a folder."""

    def __init__(self, data, *options, **how):
        super().__init__(data.parent / f"{data.name}.log", ["serve", "--data", str(data), *options], **how)


class HostProcess(Process):
    """`edgetwin host`, linked to a service."""

    def __init__(self, name, service, data, *options, **how):
        self.name = name
        command = ["host", name, "--centre", service.url, "--data", str(data), *options]
        super().__init__(data.parent / f"{data.name}-{name}.log", command, **how)

    def linked(self):
        """Waits until the centre has it; returns seconds."""
        began = time.perf_counter()
        while self.get("/ready", {}).get("centre") != "linked":
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.perf_counter() - began < 30, self.log.read_text()[-2000:]
            time.sleep(0.005)
        return time.perf_counter() - began

    def __enter__(self):
        self.start()
        self.linked()
        return self
