"""Moves twins from host to host in seven steps, and brings every move to its end whatever fails in between.

The directory decides, and nothing else: up to its commit a failed move is undone, from then on it is carried through. Where it cannot be told
whether the directory took a change, its place is read until it can. What a host has not heard yet is told when it is there again.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from edgetwin.twin.moves.endpoint import Away, Endpoint, OpenMove
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.moves.migration import Migration, Sink
from edgetwin.twin.moves.parcel import canonical
from edgetwin.twin.moves.place import Directory, Place
from edgetwin.twin.moves.run import Run, left_by
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Refused
from edgetwin.twin.stores.store import StoreUnavailable

DEADLINE_S = 0.5
"""From asking for the freeze to the answer to the commit; then the move is given up, and undone unless the directory has taken the commit."""
SMALL_TAIL = 100
"""Entries that are few enough to be sent while the twin is frozen."""
MAX_TAILS = 5
TOLD_S = 10.0
"""How long a move waits for a host that does not have the twin to hear of its end; it is told by `resolve` if not by then."""


class Coordinator:
    """Moves of the twins in a directory. All in one event loop; the directory is called from a thread of its own (`ask`).

    endpoints: a host by name, raises Away for one that is not there. record: told of each change of a migration. placed: told of a twin's new
    place before messages that waited at its gate go on.
    """

    def __init__(
        self,
        directory: Directory,
        endpoints: Callable[[str], Endpoint],
        gates: Gates,
        record: Sink = lambda migration: None,
        placed: Callable[[Place], None] = lambda place: None,
        deadline_s: float = DEADLINE_S,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ):
        self._directory, self._at, self._gates = directory, endpoints, gates
        self._record, self._placed, self._deadline_s, self._clock, self._new_id = record, placed, deadline_s, clock, new_id
        self._timer = timer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="directory")
        self._runs: dict[str, Run] = {}
        """Open moves by twin."""
        self._beginning: set[str] = set()
        self._tasks: set[asyncio.Task] = set()

    async def ask(self, what: Callable[..., Any], *values: Any) -> Any:
        """Calls a method of the directory in its thread, after all that were called before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(what, *values))

    def is_moving(self, twin: str) -> bool:
        """Whether a move of the twin has not ended."""
        return twin in self._runs or twin in self._beginning

    def leads_to(self, host: str) -> bool:
        """Whether a move to a host is under way."""
        return any(run.destination == host and run.is_driven for run in self._runs.values())

    async def migrate(self, twin: Twin, destination: str) -> Migration:
        """Moves a twin; returns when it has moved, when the move was undone, or when it waits for the twin's host or the directory to come back. Who
        else has not heard of its end is told by `resolve`.

        A caller that is cancelled does not stop the move. Raises Refused, with nothing changed, where it cannot begin.
        """
        if self.is_moving(twin.id):
            raise Refused(409, f"{twin.id} is moving already")
        self._beginning.add(twin.id)
        return await asyncio.shield(self._started(self._migrated(twin, destination)))

    async def recover(self) -> None:
        """Ends all moves that the directory has open and nobody drives, as after a start of the centre. May be called at any time. Raises
        StoreUnavailable where the directory cannot be read."""
        for found in await self.ask(self._directory.open_places):
            if found.twin not in self._runs:
                place = await self.ask(self._directory.place, found.twin)
                if place is not None and place.move == found.move and found.twin not in self._runs:
                    await self._end(self._run(left_by(place, self._clock())))

    async def resolve(self, host: str) -> None:
        """Tells a host, come back or not, how the moves ended that it has open. May be called at any time. Raises Away, StoreUnavailable."""
        for open_move in await self._at(host).open_moves():
            run = self._runs.get(open_move.twin)
            if run is not None and run.id == open_move.move:
                if not run.is_driven:
                    await self._end(run)
            else:
                await self._tell(host, open_move)
        for run in [run for run in self._runs.values() if host in (run.source, run.destination)]:
            if self._runs.get(run.twin) is run and not run.is_driven:
                await self._end(run)

    async def close(self) -> None:
        """Stops where it is; `recover` ends what is left after the next start. The directory stays open."""
        for run in self._runs.values():
            run.try_later(None)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown()

    def _started(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _migrated(self, twin: Twin, destination: str) -> Migration:
        try:
            run = await self._begun(twin.id, destination)
        except StoreUnavailable as error:
            raise Refused(503, f"the directory cannot be read: {error}") from None
        finally:
            self._beginning.discard(twin.id)
        try:
            await self._up_to_commit(run, twin)
        except TimeoutError:
            run.reason = f"not committed within {self._deadline_s:g} s"
        except Exception as error:
            run.reason = str(error) or type(error).__name__
        await self._end(run)
        return run.migration

    async def _begun(self, twin_id: str, destination: str) -> Run:
        """A move that may begin. Raises Refused, StoreUnavailable."""
        place = await self.ask(self._directory.place, twin_id)
        if place is not None and place.move is not None and twin_id not in self._runs:
            await self._end(self._run(left_by(place, self._clock())))
            place = await self.ask(self._directory.place, twin_id)
        if place is None:
            raise Refused(404, f"twin {twin_id!r}: not enrolled")
        if twin_id in self._runs or place.move is not None:
            raise Refused(409, f"{twin_id}: an earlier move has not ended")
        if place.host == destination:
            raise Refused(409, f"{twin_id} is at {destination} already")
        try:
            self._at(place.host), self._at(destination)
        except Away as error:
            raise Refused(503, str(error)) from None
        return self._run(Migration(self._new_id(), twin_id, place.host, destination, place.epoch, self._clock()))

    def _run(self, migration: Migration) -> Run:
        run = self._runs[migration.twin] = Run(migration, self._record, self._timer)
        return run

    async def _up_to_commit(self, run: Run, twin: Twin) -> None:
        """Steps 1 to 5. Whatever it raises, or returns: the directory knows whether the move was committed."""
        async with run.step("prepare"):
            settled = Place(run.twin, run.source, run.epoch)
            if not await self.ask(self._directory.begin, settled, run.id, run.destination):
                raise Refused(409, f"{run.twin} was moved meanwhile")
            await self._at(run.destination).reserve(twin, run.id)
        async with run.step("copy"):
            if self._at(run.source).place != self._at(run.destination).place:
                await self._copy(run)
        self._gates.close(run.twin)
        run.frozen_at = self._timer()
        async with asyncio.timeout(self._deadline_s):
            async with run.step("freeze"):
                frozen = await self._at(run.source).freeze(run.twin, run.id, run.destination)
            async with run.step("verify"):
                await self._at(run.destination).verify(frozen, run.id)
            run.last = frozen.tail.entries
            async with run.step("commit"):
                if await self.ask(self._directory.commit, run.twin, run.id) is None:
                    raise Refused(409, f"the directory gave {run.twin} to another")

    async def _copy(self, run: Run) -> None:
        """Copies the twin as it is served, until little is left."""
        parcel = await self._at(run.source).copy(run.twin, run.id)
        await self._at(run.destination).stage(parcel, run.id)
        await self._count(run, parcel.entries)
        for _ in range(MAX_TAILS):
            tail = await self._at(run.source).tail(run.twin, run.id)
            await self._at(run.destination).extend(tail, run.id)
            await self._count(run, tail.entries)
            if len(tail.entries) <= SMALL_TAIL:
                return

    async def _count(self, run: Run, entries: list[Entry]) -> None:
        size_bytes = await asyncio.get_running_loop().run_in_executor(None, _size_of, entries)
        done = run.migration
        run.note(entries=done.entries + len(entries), size_bytes=done.size_bytes + size_bytes)

    async def _end(self, run: Run) -> None:
        """Takes a move to its end as the directory has decided, as far as all can be reached; what cannot be done now is tried again later. A caller
        that is cancelled, since the host that it speaks with has left, does not stop that."""
        run.is_driven = True
        await asyncio.shield(self._started(self._ended(run)))

    async def _ended(self, run: Run) -> None:
        run.needs = "the directory"
        try:
            place = await self._decided(run.twin, run.id)
            if place is not None:
                self._placed(place)
            if place is not None and place.move == run.id:
                await self._carry_through(run, place)
            else:
                await self._undo(run, place)
            if self._runs.get(run.twin) is run:
                del self._runs[run.twin]
        except Exception as error:
            run.note(outcome=f"waiting: {run.needs}: {error}")
            run.try_later(self._again)
        finally:
            run.is_driven = False
            self._gates.open(run.twin)

    def _again(self, run: Run) -> None:
        if self._runs.get(run.twin) is run and not run.is_driven:
            run.is_driven = True
            self._started(self._ended(run))

    async def _decided(self, twin: str, move: str) -> Place | None:
        """The twin's place once the move is not undecided any more: what is, is aborted. Raises StoreUnavailable."""
        while True:
            place = await self.ask(self._directory.place, twin)
            if place is None or place.move != move or not place.is_moving:
                return place
            await self.ask(self._directory.abort, twin, move)

    async def _carry_through(self, run: Run, place: Place) -> None:
        """Steps 6 and 7."""
        run.needs = place.host
        async with run.step("activate"):
            await self._at(place.host).activate(run.twin, run.id, place.epoch)
        run.served()
        self._gates.open(run.twin)
        await self._count(run, run.last)
        run.last = []
        async with run.step("release"):
            with suppress(Exception):
                async with asyncio.timeout(TOLD_S):
                    await self._at(run.source).release(run.twin, run.id)
            run.needs = "the directory"
            await self.ask(self._directory.release, run.twin, run.id)
        run.note(outcome="moved")

    async def _undo(self, run: Run, place: Place | None) -> None:
        """Ends a move that the directory has not open any more: undone, or carried through or overtaken before this was asked. The twin's host has to
        hear of it, so that it serves the twin."""
        missed = None
        told = [OpenMove(run.twin, run.id, "source"), OpenMove(run.twin, run.id, "destination")]
        for host, part in zip((run.source, run.destination), told, strict=True):
            has_it = place is not None and place.host == host
            try:
                async with asyncio.timeout(None if has_it else TOLD_S):
                    await self._verdict(host, part, place)
            except Exception as error:
                if has_it:
                    run.needs, missed = host, error
        if missed is not None:
            raise missed
        has_moved = place is not None and place.epoch > run.epoch and place.host == run.destination
        if place is not None and place.epoch > run.epoch and not has_moved:
            run.reason += f"; {place.host} has it now"
        run.note(outcome="moved" if has_moved else f"aborted: {run.reason}")

    async def _tell(self, host: str, part: OpenMove) -> None:
        """Ends a host's part in a move that nobody drives."""
        place = await self._decided(part.twin, part.move)
        if place is None or place.move != part.move:
            await self._verdict(host, part, place)
        elif part.twin not in self._runs:
            await self._end(self._run(left_by(place, self._clock())))

    async def _verdict(self, host: str, part: OpenMove, place: Place | None) -> None:
        """Tells a host the end of its part in a move that the directory has not open. A twin without place stays as it is: it is being erased."""
        if part.role == "destination":
            await self._at(host).discard(part.twin, part.move)
        elif place is not None and place.host == host:
            await self._at(host).thaw(part.twin, part.move)
        elif place is not None:
            await self._at(host).release(part.twin, part.move)


def _size_of(entries: list[Entry]) -> int:
    return sum(len(canonical(entry)) for entry in entries)
