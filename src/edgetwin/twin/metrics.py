"""What is counted, for Prometheus: of a host messages by what became of them, how long a group takes to be durable, what waits; and migrations."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram

from edgetwin.twin.messages import Ack

MESSAGES = Counter("edgetwin_messages_total", "Messages by what became of them", ["host", "status", "reason"])
COMMIT = Histogram(
    "edgetwin_commit_seconds",
    "From taking a group of messages to having it on disk",
    ["host"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
PENDING = Gauge("edgetwin_pending_messages", "Messages that wait to be written", ["host"])
TWINS = Gauge("edgetwin_twins", "Twins that a host holds", ["host"])
UNAVAILABLE = Counter("edgetwin_store_unavailable_total", "Times that a store could not be written to", ["host"])
FENCED = Counter("edgetwin_fenced_writes_total", "Writes of twins that the store refused since another host owns them", ["host"])
HOST_AVAILABLE = Gauge("edgetwin_host_available", "Whether a host that the centre knows can be reached and can write", ["host"])
FAILED_OVER = Counter("edgetwin_failed_over_twins_total", "Twins of a host that was away that others have taken up", ["host"])
MIGRATIONS = Counter("edgetwin_migrations_total", "Migrations by how they ended", ["outcome"])
MIGRATIONS_UNDER_WAY = Gauge("edgetwin_migrations_under_way", "Migrations that have not ended")
MIGRATION_PAUSE = Histogram(
    "edgetwin_migration_pause_seconds",
    "How long a twin took no changes as it moved",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
MIGRATION_STEP = Histogram(
    "edgetwin_migration_step_seconds",
    "How long the steps of migrations took",
    ["step"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class HostMetrics:
    """The metrics of one host."""

    def __init__(self, host: str, pending: Callable[[], int]):
        self._host = host
        self.commit_s = COMMIT.labels(host)
        PENDING.labels(host).set_function(pending)
        self.twins = TWINS.labels(host)
        self.unavailable = UNAVAILABLE.labels(host)
        self.fenced = FENCED.labels(host)

    def count(self, acks: Iterable[Ack]) -> None:
        """Counts the acknowledgements of a group."""
        tally = Tally((ack.status, ack.reason or "") for ack in acks)
        for (status, reason), number in tally.items():
            MESSAGES.labels(self._host, status, reason).inc(number)
