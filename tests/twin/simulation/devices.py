"""Devices in the simulated world: each sends numbered updates until every one is acknowledged, and writes down what it saw."""

import asyncio
from typing import TYPE_CHECKING, Any

from edgetwin.twin.messages import Update
from edgetwin.twin.moves.endpoint import Away
from twin.simulation.network import Process

if TYPE_CHECKING:
    from twin.simulation.world import World

DONE = ("applied", "late", "duplicate")


class SimulatedDevice:
    """A device that sends `count` updates, a few at a time, to the centre and now and then straight to a host."""

    def __init__(self, world: "World", name: str, count: int, straight: float):
        self.world, self.name, self._straight = world, name, straight
        self.process = Process(name, world.loop)
        reboot = world.rng.randint(1, 2 * count)
        self._updates = [
            Update(name, 1 + (number >= reboot), 1 + number - reboot * (number >= reboot), float(number), {"x_m": float(number)})
            for number in range(count)
        ]

    async def run(self) -> None:
        rng = self.world.rng
        waiting = list(self._updates)
        while waiting:
            size = 1 if self.world.is_faultless else rng.randint(1, 3)
            group, waiting = waiting[:size], waiting[size:]
            await asyncio.gather(*(self.deliver(update) for update in group))
            await asyncio.sleep(rng.uniform(0, 0.2))

    async def deliver(self, update: Update) -> None:
        """Sends an update until it is acknowledged."""
        self.world.events.append({"event": "sent", **update._asdict()})
        while not await self._try(update):
            await asyncio.sleep(self.world.rng.uniform(0.01, 0.2))

    async def _try(self, update: Update) -> bool:
        network, rng = self.world.network, self.world.rng
        name = rng.choice(list(self.world.hosts)) if rng.random() < self._straight else "centre"
        receiver = self.world.processes[name]

        async def work() -> dict[str, Any]:
            at = self.world.centre if name == "centre" else self.world.hosts[name]
            return await at.take(update)

        try:
            ack = await network.call(self.process, receiver, work)
        except Away:
            return False
        self.world.events.append({"event": "acked", "via": name, **ack})
        return ack["status"] in DONE
