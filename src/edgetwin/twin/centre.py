"""The control centre: it knows which host holds which twin, sends every message there, and keeps the service twins.

The centre is a host too: what belongs to nobody, such as a message of a device that is not enrolled, is put aside in its store.
"""

import asyncio
import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from edgetwin.errors import InputError
from edgetwin.twin import kinds as kinds_
from edgetwin.twin.bus import Bus, LocalBus, desired_news
from edgetwin.twin.host import Arrival, Full, Host, Refused
from edgetwin.twin.kinds import Kind
from edgetwin.twin.messages import NAME, Ack, Bad, parse
from edgetwin.twin.record import Twin


class Place(NamedTuple):
    """Where a host stands, in metres."""

    x_m: float
    y_m: float


class Centre:
    """The front door of hosts in one process. `hosts[0]` is the centre's own; the others take twins, unless there are none.

    places: where hosts stand, for those that are known; a new twin with a position goes to the nearest, others to the host with the fewest.
    """

    def __init__(self, hosts: Sequence[Host], kinds: Mapping[str, Kind], places: Mapping[str, Place] | None = None):
        self.hosts = {host.name: host for host in hosts}
        self.kinds, self.own = kinds, hosts[0]
        self.bus: Bus = LocalBus()
        self._edge = list(hosts[1:]) or list(hosts)
        self._places = places or {}
        self._home: dict[str, Host] = {}
        for host in hosts:
            for twin_id in host.twins:
                if twin_id in self._home:
                    raise InputError(
                        f"twin {twin_id} is in the stores of {self._home[twin_id].name} and {host.name}; one of them is a copy"
                    )
                self._home[twin_id] = host

    @property
    def ids(self) -> Collection[str]:
        """The ids of all twins."""
        return self._home.keys()

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

    def twin(self, twin_id: str) -> Twin:
        """A twin as it is on disk. Raises Refused."""
        return self.home(twin_id).twins[twin_id]

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of messages in their order. Messages of a host that is full or away are answered by "retry", and nothing of them is kept.

        sender: the device that the connection belongs to, where it may speak for nobody else.
        """
        if not lines:
            return []
        arrivals = [(_read(line, sender), line) for line in lines]
        homes = [self._home.get(arrival.device or "", self.own) for arrival, _ in arrivals]
        if all(home is homes[0] for home in homes):
            return await _submitted(homes[0], arrivals)
        acks: list[Ack] = [Ack("retry")] * len(lines)
        parts = {home.name: [i for i, other in enumerate(homes) if other is home] for home in homes}
        found = await asyncio.gather(*(_submitted(self.hosts[name], [arrivals[i] for i in part]) for name, part in parts.items()))
        for part, of_part in zip(parts.values(), found, strict=True):
            for i, ack in zip(part, of_part, strict=True):
                acks[i] = ack
        return acks

    async def enrol(self, twin_id: str, kind: str, near: Place | None = None) -> Twin:
        """The twin of a device, new unless it is enrolled. Raises InputError for names without sense, Refused, Full."""
        if not NAME.fullmatch(twin_id):
            raise InputError(f"twin {twin_id!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
        kinds_.kind_named(self.kinds, kind)
        home = self._home.setdefault(twin_id, self._host_for(near))
        try:
            return await home.create(Twin(twin_id, kind))
        except Full:
            if twin_id not in home.twins:
                self._home.pop(twin_id, None)
            raise

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        """Changes a twin's desired state and tells so on the bus. Raises Refused, Full."""
        home = self.home(twin_id)
        kind = self.kinds[home.twins[twin_id].kind]
        try:
            kinds_.checked_values(kind, changes)
        except Bad as bad:
            raise Refused(422, f"desired state: {bad.detail}") from None
        twin = await home.desire(twin_id, changes, if_revision)
        await self.bus.publish(*desired_news(twin))
        return twin

    async def erase(self, twin_id: str) -> None:
        """Erases a twin, its history and all that its device sent, everywhere. Its later messages are refused and not kept. Raises Refused, Full."""
        home = self.home(twin_id)
        for host in (home, *(other for other in self.hosts.values() if other is not home)):
            await host.erase(twin_id)
        self._home.pop(twin_id, None)

    async def close(self) -> None:
        """Writes what waits and closes the stores."""
        await asyncio.gather(*(host.close() for host in self.hosts.values()))

    def _host_for(self, near: Place | None) -> Host:
        placed = [host for host in self._edge if host.name in self._places]
        if near is not None and placed:
            return min(placed, key=lambda host: math.dist(self._places[host.name], near))
        return min(self._edge, key=lambda host: len(host.twins))


def _read(line: bytes, sender: str | None) -> Arrival:
    try:
        update = parse(line)
    except Bad as bad:
        return bad
    if sender is not None and update.device != sender:
        return Bad("malformed", f"of {update.device}, sent by {sender}", sender)
    return update


async def _submitted(host: Host, arrivals: Sequence[tuple[Arrival, bytes]]) -> list[Ack]:
    try:
        return await host.submit(arrivals)
    except Full as full:
        return [
            Ack("retry", arrival.device, arrival.boot_id, arrival.seq, None, "unavailable", str(full)) for arrival, _ in arrivals
        ]
