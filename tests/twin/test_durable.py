"""Fsync comes before the acknowledgement: shown by the system calls of the service, in their order."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from edgetwin.twin.messages import line_of
from twin.hosts import update
from twin.service import ServiceProcess

CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(.*)$")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_log_is_synced_before_an_update_is_acknowledged(tmp_path):
    trace = tmp_path / "trace"
    service = ServiceProcess(tmp_path / "twins", "--host", "edge-1")
    watched = "trace=fsync,fdatasync,write,writev,sendto,sendmsg,pwrite64"
    service._command = ["strace", "-f", "-y", "-s", "600", "-e", watched, "-o", str(trace), *service._command]
    service.start()
    service.ask("PUT", "/v1/twins/car-1", {"kind": "vehicle"})
    for seq in range(1, 21):
        (ack,) = service.ask("POST", "/v1/updates", line_of(update(seq=seq)))["acks"]
        assert ack["status"] == "applied"
    subprocess.run(["pkill", "-TERM", "-P", str(service.process.pid)], check=True)
    service.process.wait(30)

    written = synced = False
    syncing, acknowledged = set(), 0
    for line in trace.read_text().splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        process, name, rest = call.groups()
        if name == "pwrite64" and "edge-1.sqlite-wal" in rest:
            written, synced = True, False
        elif name in ("fsync", "fdatasync"):
            if "edge-1.sqlite-wal" in rest:
                syncing.add(process)
            if rest.rstrip().endswith("= 0") and process in syncing:
                syncing.discard(process)
                synced = written
        elif '\\"status\\":\\"applied\\"' in rest:
            assert written and synced, f"acknowledged before it was on disk: {line}"
            written = synced = False
            acknowledged += 1
    assert acknowledged == 20, json.dumps({"acknowledged": acknowledged, "python": sys.version})
