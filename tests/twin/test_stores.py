"""Both stores, by the same tests: against plain dictionaries, fenced, atomic, refused where they must be, and away for a while."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from edgetwin.errors import InputError
from edgetwin.twin import postgres, postgres_schema, rows, sqlite
from edgetwin.twin.host import Full, Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import Quarantined, Update, line_of, parse
from edgetwin.twin.postgres import PostgresStore
from edgetwin.twin.record import Entry, Twin, applied, folded, late
from edgetwin.twin.sqlite import SQLiteStore
from edgetwin.twin.store import Batch, Store, StoreRefused, StoreUnavailable, digest
from twin.servers import PASSWORD, PostgresServer, postgres_server

KINDS = ("sqlite", "postgres")
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


class Place:
    """Where stores of one kind are kept in a test, and what to look at behind their backs."""

    def __init__(self, kind: str, folder: Path, server: PostgresServer | None):
        self.kind, self.server, self.path = kind, server, folder / "store.sqlite"
        self.opened: list[Store] = []

    def open(self, host: str = "edge-1") -> Store:
        store: Store = SQLiteStore(self.path) if self.server is None else PostgresStore(self.server.address, host)
        self.opened.append(store)
        return store

    def run(self, statement: str) -> list[tuple]:
        if self.server is not None:
            return self.server.run(statement)
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement.replace("edgetwin.", "")).fetchall()

    def clear(self) -> None:
        for store in self.opened:
            store.close()
        self.opened.clear()
        if self.server is not None:
            self.server.run("DROP SCHEMA IF EXISTS edgetwin CASCADE")
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    found = Place(request.param, tmp_path, request.getfixturevalue("server") if request.param == "postgres" else None)
    yield found
    found.clear()


@pytest.fixture
def shared(server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    found = Place("postgres", tmp_path, server)
    yield found
    found.clear()


def update(twin: str, seq: int, boot_id: int = 1, **state: object) -> Update:
    return Update(twin, boot_id, seq, 1000.0 + seq, state or {"x_m": float(seq)})


def grown(store: Store, twin: Twin, count: int) -> tuple[Twin, list[Entry]]:
    """The twin after some updates that are in the store, and its entries."""
    entries = []
    for seq in range(twin.seq + 1, twin.seq + 1 + count):
        twin, entry = applied(twin, update(twin.id, seq), {}, 2000.0 + seq)
        entries.append(entry)
    assert store.commit(Batch([twin], entries)) == set()
    return twin, entries


class Model:
    """What a store should hold, as plain data."""

    def __init__(self) -> None:
        self.twins: dict[str, Twin] = {}
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
            self.store.create(new)
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
            fenced = {twin.id for twin in sent if twin.id in foreign or twin.id not in self.model.twins}
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
                assert self.store.commit(Batch([after])) == set()
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
            log = self.model.log.get(twin, [])
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
            for there in (self.model.twins, self.model.log, self.model.base):
                there.pop(twin, None)
            self.model.quarantine = [bad for bad in self.model.quarantine if bad.device != twin]
            self.model.erased.add(digest(twin))

        @rule()
        def reopen(self) -> None:
            self.store.close()
            self.store = reopened()

        @invariant()
        def the_same(self) -> None:
            model = self.model
            assert {twin.id: twin for twin in self.store.twins()} == model.twins
            assert self.store.erased() == model.erased
            keys = {entry[:3] for log in model.log.values() for entry in log}
            assert self.store.known([*keys, ("car-1", 9, 9), ("nobody", 1, 1)]) == keys
            for twin in ("car-1", "car-2", "car-3"):
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


def test_a_store_is_what_plain_dictionaries_are(place: Place) -> None:
    def fresh() -> Store:
        place.clear()
        return place.open()

    run_state_machine_as_test(
        machine(place.open, fresh),
        settings=settings(
            max_examples=20 if place.kind == "sqlite" else 6,
            stateful_step_count=20,
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


def test_another_hosts_twin_is_not_touched(shared: Place) -> None:
    mine, other = shared.open("edge-1"), shared.open("edge-2")
    mine.create(Twin("car-1", "vehicle"))
    twin, _ = grown(mine, Twin("car-1", "vehicle"), 3)
    stolen, entry = applied(twin, update("car-1", 9), {}, 1.0)
    bad = Quarantined("malformed", "not an object", None, b"{", 1.0)
    assert other.commit(Batch([stolen], [entry], [bad])) == {"car-1"}
    assert other.trim("car-1", 1e9) == 0
    assert not other.erase("car-1")
    other.create(Twin("car-1", "drone"))
    assert mine.twins() == [twin] and other.twins() == [] and other.erased() == set()
    assert len(list(mine.history("car-1")[2])) == 3
    assert other.quarantined(9) == [bad] and mine.quarantined(9) == []
    shared.run("UPDATE edgetwin.twins SET owner = 'edge-2', epoch = epoch + 1")
    assert mine.commit(Batch([stolen], [entry])) == {"car-1"}
    assert other.commit(Batch([stolen._replace(epoch=2)], [entry])) == set()
    assert mine.twins() == [] and other.twins() == [stolen._replace(epoch=2)]


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
    with contextlib.closing(sqlite.read_only(path)) as other:
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
    place.run("PRAGMA user_version = 3" if place.kind == "sqlite" else "UPDATE edgetwin.version SET version = 3")
    before = place.path.read_bytes() if place.kind == "sqlite" else None
    with pytest.raises(StoreRefused, match="a store of version 3, written by a newer edgetwin; this one knows up to 2"):
        place.open()
    if place.kind == "sqlite":
        assert place.path.read_bytes() == before
    else:
        assert place.run("SELECT version FROM edgetwin.version") == [(3,)]


def test_an_older_version_is_brought_up_with_all_it_has(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sqlite if place.kind == "sqlite" else postgres_schema
    steps = module.STEPS
    monkeypatch.setattr(module, "STEPS", steps[:1])
    place.open().close()
    twin = Twin("car-1", "vehicle", 7, 1, {"x_m": 1.5}, {"name": "ü"}, 2, 1, 1, 10.0, 11.0, 0, {"velocity_mps": [0.1, 0.2]})
    columns = ", ".join(Twin._fields)
    values = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in rows.twin_row(twin))
    owner = ("", "") if place.kind == "sqlite" else (", owner", ", 'edge-1'")
    place.run(f"INSERT INTO edgetwin.twins ({columns}{owner[0]}) VALUES ({values}{owner[1]})")
    place.run("INSERT INTO edgetwin.log VALUES ('car-1', 1, 1, 1, 10.0, 11.0, '{\"x_m\":1.5}')")
    monkeypatch.setattr(module, "STEPS", steps)
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
            sqlite.check(path)
        assert path.read_bytes() == content, what
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match="no store can be kept there"):
        SQLiteStore(tmp_path / "file" / "store.sqlite")


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SQLiteStore(path)
    for number in range(200):
        store.create(Twin(f"car-{number}", "vehicle", model={"velocity_mps": [0.25] * 20}))
    sqlite.check(path)
    store.close()
    sqlite.check(path)
    content = bytearray(path.read_bytes())
    content[9 * 4096 : 9 * 4096 + 200] = b"\x5a" * 200
    path.write_bytes(content)
    with pytest.raises(StoreRefused, match="damaged .*; restore it from a backup"):
        sqlite.check(path)
    assert path.read_bytes() == content


def test_a_schema_of_another_program_is_refused_unchanged(shared: Place) -> None:
    shared.run("CREATE SCHEMA edgetwin")
    shared.open().close()  # an empty schema that an administrator made is a place like any other
    shared.clear()
    shared.run("CREATE SCHEMA edgetwin; CREATE TABLE edgetwin.version (song text)")
    for table in ("twins", "log", "base", "quarantine"):
        with pytest.raises(StoreRefused, match="schema edgetwin is not one of edgetwin's, or damaged"):
            shared.open()
        shared.run(f"CREATE TABLE edgetwin.{table} (title text)")
    with pytest.raises(StoreRefused, match="schema edgetwin is not one of edgetwin's, or damaged"):
        shared.open()
    assert shared.run("SELECT count(*) FROM pg_class WHERE relnamespace = 'edgetwin'::regnamespace AND relkind = 'r'") == [(5,)]


def test_hosts_that_start_at_once_make_one_store(shared: Place) -> None:
    failed: list[BaseException] = []

    def start(host: str) -> None:
        try:
            shared.open(host).create(Twin(f"car-of-{host}", "vehicle"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(f"edge-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and shared.run("SELECT version FROM edgetwin.version") == [(2,)]
    assert shared.run("SELECT count(DISTINCT owner) FROM edgetwin.twins") == [(6,)]


def test_a_session_is_durable_whatever_the_server_is_set_to(shared: Place) -> None:
    shared.run("ALTER ROLE edgetwin SET synchronous_commit = off")
    try:
        store = shared.open()
        assert isinstance(store, PostgresStore)
        with store.transaction() as database:
            assert database.execute("SHOW synchronous_commit").fetchone() == ("on",)
    finally:
        shared.run("ALTER ROLE edgetwin RESET synchronous_commit")


def test_a_database_that_is_not_in_utf8_is_refused(shared: Place) -> None:
    shared.run("CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0")
    assert shared.server is not None
    with pytest.raises(StoreRefused, match="a database in LATIN1, where UTF8 is needed"):
        PostgresStore(shared.server.address.replace("/postgres", "/old"), "edge-1")
    shared.run("DROP DATABASE old")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ((f":{PASSWORD}@", f":{PASSWORD}x@"), StoreUnavailable),
        (("/postgres", "/nothing"), StoreUnavailable),
        (("127.0.0.1:", "127.0.0.1:1"), InputError),
        ((":", "="), StoreRefused),
        ((PASSWORD, f"{PASSWORD}@home"), StoreRefused),
        (("/postgres", f"/postgres?pasword={PASSWORD}"), StoreRefused),
        (("postgresql://", "postgresql:/"), StoreRefused),
        (("/postgres", ""), StoreRefused),
    ],
)
def test_no_message_tells_the_password(shared: Place, change: tuple[str, str], error: type[Exception]) -> None:
    assert shared.server is not None
    with pytest.raises((error, StoreUnavailable)) as said:
        PostgresStore(shared.server.address.replace(*change), "edge-1")
    assert PASSWORD not in str(said.value) and "\n" not in str(said.value)
    chain = said.value.__cause__ or (None if said.value.__suppress_context__ else said.value.__context__)
    assert chain is None


def test_a_server_that_is_killed_and_comes_back(shared: Place) -> None:
    assert shared.server is not None
    store = shared.open()
    reader = store.reader()
    store.create(Twin("car-1", "vehicle"))
    twin, entries = grown(store, Twin("car-1", "vehicle"), 5)
    assert reader.twins() == [twin]
    shared.server.kill()
    try:
        for one in (store, reader, store):
            with pytest.raises(StoreUnavailable) as said:
                one.twins()
            assert PASSWORD not in str(said.value)
    finally:
        shared.server.start()
    assert store.twins() == reader.twins() == [twin] and list(store.history("car-1")[2]) == entries
    grown(store, twin, 2)
    with pytest.raises(StoreRefused, match="another process serves as host edge-1"):
        shared.open()  # the lock is taken anew with the connection


def test_a_host_goes_on_where_it_was_when_its_server_comes_back(shared: Place) -> None:
    server = shared.server
    assert server is not None
    acked: dict[int, str] = {}

    async def main() -> None:
        host = Host("edge-1", shared.open(), read_kinds())
        host.start()
        await host.create(Twin("car-1", "vehicle"))

        async def report(seq: int) -> None:
            line = line_of(Update("car-1", 1, seq, time.time(), {"x_m": float(seq), "y_m": 0.0}))
            while True:
                with contextlib.suppress(Full):
                    (ack,) = await host.submit([(parse(line), line)])
                    acked[seq] = ack.status
                    return
                await asyncio.sleep(0.02)

        for seq in range(1, 6):
            await report(seq)
        server.kill()
        waiting = asyncio.create_task(report(6))
        await asyncio.sleep(0.3)
        assert not waiting.done() and not host.available
        await asyncio.to_thread(server.start)
        await waiting
        await report(7)
        await report(3)
        await host.close()

    asyncio.run(main())
    assert acked == {1: "applied", 2: "applied", 3: "duplicate", 4: "applied", 5: "applied", 6: "applied", 7: "applied"}
    (twin,) = shared.open().twins()
    assert (twin.revision, twin.seq, twin.missing) == (7, 7, 0)


def test_a_host_that_lost_its_connection_and_its_name_does_not_write(shared: Place) -> None:
    store = shared.open()
    store.create(Twin("car-1", "vehicle"))
    shared.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'edgetwin'")
    other = shared.open()
    after, entry = applied(Twin("car-1", "vehicle"), update("car-1", 1), {}, 1.0)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.commit(Batch([after], [entry]))
    assert other.twins() == [Twin("car-1", "vehicle")]
    other.close()
    assert store.commit(Batch([after], [entry])) == set()


def test_a_server_that_only_reads_or_is_full_is_away(shared: Place) -> None:
    store = shared.open()
    store.create(Twin("car-1", "vehicle"))
    after, entry = applied(Twin("car-1", "vehicle"), update("car-1", 1), {}, 1.0)
    full = "CREATE FUNCTION edgetwin.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space left' USING ERRCODE = '53100'; END $$"
    shared.run(f"{full}; CREATE TRIGGER no_room BEFORE INSERT ON edgetwin.log FOR EACH ROW EXECUTE FUNCTION edgetwin.no_room()")
    with pytest.raises(StoreUnavailable, match="no space left"):
        store.commit(Batch([after], [entry]))
    assert store.twins() == [Twin("car-1", "vehicle")]
    shared.run("DROP TRIGGER no_room ON edgetwin.log; ALTER ROLE edgetwin SET default_transaction_read_only = on")
    try:
        store.close()
        with pytest.raises(StoreUnavailable, match="read-only"):
            store.commit(Batch([after], [entry]))
    finally:
        with psycopg.connect(shared.server.address, autocommit=True) as connection:  # type: ignore[union-attr]
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER ROLE edgetwin RESET default_transaction_read_only")
    assert store.commit(Batch([after], [entry])) == set()


def test_without_its_driver_postgresql_is_told_how_to_get_it() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\nfrom edgetwin.twin.store import opened\nopened('postgresql://x/y', 'edge-1')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "edgetwin.errors.InputError: a store in PostgreSQL needs psycopg: pip install 'edgetwin[postgres]'" in ran.stderr


def test_a_store_starts_without_jax() -> None:
    program = "import sys, edgetwin.twin.postgres, edgetwin.twin.sqlite, edgetwin.twin.backup; print('jax' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
