"""A host in the simulated world: it does with updates what `Host` does, and its part in moves, over a store in memory.

All that changes anything goes through one queue and takes a while. What the host remembers beyond its store ends with its process.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from edgetwin.twin.host import Refused
from edgetwin.twin.messages import Update
from edgetwin.twin.moves.endpoint import Frozen, OpenMove
from edgetwin.twin.moves.parcel import Base, Parcel, Tail, hash_of, sum_of
from edgetwin.twin.record import Entry, Twin, applied, is_newer, late
from edgetwin.twin.stores.store import Batch, Conflict
from twin.simulation.network import Process
from twin.simulation.store import MemoryStore


class SimulatedHost:
    """A host as it is after a start. ended: moves whose end it has heard; what of them comes afterwards is refused."""

    def __init__(self, process: Process, store: MemoryStore, rng: random.Random):
        self.process, self.store, self._rng = process, store, rng
        self.name, self.place = process.name, store.place
        self.twins = {twin.id: twin for twin in store.twins()}
        self.frozen = dict(store.leaving())
        self.copying: dict[str, tuple[str, list[Entry]]] = {}
        self.ended: set[str] = set()
        self.verified: set[str] = set()
        self._queue = asyncio.Lock()

    async def take(self, update: Update) -> dict[str, Any]:
        """The acknowledgement of an update."""
        return await self._in_turn(lambda: self._applied(update))

    async def refresh(self) -> None:
        """Reads its twins anew, where the store is shared, as after a connection that was broken."""

        def work() -> None:
            there = {twin.id: twin for twin in self.store.twins()}
            self.frozen = {
                twin: move
                for twin, move in self.frozen.items()
                if twin in there and twin in self.twins and there[twin].epoch == self.twins[twin].epoch
            }
            self.twins = there

        if self.store.disk.shared:
            await self._in_turn(work)

    async def adopt(self, twin: str, epoch: int) -> None:
        """Takes up a twin that failover has given to it."""

        def work() -> None:
            there = self.store.activate(twin, "", epoch)
            if there is not None:
                self.twins[twin] = there
                self.frozen.pop(twin, None)

        await self._in_turn(work)

    async def reserve(self, twin: Twin, move: str) -> None:
        await self._in_turn(lambda: self._refuse(self._has_ended(move) or twin.id in self.twins, "not to be had"))

    async def copy(self, twin: str, move: str) -> Parcel:
        def work() -> Parcel:
            self._refuse(self._has_ended(move) or twin not in self.twins or twin in self.frozen, "not served")
            revision, state, entries = self.store.history(twin)
            self.copying[twin] = (move, [])
            return Parcel(self.twins[twin], Base(revision, state), list(entries))

        return await self._in_turn(work)

    async def stage(self, parcel: Parcel, move: str) -> None:
        def work() -> None:
            self._refuse(self._has_ended(move), "over")
            if move not in self.verified:
                try:
                    self.store.stage(parcel, move)
                except Conflict as conflict:
                    raise Refused(409, str(conflict)) from None

        await self._in_turn(work)

    async def tail(self, twin: str, move: str) -> Tail:
        def work() -> Tail:
            self._refuse(self.copying.get(twin, ("",))[0] != move, "not copied")
            _, entries = self.copying[twin]
            self.copying[twin] = (move, [])
            return Tail(self.twins[twin], entries)

        return await self._in_turn(work)

    async def extend(self, tail: Tail, move: str) -> None:
        def work() -> None:
            self._refuse(self._has_ended(move), "over")
            self._refuse(move not in self.verified and not self.store.extend(tail, move), "no copy")

        await self._in_turn(work)

    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        def work() -> Frozen:
            self._refuse(self._has_ended(move) or twin not in self.twins, "not served")
            self._refuse(self.frozen.get(twin, move) != move or not self.store.freeze(twin, move), "frozen")
            self.frozen[twin] = move
            revision, state, entries = self.store.history(twin)
            copied, new = self.copying.get(twin, ("", []))
            whole = hash_of(self.twins[twin], Base(revision, state), sum_of(entries))
            return Frozen(Tail(self.twins[twin], new if copied == move else []), whole)

        return await self._in_turn(work)

    async def verify(self, frozen: Frozen, move: str) -> None:
        def work() -> None:
            self._refuse(self._has_ended(move) or not self.store.extend(frozen.tail, move), "no copy")
            there = self.store.staged(frozen.tail.twin.id, move)
            self._refuse(there is None or not self.is_same(there, frozen), "hashes differ")
            self.verified.add(move)

        await self._in_turn(work)

    def is_same(self, there: Parcel, frozen: Frozen) -> bool:
        """Whether a copy is what was frozen; in a shared store the record is there itself."""
        if self.store.disk.shared:
            return there.twin == frozen.tail.twin
        return hash_of(there.twin, there.base, sum_of(there.entries)) == frozen.hash

    async def activate(self, twin: str, move: str, epoch: int) -> Twin:
        def work() -> Twin:
            there = self.store.activate(twin, move, epoch)
            self._refuse(there is None, "no copy")
            if twin not in self.twins or self.twins[twin].epoch != epoch:
                self.twins[twin] = there
                self.frozen.pop(twin, None)
            return self.twins[twin]

        return await self._in_turn(work)

    async def release(self, twin: str, move: str) -> None:
        def work() -> bool:
            if self.frozen.get(twin) != move and not (self.store.disk.shared and move not in self.ended):
                return False
            if self.store.release(twin, move):
                return True
            self.twins.pop(twin, None)
            self.frozen.pop(twin, None)
            return False

        while await self._in_turn(work):
            pass
        self.ended.add(move)

    async def thaw(self, twin: str, move: str) -> None:
        def work() -> None:
            self.ended.add(move)
            if self.frozen.get(twin) == move:
                self.store.thaw(twin, move)
                del self.frozen[twin]

        await self._in_turn(work)

    async def discard(self, twin: str, move: str) -> None:
        def work() -> bool:
            self.ended.add(move)
            return self.store.discard(twin, move)

        while await self._in_turn(work):
            pass

    async def open_moves(self) -> list[OpenMove]:
        def work() -> list[OpenMove]:
            leaving = [OpenMove(twin, move, "source") for twin, move in self.frozen.items()]
            return leaving + [OpenMove(twin, move, "destination") for twin, move in self.store.arriving()]

        return await self._in_turn(work)

    def takes_no(self, twin: str) -> bool:
        """Whether a twin that it holds takes no changes now."""
        return twin in self.frozen

    def _applied(self, update: Update) -> dict[str, Any]:
        ack: dict[str, Any] = {"device": update.device, "boot_id": update.boot_id, "seq": update.seq, "host": self.name}
        twin = self.twins.get(update.device)
        if twin is None or self.takes_no(twin.id):
            return {**ack, "status": "retry", "revision": None, "reason": "moved"}
        ack["epoch"] = twin.epoch
        if not is_newer(twin, update) and self.store.known([update[:3]]):
            return {**ack, "status": "duplicate", "revision": twin.revision}
        newer = is_newer(twin, update)
        after, entry = applied(twin, update, {}, update.time_s) if newer else late(twin, update, update.time_s)
        if self.store.commit(Batch([after], [entry])):
            self.twins.pop(twin.id)
            return {**ack, "status": "retry", "revision": None, "reason": "moved"}
        self.twins[twin.id] = after
        if twin.id in self.copying:
            self.copying[twin.id][1].append(entry)
        return {**ack, "status": "applied" if newer else "late", "revision": after.revision}

    async def _in_turn(self, work: Callable[[], Any]) -> Any:
        """Does something once all is done that was asked before; it is on disk some time before this returns."""
        async with self._queue:
            await asyncio.sleep(self._rng.uniform(0.0001, 0.004))
            result = work()
        if self._rng.random() < 0.2:
            await asyncio.sleep(self._rng.uniform(0.0001, 0.02))
        return result

    def _has_ended(self, move: str) -> bool:
        return move in self.ended

    def _refuse(self, wrong: bool, why: str) -> None:
        if wrong:
            raise Refused(409, why)
