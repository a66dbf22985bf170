"""Both directories, by the same tests: a place changes by compare-and-set only, on disk, and who was given up by the others changes nothing."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from edgetwin.errors import InputError
from edgetwin.twin.moves.directory import DIRECTORY, SQLiteDirectory
from edgetwin.twin.moves.place import Directory, Known
from edgetwin.twin.moves.place import Place as Where
from edgetwin.twin.moves.postgres_directory import PostgresDirectory
from edgetwin.twin.record import Twin, applied
from edgetwin.twin.stores.postgres import PostgresStore
from edgetwin.twin.stores.postgres_schema import connected
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.store import Batch, StoreRefused, StoreUnavailable
from twin.places import Place, grown, update

HOSTS = ("edge-1", "edge-2", "edge-3")
TWINS = ("car-1", "car-2")


@pytest.fixture(params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    found = Place(request.param, tmp_path, request.getfixturevalue("server") if request.param == "postgres" else None)
    yield found
    found.clear()


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    found = Place("postgres", tmp_path, request.getfixturevalue("server"))
    yield found
    found.clear()


def enrolled(place: Place, twin: str = "car-1", host: str = "edge-1", epoch: int = 1) -> Where:
    """A twin's place, once it is enrolled and its host has made it."""
    there = place.directory().enrol(twin, host, epoch)
    if place.server is not None:
        place.run(
            "INSERT INTO edgetwin.twins (id, kind, owner, epoch, revision, reported, desired, desired_revision, boot_id, seq, "
            f"measured_s, received_s, missing, model) VALUES ('{twin}', 'vehicle', '{host}', {epoch}, 0, '{{}}', '{{}}', "
            "0, 0, 0, 0, 0, 0, '{}') ON CONFLICT DO NOTHING"
        )
    return there


def erased(place: Place, twin: str) -> None:
    """The twin's host erases it, then the directory does."""
    if place.server is not None:
        place.run(f"DELETE FROM edgetwin.twins WHERE id = '{twin}'")
    place.directory().erase(twin)


def reopened(place: Place) -> Directory:
    directory = place.directory()
    directory.close()
    place.opened.remove(directory)
    return place.directory()


def machine(place: Place) -> type[RuleBasedStateMachine]:
    """Does to a directory and to a dictionary of places the same."""
    twins, hosts, moves = st.sampled_from(TWINS), st.sampled_from(HOSTS), st.sampled_from(["m", "n"])

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            place.clear()
            self.directory = place.directory()
            self.model: dict[str, Where] = {}
            self.known: dict[str, Known] = {}

        @rule(twin=twins, host=hosts, epoch=st.integers(1, 3))
        def enrol(self, twin: str, host: str, epoch: int) -> None:
            assert enrolled(place, twin, host, epoch) == self.model.setdefault(twin, Where(twin, host, epoch))

        @rule(twin=twins, move=moves, destination=hosts, stale=st.sampled_from(["", "", "", "host", "epoch", "as it was"]))
        def begin(self, twin: str, move: str, destination: str, stale: str) -> None:
            there = self.model.get(twin, Where(twin, "edge-1", 1))
            given = {"host": there._replace(host="edge-9"), "epoch": there._replace(epoch=9)}.get(stale, there)
            if stale == "as it was":
                given = Where(*there[:3])
            done = twin in self.model and there.move is None and given == there
            assert self.directory.begin(given, move, destination) == done
            if done:
                self.model[twin] = there._replace(move=move, destination=destination)

        @rule(twin=twins, move=moves)
        def commit(self, twin: str, move: str) -> None:
            there = self.model.get(twin)
            if there and there.move == move and there.destination:
                self.model[twin] = Where(twin, there.destination, there.epoch + 1, move, None, there.host)
                assert self.directory.commit(twin, move) == self.model[twin]
            assert self.directory.commit(twin, move) is None

        @rule(twin=twins, move=moves)
        def abort(self, twin: str, move: str) -> None:
            there = self.model.get(twin)
            done = there is not None and there.move == move and there.destination is not None
            assert self.directory.abort(twin, move) == done
            if there and done:
                self.model[twin] = Where(*there[:3])

        @rule(twin=twins, move=moves)
        def release(self, twin: str, move: str) -> None:
            there = self.model.get(twin)
            self.directory.release(twin, move)
            if there and there.move == move and there.source:
                self.model[twin] = Where(*there[:3])

        @rule(host=hosts, to=st.dictionaries(twins, hosts))
        def fail_over(self, host: str, to: dict) -> None:
            if place.server is None:
                with pytest.raises(InputError, match="they wait for it"):
                    self.directory.fail_over(host, to)
                return
            given = {twin: to[twin] for twin, there in self.model.items() if there.host == host and twin in to}
            self.model |= {twin: Where(twin, given[twin], self.model[twin].epoch + 1) for twin in given}
            assert sorted(self.directory.fail_over(host, to)) == sorted(self.model[twin] for twin in given)

        @rule(twin=twins)
        def erase(self, twin: str) -> None:
            erased(place, twin)
            self.model.pop(twin, None)

        @rule(host=hosts, url=st.none() | st.just("http://127.0.0.1:1"), cordoned=st.booleans())
        def know(self, host: str, url: str | None, cordoned: bool) -> None:
            self.known[host] = Known(host, url, cordoned)
            self.directory.know(self.known[host])

        @rule(host=hosts)
        def forget(self, host: str) -> None:
            self.known.pop(host, None)
            self.directory.forget(host)

        @rule()
        def reopen(self) -> None:
            self.directory = reopened(place)

        @invariant()
        def the_same(self) -> None:
            assert {there.twin: there for there in self.directory.places()} == self.model
            for twin in TWINS:
                assert self.directory.place(twin) == self.model.get(twin)
            assert self.directory.hosts() == self.known

    return Machine


