"""What must hold once a simulated world is at peace: the judge of histories has nothing to say, and nothing is left of any move."""

from collections import defaultdict
from typing import Any

from edgetwin.twin.moves.coordinator import DEADLINE_S
from twin.checker import judged
from twin.simulation.store import Disk
from twin.simulation.world import World


def violations(world: World) -> list[str]:
    """All that is wrong, in words."""
    found = [f"{twin}: its host had it not" for twin in world.missed]
    found += [*world.is_stuck, *judged(world.events, logs(world)).violations]
    for twin in world.twins:
        found += _place(world, twin)
    for disk in _disks(world):
        found += [f"{twin}: a freeze is left" for twin in disk.leaving]
        found += [f"{twin}: a copy is left" for twin in disk.arriving]
        found += [f"{twin}: a log without a twin is left" for twin in {*disk.log, *disk.base} - set(disk.twins)]
    for host in world.hosts.values():
        found += [f"{twin}: {host.name} still copies it" for twin in host.endpoint.followed]
    found += _owners(world)
    for migration in world.migrations.values():
        spent_s = sum(migration.seconds.get(step, 0.0) for step in ("freeze", "verify"))
        if migration.outcome == "moved" and spent_s > DEADLINE_S + 1e-6:
            found.append(f"{migration.id}: frozen for {spent_s:.3f} s before its commit")
        if not migration.has_ended and world.directory.rows[migration.twin].move is not None:
            found.append(f"{migration.id}: {migration.outcome}")
    if world.is_faultless:
        found += _without_faults(world)
    return found


def logs(world: World) -> dict[str, dict[str, Any]]:
    """Twins and their logs where the directory has them, as the judge reads them."""
    result = {}
    for twin in world.twins:
        store = world.disks[world.directory.rows[twin].host]
        record = store.disk.twins.get(twin)
        if record is None:
            continue
        revision, state, entries = store.history(twin)
        result[twin] = {
            "revision": record.revision,
            "epoch": record.epoch,
            "reported": dict(record.reported),
            "base": {"revision": revision, "state": state},
            "log": [{name: value for name, value in entry._asdict().items() if name != "twin"} for entry in entries],
        }
    return result


def _disks(world: World) -> list[Disk]:
    return list({id(store.disk): store.disk for store in world.disks.values()}.values())


def _place(world: World, twin: str) -> list[str]:
    """One host serves a twin, the one that the directory names, at its epoch; and one store has it."""
    place = world.directory.rows[twin]
    serving = [name for name, host in world.hosts.items() if twin in host.twins and twin not in host.endpoint.frozen]
    having = [disk for disk in _disks(world) if twin in disk.twins]
    found = []
    if place.move is not None:
        found.append(f"{twin}: {place.move} is left open in the directory")
    if serving != [place.host]:
        found.append(f"{twin}: served by {serving}, the directory says {place.host}")
    elif world.hosts[place.host].twins[twin].epoch != place.epoch:
        found.append(f"{twin}: served at epoch {world.hosts[place.host].twins[twin].epoch}, not {place.epoch}")
    if len(having) != 1:
        found.append(f"{twin}: in {len(having)} stores")
    return found


def _owners(world: World) -> list[str]:
    """Under each epoch of a twin one host has written."""
    owners = defaultdict(set)
    for disk in _disks(world):
        for twin, epoch, host in disk.commits:
            owners[twin, epoch].add(host)
    return [f"{twin}: {sorted(hosts)} wrote under epoch {epoch}" for (twin, epoch), hosts in owners.items() if len(hosts) > 1]


def _without_faults(world: World) -> list[str]:
    """Where nothing went wrong no message was turned away that came through the centre, every move came about, and none paused for long."""
    found = [f"{one.id}: {one.outcome}" for one in world.migrations.values() if one.outcome != "moved"]
    found += [f"{one.id}: paused for {one.pause_s} s" for one in world.migrations.values() if (one.pause_s or 0.0) > DEADLINE_S]
    turned = [event for event in world.events if event.get("status") == "retry" and event["via"] == "centre"]
    return found + [f"turned away: {event}" for event in turned]
