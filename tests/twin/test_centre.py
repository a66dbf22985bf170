"""The centre: many hosts behind one door, in order, erasure that ends, and what is refused before it costs much."""

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edgetwin.errors import InputError
from edgetwin.twin.centre import Centre
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import MAX_LINES, line_of
from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Full
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.store import StoreRefused
from twin.hosts import store_files, update
from twin.service import ServiceProcess


@asynccontextmanager
async def centre_over(folder, names=("centre", "north", "south")):
    kinds = read_kinds()
    hosts = [Host(name, SQLiteStore(folder / f"{name}.sqlite"), kinds) for name in names]
    centre = Centre(hosts, kinds, SQLiteDirectory(folder / "directory.sqlite"))
    await centre.start()
    try:
        yield centre
    finally:
        await centre.close()


def stored(folder):
    """Which stores hold which twins, and all bytes of the stores."""
    found = {}
    for path in store_files(folder):
        store = SQLiteStore(path)
        found[path.stem] = {twin.id for twin in store.twins()}
        store.close()
    return found, b"".join(path.read_bytes() for path in folder.glob("*.sqlite*"))


def test_enrolment_and_erasure_at_the_same_time_leave_a_twin_once_or_not_at_all(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            for _ in range(20):
                await centre.enrol("car-1", "vehicle")
                await asyncio.gather(
                    *(work for _ in range(3) for work in (centre.erase("car-1"), centre.enrol("car-1", "vehicle")))
                )
                known = centre.holds("car-1")
                assert known == any("car-1" in host.twins for host in centre.hosts.values())
                if known:
                    (ack,) = await centre.take([line_of(update("car-1", 1))])
                    assert ack.status == "applied"

    asyncio.run(main())
    places, _ = stored(tmp_path)
    assert sum("car-1" in twins for twins in places.values()) <= 1


def test_an_erasure_that_was_interrupted_can_be_finished(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.take([line_of(update("car-1", 1, x_m=7777.125, y_m=0.0))])
            await centre.enrol("car-1", "vehicle")
            await centre.take([line_of(update("car-1", 2, x_m=7777.125, y_m=0.0))])
            centre.own._writer.available = False
            with pytest.raises(Full):
                await centre.erase("car-1")
            centre.own._writer.available = True
            await centre.erase("car-1")
            assert not centre.holds("car-1")
            (ack,) = await centre.take([line_of(update("car-1", 3, x_m=7777.125, y_m=0.0))])
            assert ack.reason == "erased"

    asyncio.run(main())
    _, bytes_left = stored(tmp_path)
    assert b"7777.125" not in bytes_left and b"car-1" not in bytes_left


def test_what_cannot_be_read_is_erased_with_whom_it_names(tmp_path):
    broken = [
        line_of(update("car-1", 1, x_m=5555.25, y_m=0.0)).replace(b"5555.25", b"5555.35"),
        b'{"device": "car-1", "boot_id": 1, "seq": 2, "time_s": 1, "state": {"x_m": NaN, "home": "5555.35"}}',
        b'{"device":"car-1","state":{"x_m":5555.35',
    ]

    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            assert [ack.reason for ack in await centre.take(broken)] == ["damaged", "not-a-number", "malformed"]
            await centre.take([b"5555.35 without a name"], sender="car-1")
            await centre.erase("car-1")
            assert {ack.reason for ack in await centre.take(broken)} == {"erased"}

    asyncio.run(main())
    _, bytes_left = stored(tmp_path)
    assert b"5555.35" not in bytes_left


def test_messages_of_one_device_keep_their_order_beside_those_of_other_hosts(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            for name in ("car-0", "car-1"):
                await centre.enrol(name, "vehicle")
            first = [line_of(update("car-0", 1)), line_of(update("car-1", 1))]
            takes = [asyncio.ensure_future(centre.take(first)), asyncio.ensure_future(centre.take([line_of(update("car-0", 2))]))]
            acks = [ack for found in await asyncio.gather(*takes) for ack in found]
            assert [ack.status for ack in acks] == ["applied"] * 3

    asyncio.run(main())


def test_a_twin_of_a_kind_that_is_not_known_is_said_at_the_start(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")

    asyncio.run(main())
    kinds = {name: kind for name, kind in read_kinds().items() if name != "vehicle"}
    store = SQLiteStore(tmp_path / "north.sqlite")
    with pytest.raises(InputError, match="north: twin car-1 is of kind vehicle, which is not among mobile-user"):
        Host("north", store, kinds)
    store.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with ServiceProcess(tmp_path_factory.mktemp("service") / "twins") as running:
        yield running


def test_too_many_lines_are_refused_before_they_cost_much(service):
    assert service.refused("POST", "/v1/updates", b"1\n" * (MAX_LINES + 1)) == (
        413,
        f"{MAX_LINES + 1} lines: at most {MAX_LINES}; send several",
    )

    async def main():
        async with connect(f"ws://127.0.0.1:{service.port}/v1/stream") as socket:
            await socket.send(b"1\n" * (MAX_LINES + 1))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd.code == 1009

    asyncio.run(main())


def test_a_body_for_any_route_has_an_end(service):
    for method, path in (("PUT", "/v1/twins/x"), ("PATCH", "/v1/twins/x/desired"), ("PUT", "/v1/services/x")):
        assert service.refused(method, path, b"x" * 5_000_000)[0] == 413


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Host": "127.0.0.1.evil.example:80"}]
)
def test_pages_of_other_sites_are_kept_out(service, headers):
    asked = urllib.request.Request(f"{service.url}/v1/twins", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    assert refused.value.code == 403 and "without a token only localhost" in json.loads(refused.value.read())["error"]

    async def main():
        origin = headers.get("Origin")
        async with connect(f"ws://127.0.0.1:{service.port}/v1/stream", origin=origin):
            pass

    if "Origin" in headers:
        with pytest.raises(InvalidStatus, match="403"):
            asyncio.run(main())


def test_what_is_stored_is_for_its_user_alone(service):
    data = service.log.parent / "twins"
    assert {path.stat().st_mode & 0o077 for path in data.glob("*.sqlite*")} == {0}


@pytest.mark.parametrize("value", ["'{'", "''", "x'ff'"])
def test_a_damaged_row_is_told_of_as_such(tmp_path, value):
    store = SQLiteStore(tmp_path / "edge-1.sqlite")
    store.create(Twin("car-1", "vehicle"))
    store._connection.execute(f"UPDATE twins SET model = {value}")
    with pytest.raises(StoreRefused, match=r"edge-1.sqlite: a row is damaged .*; restore it from a backup"):
        store.twins()
    store.close()


def test_a_damaged_store_is_one_line(tmp_path):
    data = tmp_path / "twins"
    with ServiceProcess(data) as service:
        for i in range(200):
            service.ask("PUT", f"/v1/twins/car-{i}", {"kind": "vehicle"})
    path = data / "edge-1.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 + 8 : page * 4096 + 64] = b"\xff" * 56
    path.write_bytes(content)
    again = ServiceProcess(data)
    with pytest.raises(RuntimeError) as refused:
        again.start()
    said = again.log.read_text().splitlines()
    assert said[-1].startswith("edgetwin: ") and "edge-1.sqlite" in said[-1] and "Traceback" not in str(refused.value)
    assert path.read_bytes() == bytes(content)
