"""Where twins live. A twin's place changes by compare-and-set in the directory and nowhere else: that is what decides whether a move happened.

A place is settled (no `move`), moving (`destination` is who shall have it, `host` still has it), or handed over (`host` has it, `source` had it
and was not yet told to forget it). `epoch` counts owners: it grows by one with each commit, and a store refuses writes of another epoch.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """A twin's host and epoch, and the move under way, where there is one."""

    twin: str
    host: str
    epoch: int
    move: str | None = None
    destination: str | None = None
    source: str | None = None

    @property
    def is_moving(self) -> bool:
        """Whether a move has begun that was neither committed nor aborted."""
        return self.destination is not None


class Known(NamedTuple):
    """A host as the directory remembers it. url: where devices reach it, None for a host in the centre's own process. cordoned: gets no new twins."""

    name: str
    url: str | None = None
    cordoned: bool = False


class Directory(Protocol):
    """Places of all twins, durable. Called from one thread. Every method may raise StoreUnavailable; the change may have been made then or not,
    and the caller reads the place anew."""

    def places(self) -> list[Place]:
        """All there are."""

    def open_places(self) -> list[Place]:
        """Those with a move under way."""

    def place(self, twin: str) -> Place | None:
        """A twin's, None where it has none."""

    def enrol(self, twin: str, host: str, epoch: int = 1) -> Place:
        """A new twin's place; where it has one, that one, unchanged."""

    def begin(self, place: Place, move: str, destination: str) -> bool:
        """From settled as given to moving. False, and nothing changed: it is not settled there at that epoch."""

    def commit(self, twin: str, move: str) -> Place | None:
        """From moving to handed over, at the next epoch: the one linearisation point. None, and nothing changed: not moving by this move."""

    def abort(self, twin: str, move: str) -> bool:
        """From moving back to settled. False, and nothing changed: not moving by this move."""

    def release(self, twin: str, move: str) -> None:
        """From handed over to settled. Nothing where it is not handed over by this move."""

    def fail_over(self, host: str, to: Mapping[str, str]) -> list[Place]:
        """Gives twins of a host that is gone to others, each at the next epoch, all in one step; moves of theirs under way end. Returns the new
        places. Only on a store that hosts share; raises InputError elsewhere."""

    def erase(self, twin: str) -> None:
        """Takes its place away, whatever it is."""

    def hosts(self) -> dict[str, Known]:
        """Hosts that were ever enrolled, by name."""

    def know(self, host: Known) -> None:
        """Remembers a host, or what has changed of it."""

    def forget(self, host: str) -> None:
        """Remembers it no longer."""

    def close(self) -> None: ...
