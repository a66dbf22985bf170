"""Devices that report over the device client's WebSocket, following their twins wherever these live, and write down what they sent and were told."""

import asyncio
import time
from contextlib import suppress

from edgetwin.twin.devices.client import Device

MOST_PENDING = 50


class Reporter(Device):
    """A device whose history is kept. `acked_at`: when each acknowledgement of an applied message came, by `time.perf_counter`."""

    def __init__(self, url, name, events, token=None):
        super().__init__(url, name, kind="vehicle", token=token)
        self.events, self.acked_at = events, []

    async def send(self, state):
        """Reports a state."""
        time_s = time.time()
        await self.report(state, time_s)
        key = {"device": self.name, "boot_id": self.boot_id, "seq": self._seq}
        self.events.append({"event": "sent", **key, "time_s": time_s, "state": state})

    def _settle(self, messages, acks):
        if any(ack.status == "applied" for ack in acks):
            self.acked_at.append(time.perf_counter())
        for ack in acks:
            if ack.status in ("applied", "late", "duplicate", "quarantined"):
                self.events.append({"event": "acked", **ack._asdict()})
        return super()._settle(messages, acks)


async def report(reporter, draw, stopping, every_s=0.02):
    """Reports until told to stop, and then until all is settled; to be cancelled where that takes too long."""
    async with reporter:
        while not stopping.is_set():
            if reporter.pending < MOST_PENDING:
                await reporter.send({"x_m": draw.uniform(0, 1000), "y_m": draw.uniform(0, 1000)})
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), every_s)
        await reporter.flush()
