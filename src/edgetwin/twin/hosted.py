"""A host as the centre sees it: in the centre's process it is a `Host`, elsewhere a `RemoteHost` that speaks with one over a link."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from edgetwin.twin.messages import Ack, Quarantined
from edgetwin.twin.moves.endpoint import Endpoint
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.store import is_postgres
from edgetwin.twin.writer import Arrival


def become_of_twins(store: str) -> str:
    """What becomes of the twins of a host that is away, by the address of its store."""
    return "go to other hosts of its database" if is_postgres(store) else "wait for it"


def away(host: str, store: str) -> str:
    """That a host is away, and what becomes of its twins, in a line."""
    return f"{host} is away; its twins {become_of_twins(store)}"


class Hosted(Protocol):
    """What the centre asks of a host. Calls raise Full where the host cannot be reached or takes no more now, Refused where it says no."""

    name: str
    version: str
    """Of edgetwin, in its process."""

    url: str | None
    """Where devices reach it themselves; None for a host in the centre's process."""

    fenced_writes: int
    """Writes that its store refused since another host owned the twin."""

    @property
    def available(self) -> bool:
        """Whether it can be reached and can write."""

    @property
    def pending(self) -> int:
        """Messages that wait there."""

    @property
    def twins(self) -> Mapping[str, Twin]:
        """The twins that it serves, as last heard of; frozen ones among them."""

    @property
    def endpoint(self) -> Endpoint:
        """Its part in moves."""

    def submit(self, arrivals: Sequence[tuple[Arrival, bytes]]) -> asyncio.Future[list[Ack]]:
        """Sends messages at once, in the order of calls; the future has their acknowledgements once they are on disk. Raises Full."""

    async def create(self, twin: Twin) -> Twin:
        """Begins to hold a twin, unless it is there; the twin as it is."""

    async def desire(self, twin_id: str, changes: Mapping[str, Any], if_revision: int | None = None) -> Twin:
        """Changes a twin's desired state, at a revision of it where one is given."""

    async def erase(self, twin_id: str) -> None:
        """Forgets a twin and all that its device sent."""

    async def adopt(self, ids: Iterable[str]) -> list[Twin]:
        """Takes up twins that the shared store has given to this host."""

    async def shelve(self, ids: Iterable[str]) -> None:
        """Serves these no longer: another host has them. Nothing is taken away from the store."""

    async def trim(self) -> int:
        """Folds entries of logs that are older than their kinds keep them; how many."""

    async def entries(self, twin_id: str, limit: int, before: tuple[int, int] | None = None) -> list[Entry]:
        """The newest entries of a twin's log, before (boot_id, seq) where that is given."""

    async def at(self, twin_id: str, revision: int | None = None, time_s: float | None = None) -> tuple[int, dict[str, Any]]:
        """The revision and the reported state that a twin had at a revision or a time."""

    async def quarantined(self, limit: int, device: str | None = None) -> list[Quarantined]:
        """The newest messages in quarantine."""

    async def quarantine_counts(self) -> dict[str, int]:
        """How many there are in quarantine, by reason."""

    async def close(self) -> None:
        """Writes what waits and closes the store, where it is in this process."""


def reached(hosts: Mapping[str, Hosted], name: str, store: str) -> Hosted:
    """A host by its name. Raises Full where it was not heard of. store: the centre's."""
    if name not in hosts:
        raise Full(away(name, store))
    return hosts[name]
