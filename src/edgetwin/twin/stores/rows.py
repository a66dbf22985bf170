"""Twins and their log as rows of tables, alike in every store, with JSON as text; and what of a log may go."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.record import Entry, State, Twin, folded

TABLES = {
    "twins": Twin._fields,
    "base": ("twin", "revision", "state"),
    "log": Entry._fields,
    "quarantine": ("received_s", "reason", "detail", "device", "message"),
    "erased": ("digest",),
}
"""Tables of a store, each with its columns. `base` is what the log begins with where older entries were folded together."""
OF_DEVICE = {"twins": "id", "log": "twin", "base": "twin", "quarantine": "device"}
"""Tables that hold a device's data, each with the column that names it."""
CHANGED = tuple(name for name in Twin._fields if name not in ("id", "kind", "epoch"))
"""Columns of a twin that an update changes."""


class Trimmed(NamedTuple):
    """A log without its beginning: revision and state that it begins with now, and the entries that went."""

    revision: int
    state: State
    gone: Sequence[Entry]


class RowDamaged(ValueError):
    """A row that nobody has written so."""


def as_text(value: State) -> str:
    """JSON in ASCII: every string that Python has, NUL and lone surrogates among them, can be stored."""
    return json.dumps(value, separators=(",", ":"))


def storable(text: str) -> str:
    """A text as every store takes it: what UTF-8 or PostgreSQL does not have is spelt out."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def twin_row(twin: Twin) -> list[Any]:
    """The values of a twin in the order of its columns."""
    return [as_text(value) if isinstance(value, dict) else value for value in twin]


def twin_of(row: Sequence[Any]) -> Twin:
    """The twin in a row. Raises RowDamaged."""
    twin = Twin(*row)
    return twin._replace(reported=_state_in(row[4]), desired=_state_in(row[5]), model=_state_in(row[-1]))


def entry_row(entry: Entry) -> tuple[Any, ...]:
    """The values of an entry in the order of its columns."""
    return (*entry[:-1], as_text(entry.changes))


def entry_of(row: Sequence[Any]) -> Entry:
    """The entry in a row. Raises RowDamaged."""
    return Entry._make((*row[:-1], _state_in(row[-1])))


def quarantine_row(bad: Quarantined) -> tuple[Any, ...]:
    """The values of a message in quarantine in the order of its columns."""
    device = None if bad.device is None else storable(bad.device)
    return (bad.received_s, bad.reason, storable(bad.detail), device, bad.message)


def trimmed(revision: int, state: State, entries: Iterable[Entry], before_s: float) -> Trimmed:
    """A log, beginning with `state` at `revision`, without its entries measured before a time.

    Those applied go from the oldest on, up to the first that is to stay; the newest applied one stays.
    """
    there = list(entries)
    applied = [(entry.revision, entry.measured_s) for entry in there if entry.revision is not None]
    newest = max(applied, default=(0, 0.0))[0]
    keep_from = min((number for number, measured_s in applied if measured_s >= before_s), default=newest)
    gone = [one for one in there if (one.revision < keep_from if one.revision is not None else one.measured_s < before_s)]
    last = max((one.revision for one in gone if one.revision is not None), default=revision)
    return Trimmed(last, folded(state, gone), gone)


def _state_in(text: Any) -> State:
    try:
        state: State = json.loads(text)
    except (TypeError, ValueError) as error:
        raise RowDamaged(f"a row is damaged ({error})") from None
    return state
