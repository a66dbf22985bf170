"""Protocols that are broken on purpose, each by one change, for tests that show that the simulator finds it."""

import asyncio
from contextlib import suppress
from typing import Any

from edgetwin.twin.messages import Ack
from edgetwin.twin.moves.coordinator import DEADLINE_S, Coordinator
from edgetwin.twin.moves.endpoint import Away, Frozen
from edgetwin.twin.moves.host_moves import HostMoves
from edgetwin.twin.moves.place import Place
from edgetwin.twin.record import Twin
from twin.simulation.directory import MemoryDirectory
from twin.simulation.host import SimulatedHost
from twin.simulation.store import MemoryStore
from twin.simulation.world import Parts


class DeletingMoves(HostMoves):
    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        frozen = await super().freeze(twin, move, destination)
        await self.release(twin, move)
        return frozen


class DeletesTooEarly(SimulatedHost):
    """The source forgets the twin as soon as it is frozen."""

    moves = DeletingMoves


class CommitsBlindly(MemoryDirectory):
    """A commit writes whatever is there."""

    def commit(self, twin: str, move: str) -> Place | None:
        destination, source = self.moves[move]

        def change(place: Place | None) -> Place | None:
            return None if place is None else Place(twin, destination, place.epoch + 1, move, None, source)

        return self._changed("commit", twin, change)[1]

    def begin(self, place: Place, move: str, destination: str) -> bool:
        self.moves = {**getattr(self, "moves", {}), move: (destination, place.host)}
        return super().begin(place, move, destination)


class ImpatientMoves(HostMoves):
    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        frozen = await super().freeze(twin, move, destination)
        self._host.process.spawn(self._thaw_later(twin, move))
        return frozen

    async def _thaw_later(self, twin: str, move: str) -> None:
        await asyncio.sleep(DEADLINE_S)
        with suppress(Away):
            await self.thaw(twin, move)


class ThawsUnasked(SimulatedHost):
    """A source that hears nothing for the deadline serves the twin again, without asking the directory."""

    moves = ImpatientMoves


class ThawsBeforeAbort(Coordinator):
    """A move that fails is undone at the source before the directory was asked."""

    async def _decided(self, twin: str, move: str) -> Place | None:
        run = self._runs.get(twin)
        if run is not None and "commit" not in run.migration.seconds:
            await self._at(run.source).thaw(twin, move)
        return await super()._decided(twin, move)


class WritesWhileFrozen(SimulatedHost):
    """A frozen source still takes changes."""

    def _decide(self, *values: Any) -> Ack:
        frozen, self.endpoint.frozen = self.endpoint.frozen, {}
        try:
            return super()._decide(*values)
        finally:
            self.endpoint.frozen = frozen


class NoFence(MemoryStore):
    """The store lets through what is frozen, or of an owner from before."""

    def fences(self, twin: Twin) -> bool:
        return twin.id not in self.disk.twins


class TrustingMoves(HostMoves):
    async def verify(self, frozen: Frozen, move: str) -> None:
        await self.extend(frozen.tail, move)


class TrustsTheNetwork(SimulatedHost):
    """The destination compares no hashes."""

    moves = TrustingMoves


class ForgetsWhatCame(MemoryStore):
    """The highest message applied does not come along, and nobody looks into the log."""

    def made_active(self, twin: Twin) -> Twin:
        return super().made_active(twin._replace(boot_id=0, seq=0))

    def known(self, keys: Any) -> set:
        return set()


class ForgetsToRecover(Coordinator):
    """A centre that starts leaves open what was open."""

    async def recover(self) -> None:
        return


class ForgetsTheFreeze(MemoryStore):
    """A freeze does not outlive a restart of the source."""

    def leaving(self) -> list[tuple[str, str]]:
        self.disk.leaving.clear()
        return []


BROKEN = {
    "the source deletes before the destination confirmed": Parts(host=DeletesTooEarly),
    "commit without compare-and-set": Parts(directory=CommitsBlindly),
    "the source thaws on time-out unasked": Parts(host=ThawsUnasked),
    "thawed before the directory aborted": Parts(coordinator=ThawsBeforeAbort),
    "no fence": Parts(host=WritesWhileFrozen, store=NoFence),
    "no fence in the store": Parts(store=NoFence),
    "hashes not compared": Parts(host=TrustsTheNetwork),
    "dedup not carried along": Parts(store=ForgetsWhatCame),
    "a centre that starts does not recover": Parts(coordinator=ForgetsToRecover),
    "a freeze does not outlive a restart": Parts(store=ForgetsTheFreeze),
}
