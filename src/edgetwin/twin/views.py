"""Twins, log entries, hosts and quarantined messages as plain data, as the interface shows them."""

from typing import Any

from edgetwin.twin.host import Host
from edgetwin.twin.messages import Quarantined
from edgetwin.twin.record import Entry, Twin


def twin_fields(twin: Twin, host: str, now_s: float, forecast: Any | None = None) -> dict[str, Any]:
    """A twin with its age of information: seconds since its last applied message was measured, None before the first."""
    fields = {name: value for name, value in twin._asdict().items() if name != "model"}
    age_s = max(now_s - twin.measured_s, 0.0) if twin.revision else None
    return {**fields, "host": host, "age_s": age_s, "forecast": None if forecast is None else forecast._asdict()}


def entry_fields(entry: Entry) -> dict[str, Any]:
    """An entry of a log; its revision is null where it came too late to change the state."""
    return {name: value for name, value in entry._asdict().items() if name != "twin"}


def host_fields(host: Host) -> dict[str, Any]:
    """A host: how many twins it holds, how many messages wait, whether its store can be written to."""
    return {"name": host.name, "twins": len(host.twins), "pending": host.pending, "available": host.available}


def quarantined_fields(host: str, message: Quarantined) -> dict[str, Any]:
    """A message in quarantine; bytes that are no text are shown as escapes."""
    return {**message._asdict(), "host": host, "message": message.message.decode(errors="backslashreplace")}
