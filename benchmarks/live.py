"""Writes docs/results-live.md: how fast a service of twins takes updates, beside a raw SQLite group commit and an empty endpoint in the same run.

python benchmarks/live.py [SECONDS]      of each load, 10 unless told; PostgreSQL comes from the wheel that the tests use
"""

import asyncio
import json
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import uvloop

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from live_load import enrol, send  # noqa: E402

import edgetwin as et  # noqa: E402
from twin.nats_server import NatsServer  # noqa: E402
from twin.servers import free_port, postgres_server  # noqa: E402
from twin.service import ServiceProcess  # noqa: E402

TWINS = 10_000
MQTT_DEVICES, MQTT_RATE = 500, 2.0
LOADS = {
    "one by one, 32 connections": (32, 1),
    "batches of 50, 4 connections": (4, 50),
    "batches of 500, 4 connections": (4, 500),
}


def raw_group_commit(folder, seconds, group):
    """Updates a second of SQLite alone: rows of the same size, a transaction for each group, synchronous=FULL."""
    connection = sqlite3.connect(folder / "raw.sqlite", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS log (twin TEXT, seq INTEGER, changes TEXT)"
    )
    changes = '{"x_m":100.5,"y_m":100.25,"speed_mps":13.5}'
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO log VALUES (?, ?, ?)", [(f"car-{i}", done + i, changes) for i in range(group)])
        connection.execute("COMMIT")
        done += group
    rate = done / (time.perf_counter() - began)
    connection.close()
    return rate


def of_service(service, seconds):
    """Loads on a service that runs: enrolment, memory, each load, the empty endpoint; and seconds until it is ready again after SIGKILL."""
    names = [f"car-{i}" for i in range(TWINS)]
    began = time.perf_counter()
    uvloop.run(enrol(service.url, names))
    enrolled_s = time.perf_counter() - began
    found, boot_id = {}, int(time.time())
    for name, (connections, batch) in LOADS.items():
        boot_id += 1
        found[name] = uvloop.run(send(service.url, names, seconds, connections, batch, boot_id))
    memory = psutil.Process(service.process.pid).memory_info().rss / 2**20
    service.kill()
    recovery = []
    for _ in range(5):
        recovery.append(service.start())
        service.kill()
    return found, enrolled_s, memory, statistics.median(recovery)


async def empty(url, seconds):
    """The load "one by one" on an endpoint that does nothing."""
    return await send(url, ["nobody"] * 32, seconds, 32, 1, 1, path="/empty")


def of_mqtt(folder, store, seconds):
    """A fleet over MQTT through a NATS server: what `edgetwin emulate` tells of it."""
    nats = NatsServer(folder / "nats")
    asyncio.run(nats.start())
    try:
        with ServiceProcess(folder / "mqtt", "--store", store, "--nats", nats.url) as service:
            options = ["--devices", str(MQTT_DEVICES), "--rate", str(MQTT_RATE), "--duration", str(seconds), "--json"]
            broker = [
                "--protocol",
                "mqtt",
                "--broker",
                f"mqtt://127.0.0.1:{nats.mqtt_port}",
                "--scenario",
                "two-timescale/physical",
            ]
            command = [sys.executable, "-m", "edgetwin", "emulate", "--url", service.url, *broker, *options]
            return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    finally:
        nats.kill()


EMPTY = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

async def empty(request):
    await request.body()
    return Response(b'{"acks":[]}', media_type="application/json")

uvicorn.run(Starlette(routes=[Route("/empty", empty, methods=["POST"]), Route("/ready", lambda r: Response("{}"))]), port=%d, log_level="error")
"""


def of_empty(seconds):
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", EMPTY % port])
    try:
        time.sleep(2)
        return asyncio.run(empty(f"http://127.0.0.1:{port}", seconds))
    finally:
        process.terminate()
        process.wait()


def main(seconds):
    with tempfile.TemporaryDirectory() as folder:
        raw = {group: raw_group_commit(Path(folder), seconds / 2, group) for group in (1, 32, 500)}
        (Path(folder) / "raw.sqlite").unlink()
        nothing = of_empty(seconds)
        with ServiceProcess(Path(folder) / "sqlite") as service:
            sqlite_found = of_service(service, seconds)
        with postgres_server() as server, ServiceProcess(Path(folder) / "pg", "--store", server.address) as service:
            postgres_found = of_service(service, seconds)
        with postgres_server() as server:
            mqtt = of_mqtt(Path(folder), server.address, seconds)
    rows = [f"| raw SQLite, transactions of {group} | {rate:,.0f} | – | – |" for group, rate in raw.items()]
    rows.append(
        f"| an endpoint that does nothing, one by one, 32 connections | {len(nothing.latency_ms) / nothing.seconds:,.0f} | "
        f"{nothing.percentile(0.5):.1f} | {nothing.percentile(0.99):.1f} |"
    )
    others = []
    for name, (loads, enrolled_s, memory, recovery) in (("SQLite", sqlite_found), ("PostgreSQL", postgres_found)):
        rows += [
            f"| {name}, {load} | {found.rate():,.0f} | {found.percentile(0.5):.1f} | {found.percentile(0.99):.1f} |"
            for load, found in loads.items()
        ]
        others.append(f"| {name} | {TWINS / enrolled_s:,.0f} | {memory:,.0f} | {recovery:.2f} |")
    rows.append(
        f"| PostgreSQL, {MQTT_DEVICES} devices over MQTT through NATS, {MQTT_DEVICES * MQTT_RATE:,.0f} a second offered | "
        f"{mqtt['settled_per_s']:,.0f} | {mqtt['latency_ms']['p50']:.1f} | {mqtt['latency_ms']['p99']:.1f} |"
    )
    page = f"""# Results: how fast the live layer is

Written by `python benchmarks/live.py` with edgetwin {et.__version__}, Python {platform.python_version()}. `edgetwin serve` with three edge
hosts and {TWINS:,} twins; the load comes from a process on the same machine of {psutil.cpu_count()} cores, each connection one request at a
time, {seconds} s of each load, all in one run. An update counts once it is acknowledged as applied, which is after
fsync. Over MQTT the time is from a report to its acknowledgement on the device.

| what | updates/s | p50, ms | p99, ms |
|---|---|---|---|
{chr(10).join(rows)}

| store | enrolments/s | memory of the service after the loads, MiB | ready again after SIGKILL with {TWINS:,} twins, s (median of 5) |
|---|---|---|---|
{chr(10).join(others)}
"""
    (ROOT / "docs" / "results-live.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
