"""What a host remembers of the copying of a twin, at either end, so that nothing is read or hashed as a whole while the twin is frozen."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgetwin.twin.moves.endpoint import Frozen
from edgetwin.twin.moves.parcel import Base, Tail, sum_of
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.stores.store import Key


@dataclass
class Followed:
    """A twin that is being copied from here: what came since, which entries were told of, and what they add to the hash."""

    move: str
    new: list[Entry] = field(default_factory=list)
    told: set[Key] = field(default_factory=set)
    sum: int = 0
    base: Base = Base()
    frozen: Frozen | None = None

    def tail(self, twin: Twin) -> Tail:
        """What was not told yet, which counts as told from now on."""
        entries = [entry for entry in self.new if key_of(entry) not in self.told]
        self.new.clear()
        self.tell(entries)
        return Tail(twin, entries)

    def tell(self, entries: Iterable[Entry]) -> None:
        """Counts entries as told."""
        some = list(entries)
        self.told.update(map(key_of, some))
        self.sum += sum_of(some)


@dataclass
class Copied:
    """A copy that is being made here, as it was read back from disk. verified: its hash, once it is whole; nothing is added then."""

    move: str
    base: Base = Base()
    sum: int = 0
    keys: set[Key] = field(default_factory=set)
    verified: str | None = None

    def add(self, entries: Iterable[Entry]) -> None:
        """Counts entries that are on disk, each once."""
        new = [entry for entry in entries if key_of(entry) not in self.keys]
        self.keys.update(map(key_of, new))
        self.sum += sum_of(new)


def key_of(entry: Entry) -> Key:
    """The message that an entry is of."""
    return (entry.twin, entry.boot_id, entry.seq)
