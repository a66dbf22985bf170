"""The control centre: it knows which host holds which twin, sends every message there, has twins moved, and keeps what belongs to nobody.

The centre is a host too: a message of a device that is not enrolled is put aside in its store, and twins may live there like anywhere else.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakValueDictionary

import structlog

from edgetwin.errors import InputError
from edgetwin.twin import kinds as kinds_
from edgetwin.twin.bus import Bus, LocalBus, desired_news
from edgetwin.twin.host import Host
from edgetwin.twin.hosted import Hosted, away, reached
from edgetwin.twin.kinds import Kind
from edgetwin.twin.messages import NAME, Ack, Bad
from edgetwin.twin.metrics import HOST_AVAILABLE
from edgetwin.twin.moves.coordinator import TOLD_S, Coordinator
from edgetwin.twin.moves.endpoint import Away, Endpoint
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.moves.homes import Homes
from edgetwin.twin.moves.migration import Migration, Migrations
from edgetwin.twin.moves.place import Directory, Known, Place
from edgetwin.twin.moves.reconcile import disagreement
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.routing import Routing
from edgetwin.twin.stores.store import StoreUnavailable, is_postgres

log = structlog.get_logger("edgetwin.twin.centre")


class Centre:
    """The front door of hosts. `hosts[0]` is the centre's own, the others are edge hosts in the same process; more join and leave later.

    New twins go to the edge host that has the fewest, or to the centre where there are no others. Raises InputError where two stores have the
    same twin and the directory does not say whose it is.
    """

    def __init__(self, hosts: Sequence[Host], kinds: Mapping[str, Kind], directory: Directory):
        self.hosts: dict[str, Hosted] = {host.name: host for host in hosts}
        self.kinds, self.own, self.directory = kinds, hosts[0], directory
        self.bus: Bus = LocalBus()
        self.gates = Gates()
        self.migrations = Migrations()
        self.moves = Coordinator(directory, self._endpoint, self.gates, self.migrations.put, self._placed)
        self._local = list(hosts)
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known = directory.hosts()
        places = {place.twin: place for place in directory.places()}
        self.homes = Homes(places.values())
        for host in hosts:
            self._settle_with(host, places)
        self._routing = Routing(self.hosts, self.homes, self.gates, self.own)

    async def start(self) -> None:
        """Starts its hosts, and ends what was under way when it stopped."""
        for name in self.known_hosts():
            self._tell_of(name)
        for host in self._local:
            host.start()
        await self.moves.recover()
        for host in self._local:
            await self.moves.resolve(host.name)

    @property
    def count(self) -> int:
        """How many twins there are."""
        return len(self.homes)

    def page(self, after: str, limit: int) -> list[Twin]:
        """Twins in the order of their ids, after one. Those of a host that was not heard of since the start are not among them."""
        chosen = heapq.nsmallest(limit, (twin_id for twin_id in self.homes if twin_id > after and self.holds(twin_id)))
        return [self.home(twin_id).twins[twin_id] for twin_id in chosen]

    def home(self, twin_id: str) -> Hosted:
        """The host that holds a twin. Raises Refused where there is none, or nothing was heard of it yet."""
        name = self.homes.get(twin_id)
        if not name:
            raise Refused(404, f"twin {twin_id!r}: not enrolled")
        if not self.holds(twin_id):
            there = self.hosts.get(name)
            if there is not None and there.available:
                raise Refused(
                    503, f"twin {twin_id!r} is not at its host {name}, whose data may be elsewhere; or enrol or erase it again"
                )
            raise Refused(503, f"twin {twin_id!r} waits for its host {name}, which is away")
        return self.hosts[name]

    def holds(self, twin_id: str) -> bool:
        """Whether there is such a twin, and its host was heard of."""
        host = self.hosts.get(self.homes.get(twin_id))
        return host is not None and twin_id in host.twins

    def twin(self, twin_id: str) -> Twin:
        """A twin as it is on disk, or was when its host was last heard of. Raises Refused."""
        return self.home(twin_id).twins[twin_id]

    def where(self, twin_id: str) -> str | None:
        """The address at which a twin's device reaches its host, where that is a process of its own and is here."""
        host = self.hosts.get(self.homes.get(twin_id))
        return host.url if host is not None and host.available and twin_id in host.twins else None

    def known(self, host: str) -> Known:
        """What is known of a host, whether it is here or away."""
        return self._known.get(host, Known(host))

    def is_cordoned(self, host: str) -> bool:
        """Whether a host gets no new twins."""
        return self.known(host).cordoned

    def known_hosts(self) -> dict[str, int]:
        """All hosts that there are or were, and those that the directory names, each with how many twins it has, whether it is here or away."""
        counts = self.homes.counts
        return {
            name: counts[name] for name in dict.fromkeys([*self.hosts, *self._known, *(name for name in counts if counts[name])])
        }

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of messages in their order. Messages of a host that is full or away are answered by "retry", and nothing of them is kept.

        sender: the device that the connection belongs to, where it may speak for nobody else.
        """
        return await self._routing.take(lines, sender)

    async def enrol(self, twin_id: str, kind: str) -> bool:
        """Enrols a device; returns whether it was not yet. Raises InputError for names without sense, Refused, Full."""
        if not NAME.fullmatch(twin_id):
            raise InputError(f"twin {twin_id[:130]!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
        kinds_.kind_named(self.kinds, kind)
        async with self._alone(twin_id):
            new = not self.holds(twin_id)
            place = await self._ask("enrol", twin_id, self.homes.get(twin_id) or self._emptiest())
            self.homes.set(twin_id, place.host)
            await self._host(place.host).create(Twin(twin_id, kind, place.epoch))
            return new

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        """Changes a twin's desired state and tells so on the bus. Raises Refused, Full."""
        home = self.home(twin_id)
        kind = self.kinds[home.twins[twin_id].kind]
        try:
            kinds_.check_values(kind, changes)
        except Bad as bad:
            raise Refused(422, f"desired state: {bad.detail}") from None
        await self.gates.passed(twin_id)
        twin = await self.home(twin_id).desire(twin_id, changes, if_revision)
        await self.bus.publish(*desired_news(twin))
        return twin

    async def erase(self, twin_id: str) -> None:
        """Erases a twin, its history and all that its device sent, everywhere, also where it is not enrolled. Its later messages are refused and
        not kept. What was interrupted is asked for again. Raises Refused, Full where a host that may have some of it in a file of its own is away."""
        async with self._alone(twin_id):
            home = self._host(self.homes.get(twin_id, self.own.name))
            away = [name for name in self.known_hosts() if name not in self.hosts or not self.hosts[name].available]
            if away and not is_postgres(self.own.endpoint.place):
                raise Full(f"{', '.join(away)} cannot erase {twin_id} now, which may be there too")
            for host in (home, *(other for other in self.hosts.values() if other is not home and other.available)):
                await host.erase(twin_id)
            await self._ask("erase", twin_id)
            self.homes.remove(twin_id)

    async def migrate(self, twin_id: str, destination: str) -> Migration:
        """Moves a twin to another host while it is served. Raises Refused where that has no sense or cannot be done now."""
        async with self._alone(twin_id):
            home = self.home(twin_id)
            there = self._takes(destination, home, twin_id)
            move = await self.moves.migrate(home.twins[twin_id], there.name)
            if self.holds(twin_id):
                await self.bus.publish(*desired_news(self.twin(twin_id)))
            return move

    async def cordon(self, host: str, cordoned: bool = True) -> None:
        """From now on a host gets no new twins, neither enrolled nor moved; or gets them again. Raises Refused for an unknown one."""
        if host not in self.known_hosts():
            raise Refused(404, f"host {host!r}: there are {', '.join(self.known_hosts())}")
        before, known = self.known(host), self.known(host)._replace(cordoned=cordoned)
        self._known[host] = known
        try:
            await self._ask("know", known)
        except StoreUnavailable:
            self._known[host] = before
            raise

    async def forget(self, host: str) -> None:
        """Forgets a host that is gone for good. Raises Refused for one that is unknown, is here, or has twins."""
        if host not in self.known_hosts():
            raise Refused(404, f"host {host!r}: there are {', '.join(self.known_hosts())}")
        if (there := self.hosts.get(host)) is not None and (there.available or there.url is None):
            raise Refused(409, f"host {host} is here; end it first")
        if self.homes.counts[host]:
            raise Refused(409, f"host {host} has {self.homes.counts[host]} twins, which wait for it")
        await self._ask("forget", host)
        self._known.pop(host, None)
        self.hosts.pop(host, None)
        HOST_AVAILABLE.remove(host)

    async def join(self, host: Hosted, moving: Iterable[str]) -> None:
        """Takes in a host of another process, or takes it back. moving: ids of twins of which it has a part in a move."""
        self._known[host.name] = self.known(host.name)._replace(url=host.url)
        await self._ask("know", self._known[host.name])
        self._tell_of(host.name)
        places = {place.twin: place for place in await self._ask("places")}
        self._learn(places.values())
        found = disagreement(host.name, host.twins, moving, places)
        for twin_id in found.unplaced:
            place = await self._ask("enrol", twin_id, host.name, host.twins[twin_id].epoch)
            self.homes.set(twin_id, place.host)
        _tell_missing(host.name, found.missing)
        if found.stale:
            log.warning("old copies of twins that live elsewhere are not served", host=host.name, twins=len(found.stale))
            await host.shelve(found.stale)
        self.hosts[host.name] = host
        await self.moves.resolve(host.name)

    async def give(self, host: str, to: Mapping[str, str]) -> list[Place]:
        """Gives twins of a host that is gone to others of the same store, and has these serve them; repeated, it goes on where it was interrupted.
        Returns their new places. Raises InputError where stores are not shared, StoreUnavailable."""
        await self._ask("fail_over", host, to)
        there = [place for place in await self._ask("places") if place.twin in to]
        for twin_id in to.keys() - {place.twin for place in there}:  # an enrolment that was not finished
            self.homes.remove(twin_id)
        places = [place for place in there if place.host != host]
        chosen: dict[str, list[str]] = {}
        for place in places:
            chosen.setdefault(place.host, []).append(place.twin)
        for name, ids in chosen.items():
            with suppress(Full):  # who cannot take them up now is asked again
                await self._host(name).adopt(ids)
            for twin_id in ids:  # until now they were shown as last heard of
                if self.homes.get(twin_id) == host:
                    self.homes.set(twin_id, name)
        return places

    def twins_at(self, host: str) -> list[str]:
        """Twins that live at a host."""
        return self.homes.at(host)

    def expects(self, host: str) -> bool:
        """Whether twins are on their way to a host."""
        return self.moves.leads_to(host)

    def lives_at(self, twin_id: str, host: str) -> bool:
        """Whether a twin lives at a host."""
        return self.homes.get(twin_id) == host

    def better_than(self, host: str) -> str:
        """The host with the fewest twins of those that twins of a host can move to. Raises Full where there is none."""
        home = self._host(host)
        edge = [name for name in self.hosts if name not in (host, self.own.name)] or [self.own.name]
        return self._emptiest(name for name in edge if name != host and _can_copy(home, self.hosts[name]))

    async def look_after(self) -> None:
        """Ends moves that nobody drives, since a database may yet take what a centre that was killed had asked of it; tells hosts of ends of moves
        that they have not heard of; and has those of a shared store take up what they were given and do not serve. Raises StoreUnavailable."""
        await self.moves.recover()
        await asyncio.gather(*map(self._tell_ends, self.hosts))
        astray: dict[str, list[str]] = {}
        for twin_id in self.homes:
            name = self.homes.get(twin_id)
            host = self.hosts.get(name)
            if host is not None and host.available and twin_id not in host.twins and is_postgres(host.endpoint.place):
                astray.setdefault(name, []).append(twin_id)
        for name, ids in astray.items():
            with suppress(Full):
                await self._host(name).adopt(ids)

    async def close(self) -> None:
        """Writes what waits and closes the stores."""
        await self.moves.close()
        await asyncio.gather(*(host.close() for host in self.hosts.values()))
        self.directory.close()

    async def can_decide(self) -> bool:
        """Whether the directory can be read now."""
        try:
            await self._ask("hosts")
        except StoreUnavailable:
            return False
        return True

    async def _tell_ends(self, name: str) -> None:
        """Tells a host how moves ended of which it has not heard."""
        try:
            async with asyncio.timeout(TOLD_S):
                await self.moves.resolve(name)
        except (Away, Full, StoreUnavailable, TimeoutError):
            pass
        except Exception:
            log.exception("a host could not be told of its moves", host=name)

    def _endpoint(self, name: str) -> Endpoint:
        host = self.hosts.get(name)
        if host is None or not host.available:
            raise Away(away(name, self.own.endpoint.place))
        return host.endpoint

    def _tell_of(self, name: str) -> None:
        """Has metrics say from now on whether a host is here."""
        HOST_AVAILABLE.labels(name).set_function(lambda: float((host := self.hosts.get(name)) is not None and host.available))

    def _learn(self, places: Iterable[Place]) -> None:
        """Puts right what is remembered of places that have just been read: an answer of the directory may have been lost."""
        for place in places:
            if self.homes.get(place.twin) != place.host and not self.moves.is_moving(place.twin):
                self.homes.set(place.twin, place.host)

    def _placed(self, place: Place) -> None:
        """A move was decided: from now on messages go to the twin's new host."""
        self.homes.set(place.twin, place.host)

    def _host(self, name: str) -> Hosted:
        return reached(self.hosts, name, self.own.endpoint.place)

    def _takes(self, name: str, home: Hosted, twin_id: str) -> Hosted:
        """The host that a twin shall move to. Raises Refused."""
        if name not in self.known_hosts():
            raise Refused(404, f"host {name!r}: there are {', '.join(self.known_hosts())}")
        host = self.hosts.get(name)
        if host is None or not host.available:
            raise Refused(503, f"host {name} is away")
        if host is home:
            raise Refused(409, f"{twin_id} is at {name} already")
        if self.is_cordoned(name):
            raise Refused(409, f"host {name} is cordoned: it gets no twins until that is undone")
        if not _can_copy(home, host):
            raise Refused(409, f"{home.name} and {name} keep twins in different databases: nothing can move between them")
        return host

    def _emptiest(self, of: Iterable[str] | None = None) -> str:
        """The host with the fewest twins of some, of all edge hosts unless given, or of the centre where there is no other. Raises Full where none
        may have another."""
        edge = [name for name in self.known_hosts() if name != self.own.name] or [self.own.name]
        able = [
            name
            for name in (edge if of is None else of)
            if name in self.hosts and self.hosts[name].available and not self.is_cordoned(name)
        ]
        if not able:
            raise Full("there is no host that takes twins now: they are away, cordoned, or keep twins in another store")
        return min(able, key=lambda name: self.homes.counts[name])

    def _settle_with(self, host: Host, places: Mapping[str, Place]) -> None:
        """Puts right what a host of this process has, before anything is served."""
        found = disagreement(host.name, host.twins, host.endpoint.moving, places)
        for twin_id in found.unplaced:
            if twin_id in self.homes:
                raise InputError(
                    f"twin {twin_id} is in the stores of {self.homes.get(twin_id)} and {host.name}; one of them is a copy"
                )
            place = self.directory.enrol(twin_id, host.name, host.twins[twin_id].epoch)
            self.homes.set(twin_id, place.host)
        _tell_missing(host.name, found.missing)
        if found.stale:
            log.warning("old copies of twins that live elsewhere are not served", host=host.name, twins=len(found.stale))
        host.set_aside([*found.stale, *found.missing])

    async def _ask(self, method: str, *values: Any) -> Any:
        return await self.moves.ask(getattr(self.directory, method), *values)

    @asynccontextmanager
    async def _alone(self, twin_id: str) -> AsyncIterator[None]:
        """One enrolment, erasure or move of a twin at a time."""
        async with self._busy.setdefault(twin_id, asyncio.Lock()):
            yield


def _tell_missing(host: str, twins: Sequence[str]) -> None:
    """Logs twins that are not at their host. Their places stay: the host may have been started without its data."""
    if twins:
        log.warning("twins are not at their host; is its data where it was?", host=host, twins=len(twins), first=list(twins[:3]))


def _can_copy(one: Hosted, other: Hosted) -> bool:
    """Whether twins can move between hosts: each has a file of its own, or they share a database."""
    places = (one.endpoint.place, other.endpoint.place)
    return places[0] == places[1] or not any(map(is_postgres, places))
