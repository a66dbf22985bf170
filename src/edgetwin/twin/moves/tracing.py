"""A span of OpenTelemetry for each migration, with an event for each step, sent where the environment says. Without the extra `tracing` nothing
happens."""

import os
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgetwin.errors import InputError

if TYPE_CHECKING:
    from edgetwin.twin.moves.migration import Migration

try:
    from opentelemetry import trace
except ImportError:
    trace = None  # type: ignore[assignment]

WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of the environment that say where spans go, as OpenTelemetry names them."""
LAST_S = 3.0
"""How long the end of the process waits for the last spans to be taken."""


def set_up() -> Callable[[], None]:
    """Has this process send its spans over OTLP (HTTP) to where the environment says; nothing where it does not say. Returns what sends the last
    ones, for `LAST_S` at most. Raises InputError where the extra is not installed."""
    said = [name for name in WHERE if os.environ.get(name)]
    if not said:
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(f"{said[0]} needs {error.name}: pip install 'edgetwin[tracing]'") from None
    about = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "edgetwin"), SERVICE_VERSION: version("edgetwin")})
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def send_last() -> None:
        sending = threading.Thread(target=provider.shutdown, daemon=True)
        sending.start()
        sending.join(LAST_S)

    return send_last


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