def test_a_directory_is_what_a_dictionary_is(place: Place) -> None:
    run_state_machine_as_test(
        machine(place),
        settings=settings(
            max_examples=40 if place.kind == "sqlite" else 8,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_move_is_committed_or_aborted_once(place: Place) -> None:
    directory = place.directory()
    there = enrolled(place, epoch=4)
    for stale in (there._replace(host="edge-9"), there._replace(epoch=3), there._replace(move="m", destination="edge-2")):
        assert not directory.begin(stale, "m", "edge-2")
    assert directory.begin(there, "m", "edge-2") and not directory.begin(there, "n", "edge-3")
    moving = directory.place("car-1")
    assert moving == ("car-1", "edge-1", 4, "m", "edge-2", None) and moving.is_moving
    assert not directory.begin(moving, "n", "edge-3") and directory.commit("car-1", "n") is None
    directory.release("car-1", "m")
    assert directory.place("car-1") == moving
    handed = directory.commit("car-1", "m")
    assert handed == ("car-1", "edge-2", 5, "m", None, "edge-1") and not handed.is_moving
    directory = reopened(place)
    assert directory.places() == [handed]
    assert (
        directory.commit("car-1", "m") is None
        and not directory.abort("car-1", "m")
        and not directory.begin(handed, "n", "edge-3")
    )
    directory.release("car-1", "n")
    assert directory.place("car-1") == handed
    directory.release("car-1", "m")
    assert directory.place("car-1") == ("car-1", "edge-2", 5, None, None, None)
    assert not directory.begin(there, "n", "edge-3")  # who still believes the old place
    back = directory.place("car-1")
    assert back and directory.begin(back, "n", "edge-1") and not directory.abort("car-1", "m") and directory.abort("car-1", "n")
    assert not directory.abort("car-1", "n") and directory.place("car-1") == back


def test_a_directory_waits_for_the_disk_as_a_store_does(tmp_path: Path) -> None:
    directory = SQLiteDirectory(tmp_path / "directory.sqlite")
    assert directory._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert directory._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    directory.close()


def test_a_file_that_is_not_this_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    directory = SQLiteDirectory(path)
    with pytest.raises(StoreRefused, match="another process has this directory open"):
        SQLiteDirectory(path)
    directory._connection.execute(f"PRAGMA user_version = {len(DIRECTORY.steps) + 1}")
    directory.close()
    with pytest.raises(StoreRefused, match="a directory of version 2, written by a newer edgetwin; this one knows up to 1"):
        SQLiteDirectory(path)
    SQLiteStore(tmp_path / "store.sqlite").close()
    with pytest.raises(StoreRefused, match="an SQLite file of another program, not a directory of edgetwin"):
        SQLiteDirectory(tmp_path / "store.sqlite")
    SQLiteDirectory(tmp_path / "other").close()
    with pytest.raises(StoreRefused, match="an SQLite file of another program, not a store of edgetwin"):
        SQLiteStore(tmp_path / "other")
    (tmp_path / "text").write_text("id,lat,lon\n" * 100)
    with pytest.raises(StoreRefused, match="cannot be read as a directory"):
        SQLiteDirectory(tmp_path / "text")


def test_a_directory_that_cannot_write_says_so(tmp_path: Path) -> None:
    directory = SQLiteDirectory(tmp_path / "directory.sqlite")
    there = directory.enrol("car-1", "edge-1")
    directory._connection.execute("PRAGMA query_only = ON")
    for call in (
        lambda: directory.begin(there, "m", "edge-2"),
        lambda: directory.enrol("car-2", "edge-1"),
        lambda: directory.erase("car-1"),
    ):
        with pytest.raises(StoreUnavailable, match="directory.sqlite: "):
            call()
    directory._connection.execute("PRAGMA query_only = OFF")
    assert directory.places() == [there]
    directory.close()


def test_of_commit_and_abort_at_once_one_wins(shared: Place) -> None:
    assert shared.server is not None
    first, second = shared.directory(), PostgresDirectory(shared.server.address)
    there = enrolled(shared)
    for _ in range(20):
        assert first.begin(there, "m", "edge-2")
        found: dict[str, object] = {}
        together = threading.Barrier(2)

        def at_once(name: str, work: Callable[[], object], found: dict = found, together: threading.Barrier = together) -> None:
            together.wait()
            found[name] = work()

        threads = [
            threading.Thread(target=at_once, args=("commit", lambda: first.commit("car-1", "m"))),
            threading.Thread(target=at_once, args=("abort", lambda: second.abort("car-1", "m"))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (found["commit"] is None) == found["abort"]
        first.release("car-1", "m")
        now = first.place("car-1")
        assert now is not None and now.epoch == there.epoch + (0 if found["abort"] else 1)
        shared.run("UPDATE edgetwin.twins SET owner = 'edge-1'")
        there = now._replace(host="edge-1")
    second.close()


def test_what_a_host_writes_leaves_the_place_as_it_is(shared: Place) -> None:
    store, directory = shared.open(), shared.directory()
    store.create(Twin("car-1", "vehicle"))
    there = directory.place("car-1")
    assert there == Where("car-1", "edge-1", 1)
    assert directory.begin(there, "m", "edge-2")
    twin, _ = grown(store, Twin("car-1", "vehicle"), 3)
    store.create(Twin("car-1", "vehicle"))
    assert store.trim("car-1", 1002.5) == 2
    assert directory.place("car-1") == ("car-1", "edge-1", 1, "m", "edge-2", None)
    assert directory.commit("car-1", "m") == ("car-1", "edge-2", 2, "m", None, "edge-1")
    after, entry = applied(twin, update("car-1", 9), {}, 1.0)
    for stale in (after, after._replace(epoch=2)):
        assert store.commit(Batch([stale], [entry])) == {"car-1"}
    other = shared.open("edge-2")
    assert other.activate("car-1", "m", 2) == twin._replace(epoch=2)
    assert other.commit(Batch([after], [entry])) == {"car-1"}  # its owner, under the epoch of the one before
    assert other.commit(Batch([after._replace(epoch=2)], [entry])) == set()
    assert directory.place("car-1") == ("car-1", "edge-2", 2, "m", None, "edge-1")


class Zombie:
    """A host's process that is gone for everybody but the server: its transaction is open, with changes in it, and holds its twins' rows."""

    def __init__(self, store: PostgresStore, batch: Batch):
        self._inside, self._go_on = threading.Event(), threading.Event()
        self.said: list[object] = []
        self._thread = threading.Thread(target=self._commit, args=(store, batch))
        self._thread.start()
        assert self._inside.wait(10)

    def _commit(self, store: PostgresStore, batch: Batch) -> None:
        whole = store.transaction

        def held():
            return _Held(whole(), self._inside, self._go_on)

        store.transaction = held  # type: ignore[method-assign,assignment]
        try:
            self.said.append(store.commit(batch))
        except StoreUnavailable as error:
            self.said.append(error)
        store.transaction = whole  # type: ignore[method-assign]

    def go_on(self) -> object:
        self._go_on.set()
        self._thread.join(20)
        return self.said[0]


class _Held:
    """A transaction that waits before it is committed."""

    def __init__(self, transaction, inside: threading.Event, go_on: threading.Event):
        self._transaction, self._inside, self._go_on = transaction, inside, go_on

    def __enter__(self) -> psycopg.Connection:
        database = self._transaction.__enter__()
        database.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        return database

    def __exit__(self, *error: object) -> bool | None:
        self._inside.set()
        self._go_on.wait(20)
        return self._transaction.__exit__(*error)


def a_zombie(shared: Place) -> tuple[PostgresStore, Zombie, list[Twin], list[Twin]]:
    """A host with an open transaction on two of its twins; the twins before and after it."""
    store = shared.open()
    assert isinstance(store, PostgresStore)
    before = [Twin(name, "vehicle") for name in ("car-1", "car-2")]
    for twin in before:
        store.create(twin)
    pairs = [applied(twin, update(twin.id, 1), {}, 1.0) for twin in before]
    return store, Zombie(store, Batch([p[0] for p in pairs], [p[1] for p in pairs])), before, [p[0] for p in pairs]


TO = {"car-1": "edge-2", "car-2": "edge-3"}


def test_what_a_host_that_is_gone_was_committing_counts_when_it_is_done_in_time(
    shared: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetwin.twin.moves.postgres_directory.LOCK_WAIT_MS", 20_000)
    store, zombie, _, after = a_zombie(shared)
    directory = shared.directory()
    given: list[Where] = []
    thread = threading.Thread(target=lambda: given.extend(directory.fail_over("edge-1", TO)))
    thread.start()
    until_waiting(shared)
    assert zombie.go_on() == set()
    thread.join()
    assert sorted(given) == [Where("car-1", "edge-2", 2), Where("car-2", "edge-3", 2)]
    for twin, host in zip(after, ("edge-2", "edge-3"), strict=True):
        heir = shared.open(host)
        assert heir.twins() == [twin._replace(epoch=2)] and len(list(heir.history(twin.id)[2])) == 1
    assert store.twins() == [] and refused(store, after)


def test_a_transaction_that_does_not_end_is_ended(shared: Place) -> None:
    store, zombie, before, after = a_zombie(shared)
    directory = shared.directory()
    assert isinstance(directory, PostgresDirectory)
    assert sorted(directory.fail_over("edge-1", TO)) == [Where("car-1", "edge-2", 2), Where("car-2", "edge-3", 2)]
    assert isinstance(zombie.go_on(), StoreUnavailable)
    for twin, host in zip(before, ("edge-2", "edge-3"), strict=True):
        heir = shared.open(host)
        assert heir.twins() == [twin._replace(epoch=2)] and list(heir.history(twin.id)[2]) == []
    assert store.twins() == [] and refused(store, after)
    assert directory.places() and directory.fail_over("edge-1", TO) == []


def test_who_lost_a_twin_while_it_waited_for_the_row_changes_nothing(shared: Place) -> None:
    """The other way round: the fail-over is under way when the host's statement comes."""
    assert shared.server is not None
    store = shared.open()
    store.create(Twin("car-1", "vehicle"))
    shared.directory()
    after, entry = applied(Twin("car-1", "vehicle"), update("car-1", 1), {}, 1.0)
    fenced: list[set[str]] = []
    with connected(shared.server.address) as other:
        with other.transaction():
            other.execute("UPDATE edgetwin.twins SET owner = 'edge-2', epoch = epoch + 1 WHERE owner = 'edge-1'")
            thread = threading.Thread(target=lambda: fenced.append(store.commit(Batch([after], [entry]))))
            thread.start()
            until_waiting(shared)
        thread.join()
    assert fenced == [{"car-1"}] and shared.run("SELECT count(*) FROM edgetwin.log") == [(0,)]
    assert shared.open("edge-2").twins() == [Twin("car-1", "vehicle", epoch=2)]


def test_moves_of_a_host_that_is_gone_end(shared: Place) -> None:
    directory = shared.directory()
    for number, twin in enumerate(("car-1", "car-2", "car-3", "car-4"), 1):
        enrolled(shared, twin, "edge-2" if number == 4 else "edge-1", number)
    moving, handed = directory.place("car-1"), directory.place("car-2")
    assert moving and handed
    assert directory.begin(moving, "m", "edge-2") and directory.begin(handed, "n", "edge-2") and directory.commit("car-2", "n")
    given = directory.fail_over("edge-1", dict.fromkeys(("car-1", "car-2", "car-3", "car-4", "nobody"), "edge-3"))
    assert sorted(given) == [Where("car-1", "edge-3", 2), Where("car-3", "edge-3", 4)]
    assert directory.commit("car-1", "m") is None and not directory.abort("car-1", "m")
    assert directory.place("car-2") == ("car-2", "edge-2", 3, "n", None, "edge-1")
    assert directory.place("car-4") == Where("car-4", "edge-2", 4)
    assert directory.fail_over("edge-2", {"car-2": "edge-1"}) == [Where("car-2", "edge-1", 4)]


def test_a_directory_whose_server_went_away_and_came_back(shared: Place) -> None:
    server, directory = shared.server, shared.directory()
    assert server is not None
    there = enrolled(shared)
    server.kill()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                directory.begin(there, "m", "edge-2")
    finally:
        server.start()
    assert directory.places() == [there] and directory.begin(there, "m", "edge-2")


def refused(store: PostgresStore, twins: list[Twin]) -> bool:
    """Whether the store takes none of the twins' next changes from this host, whichever epoch it names."""
    pairs = [applied(twin, update(twin.id, 9), {}, 1.0) for twin in twins]
    entries = [entry for _, entry in pairs]
    names = {twin.id for twin in twins}
    return all(store.commit(Batch([twin._replace(epoch=epoch) for twin, _ in pairs], entries)) == names for epoch in (1, 2))


def until_waiting(shared: Place) -> None:
    """Until somebody waits for a row that another transaction holds."""
    while not shared.run("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"):
        pass
