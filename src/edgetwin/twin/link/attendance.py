"""Who of the host processes is here: takes in those that come, and has others serve the twins of one that stays away."""

import asyncio
import time
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
UNABLE_S = 5 * LEASE_S
"""How long a host may be unable to write to the database that it shares with others, while the centre can, before these serve its twins."""
TOLD_AT_ONCE = 500

log = structlog.get_logger("edgetwin.twin.link")


class Attendance:
    """Host processes of a centre. heard_from: gives, for a host by its name, what is called with twins that have changed there."""

    def __init__(self, centre: Centre, heard_from: Callable[[str], Callable[[Sequence[Twin]], None]]):
        self._centre, self._heard_from = centre, heard_from
        self._place = centre.own.endpoint.place
        self._own = list(centre.hosts)
        self.door = Door(self._own, centre.kinds, self._place, self._joined, self._left)
        self._waits: dict[str, asyncio.Task] = {}
        self._watching: asyncio.Task | None = None

    def start(self) -> None:
        """Expects the hosts of before."""
        if is_postgres(self._place):
            self._watching = asyncio.create_task(self._watch())
        for name in self._centre.known_hosts():
            if name not in self._centre.hosts:
                self._expect(name, COMING_S)

    async def close(self) -> None:
        """Expects nobody any more."""
        tasks = [*self._waits.values(), *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _joined(self, remote: RemoteHost) -> None:
        moving = {move.twin for move in await remote.endpoint.open_moves()}
        await self._centre.join(remote, moving)
        remote.changed = self._heard_from(remote.name)
        twins = list(remote.twins.values())
        for begin in range(0, len(twins), TOLD_AT_ONCE):
            remote.changed(twins[begin : begin + TOLD_AT_ONCE])
            await asyncio.sleep(0)

    def _left(self, remote: RemoteHost) -> None:
        self._expect(remote.name, 0.0 if remote.was_silent else LEASE_S)

    def _expect(self, name: str, grace_s: float) -> None:
        if not is_postgres(self._place):
            return
        if (before := self._waits.pop(name, None)) is not None:
            before.cancel()
        self._waits[name] = asyncio.create_task(self._replace(name, grace_s))

    async def _watch(self) -> None:
        since_s: dict[str, float] = {}
        while True:
            await asyncio.sleep(LEASE_S / 2)
            since_s = await self._give_up_unable(since_s)
            self._expect_forgotten()

    async def _give_up_unable(self, since_s: dict[str, float]) -> dict[str, float]:
        """Ends the links of hosts that could not write to the database for `UNABLE_S` although the centre could. since_s: since when each cannot, as
        this gave it the last time."""
        unable = [remote for remote in self.door.hosts.values() if not remote.can_write]
        if not unable or not await self._centre.can_decide():
            return {}
        now_s = time.monotonic()
        since_s = {remote.name: since_s.get(remote.name, now_s) for remote in unable}
        for remote in unable:
            if now_s - since_s[remote.name] >= UNABLE_S:
                remote.unwanted.set()
        return since_s

    def _expect_forgotten(self) -> None:
        """Expects hosts that are not here and have twins, which may have been given to them when nobody expected them any more."""
        for name, twins in self._centre.known_hosts().items():
            waits = self._waits.get(name)
            if twins and name not in self._own and name not in self.door.hosts and (waits is None or waits.done()):
                self._expect(name, LEASE_S)

    async def _replace(self, name: str, grace_s: float) -> None:
        """Has others serve a host's twins unless it comes back, however long that takes."""
        await asyncio.sleep(grace_s)
        said = ""
        while name not in self.door.hosts:
            async with self.door.closed_to(name) as is_closed:
                try:
                    if is_closed and await fail_over(self._centre, name):
                        return
                except (Full, StoreUnavailable) as error:
                    if str(error) != said:
                        log.warning("twins of a host that is away cannot be given to others now", host=name, error=str(error))
                    said = str(error)
            await asyncio.sleep(AGAIN_S)
