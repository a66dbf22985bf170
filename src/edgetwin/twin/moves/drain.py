"""A host emptied: it gets no new twins, and those that it has move to others, some at a time, while they are served."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgetwin.twin.moves.migration import Migration
from edgetwin.twin.refusal import Full, Refused

AT_ONCE = 8
TRIES = 3


class Movers(Protocol):
    """What a drain needs of the centre."""

    async def cordon(self, host: str, cordoned: bool = True) -> None: ...

    def is_cordoned(self, host: str) -> bool: ...

    def twins_at(self, host: str) -> list[str]: ...

    def lives_at(self, twin_id: str, host: str) -> bool: ...

    def better_than(self, host: str) -> str: ...

    async def migrate(self, twin_id: str, destination: str) -> Migration: ...


@dataclass
class Drain:
    """How far a host is emptied. kept: twins that could not be moved, each with the reason."""

    host: str
    total: int
    moved: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    done: bool = False
    seconds: float = 0.0

    def fields(self) -> dict[str, Any]:
        """As plain data, with the first ten of what was kept."""
        return {**self.__dict__, "kept": len(self.kept), "reasons": dict(list(self.kept.items())[:10])}


async def drain(centre: Movers, state: Drain) -> None:
    """Empties a host, told in `state` as it goes. Ends early where the host is no longer cordoned."""
    began = time.perf_counter()
    left = centre.twins_at(state.host)

    async def work() -> None:
        while left and centre.is_cordoned(state.host):
            twin = left.pop()
            why = await _moved(centre, twin, state.host)
            if why is None:
                state.moved += 1
            else:
                state.kept[twin] = why
            state.seconds = time.perf_counter() - began

    try:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    finally:
        state.done, state.seconds = True, time.perf_counter() - began


async def _moved(centre: Movers, twin: str, host: str) -> str | None:
    """Why a twin could not be moved away, None where it was, or is gone by itself."""
    why = ""
    for _ in range(TRIES):
        try:
            if not centre.lives_at(twin, host):
                return None
            migration = await centre.migrate(twin, centre.better_than(host))
        except (Refused, Full) as refused:
            why = str(refused)
            continue
        if migration.outcome == "moved":
            return None
        why = str(migration.outcome)
    return why
