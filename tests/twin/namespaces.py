"""Machines on a network of their own, in one computer: network namespaces with a cable each to one switch, between which what is sent can be dropped,
one way or both. Needs root, `ip` and `iptables`."""

import ctypes
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

from twin.service import Machine

CLONE_NEWNET = 0x40000000
NETWORK = "10.213.77"


def why_not():
    """Why namespaces cannot be made here, empty where they can."""
    missing = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"edgetwin-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    try:
        dropped = _inside_command(probe, "iptables", "-A", "INPUT", "-j", "DROP")
        return "" if dropped.returncode == 0 else f"iptables does not work in a namespace: {dropped.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], check=False)


class Network:
    """Namespaces by name, each at an address of its own."""

    def __init__(self, names):
        self._switch = f"edgetwin-{os.getpid()}"
        self.address = {name: f"{NETWORK}.{i}" for i, name in enumerate(names, 1)}

    def build(self):
        _run("ip", "netns", "add", self._switch)
        self._in(self._switch, "ip", "link", "add", "switch", "type", "bridge")
        self._in(self._switch, "ip", "link", "set", "switch", "up")
        for i, (name, address) in enumerate(self.address.items()):
            there = self._space(name)
            _run("ip", "netns", "add", there)
            self._in(self._switch, "ip", "link", "add", f"port{i}", "type", "veth", "peer", "name", "eth0", "netns", there)
            self._in(self._switch, "ip", "link", "set", f"port{i}", "master", "switch", "up")
            self._in(there, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._in(there, "ip", "link", "set", device, "up")

    def remove(self):
        """Takes all away, as far as it is there."""
        for name in [*map(self._space, self.address), self._switch]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def machine(self, name, token_file):
        """Where a process runs that is to be in a namespace."""
        return Machine(self.address[name], token_file, ("ip", "netns", "exec", self._space(name)))

    def cut(self, sender, receiver):
        """Drops all that one sends to another from now on; not the other way."""
        self._in(self._space(receiver), "iptables", "-I", "INPUT", "-s", self.address[sender], "-j", "DROP")

    def heal(self):
        """Drops nothing any more."""
        for name in self.address:
            self._in(self._space(name), "iptables", "-F", "INPUT")

    def inside(self, name, work):
        """What `work()` gives in a namespace, with all threads and processes that it starts."""
        found = []

        def enter():
            with Path(f"/run/netns/{self._space(name)}").open() as there:
                if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return work()

        def run():
            try:
                found.append((enter(), None))
            except BaseException as error:
                found.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        ((given, error),) = found
        if error is not None:
            raise error
        return given

    def _space(self, name):
        return f"{self._switch}-{name}"

    def _in(self, space, *command):
        _run("ip", "netns", "exec", space, *command)


@contextmanager
def network(*names):
    """A network of machines by these names."""
    made = Network(names)
    try:
        made.build()
        yield made
    finally:
        with suppress(OSError):
            made.remove()


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _inside_command(space, *command):
    return subprocess.run(["ip", "netns", "exec", space, *command], capture_output=True, text=True)
