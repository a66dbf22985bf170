"""Who of the host processes is here: takes in those that come, and has others serve the twins of one that stays away."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from edgetwin.twin.centre import Centre
from edgetwin.twin.link.connection import LEASE_S
from edgetwin.twin.link.door import Door
from edgetwin.twin.link.failover import fail_over
from edgetwin.twin.link.remote_host import RemoteHost
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.store import StoreUnavailable, is_postgres

COMING_S = 3 * LEASE_S
"""How long hosts of before may take to come to a centre that has started."""
AGAIN_S = 0.5
TOLD_AT_ONCE = 500

log = structlog.get_logger("edgetwin.twin.link")


class Attendance:
    """Host processes of a centre. heard_from: gives, for a host by its name, what is called with twins that have changed there."""

    def __init__(self, centre: Centre, heard_from: Callable[[str], Callable[[Sequence[Twin]], None]]):
        self._centre, self._heard_from = centre, heard_from
        self._place = centre.own.endpoint.place
        self.door = Door(list(centre.hosts), centre.kinds, self._place, self._joined, self._left)
        self._waits: dict[str, asyncio.Task] = {}

    def start(self) -> None:
        """Expects the hosts of before."""
        for name in self._centre.known_hosts():
            if name not in self._centre.hosts:
                self._expect(name, COMING_S)

    async def close(self) -> None:
        """Expects nobody any more."""
        for wait in self._waits.values():
            wait.cancel()
        await asyncio.gather(*self._waits.values(), return_exceptions=True)

    async def _joined(self, remote: RemoteHost) -> None:
        moving = {move.twin for move in await remote.endpoint.open_moves()}
        await self._centre.join(remote, moving)
        remote.changed = self._heard_from(remote.name)
        twins = list(remote.twins.values())
        for begin in range(0, len(twins), TOLD_AT_ONCE):
            remote.changed(twins[begin : begin + TOLD_AT_ONCE])
            await asyncio.sleep(0)

    async def _left(self, remote: RemoteHost) -> None:
        self._expect(remote.name, 0.0 if remote.was_silent else LEASE_S)

    def _expect(self, name: str, grace_s: float) -> None:
        if not is_postgres(self._place):
            return
        if (before := self._waits.pop(name, None)) is not None:
            before.cancel()
        self._waits[name] = asyncio.create_task(self._replace(name, grace_s))

    async def _replace(self, name: str, grace_s: float) -> None:
        """Has others serve a host's twins unless it comes back, however long that takes."""
        await asyncio.sleep(grace_s)
        while name not in self.door.hosts:
            async with self.door.closed_to(name) as is_closed:
                try:
                    if is_closed and await fail_over(self._centre, name):
                        return
                except (Full, StoreUnavailable) as error:
                    log.warning("twins of a host that is away cannot be given to others now", host=name, error=str(error))
            await asyncio.sleep(AGAIN_S)
