"""What only a store in PostgreSQL has: other hosts beside one, names, passwords, a server that goes away and comes back."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from edgetwin.errors import InputError
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import Quarantined, Update, line_of, parse
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.record import Twin, applied
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.postgres import PostgresStore
from edgetwin.twin.stores.store import Batch, Conflict, StoreRefused, StoreUnavailable
from twin.places import Place, grown, update
from twin.servers import PASSWORD, PostgresServer


@pytest.fixture
def shared(server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    found = Place("postgres", tmp_path, server)
    yield found
    found.clear()


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


def test_a_twin_is_its_new_hosts_once_the_directory_has_given_it(shared: Place) -> None:
    source, destination, directory = shared.open("edge-1"), shared.open("edge-2"), shared.directory()
    assert source.place == destination.place == source.reader().place and PASSWORD not in source.place
    source.create(Twin("car-1", "vehicle"))
    twin, entries = grown(source, Twin("car-1", "vehicle"), 2)
    parcel = Parcel(twin, Base(), entries)
    there = directory.place("car-1")
    assert there is not None and directory.begin(there, "m", "edge-2")
    destination.stage(parcel, "m")
    with pytest.raises(Conflict, match="car-1 is here itself"):
        source.stage(parcel, "m")
    assert source.freeze("car-1", "m") and not destination.freeze("car-1", "m")
    assert destination.extend(Tail(twin, entries), "m")
    assert destination.staged("car-1", "m") == Parcel(twin, Base(), [])
    assert destination.activate("car-1", "m", 1) is None and destination.activate("car-1", "m", 2) is None
    assert directory.commit("car-1", "m") is not None
    assert source.activate("car-1", "m", 2) is None and destination.activate("car-1", "m", 1) is None
    assert destination.activate("car-1", "m", 2) == destination.activate("car-1", "m", 2) == twin._replace(epoch=2)
    assert not source.release("car-1", "m") and not destination.discard("car-1", "m")
    assert source.twins() == source.leaving() == destination.arriving() == []
    assert destination.twins() == [twin._replace(epoch=2)] and list(destination.history("car-1")[2]) == entries


def test_enrolling_again_a_twin_that_was_given_and_not_yet_taken_up_keeps_what_it_has(shared: Place) -> None:
    lost, directory = shared.open("edge-1"), shared.directory()
    twin, _ = grown(lost, lost.create(Twin("car-1", "vehicle")) or Twin("", ""), 3)

    async def main() -> Twin:
        host = Host("edge-2", shared.open("edge-2"), read_kinds())
        host.start()
        directory.fail_over("edge-1", {"car-1": "edge-2"})
        there = await host.create(Twin("car-1", "vehicle", 2))
        assert await host.create(Twin("car-1", "vehicle", 2)) == there == host.twins["car-1"]
        await host.close()
        return there

    assert asyncio.run(main()) == twin._replace(epoch=2)


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
    assert not failed and shared.run("SELECT version FROM edgetwin.version") == [(3,)]
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

        async def once(seq: int) -> None:
            line = line_of(Update("car-1", 1, seq, time.time(), {"x_m": float(seq), "y_m": 0.0}))
            (ack,) = await host.submit([(parse(line), line)])
            acked.setdefault(seq, ack.status)

        async def report(seq: int) -> None:
            while seq not in acked:
                with contextlib.suppress(Full):
                    await once(seq)
                await asyncio.sleep(0.02)

        for seq in range(1, 6):
            await report(seq)
        server.kill()
        with contextlib.suppress(Full):
            while True:
                await once(5)  # a process of the server may outlive it for a moment
        waiting = asyncio.create_task(report(6))
        await asyncio.sleep(0.3)
        assert not waiting.done() and not host.available
        await asyncio.to_thread(server.start)
        await waiting
        await report(7)
        del acked[3]
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
