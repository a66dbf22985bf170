"""A service killed again and again under load: what its devices were told, what its stores hold, and what the checker says."""

import asyncio
import random
from contextlib import suppress
from typing import NamedTuple

from twin.checker import Verdict, judged
from twin.devices import Devices


class Record(NamedTuple):
    """Kills so far, the checker's verdict, seconds until the service was ready again each time, and messages sent."""

    kills: int
    verdict: Verdict
    recovery_s: list[float]
    sent: int


def killed_under_load(service, logs, kills, devices=40, seed=0, longest_s=0.5, settle_s=60, told=lambda done: None):
    """Starts the service, has devices send, and kills it `kills` times, each at a random moment at most `longest_s` after it was ready, or
    while it starts. `logs()`: the logs in its stores once it has stopped."""
    draw = random.Random(seed)
    names = [f"car-{i}" for i in range(devices)]
    load = Devices(service.port, names, seed=seed)
    recovery_s = []

    async def main():
        service.start()
        for name in names:
            service.ask("PUT", f"/v1/twins/{name}", {"kind": "vehicle"})
        sending = asyncio.create_task(load.run())
        for done in range(kills):
            await asyncio.sleep(draw.uniform(0, longest_s))
            service.kill()
            if draw.random() < 0.1:
                service.start(wait=False)
                await asyncio.sleep(draw.uniform(0, longest_s))
                service.kill()
            recovery_s.append(await asyncio.to_thread(service.start))
            told(done + 1)
        await asyncio.sleep(longest_s)
        load.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(sending, settle_s)

    asyncio.run(main())
    status = service.stop()
    sent = sum(event["event"] == "sent" for event in load.events)
    verdict = judged(load.events, logs())
    if status != 0:
        verdict.violations.append(f"the service ended with status {status}: {service.log.read_text()[-500:]}")
    if load.unsettled:
        verdict.violations.append(f"{load.unsettled} messages were not settled within {settle_s} s")
    return Record(kills, verdict, recovery_s, sent)
