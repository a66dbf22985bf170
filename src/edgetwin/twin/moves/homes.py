"""Which host each twin lives on, in memory, and how many each host has: the directory as the centre reads it for every message."""

from collections import Counter
from collections.abc import Iterable, Iterator

from edgetwin.twin.moves.place import Place


class Homes:
    """Names of hosts by twin, with their numbers of twins."""

    def __init__(self, places: Iterable[Place] = ()):
        self._home: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        for place in places:
            self.set(place.twin, place.host)

    def get(self, twin: str, default: str = "") -> str:
        """The twin's host, or `default`."""
        return self._home.get(twin, default)

    def set(self, twin: str, host: str) -> None:
        """From now on the twin lives there."""
        self.remove(twin)
        self._home[twin] = host
        self.counts[host] += 1

    def remove(self, twin: str) -> None:
        """The twin lives nowhere."""
        if (host := self._home.pop(twin, None)) is not None:
            self.counts[host] -= 1

    def at(self, host: str) -> list[str]:
        """Twins that live there."""
        return [twin for twin, home in self._home.items() if home == host]

    def __contains__(self, twin: str) -> bool:
        return twin in self._home

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)
