"""Service twins, association (2): DT(u, ζ) = Θ(D(ζ), S^ζ(t), M^ζ, ΔS^ζ(t+1)), aggregates over device twins for one purpose ζ.

They live on news of device twins and are kept current by it: a change costs what the service twins at its place cost, however many there
are. News may come twice or in any order: of a twin, the greatest (epoch, revision) stands. `resynchronise` puts right what was missed.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from edgetwin.twin.kinds import Kind
from edgetwin.twin.record import State, Twin
from edgetwin.twin.service_twins.aggregate import Aggregate, Member
from edgetwin.twin.service_twins.areas import Definition, Piece
from edgetwin.twin.service_twins.grid import Grid
from edgetwin.twin.silence import Forecast, forecasts


class Change(NamedTuple):
    """A device twin as it has become. predicted: `reported` is partly a forecast, made at this epoch and revision."""

    twin_id: str
    kind: str
    host: str
    epoch: int
    revision: int
    reported: State
    measured_s: float
    predicted: bool = False


def change(twin: Twin, host: str, forecast: Forecast | None = None) -> Change:
    """News of a twin on a host, or of what is forecast of it."""
    reported = twin.reported if forecast is None else {**twin.reported, **forecast.reported}
    return Change(twin.id, twin.kind, host, twin.epoch, twin.revision, reported, twin.measured_s, forecast is not None)


def carried(twins: Iterable[Twin], host: str, kinds: Mapping[str, Kind], now_s: float, within_s: float) -> list[Change]:
    """News of where twins on a host are forecast that are silent, and were measured within so many seconds."""
    recent = {twin.id: twin for twin in twins if now_s - twin.measured_s <= within_s}
    return [change(recent[twin_id], host, forecast) for twin_id, forecast in forecasts(recent.values(), kinds, now_s).items()]


class _ServiceTwin:
    """A definition, its pieces as they stand in the grid, and its members."""

    def __init__(self, definition: Definition):
        self.definition, self.of, self.numbers = definition, frozenset(definition.of), definition.numbers()
        self.pieces = definition.pieces()
        self.aggregate = Aggregate(len(self.numbers), definition.stale_after_s)

    def put(self, news: Change, now_s: float) -> None:
        told = (news.reported.get(name) for name in self.numbers)
        numbers = tuple(value if type(value) in (int, float) else None for value in told)
        self.aggregate.put(news.twin_id, Member(news.kind, news.measured_s, news.predicted, numbers), now_s)


class Services:
    """Service twins by id, over device twins of the given kinds. Times are of one clock that does not go back, in seconds."""

    def __init__(self, kinds: Mapping[str, Kind]):
        self._positions = {name: kind.position for name, kind in kinds.items() if kind.position is not None}
        self._services: dict[str, _ServiceTwin] = {}
        self._grid: Grid[tuple[str, Piece]] = Grid()
        self._latest: dict[str, Change] = {}
        self._belongs: dict[str, frozenset[str]] = {}

    @property
    def reach_s(self) -> float:
        """The longest that any service twin counts a twin after it was measured: older ones need not be carried on. 0 where there are none."""
        return max((service.definition.stale_after_s for service in self._services.values()), default=0.0)

    def define(self, service_id: str, definition: Definition, now_s: float) -> None:
        """A new service twin of the device twins that are known; one of that id is replaced and begins anew."""
        self.forget(service_id)
        service = self._services[service_id] = _ServiceTwin(definition)
        for piece in service.pieces:
            self._grid.put(piece.box, (service_id, piece))
        for news in self._latest.values():
            if news.kind in service.of:
                self._place(news, now_s)

    def forget(self, service_id: str) -> None:
        """Takes a service twin away, if it is there."""
        service = self._services.pop(service_id, None)
        if service is None:
            return
        for piece in service.pieces:
            self._grid.drop(piece.box, (service_id, piece))
        self._belongs = {twin_id: where - {service_id} for twin_id, where in self._belongs.items() if where != {service_id}}

    def take(self, changes: Iterable[Change], now_s: float) -> None:
        """Takes news over. What is not newer than what is known changes nothing, unless it is a forecast made of just that."""
        for news in changes:
            known = self._latest.get(news.twin_id)
            if known is not None and not _follows(news, known):
                continue
            self._take(news, now_s)

    def remove(self, twin_id: str) -> None:
        """Takes a device twin out of everything; nothing of it stays. News of it from before must not come after."""
        self._latest.pop(twin_id, None)
        for service_id in self._belongs.pop(twin_id, ()):
            self._services[service_id].aggregate.drop(twin_id)

    def resynchronise(self, twins: Iterable[Change], now_s: float) -> None:
        """Takes a list of all device twins for the truth, after news was lost: others are removed, and those in it are as it says."""
        all_of_them = {news.twin_id: news for news in twins}
        for twin_id in self._latest.keys() - all_of_them.keys():
            self.remove(twin_id)
        for twin_id, news in all_of_them.items():
            if self._latest.get(twin_id) != news:
                self._take(news, now_s)

    def state(self, service_id: str, now_s: float) -> dict[str, Any]:
        """A service twin's state now. Raises KeyError for one that is not there.

        revision: how many changes of members it has taken in. entered, left: movements since it was defined; left counts those that became
        too old as well, so count = entered - left. predicted: how many of count stand where a forecast put them.
        """
        service = self._services[service_id]
        summary = service.aggregate.summary(now_s)
        common = {name: value for name, value in vars(summary).items() if name != "tallies"}
        return {**common, **service.definition.told(summary)}

    def _take(self, news: Change, now_s: float) -> None:
        if news.kind in self._positions:
            self._latest[news.twin_id] = news
            self._place(news, now_s)
        else:
            self.remove(news.twin_id)

    def _place(self, news: Change, now_s: float) -> None:
        """Lets a device twin belong to the service twins at its position, and to no others."""
        x, y = (news.reported.get(name) for name in self._positions[news.kind])
        here: set[str] = set()
        if x is not None and y is not None:
            for service_id, piece in self._grid.at(x, y):
                if service_id not in here and news.kind in self._services[service_id].of and piece.holds(x, y):
                    here.add(service_id)
        before = self._belongs.get(news.twin_id, frozenset())
        for service_id in before - here:
            self._services[service_id].aggregate.drop(news.twin_id)
        for service_id in here:
            self._services[service_id].put(news, now_s)
        if here:
            self._belongs[news.twin_id] = frozenset(here)
        else:
            self._belongs.pop(news.twin_id, None)


def _follows(news: Change, known: Change) -> bool:
    order, before = (news.epoch, news.revision), (known.epoch, known.revision)
    return order > before or (order == before and news.predicted)
