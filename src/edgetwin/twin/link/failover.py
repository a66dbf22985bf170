"""Twins of a host that is gone, on a store that hosts share: others take them up. Elsewhere they wait for their host, which alone has them."""

from collections.abc import Iterable, Mapping

import structlog

from edgetwin.twin.centre import Centre
from edgetwin.twin.metrics import FAILED_OVER
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.store import is_postgres

log = structlog.get_logger("edgetwin.twin.link")


async def fail_over(centre: Centre, lost: str) -> bool:
    """Gives the twins of a lost host to others of the centre's database, and has those serve what was given to them before and did not arrive.
    Returns whether all is done. Raises Full where there is nobody, StoreUnavailable; what was given until then stays given."""
    able = heirs(centre, lost)
    if twins := centre.twins_at(lost):
        if not able:
            raise Full("there is no other host of its database that takes twins now")
        if places := await centre.give(lost, shares(twins, able)):
            FAILED_OVER.labels(lost).inc(len(places))
            by = sorted({place.host for place in places})
            log.warning("twins of a host that is away are served by others", host=lost, twins=len(places), by=by)
    for name in able:
        held = centre.hosts[name].twins
        if astray := [twin for twin in centre.twins_at(name) if twin not in held]:
            await centre.hosts[name].adopt(astray)
    return not centre.twins_at(lost)


def heirs(centre: Centre, lost: str) -> dict[str, int]:
    """Hosts that may take up twins of one that is lost, each with how many it has: edge hosts of its database that are here and not cordoned, the
    centre where there are none."""
    place = centre.own.endpoint.place
    able = {
        name: twins
        for name, twins in centre.known_hosts().items()
        if name != lost
        and (host := centre.hosts.get(name)) is not None
        and host.available
        and host.endpoint.place == place
        and is_postgres(place)
        and not centre.is_cordoned(name)
    }
    return {name: twins for name, twins in able.items() if name != centre.own.name} or able


def shares(twins: Iterable[str], able: Mapping[str, int]) -> dict[str, str]:
    """A host for each twin: the one that has the fewest by then."""
    counts = dict(able)
    chosen: dict[str, str] = {}
    for twin in twins:
        chosen[twin] = min(counts, key=lambda name: counts[name])
        counts[chosen[twin]] += 1
    return chosen
