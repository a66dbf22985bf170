"""A move as the coordinator drives it: what is known of it, told to a sink as it changes, and its steps timed between their failpoints."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from edgetwin.twin.moves import failpoints
from edgetwin.twin.moves.migration import STEPS, Migration, Sink
from edgetwin.twin.moves.place import Place
from edgetwin.twin.record import Entry

RETRY_S = 0.05
RETRY_AT_MOST_S = 2.0
"""The pause before a move that could not be ended is tried again: at first, and at most, as it doubles."""


class Run:
    """A move under way. needs: whom it waits for, where it can go no further. is_driven: somebody is at it just now. last: entries of the last
    tail."""

    def __init__(self, migration: Migration, sink: Sink, clock: Callable[[], float]):
        self.migration, self._sink, self._clock = migration, sink, clock
        self.id, self.twin, self.epoch = migration.id, migration.twin, migration.epoch
        self.source, self.destination = migration.source, migration.destination
        self.needs = ""
        self.reason = "left open by an earlier run of the centre"
        self.frozen_at: float | None = None
        self.is_driven = True
        self.last: list[Entry] = []
        self._pause_s = RETRY_S
        self._timer: asyncio.TimerHandle | None = None

    def note(self, **changes: Any) -> None:
        """Tells the sink what has changed."""
        self.migration = self.migration._replace(**changes)
        self._sink(self.migration)

    def served(self) -> None:
        """Notes how long the twin stood still, now that its destination serves it."""
        if self.frozen_at is not None and self.migration.pause_s is None:
            self.note(pause_s=self._clock() - self.frozen_at)

    def try_later(self, again: Callable[["Run"], None] | None) -> None:
        """Calls `again` after a pause, which doubles; in place of what was to be called. None: nothing."""
        if self._timer is not None:
            self._timer.cancel()
        if again is not None:
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, again, self)
            self._pause_s = min(2 * self._pause_s, RETRY_AT_MOST_S)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """One step of the move."""
        number = STEPS.index(name) + 1
        self.note(step=name)
        began = self._clock()
        await failpoints.reached(f"before-{number}")
        yield
        await failpoints.reached(f"after-{number}")
        self.note(seconds={**self.migration.seconds, name: self._clock() - began})


def left_by(place: Place, started_s: float) -> Migration:
    """The migration that a place with an open move speaks of."""
    assert place.move is not None
    if place.destination is not None:
        return Migration(place.move, place.twin, place.host, place.destination, place.epoch, started_s)
    return Migration(place.move, place.twin, place.source or place.host, place.host, place.epoch - 1, started_s)
