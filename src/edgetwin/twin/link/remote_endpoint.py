"""The part in moves of a host in a process of its own: each call goes over the host's link. Raises Refused, and Away where no answer came."""

from collections.abc import Callable, Coroutine
from typing import Any

from edgetwin.twin.moves.endpoint import Frozen, OpenMove
from edgetwin.twin.moves.parcel import Parcel, Tail
from edgetwin.twin.record import Twin


class RemoteEndpoint:
    """call: obeys a call of a name with arguments, over the link."""

    def __init__(self, name: str, place: str, call: Callable[..., Coroutine[Any, Any, Any]]):
        self.name, self.place, self._call = name, place, call

    async def reserve(self, twin: Twin, move: str) -> None:
        await self._call("reserve", twin=twin, move=move)

    async def copy(self, twin: str, move: str) -> Parcel:
        return await self._call("copy", twin=twin, move=move)

    async def stage(self, parcel: Parcel, move: str) -> None:
        await self._call("stage", parcel=parcel, move=move)

    async def tail(self, twin: str, move: str) -> Tail:
        return await self._call("tail", twin=twin, move=move)

    async def extend(self, tail: Tail, move: str) -> None:
        await self._call("extend", tail=tail, move=move)

    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        return await self._call("freeze", twin=twin, move=move, destination=destination)

    async def verify(self, frozen: Frozen, move: str) -> None:
        await self._call("verify", frozen=frozen, move=move)

    async def activate(self, twin: str, move: str, epoch: int) -> Twin:
        return await self._call("activate", twin=twin, move=move, epoch=epoch)

    async def release(self, twin: str, move: str) -> None:
        await self._call("release", twin=twin, move=move)

    async def thaw(self, twin: str, move: str) -> None:
        await self._call("thaw", twin=twin, move=move)

    async def discard(self, twin: str, move: str) -> None:
        await self._call("discard", twin=twin, move=move)

    async def open_moves(self) -> list[OpenMove]:
        return await self._call("open_moves")
