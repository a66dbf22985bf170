"""How long twins of a host that is killed stand still until others serve them, on a store that hosts share."""

import asyncio
import json
import time
from typing import NamedTuple

from edgetwin.twin.messages import Update, line_of
from twin.move_load import asked, until

TWINS = 60


class FailOver(NamedTuple):
    """A host killed: how many twins it had, and seconds until the first and until the last of them took an update again."""

    host: str
    twins: int
    first_s: float
    last_s: float


def failed_over(deployment, kills):
    """Kills the host that has most twins, sends to those until all have taken an update, starts the host again, and so on. Starts and stops the
    deployment."""

    async def main():
        await asyncio.to_thread(deployment.start)
        centre, names, found = deployment.centre, [f"car-{i}" for i in range(TWINS)], []
        for name in names:
            assert (await asked(centre, "PUT", f"/v1/twins/{name}", {"kind": "vehicle"}))[0] == 201
        for seq in range(1, kills + 1):
            _, listed = await asked(centre, "GET", "/v1/twins?limit=1000")
            at = {twin["id"]: twin["host"] for twin in listed["twins"]}
            host = max(deployment.edge, key=lambda name: sum(home == name for home in at.values()))
            found.append(await _killed(deployment, host, [name for name in names if at[name] == host], seq))
            await asyncio.to_thread(deployment.members[host].start)
            await until(lambda: asyncio.to_thread(deployment.has_all))
        return found

    try:
        return asyncio.run(main())
    finally:
        deployment.stop()


async def _killed(deployment, host, twins, seq):
    member = deployment.members[host]
    member.kill()
    began, waiting, first_s = time.perf_counter(), set(twins), None
    reader, writer = await asyncio.open_connection(deployment.centre.machine.address, deployment.centre.port)
    while waiting:
        lines = [line_of(Update(name, 1, seq, time.time(), {"x_m": float(seq), "y_m": 0.0})) for name in sorted(waiting)]
        body = b"\n".join(lines)
        writer.write(b"POST /v1/updates HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        taken = {ack["device"] for ack in json.loads(answer)["acks"] if ack["status"] in ("applied", "duplicate")}
        if taken and first_s is None:
            first_s = time.perf_counter() - began
        waiting -= taken
        await asyncio.sleep(0.01)
        assert time.perf_counter() - began < 60, f"{len(waiting)} twins of {host} are not served"
    writer.close()
    return FailOver(host, len(twins), first_s, time.perf_counter() - began)
