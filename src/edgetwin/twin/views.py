"""Twins, log entries, hosts and quarantined messages as plain data, as the interface shows them."""

from typing import Any

from edgetwin.twin.hosted import Hosted, become_of_twins
from edgetwin.twin.messages import Quarantined
from edgetwin.twin.moves.migration import Migration
from edgetwin.twin.moves.place import Known
from edgetwin.twin.record import Entry, Twin


def twin_fields(twin: Twin, host: Hosted, now_s: float, forecast: Any | None = None) -> dict[str, Any]:
    """A twin with its age of information: seconds since its last applied message was measured, None before the first. available: whether its host can
    be reached and can write; the twin is shown as last heard of where not."""
    fields = {name: value for name, value in twin._asdict().items() if name != "model"}
    age_s = max(now_s - twin.measured_s, 0.0) if twin.revision else None
    told = None if forecast is None else forecast._asdict()
    return {**fields, "host": host.name, "available": host.available, "age_s": age_s, "forecast": told}


def entry_fields(entry: Entry) -> dict[str, Any]:
    """An entry of a log; its revision is null where it came too late to change the state."""
    return {name: value for name, value in entry._asdict().items() if name != "twin"}


def host_fields(known: Known, host: Hosted | None, twins: int, store: str) -> dict[str, Any]:
    """A host: how many twins live there, whether it can be reached and can write, what waits there; and what becomes of its twins while it cannot.
    store: the centre's."""
    here = host is not None and host.available
    fields = {"name": known.name, "twins": twins, "available": here, "cordoned": known.cordoned, "url": known.url}
    if host is not None:
        fields |= {"url": host.url, "store": host.endpoint.place, "version": host.version}
        fields |= {"pending": host.pending, "fenced_writes": host.fenced_writes}
    is_process = host is None or host.url is not None
    return fields if here else {**fields, "its_twins": become_of_twins(store if is_process else "")}


def move_fields(move: Migration) -> dict[str, Any]:
    """A move, with how it ended (moved, aborted, waiting, or null while it goes on) and, unless it moved, why."""
    outcome, _, reason = (move.outcome or "").partition(": ")
    return {**move._asdict(), "outcome": outcome or None, "reason": reason or None}


def quarantined_fields(host: str, message: Quarantined) -> dict[str, Any]:
    """A message in quarantine; bytes that are no text are shown as escapes."""
    return {**message._asdict(), "host": host, "message": message.message.decode(errors="backslashreplace")}
