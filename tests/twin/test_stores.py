"""Both stores, by the same tests: against plain dictionaries, fenced, atomic, and refused where they must be."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from edgetwin.twin.messages import Quarantined
from edgetwin.twin.record import Entry, Twin, applied
from edgetwin.twin.stores import postgres, rows, sqlite, sqlite_moves, sqlite_schema
from edgetwin.twin.stores.postgres import PostgresStore
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.sqlite_file import read_only
from edgetwin.twin.stores.store import Batch, Store, StoreRefused, StoreUnavailable, digest
from twin.move_model import own_machine, shared_machine
from twin.places import Place, grown, update
from twin.store_model import AWKWARD

KINDS = ("sqlite", "postgres")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    found = Place(request.param, tmp_path, request.getfixturevalue("server") if request.param == "postgres" else None)
    yield found
    found.clear()


def test_a_store_is_what_plain_dictionaries_are(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_moves, "TRIMMED_AT_ONCE", 2)

    def fresh() -> Store:
        place.clear()
        return place.open()

    run_state_machine_as_test(
        own_machine(place.open, fresh) if place.kind == "sqlite" else shared_machine(place.open, fresh, place.directory),
        settings=settings(
            max_examples=30 if place.kind == "sqlite" else 6,
            stateful_step_count=50 if place.kind == "sqlite" else 25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_another_epoch_holds_stays_as_it_is_and_the_rest_is_written(place: Place) -> None:
    store = place.open()
    for name in ("car-1", "car-2"):
        store.create(Twin(name, "vehicle", epoch=5))
    one, two = (
        applied(Twin(name, "vehicle", epoch=epoch), update(name, 1), {}, 1.0) for name, epoch in (("car-1", 4), ("car-2", 5))
    )
    assert store.commit(Batch([one[0], two[0]], [one[1], two[1]])) == {"car-1"}
    assert {twin.id: twin.revision for twin in store.twins()} == {"car-1": 0, "car-2": 1}
    assert store.known([("car-1", 1, 1), ("car-2", 1, 1)]) == {("car-2", 1, 1)}


def test_a_batch_that_fails_in_the_middle_leaves_nothing(place: Place) -> None:
    store = place.open()
    store.create(Twin("car-1", "vehicle"))
    twin, entries = grown(store, Twin("car-1", "vehicle"), 2)
    again, entry = applied(twin, update("car-1", 3), {}, 1.0)
    bad = Quarantined("malformed", "not an object", None, b"{", 1.0)
    with pytest.raises(StoreUnavailable):
        store.commit(Batch([again], [entry, entries[0]], [bad]))
    assert store.twins() == [twin] and list(store.history("car-1")[2]) == entries and store.quarantined(9) == []
    assert store.commit(Batch([again], [entry], [bad])) == set()
    assert store.twins() == [again] and store.quarantined(9) == [bad]


def test_no_byte_of_an_erased_device_is_left_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SQLiteStore(path)
    reader = store.reader()
    needles = [b"car-secret", b"qwertz"]
    twins = {name: Twin(name, "vehicle") for name in [f"car-{number}" for number in range(40)] + ["car-secret"]}
    for twin in twins.values():
        store.create(twin)
    for seq in range(1, 60):
        pairs = {
            name: applied(
                twin, update(name, seq, name="qwertz" * (seq % 50) if name == "car-secret" else "other" * (seq % 7)), {}, 1.0
            )
            for name, twin in twins.items()
        }
        twins = {name: pair[0] for name, pair in pairs.items()}
        bad = [Quarantined("too-old", "qwertz", "car-secret", b"qwertz" * (seq * 20), 1.0)]
        store.commit(Batch([pair[0] for pair in pairs.values()], [pair[1] for pair in pairs.values()], bad))
        if seq % 20 == 0:
            store.trim("car-secret", 1000.0 + seq - 5)

    def there() -> int:
        return sum(file.read_bytes().count(needle) for file in tmp_path.iterdir() for needle in needles)

    assert there() > 100 and reader.twins()
    with contextlib.closing(read_only(path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM log").fetchone()
        assert store.erase("car-secret")
        assert there() > 0  # a reader that looks at how it was holds what it sees
        other.execute("COMMIT")
    store.commit(Batch([twins["car-1"]]))
    assert there() == 0
    assert len(store.twins()) == 40


def test_quarantine_keeps_the_newest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite, postgres):
        monkeypatch.setattr(module, "QUARANTINE_KEPT", 5)
    store = place.open()
    other = place.open("edge-2") if place.kind == "postgres" else None
    for first in (0, 3, 6):
        store.commit(Batch(quarantined=[Quarantined("malformed", str(n), None, b"{", 1.0) for n in range(first, first + 3)]))
        if other is not None:
            other.commit(Batch(quarantined=[Quarantined("malformed", "other", None, b"{", 1.0)] * 2))
    assert [bad.detail for bad in store.quarantined(99)] == ["8", "7", "6", "5", "4"]
    assert store.quarantine_counts() == {"malformed": 5}


def test_a_reader_sees_what_was_committed_and_cannot_write(place: Place) -> None:
    store = place.open()
    reader = store.reader()
    assert reader.twins() == []
    store.create(Twin("car-1", "vehicle"))
    twin, entries = grown(store, Twin("car-1", "vehicle"), 4)
    assert reader.twins() == [twin] and list(reader.history("car-1")[2]) == entries
    with pytest.raises(StoreUnavailable):
        reader.commit(Batch([twin._replace(seq=9)]))
    assert store.twins() == [twin]
    reader.close()


def test_a_second_process_may_not_be_the_same_host(place: Place) -> None:
    store = place.open()
    said = "another process has this store open" if place.kind == "sqlite" else "another process serves as host edge-1"
    with pytest.raises(StoreRefused, match=said):
        place.open()
    store.create(Twin("car-1", "vehicle"))
    store.close()
    assert [twin.id for twin in place.open().twins()] == ["car-1"]


def test_text_that_a_database_does_not_have_is_no_harm(place: Place) -> None:
    store = place.open()
    for awkward in AWKWARD:
        assert store.quarantined(1, awkward) == []
        assert store.erase(awkward)
        store.commit(Batch(quarantined=[Quarantined("malformed", awkward, awkward, awkward.encode(errors="replace"), 1.0)]))
    assert len(store.quarantined(99)) == len(AWKWARD)


def test_a_newer_version_is_refused_unchanged(place: Place) -> None:
    place.open().close()
    place.run("PRAGMA user_version = 4" if place.kind == "sqlite" else "UPDATE edgetwin.version SET version = 4")
    before = place.path.read_bytes() if place.kind == "sqlite" else None
    with pytest.raises(StoreRefused, match="a store of version 4, written by a newer edgetwin; this one knows up to 3"):
        place.open()
    if place.kind == "sqlite":
        assert place.path.read_bytes() == before
    else:
        assert place.run("SELECT version FROM edgetwin.version") == [(4,)]


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_version_is_brought_up_with_all_it_has(place: Place, version: int) -> None:
    place.make(version)
    twin = Twin("car-1", "vehicle", 7, 1, {"x_m": 1.5}, {"name": "ü"}, 2, 1, 1, 10.0, 11.0, 0, {"velocity_mps": [0.1, 0.2]})
    columns = ", ".join(Twin._fields)
    values = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in rows.twin_row(twin))
    owner = ("", "") if place.kind == "sqlite" else (", owner", ", 'edge-1'")
    place.run(f"INSERT INTO edgetwin.twins ({columns}{owner[0]}) VALUES ({values}{owner[1]})")
    place.run("INSERT INTO edgetwin.log VALUES ('car-1', 1, 1, 1, 10.0, 11.0, '{\"x_m\":1.5}')")
    if place.server is not None:
        with pytest.raises(StoreUnavailable, match="edgetwin store upgrade"):
            PostgresStore.reading(place.server.address, "edge-1").twins()
    store = place.open()
    assert store.twins() == [twin] and list(store.history("car-1")[2]) == [Entry("car-1", 1, 1, 1, 10.0, 11.0, {"x_m": 1.5})]
    assert store.erase("car-1") and store.erased() == {digest("car-1")}


def test_what_is_not_a_store_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    foreign = {"text": b"id,lat,lon\n" * 400, "one byte": b"x"}
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE songs (title)")
    foreign["another program's"] = (tmp_path / "other").read_bytes()
    store = SQLiteStore(path)
    store.create(Twin("car-1", "vehicle"))
    store.close()
    whole = path.read_bytes()
    foreign["damaged header"] = b"\xff" * 40 + whole[40:]
    for what, content in foreign.items():
        path.write_bytes(content)
        with pytest.raises(StoreRefused, match="store.sqlite: "):
            SQLiteStore(path)
        with pytest.raises(StoreRefused, match="store.sqlite: "):
            sqlite_schema.check(path)
        assert path.read_bytes() == content, what
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match="no store can be kept there"):
        SQLiteStore(tmp_path / "file" / "store.sqlite")


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SQLiteStore(path)
    for number in range(200):
        store.create(Twin(f"car-{number}", "vehicle", model={"velocity_mps": [0.25] * 20}))
    sqlite_schema.check(path)
    store.close()
    sqlite_schema.check(path)
    content = bytearray(path.read_bytes())
    content[9 * 4096 : 9 * 4096 + 200] = b"\x5a" * 200
    path.write_bytes(content)
    with pytest.raises(StoreRefused, match="damaged .*; restore it from a backup"):
        sqlite_schema.check(path)
    assert path.read_bytes() == content


def test_without_its_driver_postgresql_is_told_how_to_get_it() -> None:
    program = "import sys; sys.modules['psycopg'] = None\nfrom edgetwin.twin.stores.store import opened\nopened('postgresql://x/y', 'edge-1')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "edgetwin.errors.InputError: a store in PostgreSQL needs psycopg: pip install 'edgetwin[postgres]'" in ran.stderr


def test_a_store_starts_without_jax() -> None:
    program = "import sys, edgetwin.twin.stores.postgres, edgetwin.twin.stores.sqlite, edgetwin.twin.stores.backup; print('jax' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
