"""Moves beside everything else that is done to a store: what comes in from another host's store and what leaves for one."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from edgetwin.twin.messages import Update
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.moves.place import Directory
from edgetwin.twin.record import Entry, Twin, applied, late
from edgetwin.twin.stores.store import Batch, Conflict, Store, digest
from twin.store_model import IDS, STATES, TIMES, machine

MOVES = st.sampled_from(["m", "n"])
RIGHT = st.sampled_from([True, True, True, False])
GROWTH = st.lists(st.tuples(st.integers(1, 9), STATES, TIMES), max_size=5)


def grown(twin: Twin, there: list[Entry], growth: list) -> tuple[Twin, list[Entry]]:
    """A twin after updates of its boot 7, applied or late, and their entries."""
    entries: list[Entry] = []
    for seq, state, time_s in growth:
        if any(entry[:3] == (twin.id, 7, seq) for entry in [*there, *entries]):
            continue
        change = Update(twin.id, 7, seq, time_s, state)
        twin, entry = applied(twin, change, {}, time_s) if (7, seq) > (twin.boot_id, twin.seq) else late(twin, change, time_s)
        entries.append(entry)
    return twin, entries


def own_machine(reopened: Callable[[], Store], fresh: Callable[[], Store]) -> type[RuleBasedStateMachine]:
    """Moves to and from a store that is a host's own. Logs are to be deleted a few entries at a time."""

    class Machine(machine(reopened, fresh)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tails: list[Tail] = []

        def one_of(self, there: dict[str, str], right: bool, twin: str, move: str) -> tuple[str, str]:
            """A twin and a move that are there, where it shall be right and there is any; else those drawn."""
            return min(there.items(), key=lambda pair: (pair[0] != twin, pair)) if right and there else (twin, move)

        @rule(twin=IDS, move=MOVES, right=RIGHT)
        def freeze(self, twin: str, move: str, right: bool) -> None:
            model = self.model
            twin, move = self.one_of(dict.fromkeys(model.twins.keys() - model.leaving.keys(), move), right, twin, move)
            done = twin in model.twins and model.leaving.get(twin, move) == move
            assert self.store.freeze(twin, move) == done
            if done:
                model.leaving[twin] = move

        @rule(twin=IDS, move=MOVES)
        def thaw(self, twin: str, move: str) -> None:
            self.store.thaw(twin, move)
            if self.model.leaving.get(twin) == move:
                del self.model.leaving[twin]

        @rule(twin=IDS, move=MOVES, right=RIGHT, steps=st.integers(1, 4), what=st.sampled_from(["release", "discard"]))
        def end(self, twin: str, move: str, right: bool, steps: int, what: str) -> None:
            model = self.model
            there = model.leaving if what == "release" else {twin: move for twin, (move, _) in model.copies.items()}
            twin, move = self.one_of(there, right, twin, move)
            if what == "release" and model.leaving.get(twin) == move:
                del model.leaving[twin], model.twins[twin]
                model.remnants.add(twin)
            elif what == "discard" and twin in model.copies and model.copies[twin][0] == move:
                del model.copies[twin]
                model.remnants.add(twin)
            if twin in model.remnants:
                model.log.pop(twin, None)
                model.base.pop(twin, None)
            for _ in range(steps):
                if not getattr(self.store, what)(twin, move):
                    model.remnants.discard(twin)
                    return

        @rule(twin=IDS, move=MOVES, right=RIGHT, growth=GROWTH, begin=st.none() | STATES)
        def stage(self, twin: str, move: str, right: bool, growth: list, begin: dict | None) -> None:
            absent = {"car-1", "car-2", "car-3"} - self.model.twins.keys()
            twin, move = self.one_of(dict.fromkeys(absent, move), right, twin, move)
            state = {name: value for name, value in (begin or {}).items() if value is not None}
            base = Base(4, state) if begin else Base()
            record, entries = grown(Twin(twin, "vehicle", 5, base.revision, state), [], growth)
            try:
                self.store.stage(Parcel(record, base, entries), move)
            except Conflict:
                assert twin in self.model.twins
                return
            assert twin not in self.model.twins
            self.model.remnants.discard(twin)
            self.model.copies[twin] = (move, record)
            self.model.log[twin], self.model.base[twin] = list(entries), (base.revision, state)
            self.tails = [tail for tail in self.tails if tail.twin.id != twin]

        @rule(twin=IDS, move=MOVES, right=RIGHT, growth=GROWTH)
        def extend(self, twin: str, move: str, right: bool, growth: list) -> None:
            twin, move = self.one_of({twin: move for twin, (move, _) in self.model.copies.items()}, right, twin, move)
            there, record = self.model.copies.get(twin, (None, Twin(twin, "vehicle")))
            record, entries = grown(record, self.model.log.get(twin, []), growth)
            assert self.store.extend(Tail(record, entries), move) == (there == move)
            if there == move:
                self.model.copies[twin] = (move, record)
                self.model.log[twin] += entries
                self.tails.append(Tail(record, entries))

        @precondition(lambda self: self.tails)
        @rule(data=st.data())
        def extend_again(self, data: st.DataObject) -> None:
            tail = data.draw(st.sampled_from(self.tails))
            if tail.twin.id in self.model.copies:
                assert self.store.extend(tail, self.model.copies[tail.twin.id][0])

        @rule(twin=IDS, move=MOVES)
        def staged(self, twin: str, move: str) -> None:
            there, record = self.model.copies.get(twin, (None, None))
            assert self.store.record(twin, move) == (record if there == move else None)
            if there != move:
                assert self.store.staged(twin, move) is None
                return
            base = Base(*self.model.base.get(twin, ()))
            log = self.model.log[twin]
            assert self.store.staged(twin, move) == Parcel(record, base, sorted(log))  # type: ignore[arg-type]
            assert sorted(self.store.found([("nobody", 1, 1), *(entry[:3] for entry in log)])) == sorted(log)

        @rule(twin=IDS, move=MOVES, right=RIGHT)
        def activate(self, twin: str, move: str, right: bool) -> None:
            twin, move = self.one_of({twin: move for twin, (move, _) in self.model.copies.items()}, right, twin, move)
            there, record = self.model.copies.get(twin, (None, None))
            if there == move and record is not None:
                del self.model.copies[twin]
                self.model.twins[twin] = record._replace(epoch=6)
                self.model.erased.discard(digest(twin))
            expected = self.model.twins.get(twin)
            assert self.store.activate(twin, move, 6) == (expected if expected and expected.epoch == 6 else None)

    return Machine


def shared_machine(
    reopened: Callable[[], Store], fresh: Callable[[], Store], directory: Callable[[], Directory]
) -> type[RuleBasedStateMachine]:
    """Twins of the store of edge-1 that go to edge-2 and come back; nothing of them is copied, frozen or taken away by the store itself."""

    class Machine(machine(reopened, fresh)):  # type: ignore[misc]
        @rule(twin=IDS)
        def nothing_to_do(self, twin: str) -> None:
            assert self.store.freeze(twin, "m") == (twin in self.model.twins)
            self.store.thaw(twin, "m")
            assert not self.store.release(twin, "m") and not self.store.discard(twin, "m")
            assert self.store.extend(Tail(Twin(twin, "vehicle"), []), "m")
            there = self.model.twins.get(twin)
            assert self.store.staged(twin, "m") == (there and Parcel(there, Base(), []))
            assert self.store.record(twin, "m") == there and self.store.shared
            log = self.model.log.get(twin, [])
            assert sorted(self.store.found([entry[:3] for entry in log])) == sorted(log)
            assert self.store.activate(twin, "m", 3) == (there if there and there.epoch == 3 else None)
            try:
                self.store.stage(Parcel(Twin(twin, "vehicle"), Base(), []), "m")
                assert there is None
            except Conflict:
                assert there is not None

        @precondition(lambda self: self.model.twins)
        @rule(data=st.data())
        def to_another_and_back(self, data: st.DataObject) -> None:
            twin = self.model.twins[data.draw(st.sampled_from(sorted(self.model.twins)))]
            places = directory()
            for source, destination, epoch in (("edge-1", "edge-2", twin.epoch), ("edge-2", "edge-1", twin.epoch + 1)):
                place = places.place(twin.id)
                assert place == (twin.id, source, epoch, None, None, None)
                assert places.begin(place, "m", destination)
                assert self.store.commit(Batch([twin])) == (set() if source == "edge-1" else {twin.id})
                assert places.commit(twin.id, "m") == (twin.id, destination, epoch + 1, "m", None, source)
                assert self.store.commit(Batch([twin])) == {twin.id}
                assert self.store.staged(twin.id, "m") == Parcel(twin._replace(epoch=epoch + 1), Base(), [])
                if destination == "edge-2":
                    assert twin.id not in {one.id for one in self.store.twins()}
                    assert not self.store.create(twin) and not self.store.erase(twin.id) and self.store.trim(twin.id, 1e9) == 0
                    assert self.store.activate(twin.id, "m", epoch + 1) is None and not self.store.freeze(twin.id, "m")
                places.release(twin.id, "m")
            self.model.twins[twin.id] = twin._replace(epoch=twin.epoch + 2)
            assert self.store.activate(twin.id, "m", twin.epoch + 2) == self.model.twins[twin.id]
            assert self.store.activate(twin.id, "m", twin.epoch + 1) is None

    return Machine
