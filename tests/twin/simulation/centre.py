"""The centre in the simulated world: it sends messages where the directory says, through gates, and lets the coordinator move twins. The
coordinator and the gates are the real ones."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgetwin.twin.messages import Ack, Update
from edgetwin.twin.moves.endpoint import Away
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.moves.parcel import Parcel, Tail
from edgetwin.twin.moves.place import Place
from edgetwin.twin.moves.reconcile import disagreement
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from twin.simulation.world import World

AGAIN_S = 0.2
SWEEP_S = 5.0
"""How often the centre looks for moves that nobody drives, since a `begin` of an earlier centre may come late, and for hosts that have missed
something."""
CARRIERS = {"stage", "extend", "verify"}
"""Calls that carry what a network may damage."""


class RemoteEndpoint:
    """A host's part in moves, asked for over the network."""

    def __init__(self, world: "World", name: str):
        self.world, self.name, self.place = world, name, world.disks[name].place

    def __getattr__(self, method: str) -> Any:
        async def call(*values: Any) -> Any:
            if method in CARRIERS and self.world.happens(self.world.corrupted):
                values = (self.world.damaged(values[0]), *values[1:])
            process = self.world.processes[self.name]
            work = lambda: getattr(self.world.hosts[self.name].endpoint, method)(*values)  # noqa: E731
            return await self.world.network.call(self.world.processes["centre"], process, work)

        return call


class SimulatedCentre:
    """The centre as it is after a start."""

    def __init__(self, world: "World"):
        self.world, self.process = world, world.processes["centre"]
        self.gates, self.homes, self.is_ready = Gates(), {}, False
        self.coordinator = world.coordinator_class(
            world.directory,
            self.endpoint,
            self.gates,
            world.note,
            self.placed,
            clock=world.loop.time,
            timer=world.loop.time,
            new_id=world.new_id,
        )

    async def start(self) -> None:
        """Learns where twins are, ends what an earlier centre left open, and speaks with the hosts."""
        while not self.is_ready:
            try:
                for place in await self.coordinator.ask(self.world.directory.places):
                    self.placed(place)
                await self.coordinator.recover()
                self.is_ready = True
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)
        for name in self.world.hosts:
            self.process.spawn(self.joined(name))
        while True:
            await asyncio.sleep(SWEEP_S)
            with suppress(StoreUnavailable):
                await self.coordinator.recover()
            for name in self.world.hosts:
                self.process.spawn(self.joined(name))

    def kill(self) -> None:
        """Ends the process wherever it is."""
        self.process.kill()
        for run in self.coordinator._runs.values():
            run.try_later(None)
        self.coordinator._runs.clear()
        for task in self.coordinator._tasks:
            task.cancel()

    def placed(self, place: Place) -> None:
        self.homes[place.twin] = place.host

    def endpoint(self, name: str) -> RemoteEndpoint:
        if not self.world.processes[name].is_alive or not self.world.is_linked(name) and self.world.happens(0.5):
            raise Away(f"{name} is away")
        return RemoteEndpoint(self.world, name)

    async def joined(self, name: str) -> None:
        """A host's link is there (again), or it may have missed something."""
        while self.world.is_linked(name):
            try:
                held, moving = await self._call(name, lambda: self.world.hosts[name].there())
                places = {place.twin: place for place in await self.coordinator.ask(self.world.directory.places)}
                for place in places.values():
                    if not self.coordinator.is_moving(place.twin):
                        self.placed(place)
                found = disagreement(name, held, moving, places)
                if found.stale:
                    await self._call(name, lambda found=found: self.world.hosts[name].shelve(found.stale))
                if self.world.is_shared and found.missing:
                    await self._call(name, lambda found=found: self.world.hosts[name].adopt(found.missing))
                elif found.missing:
                    self.world.missed += found.missing
                await self.coordinator.resolve(name)
                await self._call(name, self.world.hosts[name].clean)
                return
            except (Away, Full, StoreUnavailable):
                await asyncio.sleep(AGAIN_S)

    async def _call(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return await self.world.network.call(self.process, self.world.processes[name], work)

    async def migrate(self, twin: str, destination: str) -> None:
        with suppress(Refused):
            await self.coordinator.migrate(Twin(twin, "vehicle"), destination)

    async def take(self, update: Update) -> dict[str, Any]:
        """The acknowledgement of an update, as an event."""
        retry = {**Ack("retry", *update[:3])._asdict(), "host": None}
        await self.gates.passed(update.device)
        home = self.homes.get(update.device)
        if not self.is_ready or home is None or not self.world.processes[home].is_alive:
            return retry
        try:
            return await self._call(home, lambda: self.world.hosts[home].take(update))
        except Away:
            return retry

    async def fail_over(self, name: str) -> None:
        """Gives the twins of a host that is gone to the others."""
        others = [host for host in self.world.hosts if host != name and self.world.is_linked(host)]
        twins = [twin for twin, home in self.homes.items() if home == name]
        if not others:
            return
        to = {twin: self.world.rng.choice(others) for twin in twins}
        try:
            await self.coordinator.ask(self.world.directory.fail_over, name, to)
        except StoreUnavailable:
            await asyncio.sleep(AGAIN_S)
        await self._adopted(name, set(to))

    async def _adopted(self, lost: str, twins: set[str]) -> None:
        """Tells hosts of twins that failover has given to them, until they know."""
        while True:
            try:
                for place in await self.coordinator.ask(self.world.directory.places):
                    if place.twin in twins and place.source is None:
                        host = self.world.hosts[place.host]
                        await self._call(place.host, lambda host=host, place=place: host.adopt([place.twin]))
                        if self.homes.get(place.twin) == lost:
                            self.placed(place)
                return
            except (Away, Full, StoreUnavailable):
                await asyncio.sleep(AGAIN_S)


def damage(carried: Any, rng: Any) -> Any:
    """What a network that damages makes of a parcel, a tail or what was frozen."""
    if not isinstance(carried, Parcel | Tail):
        return carried._replace(tail=damage(carried.tail, rng))
    choice = rng.random()
    if carried.entries and choice < 0.4:
        return carried._replace(entries=carried.entries[:-1])
    if carried.entries and choice < 0.7:
        return carried._replace(entries=[carried.entries[0]._replace(changes={"x_m": -1.0}), *carried.entries[1:]])
    return carried._replace(twin=carried.twin._replace(reported={**carried.twin.reported, "x_m": -2.0}))
