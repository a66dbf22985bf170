"""What a host has, against what the directory says: found when a host comes, and put right before it serves."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edgetwin.twin.moves.place import Place


class Disagreement(NamedTuple):
    """Twins, by id, on which a host and the directory disagree.

    unplaced: the host has them, nobody knows of them; they are its own. stale: the host has them, the directory says another has; they are not to be
    served here. missing: the directory says that the host has them, and it has not: its data is elsewhere, or an
    enrolment or an erasure was not finished.
    """

    unplaced: list[str]
    stale: list[str]
    missing: list[str]


def disagreement(host: str, held: Iterable[str], moving: Iterable[str], places: Mapping[str, Place]) -> Disagreement:
    """Compares. held: ids of the twins that a host serves; moving: those with an open move, which is settled elsewhere; places: all there are."""
    mine, open_ = set(held), set(moving)
    return Disagreement(
        unplaced=sorted(twin for twin in mine if twin not in places and twin not in open_),
        stale=sorted(twin for twin in mine - open_ if twin in places and places[twin].host != host),
        missing=sorted(
            place.twin
            for place in places.values()
            if place.host == host and place.move is None and place.twin not in mine | open_
        ),
    )
