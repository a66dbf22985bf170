"""A twin as it is stored, and what an update changes in it: association (1), DT = Θ(D, S(t), M, ΔS(t+1)).

D is the log, S the reported state, M the memory of its behaviour model, ΔS an update. Pure functions: stores and hosts differ, these do not.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from edgetwin.twin.messages import Update

State = Mapping[str, Any]


class Twin(NamedTuple):
    """A device twin. `revision` counts applied updates, `epoch` its owners so far. (boot_id, seq) and measured_s are those of the last applied.

    `missing` counts messages of this boot whose number was passed over and which have not come since. `model` is the behaviour model's memory.
    """

    id: str
    kind: str
    epoch: int = 1
    revision: int = 0
    reported: State = {}
    desired: State = {}
    desired_revision: int = 0
    boot_id: int = 0
    seq: int = 0
    measured_s: float = 0.0
    received_s: float = 0.0
    missing: int = 0
    model: State = {}


class Entry(NamedTuple):
    """A line of a twin's log: an update and the revision it made, None where it came too late to change the state."""

    twin: str
    boot_id: int
    seq: int
    revision: int | None
    measured_s: float
    received_s: float
    changes: State


def fold(state: State, changes: State) -> dict[str, Any]:
    """The state after an update: what it names replaced, what it names null taken away."""
    after = {**state, **changes}
    return {name: value for name, value in after.items() if value is not None} if None in changes.values() else after


def folded(base: State, entries: Iterable[Entry]) -> dict[str, Any]:
    """The state after those of the entries that were applied, in the order of their revisions."""
    state = dict(base)
    for entry in sorted((entry for entry in entries if entry.revision is not None), key=lambda entry: entry.revision or 0):
        state = fold(state, entry.changes)
    return state


def is_newer(twin: Twin, update: Update) -> bool:
    """Whether an update is later than all that were applied."""
    return (update.boot_id, update.seq) > (twin.boot_id, twin.seq)


def applied(twin: Twin, update: Update, model: State, received_s: float) -> tuple[Twin, Entry]:
    """The twin after a newer update, and its entry in the log. model: the behaviour model's memory after it."""
    missing = twin.missing + update.seq - twin.seq - 1 if update.boot_id == twin.boot_id else update.seq - 1
    entry = Entry(twin.id, update.boot_id, update.seq, twin.revision + 1, update.time_s, received_s, update.state)
    after = twin._replace(
        revision=twin.revision + 1,
        reported=fold(twin.reported, update.state),
        boot_id=update.boot_id,
        seq=update.seq,
        measured_s=update.time_s,
        received_s=received_s,
        missing=missing,
        model=model,
    )
    return after, entry


def late(twin: Twin, update: Update, received_s: float) -> tuple[Twin, Entry]:
    """The twin after an update that came too late to change its state, and its entry."""
    entry = Entry(twin.id, update.boot_id, update.seq, None, update.time_s, received_s, update.state)
    return twin._replace(missing=max(twin.missing - (update.boot_id == twin.boot_id), 0)), entry
