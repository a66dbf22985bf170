"""Twins under load that move all the time, with whatever a test does to their service meanwhile; judged when all is healed and settled."""

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

from twin.checker import Verdict, judged
from twin.devices import Devices
from twin.streams import Reporter, report


class Outcome(NamedTuple):
    """The checker's verdict with what stores hold, messages sent, moves by what the service said of them, and what `faults` gave."""

    verdict: Verdict
    sent: int
    moves: dict[str, int]
    faults: Any


class Load:
    """Devices and movers on a deployment. `moving`: set while twins may be moved. events: what devices sent and were told."""

    def __init__(self, deployment, devices=20, streams=4, movers=3, seed=0):
        self.deployment, self.events, self.draw = deployment, [], random.Random(seed)
        self.names = [f"car-{i}" for i in range(devices)]
        centre = deployment.centre
        self.batches = Devices(centre.port, self.names, seed=seed, address=centre.machine.address, headers=centre.headers)
        self.batches.events = self.events
        token = centre.headers.get("Authorization", "").removeprefix("Bearer ") or None
        self.reporters = [Reporter(centre.url, f"bus-{i}", self.events, token) for i in range(streams)]
        self.moving, self.moves, self._movers, self._stopping = asyncio.Event(), Counter(), movers, asyncio.Event()
        self._tasks = []

    @property
    def twins(self):
        """Names of all twins."""
        return [*self.names, *(reporter.name for reporter in self.reporters)]

    def start(self):
        """Devices begin to send; movers begin to move whenever `moving` is set."""
        sending = [self.batches.run(), *(report(one, self.draw, self._stopping) for one in self.reporters)]
        self._sending = [asyncio.create_task(work) for work in sending]
        self._moving = [asyncio.create_task(self._move()) for _ in range(self._movers)]

    async def no_moves(self):
        """Has no more moves begin, and returns when none is being waited for."""
        self.moving.clear()
        while self._under_way:
            await asyncio.sleep(0.005)

    async def stop(self, settle_s):
        """Ends the load; how many messages were not settled in time."""
        for task in self._moving:
            task.cancel()
        self.batches.stop()
        self._stopping.set()
        _, late = await asyncio.wait(self._sending, timeout=settle_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, *self._moving, return_exceptions=True)
        for task in self._sending:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return self.batches.unsettled + sum(one.pending for one in self.reporters)

    _under_way = 0

    async def _move(self):
        while True:
            await self.moving.wait()
            twin, host = self.draw.choice(self.twins), self.draw.choice(self.deployment.edge)
            self._under_way += 1
            try:
                status, answer = await asked(self.deployment.centre, "POST", f"/v1/twins/{twin}/migrate", {"host": host})
            finally:
                self._under_way -= 1
            self.moves[answer.get("outcome") or f"refused with {status}" if status else "no answer"] += 1
            await asyncio.sleep(0.01)


async def asked(service, method, path, body=None, timeout_s=15.0):
    """Status and answer of a request; (0, {}) where none came."""
    content = b"" if body is None else json.dumps(body).encode()
    fields = {"Host": "localhost", "Connection": "close", "Content-Type": "application/json", **service.headers}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(service.machine.address, service.port)
            try:
                writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
                answer = await reader.readuntil(b"\r\n\r\n")
                _, _, length = answer.lower().partition(b"content-length:")
                said = await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
                return int(answer.split(b" ", 2)[1]), json.loads(said or b"{}")
            finally:
                writer.close()
    return 0, {}


async def until(condition, timeout_s=30.0):
    """Waits for a coroutine to give something true, which it returns. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while not (found := await condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:g} s: {condition}")
        await asyncio.sleep(0.02)
    return found


async def settled(deployment):
    """Whether all hosts are there and no move is open."""
    return not await unsettled(deployment)


async def unsettled(deployment):
    """Hosts that are not there, and moves that are open."""
    status, hosts = await asked(deployment.centre, "GET", "/v1/hosts")
    there = {host["name"] for host in hosts.get("hosts", []) if host["available"]}
    _, moves = await asked(deployment.centre, "GET", "/v1/moves?limit=1000")
    open_ = [move for move in moves.get("moves", []) if move["outcome"] in (None, "waiting")]
    return [*(set(deployment.edge) - there), *open_] if status == 200 else ["the centre does not answer"]


def judged_under(deployment, faults, devices=20, streams=4, movers=3, seed=0, settle_s=60):
    """Starts a deployment, has devices send and twins move, awaits `faults(load)`, which ends with all processes running, and judges what is left
    when all is settled."""
    load = None

    async def main():
        nonlocal load
        load = Load(deployment, devices, streams, movers, seed)
        await asyncio.to_thread(deployment.start)
        for name in load.twins:
            assert (await asked(deployment.centre, "PUT", f"/v1/twins/{name}", {"kind": "vehicle"}))[0] == 201
        load.start()
        found = await faults(load)
        await load.no_moves()
        try:
            await until(lambda: settled(deployment), settle_s)
            wrong = []
        except TimeoutError:
            wrong = [f"not settled: {await unsettled(deployment)}"]
        await asyncio.sleep(0.3)
        if left := await load.stop(settle_s):
            wrong.append(f"{left} messages were not settled within {settle_s} s")
        if failures := load.batches.failures:
            wrong.append(f"{len(failures)} requests of devices failed, the first with {failures[0]}")
        return found, wrong

    try:
        found, wrong = asyncio.run(main())
    except BaseException:
        deployment.kill()
        raise
    wrong += deployment.stop()
    held = deployment.held()
    verdict = judged(load.events, held.twins)
    verdict.violations.extend([*wrong, *held.violations])
    sent = sum(event["event"] == "sent" for event in load.events)
    return Outcome(verdict, sent, dict(load.moves), found)
