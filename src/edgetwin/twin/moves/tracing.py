"""A span of OpenTelemetry for each migration, with an event for each step. Without `opentelemetry-api` nothing happens."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetwin.twin.moves.migration import Migration

try:
    from opentelemetry import trace
except ImportError:
    trace = None  # type: ignore[assignment]


class Spans:
    """Spans of migrations under way, of the tracer provider that the process has set."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Any, Migration]] = {}

    def put(self, migration: "Migration") -> None:
        """Begins, adds to, or ends a migration's span."""
        if trace is None:
            return
        span, before = self._open.get(migration.id) or (None, None)
        if span is None:
            span = _begun(migration)
        if before is None or before.step != migration.step:
            span.add_event(migration.step)
        if migration.outcome is not None and (before is None or before.outcome != migration.outcome):
            span.add_event("outcome", {"outcome": migration.outcome})
        self._open[migration.id] = (span, migration)
        if migration.has_ended:
            del self._open[migration.id]
            _end(span, migration)


def _begun(migration: "Migration") -> Any:
    about: dict[str, Any] = {
        f"edgetwin.{name}": getattr(migration, name) for name in ("id", "twin", "source", "destination", "epoch")
    }
    return trace.get_tracer("edgetwin").start_span("migration", attributes=about, start_time=round(migration.started_s * 1e9))


def _end(span: Any, migration: "Migration") -> None:
    span.set_attributes({"edgetwin.entries": migration.entries, "edgetwin.size_bytes": migration.size_bytes})
    if migration.pause_s is not None:
        span.set_attribute("edgetwin.pause_s", migration.pause_s)
    if migration.outcome == "moved":
        span.set_status(trace.StatusCode.OK)
    else:
        span.set_status(trace.StatusCode.ERROR, migration.outcome)
    span.end()
