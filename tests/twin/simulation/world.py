"""A simulated world: devices, a centre, hosts and their stores, a directory and a network, all in virtual time, and all that goes wrong with them
drawn from a seed. The same seed is the same history."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

from edgetwin.twin.moves import failpoints
from edgetwin.twin.moves.coordinator import Coordinator
from edgetwin.twin.moves.migration import Migration
from edgetwin.twin.moves.place import Place
from edgetwin.twin.record import Twin
from edgetwin.twin.stores.store import StoreUnavailable
from twin.simulation.centre import SWEEP_S, SimulatedCentre, damage
from twin.simulation.devices import SimulatedDevice
from twin.simulation.directory import MemoryDirectory
from twin.simulation.host import SimulatedHost
from twin.simulation.loop import VirtualLoop
from twin.simulation.network import Network, Process
from twin.simulation.store import Disk, MemoryStore
from twin.simulation.trouble import FAULTS, TROUBLE_S, drawn

PATIENCE_S = 60.0
"""How long after that all may take to be in order."""
LEASE_S = 0.4


class Parts(NamedTuple):
    """What a world is made of; broken ones are put in their place by tests."""

    host: type[SimulatedHost] = SimulatedHost
    store: type[MemoryStore] = MemoryStore
    directory: type[MemoryDirectory] = MemoryDirectory
    coordinator: type[Coordinator] = Coordinator


WHOLE = Parts()


class World:
    """One seed's world. faults: which of `FAULTS` there are; None leaves that to the seed. events: what the devices saw."""

    def __init__(self, seed: int, parts: Parts = WHOLE, faults: tuple[str, ...] | None = None, shared: bool | None = None):
        self.rng = rng = random.Random(seed)
        self.loop = VirtualLoop(self._thread)
        self.network = Network(self.loop, rng)
        self.coordinator_class, self._parts = parts.coordinator, parts
        self.faults = tuple(fault for fault in FAULTS if rng.random() < 0.4) * (rng.random() < 0.95) if faults is None else faults
        self.is_shared = rng.random() < 0.35 if shared is None else shared
        self.events: list[dict[str, Any]] = []
        self.migrations: dict[str, Migration] = {}
        self.corrupted = self.directory_away = self.disks_away = 0.0
        self.traps: dict[str, str] = {}
        self.starts: Counter[str] = Counter()
        self._moves, self._busy_until, self._dead = 0, dict[Any, float](), set[Any]()
        names = [f"edge-{number}" for number in range(1, rng.randint(2, 3) + 1)]
        self.processes = {name: Process(name, self.loop) for name in ("centre", *names)}
        disk = Disk(shared=True)
        disks = {name: disk if self.is_shared else Disk() for name in names}
        for one in disks.values():
            one.trouble = self._disk_trouble
        self.directory = parts.directory(self._directory_trouble, disk.given if self.is_shared else None)
        self.disks = {name: parts.store(disks[name], name) for name in names}
        self.twins = [f"car-{number}" for number in range(1, rng.randint(1, 3) + 1)]
        for twin in self.twins:
            self._enrol(twin, rng.choice(names))
        self.hosts: dict[str, SimulatedHost] = {}
        self.centre: SimulatedCentre | None = None
        self.missed: list[str] = []
        self.devices = [SimulatedDevice(self, twin, rng.randint(6, 16), rng.choice([0.0, 0.3, 0.6])) for twin in self.twins]
        self.is_stuck: list[str] = []

    @property
    def is_faultless(self) -> bool:
        return not self.faults

    def run(self, plan: Callable[["World"], None] | None = None) -> None:
        """Lets the world live: trouble by `plan`, or drawn from the seed, then peace until all is in order or patience ends."""
        with mock.patch.object(failpoints, "reached", self.reached):
            self.loop.run_until_complete(self._live(plan or drawn))
        self.loop.close()

    async def _live(self, plan: Callable[["World"], None]) -> None:
        await self.begin()
        plan(self)
        await asyncio.sleep(TROUBLE_S)
        await self.finish()

    async def begin(self) -> None:
        """Starts hosts, centre and devices."""
        for name in self.disks:
            self._start(name)
        self._start("centre")
        while not self.centre.is_ready:
            await asyncio.sleep(0.01)
        self._lives = [device.process.spawn(device.run()) for device in self.devices]

    async def finish(self) -> None:
        """Ends all trouble and waits until all is in order; `is_stuck` says what is not."""
        self.heal()
        until = self.loop.time() + PATIENCE_S
        while (stuck := self._unfinished()) and self.loop.time() < until:
            await asyncio.sleep(0.25)
        await asyncio.sleep(SWEEP_S + 3.0)
        self.is_stuck = stuck or self._unfinished()
        for process in [*self.processes.values(), *(device.process for device in self.devices)]:
            process.kill()
        self.centre.kill()
        for _ in range(4):
            await asyncio.sleep(0)

    async def pause(self, seconds: float) -> None:
        """Lets the world go on."""
        await asyncio.sleep(seconds)

    def _unfinished(self) -> list[str]:
        away = [name for name, process in self.processes.items() if not process.is_alive]
        if away or not self.centre.is_ready:
            return [f"{away or 'the centre'} is not back"]
        moving = [twin for twin in self.twins if self.centre.coordinator.is_moving(twin)]
        waiting = [device.name for device, life in zip(self.devices, self._lives, strict=True) if not life.done()]
        return [f"{twin} is still moving" for twin in moving] + [f"{name} still has messages" for name in waiting]

    def note(self, migration: Migration) -> None:
        self.migrations[migration.id] = migration

    def new_id(self) -> str:
        self._moves += 1
        return f"m{self._moves}"

    def happens(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def damaged(self, carried: Any) -> Any:
        return damage(carried, self.rng)

    def is_linked(self, name: str) -> bool:
        """Whether a host and the centre hear each other."""
        return self.processes[name].is_alive and not {(name, "centre"), ("centre", name)} & self.network.blocked

    def migrate(self, twin: str, destination: str) -> None:
        if self.centre.process.is_alive and self.centre.is_ready:
            self.centre.process.spawn(self.centre.migrate(twin, destination))

    def crash(self, name: str, away_s: float) -> None:
        """Kills the centre or a host, and starts it anew some time later."""
        if not self.processes[name].is_alive:
            return
        if name == "centre":
            self._dead.add(self.centre.coordinator._thread)
            self.centre.kill()
        else:
            self.processes[name].kill()
            self.loop.call_later(LEASE_S, self._given_up, name)
        self.loop.call_later(away_s, self._start, name)

    def cut(self, pairs: set[tuple[str, str]], away_s: float) -> None:
        """Lets nothing pass between pairs for a while."""
        self.network.blocked |= pairs
        for name in {name for pair in pairs for name in pair if name != "centre"}:
            self.loop.call_later(LEASE_S, self._given_up, name)
        self.loop.call_later(away_s, self._mend, pairs)

    def heal(self) -> None:
        """Nothing goes wrong any more; who is down comes back when it was to."""
        self.network.lost = self.network.doubled = self.network.reordered = self.network.slow = 0.0
        self.corrupted = self.directory_away = self.disks_away = 0.0
        self.traps.clear()
        self._mend(set(self.network.blocked))

    async def reached(self, name: str) -> None:
        """A failpoint of the coordinator."""
        victim = self.traps.pop(name, None)
        if victim is not None:
            self.crash(victim, self.rng.uniform(0.05, 0.8))
            await asyncio.sleep(0)

    def _mend(self, pairs: set[tuple[str, str]]) -> None:
        before = {name for name in self.hosts if self.is_linked(name)}
        self.network.blocked -= pairs
        self._join(name for name in self.hosts if self.is_linked(name) and name not in before)

    def _start(self, name: str) -> None:
        self.processes[name].is_alive = True
        self.starts[name] += 1
        if name == "centre":
            self.centre = SimulatedCentre(self)
            self.centre.process.spawn(self.centre.start())
        else:
            self.disks[name].open_again()
            try:
                self.hosts[name] = self._parts.host(self.processes[name], self.disks[name], self.rng)
            except StoreUnavailable:
                self.processes[name].kill()
                self.loop.call_later(0.1, self._start, name)
                return
            self._join([name])

    def _join(self, names: Any) -> None:
        for name in names:
            if self.centre is not None and self.centre.process.is_alive and self.centre.is_ready:
                self.centre.process.spawn(self.centre.joined(name))

    def _given_up(self, name: str) -> None:
        """A host's lease is over; on a shared store its twins go to others, whether it is dead or not."""
        if self.is_shared and not self.is_linked(name) and self.centre.process.is_alive and self.centre.is_ready:
            self.centre.process.spawn(self.centre.fail_over(name))

    def _enrol(self, twin: str, host: str) -> None:
        """A twin with a history, the beginning of which was folded away."""
        before = {"x_m": -3.0}
        self.disks[host].create(Twin(twin, "vehicle", revision=3, reported=before, boot_id=0))
        self.disks[host].disk.base[twin] = (3, before)
        self.directory.rows[twin] = Place(twin, host, 1)

    def _directory_trouble(self, method: str, when: str) -> None:
        chance = self.directory_away if when == "before" else self.directory_away / 3
        if self.happens(chance):
            raise StoreUnavailable("the directory is away")

    def _disk_trouble(self, when: str) -> None:
        if self.happens(self.disks_away if when == "before" else self.disks_away / 3):
            raise StoreUnavailable("the disk is away")

    def _thread(self, executor: Any, name: str, work: Callable[[], Any]) -> asyncio.Future:
        """Does in some time what a thread is to do, one thing after another. What a thread of a centre that was killed had begun may be done, at once
        or later, or not: its server may have it already."""
        done = self.loop.create_future()
        if executor is None:
            done.set_result(work())
            return done
        when = max(self.loop.time(), self._busy_until.get(executor, 0.0)) + self.rng.uniform(0.0002, 0.008)
        self._busy_until[executor] = when
        if (victim := self.traps.pop(name, None)) is not None:
            self.loop.call_soon(self.crash, victim, self.rng.uniform(0.01, 0.2))

        def land() -> None:
            try:
                result, error = work(), None
            except Exception as raised:
                result, error = None, raised
            if not done.done():
                done.set_exception(error) if error else done.set_result(result)

        def run() -> None:
            if executor not in self._dead:
                land()
            elif self.happens(0.6):
                self.loop.call_later(self.rng.uniform(0, 0.6), land)

        self.loop.call_at(when, run)
        return done
