"""What is seen of a move: where it is, what it carried, how long the twin stood still, and how it ended."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

import structlog

from edgetwin.twin.metrics import MIGRATION_PAUSE, MIGRATION_STEP, MIGRATIONS, MIGRATIONS_UNDER_WAY
from edgetwin.twin.moves import tracing

STEPS = ("prepare", "copy", "freeze", "verify", "commit", "activate", "release")
"""In their order, numbered from 1."""
KEPT = 1_000

log = structlog.get_logger("edgetwin.twin.moves")


class Migration(NamedTuple):
    """A move. epoch: the twin's at its source. step: the one it is at, or ended at, as in `STEPS`. seconds: of each step that is done.

    entries and size_bytes: of the log that was copied. pause_s: from asking for the freeze until the destination served.
    outcome: None while it goes on; `moved`, `aborted: REASON`, or, where the end cannot be reached now, `waiting: FOR WHOM`.
    """

    id: str
    twin: str
    source: str
    destination: str
    epoch: int
    started_s: float
    step: str = STEPS[0]
    seconds: Mapping[str, float] = {}
    entries: int = 0
    size_bytes: int = 0
    pause_s: float | None = None
    outcome: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it remains to be done."""
        return self.outcome is not None and not self.outcome.startswith("waiting")


Sink = Callable[[Migration], None]
"""Is told of each change of a migration."""


class Migrations:
    """The last migrations, those under way among them. `put` is a Sink, which also counts, logs and traces."""

    def __init__(self, kept: int = KEPT):
        self._kept = kept
        self._all: OrderedDict[str, Migration] = OrderedDict()
        self._open: set[str] = set()
        self._spans = tracing.Spans()
        MIGRATIONS_UNDER_WAY.set_function(lambda: len(self._open))

    def put(self, migration: Migration) -> None:
        """Takes in what has become of a migration."""
        before = self._all.get(migration.id)
        self._all[migration.id] = migration
        self._open.add(migration.id)
        self._spans.put(migration)
        if before is None or before.outcome != migration.outcome:
            _tell(migration)
        if migration.has_ended:
            self._open.discard(migration.id)
            self._trim()

    def newest(self, limit: int = KEPT, twin: str | None = None) -> list[Migration]:
        """The newest migrations, of a twin where one is given; newest first."""
        found = (migration for migration in reversed(self._all.values()) if twin in (None, migration.twin))
        return list(islice(found, limit))

    def _trim(self) -> None:
        """Forgets the oldest that have ended."""
        surplus = len(self._all) - self._kept
        for move in [move for move in self._all if move not in self._open][: max(surplus, 0)]:
            del self._all[move]


def _tell(migration: Migration) -> None:
    """Counts and logs an outcome."""
    if migration.outcome is None:
        return
    told = log.info if migration.outcome == "moved" else log.warning
    told(
        "migration",
        id=migration.id,
        twin=migration.twin,
        source=migration.source,
        destination=migration.destination,
        outcome=migration.outcome,
        pause_s=migration.pause_s,
    )
    if migration.has_ended:
        MIGRATIONS.labels(migration.outcome.partition(":")[0]).inc()
        if migration.pause_s is not None:
            MIGRATION_PAUSE.observe(migration.pause_s)
        for step, seconds in migration.seconds.items():
            MIGRATION_STEP.labels(step).observe(seconds)
