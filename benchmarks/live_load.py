"""Load for a service of twins over raw HTTP/1.1 connections: lines prepared ahead, each connection one request at a time, latencies kept."""

import asyncio
import json
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from edgetwin.twin.messages import Update, line_of


class Load(NamedTuple):
    """What a load measured: messages acknowledged as applied, seconds, and each request's milliseconds."""

    applied: int
    seconds: float
    latency_ms: list[float]

    def rate(self):
        return self.applied / self.seconds

    def percentile(self, share):
        ordered = sorted(self.latency_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def request(reader, writer, method, path, body=b""):
    """One request on an open connection; returns status and body."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(answer.split(b" ", 2)[1]), await reader.readexactly(length)


async def enrol(url, names, kind="vehicle", connections=16):
    """Enrols devices."""
    waiting = list(names)

    async def work():
        reader, writer = await connect(url)
        while waiting:
            status, body = await request(reader, writer, "PUT", f"/v1/twins/{waiting.pop()}", json.dumps({"kind": kind}).encode())
            if status not in (200, 201):
                raise RuntimeError(body.decode())
        writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))


async def connect(url):
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def send(url, names, seconds, connections, batch, boot_id, path="/v1/updates"):
    """Every connection sends batches of its own devices for so long. Returns a Load."""
    latency_ms, applied = [], 0
    ready, go = asyncio.Semaphore(0), asyncio.Event()

    async def work(own):
        nonlocal applied
        reader, writer = await connect(url)
        seqs = dict.fromkeys(own, 0)
        turn = 0
        ready.release()
        await go.wait()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            lines = []
            for _ in range(batch):
                name = own[turn % len(own)]
                turn += 1
                seqs[name] += 1
                lines.append(
                    line_of(Update(name, boot_id, seqs[name], time.time(), {"x_m": 0.5 * turn, "y_m": 100.25, "speed_mps": 13.5}))
                )
            began = time.perf_counter()
            status, body = await request(reader, writer, "POST", path, b"\n".join(lines))
            latency_ms.append(1000 * (time.perf_counter() - began))
            applied += body.count(b'"applied"') if path == "/v1/updates" else batch * (status < 400)
        writer.close()

    shares = [names[i::connections] for i in range(connections)]
    tasks = [asyncio.create_task(work(share)) for share in shares]
    for _ in tasks:
        await ready.acquire()
    began = time.perf_counter()
    go.set()
    await asyncio.gather(*tasks)
    return Load(applied, time.perf_counter() - began, latency_ms)
