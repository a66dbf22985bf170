"""A host's own front door: its devices speak with it themselves, and what is not its own to take is sent to the centre.

A message of a twin that the host does not hold is answered "retry" with the reason `moved`, and nothing of it is kept: who is enrolled, only the
centre knows. Messages of a twin that is being moved wait at its gate, in their order.
"""

import asyncio
from collections.abc import Sequence

from edgetwin.twin.bus import Bus, LocalBus, desired_news
from edgetwin.twin.host import Host
from edgetwin.twin.messages import Ack, arrival_in
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stream import ELSEWHERE
from edgetwin.twin.writer import Arrival


class Front:
    """The front of a host. `centre`: the address that devices ask where a twin is."""

    def __init__(self, host: Host, gates: Gates, centre: str):
        self.bus: Bus = LocalBus()
        self.gates = gates
        self._host, self._centre = host, centre
        self._telling: set[asyncio.Task] = set()
        self._is_closed = False

    def close(self) -> None:
        """Sends all devices to the centre from now on: other hosts may serve their twins, and this one cannot know."""
        if not self._is_closed:
            self._is_closed = True
            self.left(list(self._host.twins))

    def open(self) -> None:
        """Serves the devices of its twins again."""
        self._is_closed = False

    def twin(self, twin_id: str) -> Twin:
        """A twin that the host holds. Raises Refused."""
        if self._is_closed or twin_id not in self._host.twins:
            raise Refused(ELSEWHERE, f"twin {twin_id!r}: not here; ask {self._centre}")
        return self._host.twins[twin_id]

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of messages in their order; those of different devices do not wait for each other's gates."""
        arrivals = [(arrival_in(line, sender), line) for line in lines]
        gated: dict[str | None, list[int]] = {}
        for place, (arrival, _) in enumerate(arrivals):
            device = arrival.device if arrival.device is not None and self.gates.is_closed(arrival.device) else None
            gated.setdefault(device, []).append(place)
        parts = [self._taken(device, [arrivals[place] for place in part]) for device, part in gated.items()]
        acks: list[Ack] = [Ack("retry")] * len(lines)
        for part, answers in zip(gated.values(), await asyncio.gather(*parts), strict=True):
            for place, ack in zip(part, answers, strict=True):
                acks[place] = ack
        return acks

    async def told(self, twin: Twin) -> None:
        """Tells a twin's device what is desired of it."""
        await self.bus.publish(*desired_news(twin))

    def left(self, ids: Sequence[str]) -> None:
        """Lets the sockets of twins that the host holds no more look where they are, and close."""
        for twin_id in ids:
            self.gates.open(twin_id)
            task = asyncio.ensure_future(self.bus.publish(f"desired.{twin_id}", b"{}"))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _taken(self, gate: str | None, arrivals: Sequence[tuple[Arrival, bytes]]) -> list[Ack]:
        if gate is not None:
            await self.gates.passed(gate)
        held = {} if self._is_closed else self._host.twins
        here = [place for place, (one, _) in enumerate(arrivals) if one.device is None or one.device in held]
        acks = [Ack("retry", one.device, one.boot_id, one.seq, None, "moved", f"ask {self._centre}") for one, _ in arrivals]
        try:
            answers = await self._host.submit([arrivals[place] for place in here]) if here else []
        except Full as full:
            answers = [Ack("retry", *_key(arrivals[place][0]), None, "unavailable", str(full)) for place in here]
        for place, ack in zip(here, answers, strict=True):
            acks[place] = ack
        return acks


def _key(arrival: Arrival) -> tuple[str | None, int | None, int | None]:
    return arrival.device, arrival.boot_id, arrival.seq
