"""Hosts that only note what the coordinator asks of them, and fail where a test says so."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from edgetwin.twin.moves.coordinator import Coordinator
from edgetwin.twin.moves.endpoint import Away, Frozen, OpenMove
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.moves.migration import Migration
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.moves.place import Place
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.stores.store import StoreUnavailable
from twin.simulation.directory import MemoryDirectory

CAR = Twin("car-1", "vehicle")
ENTRY = Entry("car-1", 1, 1, 1, 0.0, 0.0, {"x_m": 1.0})


class ScriptedHost:
    """An endpoint. calls: of all hosts together, as `host.call`. fails: an error by `host.call`, raised after the call was noted, as often as it is
    there. waits: an event by `host.call` that is waited for."""

    def __init__(self, name: str, script: "Script", place: str):
        self.name, self.script, self.place = name, script, place
        self.open: list[OpenMove] = []

    async def _noted(self, call: str) -> None:
        called = f"{self.name}.{call}"
        self.script.calls.append(called)
        if called in self.script.waits:
            await self.script.waits[called].wait()
        if called in self.script.fails:
            raise self.script.fails[called]

    async def reserve(self, twin: Twin, move: str) -> None:
        await self._noted("reserve")

    async def copy(self, twin: str, move: str) -> Parcel:
        await self._noted("copy")
        return Parcel(CAR, Base(), [ENTRY] * 300)

    async def stage(self, parcel: Parcel, move: str) -> None:
        await self._noted("stage")

    async def tail(self, twin: str, move: str) -> Tail:
        await self._noted("tail")
        return Tail(CAR, [ENTRY] * self.script.tails.pop(0))

    async def extend(self, tail: Tail, move: str) -> None:
        await self._noted("extend")

    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        await self._noted("freeze")
        return Frozen(Tail(CAR, [ENTRY] * 2), "hash")

    async def verify(self, frozen: Frozen, move: str) -> None:
        await self._noted("verify")

    async def activate(self, twin: str, move: str, epoch: int) -> Twin:
        await self._noted("activate")
        return CAR._replace(epoch=epoch)

    async def release(self, twin: str, move: str) -> None:
        await self._noted("release")

    async def thaw(self, twin: str, move: str) -> None:
        await self._noted("thaw")

    async def discard(self, twin: str, move: str) -> None:
        await self._noted("discard")

    async def open_moves(self) -> list[OpenMove]:
        await self._noted("open_moves")
        return list(self.open)


class Script:
    """Two hosts `a` and `b`, a directory where `a` has car-1, and a coordinator over them. unavailable: "method before" or "method after" of the
    directory, how many times it fails so. slow_s: seconds that a method of it takes. told: all that was recorded."""

    def __init__(self, shared: bool = False, deadline_s: float = 5.0, tails: list[int] | None = None):
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.waits: dict[str, asyncio.Event] = {}
        self.tails = tails or [0]
        self.gone: set[str] = set()
        self.unavailable: dict[str, int] = {}
        self.slow_s: dict[str, float] = {}
        self.told: list[Migration] = []
        self.places: list[tuple[Place, bool]] = []
        self.hosts = {name: ScriptedHost(name, self, "shared" if shared else name) for name in ("a", "b")}
        self.directory = MemoryDirectory(self._trouble)
        self.directory.rows["car-1"] = Place("car-1", "a", 1)
        self.gates = Gates()
        self.deadline_s = deadline_s
        self.coordinator = self.another()

    def another(self) -> Coordinator:
        """A coordinator that knows nothing of what the one before did."""
        numbers = iter(range(100))
        return Coordinator(
            self.directory,
            self.at,
            self.gates,
            self.told.append,
            lambda place: self.places.append((place, self.gates.is_closed(place.twin))),
            self.deadline_s,
            new_id=lambda: f"m{next(numbers)}",
        )

    def at(self, name: str) -> ScriptedHost:
        if name in self.gone:
            raise Away(f"{name} is away")
        return self.hosts[name]

    def _trouble(self, method: str, when: str) -> None:
        self.calls += [f"directory.{method}"] if when == "before" else []
        time.sleep(self.slow_s.get(method, 0.0) if when == "before" else 0.0)
        if self.unavailable.get(f"{method} {when}", 0):
            self.unavailable[f"{method} {when}"] -= 1
            raise StoreUnavailable("its server is away")

    @property
    def place(self) -> Place:
        return self.directory.rows["car-1"]

    def changes(self) -> list[str]:
        """What was asked that changes something, in order."""
        return [call for call in self.calls if not call.endswith((".place", ".places", "open_moves"))]

    def run(self, work: Callable[["Script"], Coroutine[Any, Any, Any]]) -> Any:
        async def main() -> Any:
            try:
                return await asyncio.wait_for(work(self), 20)
            finally:
                await self.coordinator.close()

        return asyncio.run(main())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once something holds."""
        while not condition():
            await asyncio.sleep(0.002)
