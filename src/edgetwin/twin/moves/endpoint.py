"""A host as the coordinator of moves sees it, in this process or another. Every call may be repeated: made twice it leaves what it leaves made once.

Calls raise Refused where the host says no, and Away where it cannot be told whether the call was made at all.
"""

from typing import Literal, NamedTuple, Protocol

from edgetwin.twin.moves.parcel import Parcel, Tail
from edgetwin.twin.record import Twin


class Away(Exception):
    """A host gave no answer: what was asked may have been done or not."""


class OpenMove(NamedTuple):
    """A move that a host has a part in and has not heard the end of: it is the source of a frozen twin, or has a copy that nobody confirmed."""

    twin: str
    move: str
    role: Literal["source", "destination"]


class Frozen(NamedTuple):
    """What a source says once nothing changes a twin any more: the last tail, and the canonical hash of it all."""

    tail: Tail
    hash: str


class Endpoint(Protocol):
    """A host's part in moves, in the order of a move's life."""

    name: str
    place: str
    """Its store. Between hosts of one place nothing is copied: both see the same rows."""

    async def reserve(self, twin: Twin, move: str) -> None:
        """Destination: makes ready for a twin. Refused for one it holds already, or of a kind it does not know."""

    async def copy(self, twin: str, move: str) -> Parcel:
        """Source: the twin as it is, going on serving it; from now on what comes is remembered for `tail`."""

    async def stage(self, parcel: Parcel, move: str) -> None:
        """Destination: keeps a copy on disk, not serving it, in place of any older one."""

    async def tail(self, twin: str, move: str) -> Tail:
        """Source: what came since `copy` or the last `tail`."""

    async def extend(self, tail: Tail, move: str) -> None:
        """Destination: adds a tail to the copy, on disk."""

    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        """Source: takes no more changes of the twin, on disk, also after a restart, until `thaw` or `release`."""

    async def verify(self, frozen: Frozen, move: str) -> None:
        """Destination: adds the last tail, reads the copy back, compares hashes, on disk. Refused where they differ."""

    async def activate(self, twin: str, move: str, epoch: int) -> Twin:
        """Destination: owns and serves the twin from now on. Only after the commit. Refused where there is no copy and it is not active already."""

    async def release(self, twin: str, move: str) -> None:
        """Source: forgets the twin; whoever asks is sent elsewhere. Only after the commit."""

    async def thaw(self, twin: str, move: str) -> None:
        """Source: the move was aborted; serves the twin on. Nothing where it is frozen by another move or not at all."""

    async def discard(self, twin: str, move: str) -> None:
        """Destination: the move was aborted; forgets the copy. Nothing where that is of another move or active."""

    async def open_moves(self) -> list[OpenMove]:
        """Moves that it has a part in and has not heard the end of."""
