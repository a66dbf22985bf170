"""A host emptied: it gets no new twins, and those that it has move to others, some at a time, while they are served."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgetwin.twin.moves.migration import Migration
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.store import StoreUnavailable

AT_ONCE = 8
TRIES = 3
AGAIN_S = 0.2
NOBODY_S = 2.0
"""How long no host may take twins before a drain ends: one that is just starting anew is waited for."""
LOOK_S = 0.05


class Movers(Protocol):
    """What a drain needs of the centre."""

    def is_cordoned(self, host: str) -> bool:
        """Whether a host gets no new twins."""

    def twins_at(self, host: str) -> list[str]:
        """Twins that live at a host."""

    def expects(self, host: str) -> bool:
        """Whether twins are on their way to a host."""

    def lives_at(self, twin_id: str, host: str) -> bool:
        """Whether a twin lives at a host."""

    def better_than(self, host: str) -> str:
        """The host that a twin of a host shall move to. Raises Full."""

    async def migrate(self, twin_id: str, destination: str) -> Migration:
        """Moves a twin. Raises Refused, Full, StoreUnavailable."""


@dataclass
class Drain:
    """How far a host is emptied. kept: twins that could not be moved, each with the reason. ended_early: why, where it was."""

    host: str
    total: int
    moved: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    done: bool = False
    seconds: float = 0.0
    ended_early: str | None = None

    def fields(self) -> dict[str, Any]:
        """As plain data, with the first ten of what was kept."""
        return {**self.__dict__, "kept": len(self.kept), "reasons": dict(list(self.kept.items())[:10])}


async def drain(centre: Movers, state: Drain) -> None:
    """Empties a host, which is cordoned, also of twins that were on their way there; told in `state` as it goes. Ends early where it is not cordoned
    any more, or no host takes twins for a while."""
    began = time.perf_counter()
    left = centre.twins_at(state.host)

    async def work() -> None:
        while left and goes_on():
            twin = left.pop()
            try:
                why = await _moved(centre, twin, state.host)
            except Full as nobody:
                state.ended_early = str(nobody)
                return
            if why is None:
                state.moved += 1
            else:
                state.kept[twin] = why
            state.seconds = time.perf_counter() - began

    def goes_on() -> bool:
        if not centre.is_cordoned(state.host):
            state.ended_early = f"{state.host} is not cordoned any more"
        return state.ended_early is None

    try:
        while (left or centre.expects(state.host)) and goes_on():
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            await asyncio.sleep(LOOK_S if centre.expects(state.host) else 0)
            left = [twin for twin in centre.twins_at(state.host) if twin not in state.kept]
            state.total = max(state.total, state.moved + len(state.kept) + len(left))
    finally:
        state.done, state.seconds = True, time.perf_counter() - began


async def _moved(centre: Movers, twin: str, host: str) -> str | None:
    """Why a twin could not be moved away, None where it was, or is gone by itself. Raises Full where no host takes twins."""
    why = ""
    for attempt in range(TRIES):
        await asyncio.sleep(AGAIN_S if attempt else 0)
        if not centre.lives_at(twin, host):
            return None
        destination = await _destination(centre, host)
        try:
            migration = await centre.migrate(twin, destination)
        except (Refused, Full, StoreUnavailable) as refused:
            why = str(refused)
        else:
            if migration.outcome == "moved":
                return None
            why = str(migration.outcome)
    return why


async def _destination(centre: Movers, host: str) -> str:
    """Where a twin of a host shall move to. Raises Full where nobody has taken twins for `NOBODY_S`."""
    until_s = time.monotonic() + NOBODY_S
    while True:
        try:
            return centre.better_than(host)
        except Full:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(AGAIN_S)
