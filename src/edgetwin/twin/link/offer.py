"""What a host says of itself when it comes to the centre, and why the centre may not let it in."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from edgetwin.twin.kinds import Kind
from edgetwin.twin.link.frames import PROTOCOL, Garbled, dumped
from edgetwin.twin.messages import NAME
from edgetwin.twin.stores.store import is_postgres


class Offer(NamedTuple):
    """A host: its name, edgetwin's version there, the address that devices reach it at, its store, and the digest of its kinds of twins."""

    name: str
    version: str
    url: str
    place: str
    kinds: str


class Unwelcome(Exception):
    """A host that is not let in, and why. again: whether it may be soon."""

    def __init__(self, line: str, again: bool = False):
        super().__init__(line)
        self.again = again


def digest_of(kinds: Mapping[str, Kind]) -> str:
    """A digest of kinds of twins, alike for all that mean the same."""
    plain = {name: kinds[name].model_dump(mode="json") for name in sorted(kinds)}
    return hashlib.sha256(dumped(plain)).hexdigest()


def offered(head: Any) -> Offer:
    """The offer in a host's first message. Raises Unwelcome for another protocol, Garbled."""
    offer = head.get("offer") if isinstance(head, dict) else None
    if not isinstance(offer, dict):
        raise Garbled("no offer")
    spoken = offer.get("protocol")
    if spoken != PROTOCOL:
        name = offer.get("name")
        raise Unwelcome(
            f"host {str(name)[:130]} speaks protocol {str(spoken)[:20]} of the link and the centre {PROTOCOL}: run the same edgetwin on both sides"
        )
    fields = [offer.get(name) for name in Offer._fields]
    if not all(isinstance(field, str) for field in fields):
        raise Garbled("an offer whose fields are missing")
    return Offer._make(fields)


def check(offer: Offer, own: Collection[str], kinds: str, place: str) -> None:
    """Raises Unwelcome for a host that cannot be let in, whoever else is there. own: names of hosts in the centre's process; kinds: its digest;
    place: its store, which is everybody's where it is a database."""
    if not NAME.fullmatch(offer.name):
        raise Unwelcome(f"host {offer.name[:130]!r}: letters, digits, _ and -, at most 128, not beginning with _ or -")
    if offer.name in own:
        raise Unwelcome(f"host {offer.name}: the name of a host in the centre's own process; give it another")
    if not offer.url.startswith(("http://", "https://")):
        raise Unwelcome(f"host {offer.name}: {offer.url[:100]!r} is not the http:// or https:// address that devices reach it at")
    if offer.place != place and (is_postgres(offer.place) or is_postgres(place)):
        raise Unwelcome(f"host {offer.name} keeps twins in {offer.place} and the centre in {place}: give both the same --store")
    if offer.kinds != kinds:
        raise Unwelcome(f"host {offer.name} has other kinds of twins than the centre: give both the same --kinds")
