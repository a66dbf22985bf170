"""A directory in memory. What goes wrong with it is decided outside: `trouble` is called before and after each change and may raise."""

from collections.abc import Callable, Mapping

from edgetwin.errors import InputError
from edgetwin.twin.moves.place import Known, Place

Trouble = Callable[[str, str], None]


class MemoryDirectory:
    """Implements Directory. `rows` outlive whoever uses it; trouble(method, "before" or "after") raises StoreUnavailable where it shall. given: is
    told of new owners in the same step, where the twins are in the same database; there only is failover."""

    def __init__(self, trouble: Trouble = lambda method, when: None, given: Callable[[Place], None] | None = None) -> None:
        self.rows: dict[str, Place] = {}
        self.known: dict[str, Known] = {}
        self.trouble, self.given = trouble, given

    def places(self) -> list[Place]:
        self.trouble("places", "before")
        return list(self.rows.values())

    def open_places(self) -> list[Place]:
        return [place for place in self.places() if place.move is not None]

    def place(self, twin: str) -> Place | None:
        self.trouble("place", "before")
        return self.rows.get(twin)

    def enrol(self, twin: str, host: str, epoch: int = 1) -> Place:
        return self._changed("enrol", twin, lambda place: place or Place(twin, host, epoch))[1]

    def begin(self, place: Place, move: str, destination: str) -> bool:
        def change(there: Place | None) -> Place | None:
            return there._replace(move=move, destination=destination) if there == place and there.move is None else there

        before, after = self._changed("begin", place.twin, change)
        return before != after

    def commit(self, twin: str, move: str) -> Place | None:
        before, after = self._changed("commit", twin, lambda place: self.committed(place, move))
        return after if before != after else None

    def committed(self, place: Place | None, move: str) -> Place | None:
        """What a commit makes of a place."""
        if place is None or place.move != move or place.destination is None:
            return place
        return Place(place.twin, place.destination, place.epoch + 1, move, None, place.host)

    def abort(self, twin: str, move: str) -> bool:
        def change(place: Place | None) -> Place | None:
            if place is None or place.move != move or not place.is_moving:
                return place
            return Place(twin, place.host, place.epoch)

        before, after = self._changed("abort", twin, change)
        return before != after

    def release(self, twin: str, move: str) -> None:
        def change(place: Place | None) -> Place | None:
            if place is None or place.move != move or place.is_moving:
                return place
            return Place(twin, place.host, place.epoch)

        self._changed("release", twin, change)

    def fail_over(self, host: str, to: Mapping[str, str]) -> list[Place]:
        if self.given is None:
            raise InputError("twins of a host with a store of its own wait for it")
        self.trouble("fail_over", "before")
        mine = [place for place in self.rows.values() if place.host == host and place.twin in to]
        given = [Place(place.twin, to[place.twin], place.epoch + 1) for place in mine]
        for place in given:
            self.rows[place.twin] = place
            self.given(place)
        self.trouble("fail_over", "after")
        return given

    def erase(self, twin: str) -> None:
        self._changed("erase", twin, lambda place: None)

    def hosts(self) -> dict[str, Known]:
        return dict(self.known)

    def know(self, host: Known) -> None:
        self.known[host.name] = host

    def close(self) -> None:
        pass

    def _changed(self, method: str, twin: str, change: Callable[[Place | None], Place | None]) -> tuple:
        """The place before and after an atomic change."""
        self.trouble(method, "before")
        before = self.rows.get(twin)
        after = change(before)
        if after is None:
            self.rows.pop(twin, None)
        else:
            self.rows[twin] = after
            if self.given is not None and before is not None and before.epoch != after.epoch:
                self.given(after)
        self.trouble(method, "after")
        return before, after
