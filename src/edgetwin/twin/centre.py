"""The control centre: it knows which host holds which twin, sends every message there, and keeps the service twins.

The centre is a host too: what belongs to nobody, such as a message of a device that is not enrolled, is put aside in its store.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from edgetwin.errors import InputError
from edgetwin.twin import kinds as kinds_
from edgetwin.twin.bus import Bus, LocalBus, desired_news
from edgetwin.twin.host import Arrival, Full, Host, Refused
from edgetwin.twin.kinds import Kind
from edgetwin.twin.messages import NAME, Ack, Bad, arrival_in
from edgetwin.twin.record import Twin


class Centre:
    """The front door of hosts in one process. `hosts[0]` is the centre's own; new twins go to the one of the others that has the fewest, or to
    the centre where there are no others."""

    def __init__(self, hosts: Sequence[Host], kinds: Mapping[str, Kind]):
        self.hosts = {host.name: host for host in hosts}
        self.kinds, self.own = kinds, hosts[0]
        self.bus: Bus = LocalBus()
        self._edge = list(hosts[1:]) or list(hosts)
        self._home: dict[str, Host] = {}
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        for host in hosts:
            for twin_id in host.twins:
                if twin_id in self._home:
                    raise InputError(
                        f"twin {twin_id} is in the stores of {self._home[twin_id].name} and {host.name}; one of them is a copy"
                    )
                self._home[twin_id] = host

    @property
    def count(self) -> int:
        """How many twins there are."""
        return sum(len(host.twins) for host in self.hosts.values())

    def page(self, after: str, limit: int) -> list[Twin]:
        """Twins in the order of their ids, after one."""
        chosen = heapq.nsmallest(limit, (twin_id for twin_id in self._home if twin_id > after))
        return [self._home[twin_id].twins[twin_id] for twin_id in chosen if twin_id in self._home[twin_id].twins]

    def home(self, twin_id: str) -> Host:
        """The host that holds a twin. Raises Refused where there is none."""
        host = self._home.get(twin_id)
        if host is None or twin_id not in host.twins:
            raise Refused(404, f"twin {twin_id!r}: not enrolled")
        return host

    def holds(self, twin_id: str) -> bool:
        """Whether there is such a twin."""
        return twin_id in self._home and twin_id in self._home[twin_id].twins

    def twin(self, twin_id: str) -> Twin:
        """A twin as it is on disk. Raises Refused."""
        return self.home(twin_id).twins[twin_id]

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of messages in their order. Messages of a host that is full or away are answered by "retry", and nothing of them is kept.

        sender: the device that the connection belongs to, where it may speak for nobody else.
        """
        arrivals = [(arrival_in(line, sender), line) for line in lines]
        parts: dict[str, list[int]] = {}
        for place, (arrival, _) in enumerate(arrivals):
            parts.setdefault(self._home.get(arrival.device or "", self.own).name, []).append(place)
        queued = [(part, _queued(self.hosts[name], [arrivals[place] for place in part])) for name, part in parts.items()]
        acks: list[Ack] = [Ack("retry")] * len(lines)
        for part, answer in queued:
            for place, ack in zip(part, await _answered(answer, [arrivals[place] for place in part]), strict=True):
                acks[place] = ack
        return acks

    async def enrol(self, twin_id: str, kind: str) -> bool:
        """Enrols a device; returns whether it was not yet. Raises InputError for names without sense, Refused, Full."""
        if not NAME.fullmatch(twin_id):
            raise InputError(f"twin {twin_id[:130]!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
        kinds_.kind_named(self.kinds, kind)
        async with self._alone(twin_id):
            home = self._home.setdefault(twin_id, min(self._edge, key=lambda host: len(host.twins)))
            new = twin_id not in home.twins
            await home.create(Twin(twin_id, kind))
            return new

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        """Changes a twin's desired state and tells so on the bus. Raises Refused, Full."""
        home = self.home(twin_id)
        kind = self.kinds[home.twins[twin_id].kind]
        try:
            kinds_.check_values(kind, changes)
        except Bad as bad:
            raise Refused(422, f"desired state: {bad.detail}") from None
        twin = await home.desire(twin_id, changes, if_revision)
        await self.bus.publish(*desired_news(twin))
        return twin

    async def erase(self, twin_id: str) -> None:
        """Erases a twin, its history and all that its device sent, everywhere, also where it is not enrolled. Its later messages are refused and
        not kept. What was interrupted is asked for again. Raises Refused, Full."""
        async with self._alone(twin_id):
            home = self._home.get(twin_id, self.own)
            for host in (home, *(other for other in self.hosts.values() if other is not home)):
                await host.erase(twin_id)
            self._home.pop(twin_id, None)

    @asynccontextmanager
    async def _alone(self, twin_id: str) -> AsyncIterator[None]:
        """One enrolment or erasure of a twin at a time."""
        async with self._busy.setdefault(twin_id, asyncio.Lock()):
            yield

    async def close(self) -> None:
        """Writes what waits and closes the stores."""
        await asyncio.gather(*(host.close() for host in self.hosts.values()))


def _queued(host: Host, arrivals: Sequence[tuple[Arrival, bytes]]) -> asyncio.Future[list[Ack]] | Full:
    try:
        return host.submit(arrivals)
    except Full as full:
        return full


async def _answered(answer: asyncio.Future[list[Ack]] | Full, arrivals: Sequence[tuple[Arrival, bytes]]) -> list[Ack]:
    try:
        if isinstance(answer, Full):
            raise answer
        return await answer
    except Full as full:
        return [
            Ack("retry", arrival.device, arrival.boot_id, arrival.seq, None, "unavailable", str(full)) for arrival, _ in arrivals
        ]
