"""Messages on their way: each to the host of its twin, in the order they came; those of a twin that is moving wait at its gate."""

import asyncio
from collections.abc import Mapping, Sequence

from edgetwin.twin.hosted import Hosted, reached
from edgetwin.twin.messages import Ack, arrival_in
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.moves.homes import Homes
from edgetwin.twin.refusal import Full
from edgetwin.twin.writer import Arrival

Arrivals = list[tuple[Arrival, bytes]]


class Routing:
    """The way from devices to hosts by name. own: who takes messages of devices that are not enrolled."""

    def __init__(self, hosts: Mapping[str, Hosted], homes: Homes, gates: Gates, own: Hosted):
        self._hosts, self._homes, self._gates, self._own = hosts, homes, gates, own

    async def take(self, lines: Sequence[bytes], sender: str | None = None) -> list[Ack]:
        """Acknowledgements of messages in their order; "retry" where a host is full or away. sender: who alone may be spoken for."""
        arrivals = [(arrival_in(line, sender), line) for line in lines]
        parts: dict[str, list[int]] = {}
        waiting: dict[str, list[int]] = {}
        for at, (arrival, _) in enumerate(arrivals):
            device = arrival.device or ""
            if self._gates.is_closed(device):
                waiting.setdefault(device, []).append(at)
            else:
                parts.setdefault(self._homes.get(device, self._own.name), []).append(at)
        answers = [(part, self._queued(name, [arrivals[at] for at in part])) for name, part in parts.items()]
        later = [
            (part, asyncio.ensure_future(self._passed(device, [arrivals[at] for at in part]))) for device, part in waiting.items()
        ]
        acks: list[Ack] = [Ack("retry")] * len(lines)
        for part, answer in answers:
            for at, ack in zip(part, await _answered(answer, [arrivals[at] for at in part]), strict=True):
                acks[at] = ack
        for part, passed in later:
            for at, ack in zip(part, await passed, strict=True):
                acks[at] = ack
        return acks

    def _queued(self, name: str, arrivals: Arrivals) -> asyncio.Future[list[Ack]] | Full:
        try:
            return reached(self._hosts, name, self._own.endpoint.place).submit(arrivals)
        except Full as full:
            return full

    async def _passed(self, device: str, arrivals: Arrivals) -> list[Ack]:
        """What a twin's host answers once the twin has moved."""
        await self._gates.passed(device)
        return await _answered(self._queued(self._homes.get(device, self._own.name), arrivals), arrivals)


async def _answered(answer: asyncio.Future[list[Ack]] | Full, arrivals: Arrivals) -> list[Ack]:
    try:
        if isinstance(answer, Full):
            raise answer
        return await answer
    except Full as full:
        return [
            Ack("retry", arrival.device, arrival.boot_id, arrival.seq, None, "unavailable", str(full)) for arrival, _ in arrivals
        ]
