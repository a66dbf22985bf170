"""A service of twins in one process: the centre with its hosts, service twins, forecasts of silent devices, and what is done from time to time."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from edgetwin.errors import InputError
from edgetwin.files import write_bytes
from edgetwin.twin import silence, views
from edgetwin.twin.centre import Centre
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import Kind
from edgetwin.twin.link.attendance import Attendance
from edgetwin.twin.messages import NAME
from edgetwin.twin.moves.drain import Drain, drain
from edgetwin.twin.moves.place import Directory
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Refused
from edgetwin.twin.service_twins.areas import definition_from
from edgetwin.twin.service_twins.services import Services, carried, change
from edgetwin.twin.stores.store import Store, StoreUnavailable

TRIM_EVERY_S = 300.0
LOOK_EVERY_S = 5.0
CARRY_EVERY_S = 2.0
CARRIED_AT_ONCE = 500
TOLD_AT_ONCE = 500

log = structlog.get_logger("edgetwin.twin.service")


class Service:
    """Hosts over the given stores, the first of which is the centre's, and the service twins defined in a file, which is written as they change.

    nats: address of a NATS server, by whose MQTT listener devices send too, and where changes of twins are told, under `changes.HOST`.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        kinds: Mapping[str, Kind],
        definitions: Path,
        directory: Directory,
        nats: str | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._definitions_file, self._nats, self._clock = definitions, nats, clock
        self._definitions = _read_definitions(definitions)
        self.services = Services(kinds)
        for name, definition in self._definitions.items():
            try:
                self.services.define(name, definition_from(definition, kinds), clock())
            except InputError as error:
                raise InputError(f"{definitions}: {name}: {error}") from None
        hosts = [Host(name, store, kinds, self._heard_from(name), clock) for name, store in stores.items()]
        self.centre = Centre(hosts, kinds, directory)
        self.linked = Attendance(self.centre, self._heard_from)
        self.drains: dict[str, Drain] = {}
        self.services.resynchronise([change(twin, host.name) for host in hosts for twin in host.twins.values()], clock())
        self._defining = asyncio.Lock()
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        """Starts to take messages."""
        await self.centre.start()
        if self._nats is not None:
            self._begin_nats(self._nats)
        self.linked.start()
        self._keep_running(self._trim())
        self._keep_running(self._look_after())
        self._keep_running(self._carry())
        log.info("ready", hosts=list(self.centre.hosts), twins=self.centre.count)

    async def close(self) -> None:
        """Writes what waits and closes the stores."""
        await self.linked.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.centre.close()
        await self.centre.bus.close()
        log.info("stopped")

    def view(self, twin_id: str) -> dict[str, Any]:
        """A twin as plain data, with a forecast where its device is silent. Raises Refused."""
        return self._views([self.centre.twin(twin_id)])[0]

    def listed(self, after: str, limit: int) -> list[dict[str, Any]]:
        """Twins in the order of their ids, after one."""
        return self._views(self.centre.page(after, limit))

    async def erase(self, twin_id: str) -> None:
        """Erases a twin and all that its device sent, its part in service twins as well. Raises Refused, Full."""
        try:
            await self.centre.erase(twin_id)
        finally:
            self.services.remove(twin_id)

    async def drain(self, host: str) -> Drain:
        """Begins to empty a host, unless that is under way; how far it is. Raises Refused for an unknown one."""
        under_way = self.drains.get(host)
        if under_way is not None and not under_way.done:
            return under_way
        await self.centre.cordon(host)
        state = self.drains[host] = Drain(host, len(self.centre.twins_at(host)))
        self._keep_running(drain(self.centre, state))
        return state

    def hosts_listed(self) -> list[dict[str, Any]]:
        """All hosts, here or away."""
        centre = self.centre
        return [
            views.host_fields(centre.known(name), centre.hosts.get(name), twins, centre.own.endpoint.place)
            for name, twins in centre.known_hosts().items()
        ]

    async def quarantine(self, limit: int, device: str | None, host: str | None) -> dict[str, Any]:
        """The newest messages in quarantine, and how many there are by reason. Raises Refused for an unknown host."""
        if host is not None and host not in self.centre.hosts:
            raise Refused(404, f"host {host!r}: there are {', '.join(self.centre.hosts)}")
        chosen = [self.centre.hosts[host]] if host is not None else [one for one in self.centre.hosts.values() if one.available]
        found = [(one.name, message) for one in chosen for message in await one.quarantined(limit, device)]
        found.sort(key=lambda pair: -pair[1].received_s)
        counts: dict[str, int] = {}
        for one in chosen:
            for reason, number in (await one.quarantine_counts()).items():
                counts[reason] = counts.get(reason, 0) + number
        away = sorted(self.centre.known_hosts().keys() - {one.name for one in chosen}) if host is None else []
        return {
            "counts": counts,
            "away": away,
            "messages": [views.quarantined_fields(name, message) for name, message in found[:limit]],
        }

    async def define(self, service_id: str, definition: dict[str, Any]) -> bool:
        """Defines a service twin, or defines it anew; returns whether there was none. Raises InputError."""
        if not NAME.fullmatch(service_id):
            raise InputError(f"service {service_id!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
        made = definition_from(definition, self.centre.kinds)
        async with self._defining:
            new = service_id not in self._definitions
            await self._keep({**self._definitions, service_id: definition})
            self.services.define(service_id, made, self._clock())
        return new

    async def forget(self, service_id: str) -> None:
        """Takes a service twin away. Raises Refused."""
        async with self._defining:
            self._known(service_id)
            await self._keep({name: one for name, one in self._definitions.items() if name != service_id})
            self.services.forget(service_id)

    def service_view(self, service_id: str) -> dict[str, Any]:
        """A service twin as plain data. Raises Refused."""
        self._known(service_id)
        return {"id": service_id, "definition": self._definitions[service_id], **self.services.state(service_id, self._clock())}

    def services_listed(self) -> list[dict[str, Any]]:
        """All service twins."""
        return [self.service_view(service_id) for service_id in sorted(self._definitions)]

    def _known(self, service_id: str) -> None:
        if service_id not in self._definitions:
            raise Refused(404, f"service {service_id!r}: not defined")

    async def _keep(self, definitions: dict[str, Any]) -> None:
        await asyncio.to_thread(write_bytes, self._definitions_file, json.dumps(definitions, indent=2).encode())
        self._definitions = definitions

    def _views(self, twins: Sequence[Twin]) -> list[dict[str, Any]]:
        now_s = self._clock()
        forecasts = silence.forecasts(twins, self.centre.kinds, now_s)
        return [views.twin_fields(twin, self.centre.home(twin.id), now_s, forecasts.get(twin.id)) for twin in twins]

    def _heard_from(self, host: str) -> Callable[[Sequence[Twin]], None]:
        def heard(twins: Sequence[Twin]) -> None:
            news = [change(twin, host) for twin in twins if self.centre.holds(twin.id)]
            self.services.take(news, self._clock())
            if self._nats is not None:
                for begin in range(0, len(news), TOLD_AT_ONCE):
                    told = json.dumps([one._asdict() for one in news[begin : begin + TOLD_AT_ONCE]]).encode()
                    self._keep_running(self.centre.bus.publish(f"changes.{host}", told))

        return heard

    async def _carry(self) -> None:
        """Lets service twins count silent devices where they are forecast to be."""
        while True:
            await asyncio.sleep(CARRY_EVERY_S)
            for host in list(self.centre.hosts.values()):
                ids = list(host.twins)
                for begin in range(0, len(ids), CARRIED_AT_ONCE):
                    now_s = self._clock()
                    some = [host.twins[twin_id] for twin_id in ids[begin : begin + CARRIED_AT_ONCE] if twin_id in host.twins]
                    self.services.take(carried(some, host.name, self.centre.kinds, now_s, self.services.reach_s), now_s)
                    await asyncio.sleep(0)

    def _begin_nats(self, url: str) -> None:
        from edgetwin.twin.nats.bus import NatsBus
        from edgetwin.twin.nats.mqtt import serve_mqtt

        self.centre.bus = NatsBus(url)
        self._keep_running(serve_mqtt(url, self.centre, asyncio.Event()))

    def _keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a part of the service ended", error=repr(task.exception()))

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.centre.look_after()
            except StoreUnavailable:
                continue
            except Exception:
                log.exception("twins could not be looked after")

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            for host in [host for host in self.centre.hosts.values() if host.url is None]:
                try:
                    gone = await host.trim()
                except Exception:
                    log.exception("history could not be trimmed", host=host.name)
                    continue
                if gone:
                    log.info("history trimmed", host=host.name, entries=gone)


def _read_definitions(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(definition) for name, definition in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the definitions of service twins ({error})") from None
