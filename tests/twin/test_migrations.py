"""What is kept, counted and traced of migrations."""

import gzip
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from edgetwin.errors import InputError
from edgetwin.twin.moves import tracing
from edgetwin.twin.moves.migration import STEPS, Migration, Migrations
from twin.servers import free_port
from twin.service import ServiceProcess


def migration(number=1, **changes):
    return Migration(f"m{number}", "car-1", "a", "b", 3, 1_700_000_000.0)._replace(**changes)


def counted(name, **labels):
    return REGISTRY.get_sample_value(f"edgetwin_migration{name}", labels) or 0.0


@pytest.fixture
def spans(monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter.get_finished_spans


def test_the_last_ones_are_kept_and_those_under_way_all():
    kept = Migrations(kept=3)
    kept.put(migration(0))
    for number in range(1, 6):
        kept.put(migration(number, outcome="moved"))
    assert [one.id for one in kept.newest()] == ["m5", "m4", "m0"]
    assert [one.id for one in kept.newest(1)] == ["m5"]
    assert kept.newest(twin="car-1") == kept.newest() and kept.newest(twin="car-2") == []
    kept.put(migration(0, outcome="waiting: b"))
    kept.put(migration(6, outcome="moved"))
    assert [one.id for one in kept.newest()] == ["m6", "m5", "m0"]


def test_outcomes_and_pauses_are_counted_once():
    kept, before = Migrations(), counted("s_total", outcome="aborted")
    moved, pauses, total_s = counted("s_total", outcome="moved"), counted("_pause_seconds_count"), counted("_pause_seconds_sum")
    kept.put(migration(1))
    kept.put(migration(2, outcome="waiting: b: gone", pause_s=0.25))
    assert counted("s_under_way") == 2 and counted("s_total", outcome="waiting") == 0
    kept.put(migration(1, outcome="aborted: hashes differ"))
    kept.put(migration(2, outcome="moved", pause_s=0.25))
    kept.put(migration(2, outcome="moved", pause_s=0.25))
    assert counted("s_under_way") == 0
    assert counted("s_total", outcome="aborted") - before == 1 and counted("s_total", outcome="moved") - moved == 1
    assert (counted("_pause_seconds_count") - pauses, counted("_pause_seconds_sum") - total_s) == (1, 0.25)


def test_a_migration_is_a_span_with_an_event_for_each_step(spans):
    kept = Migrations()
    for step in STEPS:
        kept.put(migration(step=step))
        kept.put(migration(step=step, entries=7))
    assert spans() == ()
    kept.put(migration(step="release", entries=7, size_bytes=99, pause_s=0.01, outcome="moved"))
    (span,) = spans()
    assert [event.name for event in span.events] == [*STEPS, "outcome"]
    assert span.status.is_ok and span.start_time == 1_700_000_000 * 10**9
    assert dict(span.attributes) == {
        "edgetwin.id": "m1",
        "edgetwin.twin": "car-1",
        "edgetwin.source": "a",
        "edgetwin.destination": "b",
        "edgetwin.epoch": 3,
        "edgetwin.entries": 7,
        "edgetwin.size_bytes": 99,
        "edgetwin.pause_s": 0.01,
    }


def test_a_move_that_was_undone_is_a_span_with_an_error(spans):
    kept = Migrations()
    for outcome in (None, "waiting: a: gone", "waiting: a: gone", "aborted: hashes differ"):
        kept.put(migration(outcome=outcome))
    (span,) = spans()
    assert [event.attributes.get("outcome") for event in span.events] == [None, "waiting: a: gone", "aborted: hashes differ"]
    assert span.status.description == "aborted: hashes differ" and not span.status.is_ok


def test_spans_are_sent_where_the_environment_says(tmp_path):
    taken = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.server_port}"}
    with ServiceProcess(tmp_path / "twins", "--host", "north", "--host", "south", environment=environment) as service:
        home = service.ask("PUT", "/v1/twins/car", {"kind": "vehicle"})["host"]
        service.ask("POST", "/v1/twins/car/migrate", {"host": {"north": "south", "south": "north"}[home]})
    sink.shutdown()
    sink.server_close()
    ((path, body),) = taken
    sent = ExportTraceServiceRequest.FromString(body if body[:2] != b"\x1f\x8b" else gzip.decompress(body))
    (of,) = sent.resource_spans
    ((span,),) = [scope.spans for scope in of.scope_spans if scope.scope.name == "edgetwin"]
    assert path == "/v1/traces" and ("service.name", "edgetwin") in [
        (one.key, one.value.string_value) for one in of.resource.attributes
    ]
    assert span.name == "migration" and [event.name for event in span.events] == [*STEPS, "outcome"]


def test_spans_that_nobody_takes_hold_up_nothing(tmp_path):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with ServiceProcess(tmp_path / "twins", "--host", "north", "--host", "south", environment=environment) as service:
        home = service.ask("PUT", "/v1/twins/car", {"kind": "vehicle"})["host"]
        asked = {"host": {"north": "south", "south": "north"}[home]}
        assert service.ask("POST", "/v1/twins/car/migrate", asked)["outcome"] == "moved"
        began = time.perf_counter()
        assert service.stop() == 0
    assert time.perf_counter() - began < tracing.LAST_S + 6, "the exporter alone tries for ten seconds"
    assert "Failed to establish a new connection" in service.log.read_text()


def test_where_spans_shall_be_sent_without_the_extra_is_an_error(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError, match=r"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT needs opentelemetry.*edgetwin\[tracing\]"):
        tracing.set_up()


def test_without_opentelemetry_nothing_is_traced(spans, monkeypatch):
    monkeypatch.setattr(tracing, "trace", None)
    kept = Migrations()
    kept.put(migration(outcome="moved"))
    assert spans() == () and [one.outcome for one in kept.newest()] == ["moved"]
