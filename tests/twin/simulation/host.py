"""A host in the simulated world: the real one, its part in moves included, over a store in memory, with a writer and readers that take virtual time
instead of threads. What it remembers beyond its store ends with its process."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

from edgetwin.twin.host import Host
from edgetwin.twin.kinds import Kind, Property
from edgetwin.twin.messages import Ack, Update
from edgetwin.twin.moves.host_moves import HostMoves
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.store import StoreUnavailable
from edgetwin.twin.writer import Writer
from twin.simulation.network import Process
from twin.simulation.store import MemoryStore

KINDS = {"vehicle": Kind(properties={"x_m": Property()}, clock_skew_s=1e9)}
PAUSE_S = 0.2


class VirtualWriter(Writer):
    """The writer, which takes turns with the rest of the world."""

    def __init__(self, host: "SimulatedHost", process: Process, rng: random.Random):
        super().__init__(host)
        self.process, self._rng, self._more = process, rng, asyncio.Event()

    def start(self) -> None:
        self.loop = self.process.loop
        self.process.spawn(self._live())

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._more.set()

    async def _live(self) -> None:
        while True:
            while not self._queue:
                self._more.clear()
                await self._more.wait()
            await asyncio.sleep(self._rng.uniform(0.0001, 0.004))
            letters, errand = self._next()
            answers = self._written(letters) if errand is None else [self._done(errand)]
            self.pending -= sum(item.size for item in (letters if errand is None else [errand]))
            self._pending_bytes = 0
            if self._rng.random() < 0.2:
                await asyncio.sleep(self._rng.uniform(0.0001, 0.02))
            self._answer(answers)
            while not self.available:
                self._turn_away()
                await asyncio.sleep(PAUSE_S)
                self._try()

    def _try(self) -> None:
        try:
            self._host.load()
        except StoreUnavailable:
            return
        self.available = True


class SimulatedHost(Host):
    """A host as it is after a start. Raises StoreUnavailable where its store is away."""

    moves: type[HostMoves] = HostMoves

    def __init__(self, process: Process, store: MemoryStore, rng: random.Random):
        self.process, self._rng = process, rng
        super().__init__(process.name, store, KINDS, clock=process.loop.time, others=True)
        self._writer = VirtualWriter(self, process, rng)
        self.endpoint = self.moves(self)
        self.endpoint.load()
        self.start()

    async def take(self, update: Update) -> dict[str, Any]:
        """The acknowledgement of an update, as an event."""
        try:
            (ack,) = await self.submit([(update, b"")])
        except Full:
            ack = Ack("retry", *update[:3])
        return {**ack._asdict(), "host": self.name}

    async def read(self, read: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(self._rng.uniform(0.0001, 0.004))
        return read(self.store)

    async def there(self) -> tuple[Iterable[str], Iterable[str]]:
        """What it tells as its link begins: the twins that it holds, which it reads anew from a shared store, and those that move."""
        if self.store.shared:
            await self.do(self.load)
        return list(self.twins), list(self.endpoint.moving)

    def lost(self, error: StoreUnavailable) -> None:
        pass
