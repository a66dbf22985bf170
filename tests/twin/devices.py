"""Devices that send until they are answered, whatever becomes of the service, and write down what they sent and were told."""

import asyncio
import json
import random
import time
from collections import deque

from edgetwin.twin.messages import SETTLED, Update, line_of


class Devices:
    """`names` over `connections` keep-alive connections in turns of `batch` messages each. Some messages go twice, some too late, on purpose."""

    def __init__(self, port, names, connections=4, batch=10, seed=0, address="127.0.0.1", headers=()):
        self.port, self.events, self.boot_id, self._address = port, [], 1, address
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in dict(headers).items()).encode()
        self.waiting = {name: deque() for name in names}
        self.latency_s, self.failures = [], []
        self._seqs = dict.fromkeys(names, 0)
        self._shares = [names[i::connections] for i in range(connections)]
        self._batch, self._draw, self._stopping = batch, random.Random(seed), False
        self._settled = deque(maxlen=200)

    async def run(self):
        """Sends until `stop`, and then until all is settled."""
        await asyncio.gather(*(self._connection(share) for share in self._shares))

    def stop(self):
        self._stopping = True

    @property
    def unsettled(self):
        return sum(map(len, self.waiting.values()))

    async def _connection(self, names):
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._address, self.port)
                try:
                    while True:
                        chosen = self._chosen(names)
                        if not chosen:
                            return
                        await self._send(reader, writer, chosen)
                finally:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    def _chosen(self, names):
        if not self._stopping:
            for name in self._draw.choices(names, k=self._batch):
                if len(self.waiting[name]) < 20:
                    self._make(name)
        return [one for name in names for one in self.waiting[name]][: 2 * self._batch]

    def _make(self, name):
        self._seqs[name] += 1
        state = {"x_m": self._draw.uniform(0, 1000), "y_m": self._draw.uniform(0, 1000)}
        if self._draw.random() < 0.3:
            state["speed_mps"] = self._draw.choice([None, 3.5, 12.25])
        update = Update(name, self.boot_id, self._seqs[name], time.time(), state)
        self.waiting[name].append(update)
        self.events.append({"event": "sent", **update._asdict()})

    async def _send(self, reader, writer, chosen):
        lines = [line_of(one) for one in chosen]
        if self._draw.random() < 0.3:
            self._draw.shuffle(lines)
        if self._settled and self._draw.random() < 0.3:
            lines += self._draw.choices(self._settled, k=3)
        body = b"\n".join(lines)
        began = time.perf_counter()
        head = b"POST /v1/updates HTTP/1.1\r\nHost: localhost\r\n" + self._headers
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        self.latency_s.append(time.perf_counter() - began)
        if head.split(b" ")[1] not in (b"200", b"503"):
            self.failures.append((head + answer).decode())
            raise OSError("no acknowledgements")
        for ack, line in zip(json.loads(answer)["acks"], lines, strict=True):
            self._heard(ack, line)

    def _heard(self, ack, line):
        if ack["status"] not in SETTLED:
            return
        self.events.append({"event": "acked", "revision": None, **ack})
        queue = self.waiting[ack["device"]]
        for one in queue:
            if one.seq == ack["seq"] and one.boot_id == ack["boot_id"]:
                queue.remove(one)
                self._settled.append(line)
                break
