"""A state machine that does to a store and to plain dictionaries the same, and compares all that can be asked."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgetwin.twin.messages import Quarantined, Update
from edgetwin.twin.record import Entry, Twin, applied, folded, late
from edgetwin.twin.stores import rows
from edgetwin.twin.stores.store import Batch, Store, digest

AWKWARD = [
    "plain",
    'quo"te',
    "back\\slash",
    "{brace,comma}",
    "NULL",
    "nul\0",
    "lone\ud800",
    "",
    "null",
    "ü…✓",
    "line\nbreak",
    "'",
]
"""Texts that quoting, JSON or a database may trip over."""


class Model:
    """What a store should hold, as plain data. `log` and `base` are also those of copies; of `remnants` nothing is said but that they do no harm."""

    def __init__(self) -> None:
        self.twins: dict[str, Twin] = {}
        self.leaving: dict[str, str] = {}
        self.copies: dict[str, tuple[str, Twin]] = {}
        self.remnants: set[str] = set()
        self.log: dict[str, list[Entry]] = {}
        self.base: dict[str, tuple[int, dict]] = {}
        self.quarantine: list[Quarantined] = []
        self.erased: set[str] = set()


IDS = st.sampled_from(["car-1", "car-2", "car-3"])
VALUES = st.one_of(
    st.none(),
    st.sampled_from(AWKWARD),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**80), 2**80),
)
STATES = st.dictionaries(st.sampled_from(["x_m", "y_m", "name\0"]), VALUES, min_size=1, max_size=3)
TIMES = st.floats(0, 100, allow_nan=False)


def machine(reopened: Callable[[], Store], fresh: Callable[[], Store]) -> type[RuleBasedStateMachine]:
    """A state machine that does to a store and to plain data the same, and compares all that can be asked."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store, self.model = fresh(), Model()

        @rule(twin=IDS)
        def create(self, twin: str) -> None:
            new = Twin(twin, "vehicle", epoch=3)
            there = self.store.create(new)
            assert there == (None if twin in self.model.copies else self.model.twins.get(twin, new))
            self.model.remnants.discard(twin)
            if twin in self.model.copies:
                return
            self.model.twins.setdefault(twin, new)
            self.model.erased.discard(digest(twin))

        @rule(
            changes=st.lists(st.tuples(IDS, st.integers(1, 2), st.integers(1, 6), STATES, TIMES), max_size=8),
            foreign=st.sets(IDS, max_size=1),
        )
        def commit(self, changes: list, foreign: set[str]) -> None:
            work: dict[str, Twin] = {}
            entries: list[Entry] = []
            for twin, boot_id, seq, state, time_s in changes:
                before = work.get(twin) or self.model.twins.get(twin) or Twin(twin, "vehicle")
                there = [*self.model.log.get(twin, []), *entries]
                if any(entry[:3] == (twin, boot_id, seq) for entry in there):
                    continue
                change = Update(twin, boot_id, seq, time_s, state)
                if (boot_id, seq) > (before.boot_id, before.seq):
                    work[twin], entry = applied(before, change, {"velocity_mps": [time_s, -0.0]}, time_s)
                else:
                    work[twin], entry = late(before, change, time_s)
                entries.append(entry)
            sent = [twin._replace(epoch=twin.epoch + 1) if twin.id in foreign else twin for twin in work.values()]
            fenced = {
                twin.id for twin in sent if twin.id in foreign | self.model.leaving.keys() or twin.id not in self.model.twins
            }
            assert self.store.commit(Batch(sent, entries)) == fenced
            for twin in sent:
                if twin.id not in fenced:
                    self.model.twins[twin.id] = twin
                    self.model.log.setdefault(twin.id, []).extend(entry for entry in entries if entry.twin == twin.id)

        @rule(twin=IDS, desired=STATES)
        def desire(self, twin: str, desired: dict) -> None:
            if twin in self.model.twins:
                after = self.model.twins[twin]._replace(
                    desired=desired, desired_revision=self.model.twins[twin].desired_revision + 1
                )
                assert self.store.commit(Batch([after])) == {twin} & self.model.leaving.keys()
                if twin not in self.model.leaving:
                    self.model.twins[twin] = after

        @rule(
            twin=st.none() | IDS,
            detail=st.sampled_from(AWKWARD),
            message=st.binary(max_size=20),
            reason=st.sampled_from(["malformed", "too-old"]),
        )
        def set_aside(self, twin: str | None, detail: str, message: bytes, reason: str) -> None:
            bad = Quarantined(reason, detail, twin, message, 5.5)
            assert self.store.commit(Batch(quarantined=[bad])) == set()
            self.model.quarantine.append(bad._replace(detail=rows.storable(detail)))

        @precondition(lambda self: self.model.twins)
        @rule(twin=IDS, before_s=TIMES)
        def trim(self, twin: str, before_s: float) -> None:
            if twin not in self.model.twins or twin in self.model.leaving:
                assert self.store.trim(twin, before_s) == 0
                return
            log = self.model.log.get(twin, [])
            if log and min(log, key=lambda entry: (entry.boot_id, entry.seq)).measured_s >= before_s:
                assert self.store.trim(twin, before_s) == 0
                return
            numbers = [entry.revision for entry in log if entry.revision is not None]
            staying = [
                e.revision for e in log if e.revision is not None and (e.measured_s >= before_s or e.revision == max(numbers))
            ]
            gone = [e for e in log if (e.measured_s < before_s if e.revision is None else e.revision < min(staying))]
            assert self.store.trim(twin, before_s) == len(gone)
            self.model.log[twin] = [entry for entry in log if entry not in gone]
            for entry in sorted((entry for entry in gone if entry.revision is not None), key=lambda entry: entry.revision or 0):
                state = {**self.model.base.get(twin, (0, {}))[1], **entry.changes}
                self.model.base[twin] = (entry.revision or 0, {name: value for name, value in state.items() if value is not None})

        @rule(twin=IDS)
        def erase(self, twin: str) -> None:
            assert self.store.erase(twin)
            model = self.model
            for there in (model.twins, model.log, model.base, model.leaving, model.copies):
                there.pop(twin, None)  # type: ignore[attr-defined]
            model.remnants.discard(twin)
            self.model.quarantine = [bad for bad in self.model.quarantine if bad.device != twin]
            self.model.erased.add(digest(twin))

        @rule()
        def reopen(self) -> None:
            self.store.close()
            self.store = reopened()
            self.model.remnants.clear()

        @rule()
        def clean(self) -> None:
            while self.store.clean():
                pass
            self.model.remnants.clear()

        @invariant()
        def the_same(self) -> None:
            model = self.model
            assert {twin.id: twin for twin in self.store.twins()} == model.twins
            assert self.store.erased() == model.erased
            assert dict(self.store.leaving()) == model.leaving
            assert dict(self.store.arriving()) == {twin: move for twin, (move, _) in model.copies.items()}
            keys = {entry[:3] for log in model.log.values() for entry in log}
            assert self.store.known([*keys, ("car-1", 99, 9), ("nobody", 1, 1)]) == keys
            for twin in {"car-1", "car-2", "car-3"} - model.remnants:
                log = sorted(model.log.get(twin, []))
                begin, state, entries = self.store.history(twin)
                assert (begin, state) == model.base.get(twin, (0, {}))
                found = list(entries)
                assert found == log
                assert self.store.entries(twin, 2) == log[::-1][:2]
                assert (
                    self.store.entries(twin, 9, (2, 2))
                    == [entry for entry in log if (entry.boot_id, entry.seq) < (2, 2)][::-1][:9]
                )
                if twin in model.twins:
                    assert folded(state, found) == model.twins[twin].reported
            assert self.store.quarantined(100) == model.quarantine[::-1][:100]
            assert self.store.quarantined(2, "car-2") == [bad for bad in model.quarantine[::-1] if bad.device == "car-2"][:2]
            counts = {reason: sum(bad.reason == reason for bad in model.quarantine) for reason in ("malformed", "too-old")}
            assert self.store.quarantine_counts() == {reason: count for reason, count in counts.items() if count}

    return Machine
