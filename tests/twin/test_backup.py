"""A backup is a moment that was committed, of either kind of store, and comes back whole in either; what cannot be done is told in one line."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import edgetwin.cli.stores  # noqa: F401  (adds its commands to the app)
from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.twin.messages import Quarantined, Update
from edgetwin.twin.moves.parcel import Base, Parcel
from edgetwin.twin.moves.postgres_directory import PostgresDirectory
from edgetwin.twin.record import Twin, applied, late
from edgetwin.twin.stores import backup as stores
from edgetwin.twin.stores import sqlite_file, sqlite_moves
from edgetwin.twin.stores.backup import Found
from edgetwin.twin.stores.sqlite_file import read_only, version_of
from edgetwin.twin.stores.sqlite_schema import STORE
from edgetwin.twin.stores.store import Batch, Store, StoreRefused, StoreUnavailable, digest, opened
from twin.servers import PASSWORD, PostgresServer

HOSTS = {"sqlite": None, "postgres": "edge-1"}
Make = Callable[..., str]


@pytest.fixture
def address_of(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Addresses of places where there is no store yet, one for a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return str(tmp_path / "places" / "store.sqlite")
        server: PostgresServer = request.getfixturevalue("server")
        server.run("DROP SCHEMA IF EXISTS edgetwin CASCADE")
        return server.address

    return make


def filled(address: str, host: str = "edge-1") -> Store:
    """A store with all there can be: twins with late entries, trimmed logs, a desired state, quarantine, erased devices."""
    store = opened(address, host)
    for name in ("car-1", "car-2", "car-3", "car-gone"):
        twin = Twin(name, "vehicle", epoch=4, desired={"speed_mps": 0.1 + 0.2}, desired_revision=2)
        store.create(twin)
        entries = []
        for seq in (1, 2, 5, 9):
            state = {"x_m": seq / 3, 'aw"k\\ward\0': "ü\ud800" if seq < 9 else None}
            twin, entry = applied(twin, Update(name, 1, seq, seq * 1.1, state), {"velocity_mps": [1 / 3, -0.0]}, 100.1)
            entries.append(entry)
        twin, entry = late(twin, Update(name, 1, 4, 4.4, {"x_m": 7}), 101.0)
        store.commit(Batch([twin], [*entries, entry], [Quarantined("malformed", "…", name, b"\0\xff{", 5.0)]))
    store.create(Twin("silent", "vehicle"))
    assert store.trim("car-2", 5.0) == 3
    store.commit(Batch(quarantined=[Quarantined("malformed", "nobody's", None, b"", 6.5)]))
    store.erase("car-gone")
    return store


def content(store: Store) -> tuple:
    """All that a store tells."""
    twins = {twin.id: twin for twin in store.twins()}
    logs = {name: (begin, state, list(entries)) for name in twins for begin, state, entries in [store.history(name)]}
    return twins, logs, store.quarantined(1000), store.erased()


ALL = Found(twins=4, entries=12, quarantined=4, erased=1)


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize("into", HOSTS)
def test_a_backup_comes_back_whole_in_either_kind_of_store(kind: str, into: str, address_of: Make, tmp_path: Path) -> None:
    address = address_of(kind)
    store = filled(address)
    before = content(store)
    target = tmp_path / "backups" / "monday"
    assert stores.backup(address, target, HOSTS[kind]) == ALL
    assert [file.name for file in target.parent.iterdir()] == ["monday"]
    assert content(store) == before
    store.close()
    place = address_of("postgres") if into == "postgres" else str(tmp_path / "elsewhere" / "store.sqlite")
    assert stores.restore(target, place, HOSTS[into]) == ALL
    assert stores.check(place, HOSTS[into]) == ALL
    again = opened(place, "edge-1")
    assert content(again) == before
    assert {twin.epoch for twin in again.twins()} == {1, 4}
    again.close()


def moving(address: str) -> Store:
    """A store in the middle of moves: one twin is frozen, one is a copy, and of two something is left."""
    store = filled(address)
    store.freeze("car-1", "m")
    twin, entry = applied(Twin("bus-1", "vehicle", epoch=2), Update("bus-1", 1, 9, 1.0, {"x_m": 1.0}), {}, 1.0)
    store.stage(Parcel(twin, Base(3, {"y_m": 2.0}), [entry]), "n")  # its log does not lead to its state yet
    store.freeze("car-3", "o")
    assert store.release("car-3", "o")
    for name in ("bus-2", "bus-3"):
        store.stage(Parcel(twin._replace(id=name), Base(1, {}), [entry]), "p")
    assert not store.discard("bus-2", "p")
    return store


def test_a_backup_in_the_middle_of_moves(address_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_moves, "TRIMMED_AT_ONCE", 2)
    store = moving(address_of("sqlite"))
    found = Found(twins=3, entries=7, quarantined=4, erased=1, leaving=1, arriving=2)
    assert stores.check(address_of("sqlite")) == stores.backup(address_of("sqlite"), tmp_path / "backup") == found
    before, copy = content(store), store.staged("bus-1", "n")
    assert store.erase("bus-3")
    store.close()
    new = str(tmp_path / "new" / "store.sqlite")
    assert stores.restore(tmp_path / "backup", new) == found
    again = opened(new, "edge-1")
    assert content(again) == before and again.leaving() == [("car-1", "m")]
    assert again.arriving() == [("bus-1", "n"), ("bus-3", "p")] and again.staged("bus-1", "n") == copy is not None
    assert again.commit(Batch([before[0]["car-1"]])) == {"car-1"} and again.place != store.place
    assert list(again.history("car-3")[2]) == []  # what was being deleted is gone
    assert again.activate("bus-1", "n", 3) == copy.twin._replace(epoch=3)
    again.close()
    with pytest.raises(StoreRefused, match="the log of bus-1 does not lead to its state"):
        stores.check(new)


def test_what_was_moving_is_not_made_a_second_owner_in_postgresql(
    address_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_moves, "TRIMMED_AT_ONCE", 2)
    store, database = moving(address_of("sqlite")), address_of("postgres")
    stores.backup(address_of("sqlite"), tmp_path / "backup")
    with pytest.raises(StoreRefused, match="/backup: car-1 was moving to another host; restore to a file"):
        stores.restore(tmp_path / "backup", database, "edge-1")
    store.thaw("car-1", "m")
    stores.backup(address_of("sqlite"), tmp_path / "later")
    store.close()
    whole = Found(twins=3, entries=7, quarantined=4, erased=1)
    assert stores.restore(tmp_path / "later", database, "edge-1") == stores.check(database, "edge-1") == whole
    with psycopg.connect(database, autocommit=True) as connection:
        for table in ("log", "base"):
            strays = f"SELECT count(*) FROM edgetwin.{table} WHERE twin NOT IN (SELECT id FROM edgetwin.twins)"
            assert connection.execute(strays).fetchone() == (0,)  # type: ignore[call-overload]
    places = PostgresDirectory(database)
    there = places.place("car-1")
    assert there == ("car-1", "edge-1", 4, None, None, None) and places.begin(there, "m", "edge-2")
    assert stores.backup(database, tmp_path / "moving", "edge-1") == whole
    assert places.commit("car-1", "m") is not None
    assert stores.backup(database, tmp_path / "moved", "edge-1") == whole._replace(twins=2, entries=2)
    places.close()


@pytest.mark.parametrize("kind", HOSTS)
def test_a_backup_under_writes_is_a_moment_that_was_committed(kind: str, address_of: Make, tmp_path: Path) -> None:
    address = address_of(kind)
    store = opened(address, "edge-1")
    twins = [Twin(f"car-{number}", "vehicle") for number in range(8)]
    for twin in twins:
        store.create(twin)
    done, rounds = threading.Event(), 0

    def write() -> None:
        nonlocal twins, rounds
        while not done.is_set():
            pairs = [applied(twin, Update(twin.id, 1, rounds + 1, 1.0, {"x_m": rounds}), {}, 1.0) for twin in twins]
            store.commit(Batch([pair[0] for pair in pairs], [pair[1] for pair in pairs]))
            twins, rounds = [pair[0] for pair in pairs], rounds + 1
            if rounds % 20 == 0:
                store.trim("car-3", 2.0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for number in range(6):
            while rounds <= 10 * number:
                assert writer.is_alive()
            before = rounds
            found = stores.backup(address, tmp_path / f"backup-{number}", HOSTS[kind])
            after = rounds
            with contextlib.closing(read_only(tmp_path / f"backup-{number}")) as copy:
                revisions = {row[0] for row in copy.execute("SELECT revision FROM twins")}
            assert len(revisions) == 1 and before <= min(revisions) <= after + 1
            assert found.entries <= 8 * min(revisions)
            seen += revisions
    finally:
        done.set()
        writer.join()
        store.close()
    assert seen == sorted(seen) and len(set(seen)) > 1


def test_a_backup_of_a_store_whose_process_was_killed(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from edgetwin.twin.record import Twin
from edgetwin.twin.stores.sqlite import SQLiteStore
store = SQLiteStore(Path({str(tmp_path / "store.sqlite")!r}))
for number in range(20):
    store.create(Twin(f"car-{{number}}", "vehicle"))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert stores.backup(str(tmp_path / "store.sqlite"), tmp_path / "backup") == Found(20, 0, 0, 0)
    store = opened(str(tmp_path / "store.sqlite"), "edge-1")
    assert len(store.twins()) == 20
    store.close()


def test_only_the_hosts_own_part_is_taken(address_of: Make, tmp_path: Path) -> None:
    address = address_of("postgres")
    mine, other = filled(address, "edge-1"), opened(address, "edge-2")
    other.create(Twin("bus-1", "vehicle"))
    bus, entry = applied(Twin("bus-1", "vehicle"), Update("bus-1", 1, 1, 1.0, {"x_m": 1}), {}, 1.0)
    other.commit(Batch([bus], [entry], [Quarantined("malformed", "", None, b"", 1.0)]))
    assert stores.backup(address, tmp_path / "one", "edge-1") == ALL
    assert stores.backup(address, tmp_path / "two", "edge-2") == Found(1, 1, 1, 1)
    with pytest.raises(StoreRefused, match="another process serves as host edge-1"):
        stores.restore(tmp_path / "two", address, "edge-1")
    mine.close()
    with pytest.raises(StoreRefused, match="host edge-1 has a store there already"):
        stores.restore(tmp_path / "two", address, "edge-1")
    with pytest.raises(StoreRefused, match="car-1 is held by host edge-1; 4 of the backup's twins are there"):
        stores.restore(tmp_path / "one", address, "edge-3")
    assert content(other)[0] == {"bus-1": bus}
    other.close()


def test_who_was_erased_since_does_not_come_back(address_of: Make, tmp_path: Path) -> None:
    address = address_of("postgres")
    store = filled(address)
    stores.backup(address, tmp_path / "backup", "edge-1")
    for name in ("car-1", "car-2", "car-3", "silent"):
        store.erase(name)
    store.create(Twin("car-gone", "vehicle"))
    store.close()
    server_part = (
        "UPDATE edgetwin.twins SET owner = 'edge-2'; DELETE FROM edgetwin.quarantine; DELETE FROM edgetwin.erased WHERE digest = "
    )
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"{server_part}'{digest('car-3')}'")  # type: ignore[call-overload]
    assert stores.restore(tmp_path / "backup", address, "edge-1") == Found(twins=1, entries=5, quarantined=2, erased=0)
    again = opened(address, "edge-1")
    assert [twin.id for twin in again.twins()] == ["car-3"]
    assert {bad.device for bad in again.quarantined(9)} == {"car-3", None}
    assert again.erased() == {digest(name) for name in ("car-1", "car-2", "silent")}
    again.close()


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM log WHERE twin = 'car-1' AND seq = 2",
        "DELETE FROM log WHERE twin = 'car-3'",
        "UPDATE log SET changes = '{\"x_m\":3.5}' WHERE twin = 'car-1' AND seq = 9",
        "UPDATE twins SET reported = '{\"x_m\":3.5}' WHERE id = 'car-2'",
        "UPDATE base SET revision = 1 WHERE twin = 'car-2'",
        "DELETE FROM base",
    ],
)
def test_a_log_that_does_not_lead_to_the_state_is_found(kind: str, damage: str, address_of: Make, tmp_path: Path) -> None:
    address = address_of(kind)
    filled(address).close()
    if kind == "sqlite":
        with contextlib.closing(sqlite3.connect(address, isolation_level=None)) as connection:
            connection.execute(damage)
    else:
        with psycopg.connect(address, autocommit=True, options="-c search_path=edgetwin") as database:
            database.execute(damage)  # type: ignore[call-overload]
    said = r"the log of car-\d (does not lead to its state|is missing); restore it from a backup"
    with pytest.raises(StoreRefused, match=said):
        stores.check(address, HOSTS[kind])
    with pytest.raises(StoreRefused, match=said) as error:
        stores.backup(address, tmp_path / "backup", HOSTS[kind])
    assert ".tmp" not in str(error.value)
    assert not list(tmp_path.glob("*backup*")) and not list(tmp_path.glob(".*"))


def test_nothing_is_ever_replaced(tmp_path: Path) -> None:
    store, backup = str(tmp_path / "store.sqlite"), tmp_path / "backup"
    filled(store).close()
    stores.backup(store, backup)
    whole = backup.read_bytes()
    for target in (backup, Path(store), tmp_path):
        with pytest.raises(InputError, match="is there already"):
            stores.backup(store, target)
    with pytest.raises(StoreRefused, match="store.sqlite: is there already; restore to a new place"):
        stores.restore(backup, store)
    (tmp_path / "new-wal").write_bytes(b"left by another")
    with pytest.raises(StoreRefused, match="new-wal: is there already"):
        stores.restore(backup, str(tmp_path / "new"))
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(StoreRefused):
            stores.backup(str(missing), tmp_path / "another")
        with pytest.raises(StoreRefused):
            stores.restore(missing, str(tmp_path / "another"))
        with pytest.raises(StoreRefused):
            stores.upgrade(str(missing))
    held = opened(str(tmp_path / "held"), "edge-1")
    with pytest.raises(StoreRefused, match="another process has this store open"):
        stores.restore(backup, str(tmp_path / "held"))
    held.close()
    assert backup.read_bytes() == whole and not (tmp_path / "another").exists()


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    store = opened(str(tmp_path / "store.sqlite"), "edge-1")
    for number in range(300):
        store.create(Twin(f"car-{number}", "vehicle", model={"velocity_mps": [0.25] * 20}))
    store.close()
    stores.backup(str(tmp_path / "store.sqlite"), tmp_path / "backup")
    content = bytearray((tmp_path / "backup").read_bytes())
    content[9 * 4096 : 9 * 4096 + 200] = b"\x5a" * 200
    (tmp_path / "backup").write_bytes(content)
    with pytest.raises(StoreRefused, match=r"/backup: damaged"):
        stores.restore(tmp_path / "backup", str(tmp_path / "new"))
    (tmp_path / "backup").write_bytes(content[:8192])
    with pytest.raises(InputError):
        stores.restore(tmp_path / "backup", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_an_older_store_is_backed_up_and_brought_up(tmp_path: Path) -> None:
    store = str(tmp_path / "store.sqlite")
    sqlite_file.opened(Path(store), STORE._replace(steps=STORE.steps[:1])).close()
    with pytest.raises(StoreRefused, match="a store of version 1; edgetwin store upgrade brings it to 3"):
        stores.check(store)
    assert stores.backup(store, tmp_path / "backup") == Found(0, 0, 0, 0)
    assert version_of(Path(store), STORE) == 1 and version_of(tmp_path / "backup", STORE) == 3
    assert stores.upgrade(store) == (1, 3) and stores.upgrade(store) == (3, 3)
    assert stores.check(store) == Found(0, 0, 0, 0)


def test_commands(tmp_path: Path, address_of: Make, capsys: pytest.CaptureFixture[str]) -> None:
    store, backup, database = str(tmp_path / "store.sqlite"), str(tmp_path / "backup"), address_of("postgres")
    filled(store).close()
    counted = "4 twins, 12 entries, 4 in quarantine, 1 erased"
    for arguments, said in {
        ("check", store): f"Whole: {counted}",
        ("backup", store, backup): f"Backup {backup}: {counted}",
        ("restore", backup, database, "--host", "edge-1"): f"Restored: {counted}",
        ("check", database, "--host", "edge-1"): f"Whole: {counted}",
        ("upgrade", database): "Version 3 already",
        ("upgrade", store): "Version 3 already",
    }.items():
        assert main(["store", *arguments]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out.strip() == said
    assert main(["store", "check", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ALL._asdict()
    away = database.replace("127.0.0.1:", "127.0.0.1:1")
    for arguments, part in {
        ("check", database): "--host: PostgreSQL holds the twins of many hosts; name one",
        ("check", store, "--host", "edge-1"): "--host edge-1: a file holds the twins of one host; leave it out",
        ("backup", store, backup): "is there already; name a new file",
        ("backup", str(tmp_path / "none"), str(tmp_path / "new")): "none: there is no store",
        ("restore", backup, store): "is there already; restore to a new place",
        ("upgrade", "postgresql://nowhere"): "not an address of PostgreSQL",
        ("check", away, "--host", "edge-1"): "",
        ("check", store, "--hots", "edge-1"): "--hots",
    }.items():
        assert main(["store", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and part in err and err.count("\n") == 1 and PASSWORD not in err


def test_a_backup_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    """Beyond a limit on the size of files, as on a disk that is full."""
    store = opened(str(tmp_path / "store.sqlite"), "edge-1")
    for number in range(300):
        store.create(Twin(f"car-{number}", "vehicle", model={"velocity_mps": [0.25] * 20}))
    store.close()
    program = f"""
import resource, signal
from pathlib import Path
from edgetwin.twin.stores.backup import backup
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_960, 40_960))
backup({str(tmp_path / "store.sqlite")!r}, Path({str(tmp_path / "backup")!r}))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "edgetwin.errors.InputError" in ran.stderr and "backup: cannot be written (" in ran.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        f"store.sqlite{ending}" for ending in ("", ".lock", "-shm", "-wal")
    )


def test_a_server_that_is_away(tmp_path: Path, server: PostgresServer) -> None:
    with pytest.raises(StoreUnavailable):
        stores.backup(server.address.replace(f":{server.port}/", ":1/"), tmp_path / "backup", "edge-1")
    assert not list(tmp_path.iterdir())
