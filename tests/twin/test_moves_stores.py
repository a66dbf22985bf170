"""A store's part in moves: what is frozen does not change, what is copied is not served, what is gone leaves nothing, also after a restart."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetwin.twin.moves.parcel import Base, Parcel, Tail, hash_of, sum_of
from edgetwin.twin.record import Entry, Twin, applied, late
from edgetwin.twin.stores import sqlite_moves
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.store import Batch, Conflict, Store, StoreUnavailable, digest
from twin.places import Place, grown, update

CAR = Twin("car-1", "vehicle", epoch=3)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place("sqlite", tmp_path / "one", None)
    yield found
    found.clear()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Place]:
    found = Place("sqlite", tmp_path / "two", None)
    yield found
    found.clear()


def again(place: Place, store: Store) -> Store:
    """The store after its process ended."""
    store.close()
    return place.open()


def parcel_of(store: Store, twin: Twin) -> Parcel:
    begin, state, entries = store.history(twin.id)
    return Parcel(twin, Base(begin, state), list(entries))


def hashed(parcel: Parcel) -> str:
    return hash_of(parcel.twin, parcel.base, sum_of(parcel.entries))


def driven(store: Store, count: int = 12, twin: Twin = CAR) -> Twin:
    """A twin with a log whose beginning was trimmed and which has a late entry."""
    store.create(twin)
    twin, _ = grown(store, twin, 3)
    assert store.trim(twin.id, 1002.5) == 2
    twin, _ = grown(store, twin._replace(seq=twin.seq + 2, missing=2), count - 3)
    twin, entry = late(twin, update(twin.id, 4), 1.0)
    assert store.commit(Batch([twin], [entry])) == set()
    return twin


def stray(place: Place) -> int:
    """Rows of logs, and of what they begin with, that belong to nobody."""
    owners = "(SELECT id FROM twins UNION ALL SELECT id FROM arriving UNION ALL SELECT twin FROM remnants)"
    return sum(place.run(f"SELECT count(*) FROM {table} WHERE twin NOT IN {owners}")[0][0] for table in ("log", "base"))


def test_a_twin_moves_whole(place: Place, other: Place) -> None:
    source, destination = place.open(), other.open()
    assert source.place != destination.place
    twin = driven(source)
    destination.create(CAR)
    assert destination.erase("car-1")  # one of that name was here before
    destination.stage(parcel_of(source, twin), "m")
    twin, entries = grown(source, twin, 3)
    assert destination.extend(Tail(twin, entries), "m")
    assert source.freeze("car-1", "m")
    begin, state, log = source.history("car-1")
    whole = Parcel(twin, Base(begin, state), list(log))
    destination = again(other, destination)
    assert destination.arriving() == [("car-1", "m")] and destination.twins() == []
    assert destination.staged("car-1", "m") == whole and begin == 2
    assert hashed(whole) == hashed(destination.staged("car-1", "m") or whole)
    moved = twin._replace(epoch=4)
    assert destination.activate("car-1", "m", 4) == moved == destination.activate("car-1", "m", 4)
    while source.release("car-1", "m"):
        pass
    for one in (again(place, source), again(other, destination)):
        assert one.leaving() == one.arriving() == []
    source, destination = place.opened[-1], other.opened[-1]
    assert source.twins() == [] and place.run("SELECT count(*) FROM log") == place.run("SELECT count(*) FROM base") == [(0,)]
    assert destination.twins() == [moved] and destination.erased() == set()
    assert parcel_of(destination, moved) == whole._replace(twin=moved)
    grown(destination, moved, 2)


def test_what_is_frozen_does_not_change(place: Place) -> None:
    store = place.open()
    twin = driven(store)
    driven(store, twin=Twin("car-2", "vehicle"))
    assert store.freeze("car-1", "m") and store.freeze("car-1", "m")
    assert not store.freeze("car-1", "another") and not store.freeze("nobody", "m")
    before = parcel_of(store, twin)
    after, entry = applied(twin, update("car-1", 90), {}, 1.0)
    for _ in range(2):
        assert store.leaving() == [("car-1", "m")]
        assert twin in store.twins()
        other = next(one for one in store.twins() if one.id == "car-2")
        more, its = applied(other, update("car-2", other.seq + 1), {}, 1.0)
        assert store.commit(Batch([after, more], [entry, its])) == {"car-1"}
        assert store.commit(Batch([twin._replace(desired={"x": 1}, desired_revision=1)])) == {"car-1"}
        assert store.trim("car-1", 1e9) == 0
        store.create(CAR)
        store.thaw("car-1", "another")
        assert not store.release("car-1", "another") and not store.release("car-2", "m")
        assert parcel_of(store, twin) == before and twin in store.twins() and more in store.twins()
        store = again(place, store)
    store.thaw("car-1", "m")
    store.thaw("car-1", "m")
    assert store.commit(Batch([after], [entry])) == set() and after in store.twins()
    assert store.trim("car-1", 1e9) > 0


def test_a_copy_is_not_served(place: Place) -> None:
    store = place.open()
    driven(store, twin=Twin("car-2", "vehicle"))
    twin, entry = applied(CAR, update("car-1", 1), {}, 1.0)
    store.stage(Parcel(twin, Base(), [entry]), "m")
    assert store.arriving() == [("car-1", "m")] and [one.id for one in store.twins()] == ["car-2"]
    after, later = applied(twin, update("car-1", 2), {}, 1.0)
    assert store.commit(Batch([after], [later])) == {"car-1"}
    assert not store.freeze("car-1", "m") and not store.release("car-1", "m")
    assert store.trim("car-1", 1e9) == 0
    assert not store.create(CAR)  # an enrolment that came at the wrong time must not take its place
    assert store.staged("car-1", "m") == Parcel(twin, Base(), [entry])
    assert store.staged("car-1", "another") is None and store.staged("car-2", "m") is None
    assert store.activate("car-1", "another", 4) is None and store.activate("nobody", "m", 4) is None
    assert store.extend(Tail(after, [later]), "another") is False
    store.discard("car-1", "another")
    assert store.staged("car-1", "m") == Parcel(twin, Base(), [entry])
    assert store.activate("car-1", "m", 4) == twin._replace(epoch=4)
    assert store.activate("car-1", "m", 5) is None
    assert not store.extend(Tail(after, [later]), "m") and not store.discard("car-1", "m")
    assert store.staged("car-1", "m") is None
    with pytest.raises(Conflict, match="car-1 is here itself"):
        store.stage(Parcel(after, Base(), [entry, later]), "m")
    assert twin._replace(epoch=4) in store.twins() and list(store.history("car-1")[2]) == [entry]


def test_a_copy_stands_in_place_of_an_older_one(place: Place, other: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_moves, "TRIMMED_AT_ONCE", 2)
    store, source = place.open(), other.open()
    old = parcel_of(source, driven(source))
    twin, entry = applied(CAR, update("car-1", 1, boot_id=9), {}, 1.0)
    for older in ("m", "another"):
        store.stage(old, older)
        store.stage(Parcel(twin, Base(), [entry]), "m")
        assert store.staged("car-1", "m") == Parcel(twin, Base(), [entry]) and store.arriving() == [("car-1", "m")]


def test_a_tail_that_comes_again_changes_nothing(place: Place, other: Place) -> None:
    store, source = place.open(), other.open()
    twin = driven(source)
    store.stage(parcel_of(source, twin), "m")
    tails = []
    for _ in range(2):
        twin, entries = grown(source, twin._replace(seq=twin.seq + 1, missing=twin.missing + 1), 2)
        tails.append(Tail(twin, entries))
        twin, entry = late(twin, update("car-1", twin.seq - 2), 1.0)
        assert source.commit(Batch([twin], [entry])) == set()
        tails.append(Tail(twin, [entry]))
    for tail in tails:
        assert store.extend(tail, "m")
        assert (found := store.staged("car-1", "m")) is not None and found.twin == tail.twin
    for tail in tails:
        assert store.extend(tail, "m")
        assert store.staged("car-1", "m") == parcel_of(source, twin)
    desired = twin._replace(desired={"x": 1}, desired_revision=1)
    for record in (desired, twin):
        assert store.extend(Tail(record, []), "m")
        assert store.staged("car-1", "m") == parcel_of(source, desired)


def test_a_tail_cannot_touch_another_twins_log(place: Place) -> None:
    store = place.open()
    other = driven(store, twin=Twin("car-2", "vehicle"))
    before = parcel_of(store, other)
    strange = Entry("car-2", 1, 3, 3, 1.0, 1.0, {"x_m": -1.0})
    store.stage(Parcel(CAR, Base(), [strange]), "m")
    store.extend(Tail(CAR, [strange]), "m")
    assert parcel_of(store, other) == before
    assert (found := store.staged("car-1", "m")) is not None and hashed(found) != hashed(Parcel(CAR, Base(), [strange]))


@pytest.mark.parametrize("end", ["release", "discard"])
@pytest.mark.parametrize("steps", [1, 3, 6])
@pytest.mark.parametrize("then", ["create", "stage", "reopen", "erase", "clean", "on"])
def test_what_is_gone_in_part_leaves_nothing_to_who_comes_after(
    place: Place, other: Place, end: str, steps: int, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_moves, "TRIMMED_AT_ONCE", 2)
    store = place.open()
    bystander = parcel_of(store, driven(store, twin=Twin("car-2", "vehicle")))
    if end == "release":
        driven(store)
        store.freeze("car-1", "m")
    else:
        source = other.open()
        store.stage(parcel_of(source, driven(source)), "m")
    take = getattr(store, end)
    assert [take("car-1", "m") for _ in range(steps)] == ([True] * 5 + [False])[:steps]
    assert [one.id for one in store.twins()] == ["car-2"] and store.leaving() == store.arriving() == []
    left = place.run("SELECT count(*) FROM log WHERE twin = 'car-1'")[0][0]
    assert left == max(11 - 2 * steps, 0) and place.run("SELECT count(*) FROM base WHERE twin = 'car-1'") == [(0,)]
    new = CAR._replace(epoch=9)
    if then == "reopen":
        store = again(place, store)
    elif then == "create":
        assert store.create(new)
        assert parcel_of(store, new) == Parcel(new, Base(), [])
        assert not take("car-1", "m") and new in store.twins()
    elif then == "stage":
        twin, entry = applied(new, update("car-1", 5), {}, 1.0)
        store.stage(Parcel(twin, Base(), [entry]), "n")
        assert not take("car-1", "m")
        assert store.staged("car-1", "n") == Parcel(twin, Base(), [entry])
    elif then == "erase":
        store.erase("car-1")
    elif then == "clean":
        while store.clean():
            pass
    else:
        while take("car-1", "m"):
            pass
    assert place.run("SELECT count(*) FROM remnants") == [(0,)] and stray(place) == 0
    if then in ("reopen", "erase", "clean", "on"):
        assert place.run("SELECT count(*) FROM log WHERE twin = 'car-1'") == [(0,)]
    assert parcel_of(store, bystander.twin) == bystander


def test_an_erased_twin_takes_its_copies_and_freezes_with_it(place: Place, other: Place) -> None:
    store, source = place.open(), other.open()
    twin = driven(source)
    source.freeze("car-1", "m")
    store.stage(parcel_of(source, twin), "m")
    for one, where in ((store, place), (source, other)):
        assert one.erase("car-1")
        one = again(where, one)
        assert one.leaving() == one.arriving() == one.twins() == [] and one.erased() == {digest("car-1")}
        assert one.staged("car-1", "m") is None and one.activate("car-1", "m", 4) is None
        assert not one.release("car-1", "m") and not one.discard("car-1", "m")
        assert stray(where) == 0
        assert one.create(CAR)
        grown(one, CAR, 1)


def test_a_full_disk_changes_nothing_and_is_told(place: Place, other: Place) -> None:
    store, source = place.open(), other.open()
    assert isinstance(store, SQLiteStore)
    twin = driven(source, 400)
    parcel = parcel_of(source, twin)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="full"):
            store.stage(parcel, "m")
        assert store.arriving() == [] and stray(place) == 0
    store._connection.execute(f"PRAGMA max_page_count = {pages + 500}")
    store.stage(parcel, "m")
    assert store.staged("car-1", "m") == parcel


def test_to_freeze_and_to_activate_write_little_however_long_the_log_is(place: Place, other: Place) -> None:
    """Pages that a change adds to the write-ahead log."""
    source, store = place.open(), other.open()
    twin = driven(source, 3000)
    store.stage(parcel_of(source, twin), "m")

    def pages(where: Place, work) -> int:
        with contextlib.closing(sqlite3.connect(where.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert work()
        return where.path.with_name(f"{where.path.name}-wal").stat().st_size // 4096

    assert pages(place, lambda: source.freeze("car-1", "m")) <= 2
    assert pages(other, lambda: store.activate("car-1", "m", 4)) <= 4
