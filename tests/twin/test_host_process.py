"""Hosts as processes: they enrol themselves, serve their devices, go and come, and are refused in one line where they do not fit."""

import asyncio
import json
import signal

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edgetwin.twin.devices.client import Device
from edgetwin.twin.messages import line_of
from twin.hosts import logs_in, update
from twin.live import until
from twin.service import HostProcess, ServiceProcess


def enrol(service, name):
    return service.ask("PUT", f"/v1/twins/{name}", {"kind": "vehicle"})


def send(service, *updates):
    """Acknowledgements, also where all are "retry"."""
    body = b"\n".join(map(line_of, updates))
    try:
        return service.ask("POST", "/v1/updates", body)["acks"]
    except OSError as refused:
        return json.loads(refused.read())["acks"]


def move(service, twin, host):
    return service.ask("POST", f"/v1/twins/{twin}/migrate", {"host": host})


def shown(service, name):
    """A host as the centre shows it."""
    return {host["name"]: host for host in service.get("/v1/hosts")["hosts"]}.get(name, {})


def test_a_host_enrols_itself_and_its_twins_are_the_centres_to_read(running):
    service, host = running
    assert shown(service, "edge")["url"] == host.url
    assert enrol(service, "read")["host"] == "edge"
    assert [ack["status"] for ack in send(service, update("read", 1), update("read", 2, x_m=3.0, y_m=4.0))] == ["applied"] * 2
    twin = service.get("/v1/twins/read")
    assert (twin["revision"], twin["reported"], twin["host"]) == (2, {"x_m": 3.0, "y_m": 4.0}, "edge")
    assert service.get("/v1/twins/read?revision=1")["reported"] == {"x_m": 1.0, "y_m": 2.0}
    assert [entry["seq"] for entry in service.get("/v1/twins/read/history?limit=1")["entries"]] == [2]
    assert service.ask("PATCH", "/v1/twins/read/desired", {"state": {"speed_mps": 9.0}})["desired"] == {"speed_mps": 9.0}
    assert [ack["reason"] for ack in send(service, update("read", 3, x_m=1.0, y_m=2.0, colour=1))] == ["unknown-property"]
    assert service.get("/v1/quarantine?device=read")["messages"][0]["host"] == "edge"
    there = host.get("/v1/twins/read")
    assert (there["revision"], there["host"], there["desired"]) == (2, "edge", {"speed_mps": 9.0})
    assert service.ask("DELETE", "/v1/twins/read") is None
    assert service.refused("GET", "/v1/twins/read")[0] == 404
    assert host.refused("GET", "/v1/twins/read")[0] == 421


def test_service_twins_count_what_lives_elsewhere(running):
    service, _ = running
    road = {"kind": "road-segment", "points_m": [[0, 900], [1000, 900]], "width_m": 20, "of": ["vehicle"]}
    service.ask("PUT", "/v1/services/road", road)
    enrol(service, "counted")
    send(service, update("counted", 1, x_m=500.0, y_m=901.0))
    assert service.get("/v1/services/road")["count"] == 1
    service.ask("DELETE", "/v1/twins/counted")
    assert service.get("/v1/services/road")["count"] == 0


def test_devices_may_speak_with_the_host_itself(running):
    service, host = running
    enrol(service, "near")
    acks = send(host, update("near", 1), update("stranger", 1), update("near", 2))
    assert [(ack["status"], ack.get("reason")) for ack in acks] == [("applied", None), ("retry", "moved"), ("applied", None)]
    assert "counts" in service.get("/v1/quarantine?device=stranger")
    assert service.get("/v1/quarantine?device=stranger")["messages"] == []
    until(lambda: service.get("/v1/twins/near")["revision"] == 2)
    assert host.refused("GET", "/v1/twins/near?revision=1") == (422, "revision: only the centre knows a twin's history")
    assert host.get("/health") == {"status": "ok"}
    assert host.refused("POST", "/v1/updates", b" " * (4 * 2**20 + 1))[0] == 413


def test_a_stream_is_redirected_and_closed_when_the_twin_is_erased(running):
    service, host = running
    enrol(service, "wired")

    async def main():
        with pytest.raises(InvalidStatus) as answer:
            await plain_connect(f"ws://127.0.0.1:{service.port}/v1/stream?device=wired")
        there = answer.value.response.headers["Location"]
        assert (answer.value.response.status_code, there) == (307, f"ws://127.0.0.1:{host.port}/v1/stream?device=wired")
        async with connect(f"ws://127.0.0.1:{service.port}/v1/stream?device=wired") as socket:
            assert socket.remote_address[1] == host.port
            assert json.loads(await socket.recv())["hello"]["device"] == "wired"
            await socket.send(line_of(update("wired", 1)))
            assert json.loads(await socket.recv())["acks"][0]["status"] == "applied"
            await asyncio.to_thread(service.ask, "PATCH", "/v1/twins/wired/desired", {"state": {"speed_mps": 3}})
            assert json.loads(await socket.recv()) == {"desired": {"speed_mps": 3}, "desired_revision": 1}
            await asyncio.to_thread(service.ask, "DELETE", "/v1/twins/wired")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd.code == 4307
        async with connect(f"ws://127.0.0.1:{host.port}/v1/stream?device=nobody") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4307, f"twin 'nobody': not here; ask {service.url}")

    asyncio.run(main())


async def plain_connect(address):
    from edgetwin.twin.devices.client import _Once

    return await _Once(address)


def test_a_device_follows_its_twin_and_loses_nothing(tmp_path):
    with (
        ServiceProcess(tmp_path / "centre", "--host", "here") as service,
        HostProcess("north", service, tmp_path / "north"),
        HostProcess("south", service, tmp_path / "south"),
    ):

        async def main():
            async with Device(service.url, "car", kind="vehicle") as car:
                for number in range(300):
                    await car.report({"x_m": number, "y_m": 0})
                    if number % 50 == 20:
                        there = ["north", "south", "here", "south", "north", "here"][number // 50]
                        if service_host() != there:
                            moved = await asyncio.to_thread(move, service, "car", there)
                            assert moved["outcome"] == "moved", moved
                    await asyncio.sleep(0.002)
                async with asyncio.timeout(20):
                    await car.flush()

        def service_host():
            return service.get("/v1/twins/car")["host"]

        asyncio.run(main())
        twin = service.get("/v1/twins/car")
        entries = service.get("/v1/twins/car/history?limit=1000")["entries"][::-1]
    assert [entry["changes"]["x_m"] for entry in entries] == list(range(300))
    assert [entry["revision"] for entry in entries] == list(range(1, 301))
    assert twin["epoch"] >= 6


def test_a_host_killed_and_back(tmp_path):
    with ServiceProcess(tmp_path / "centre", "--no-hosts") as service, HostProcess("edge", service, tmp_path / "edge") as host:
        enrol(service, "car")
        send(service, update("car", 1))
        host.kill()
        until(lambda: not shown(service, "edge")["available"])
        assert shown(service, "edge")["its_twins"] == "wait for it"
        assert [(ack["status"], ack["reason"]) for ack in send(service, update("car", 2))] == [("retry", "unavailable")]
        assert service.get("/v1/twins/car")["revision"] == 1
        assert service.refused("PATCH", "/v1/twins/car/desired", {"state": {"speed_mps": 9.0}})[0] == 503
        host.start()
        host.linked()
        assert [ack["status"] for ack in send(service, update("car", 1), update("car", 2))] == ["duplicate", "applied"]
        assert host.stop() == 0
        until(lambda: not shown(service, "edge")["available"])
        away = [one["error"] for one in service.logged() if one["event"] == "a host is away"]
        assert away[-1] == "it is stopping"
    assert logs_in(tmp_path / "edge")["car"]["revision"] == 2


def test_the_centre_killed_and_back(tmp_path):
    service = ServiceProcess(tmp_path / "centre", "--no-hosts")
    with service, HostProcess("edge", service, tmp_path / "edge") as host:

        async def main():
            async with Device(service.url, "car", kind="vehicle") as car:
                await car.report({"x_m": 1, "y_m": 1}, wait=True)
                service.kill()
                await asyncio.to_thread(until, lambda: host.get("/ready")["centre"] != "linked")
                ack = await car.report({"x_m": 2, "y_m": 1}, wait=True)
                assert (ack.status, ack.revision) == ("applied", 2)
                await asyncio.to_thread(service.start)
                await asyncio.to_thread(host.linked)
                assert service.get("/v1/twins/car")["revision"] == 2
                await car.report({"x_m": 3, "y_m": 1}, wait=True)
                await asyncio.to_thread(until, lambda: service.get("/v1/twins/car")["revision"] == 3)

        asyncio.run(main())
        assert host.get("/ready")["centre"] == "linked"
    assert service.process.returncode == 0


@pytest.mark.slow
def test_a_centre_that_starts_before_its_hosts_says_that_twins_wait(tmp_path):
    service = ServiceProcess(tmp_path / "centre", "--no-hosts")
    host = HostProcess("edge", service, tmp_path / "edge")
    with service:
        host.start()
        host.linked()
        enrol(service, "car")
        host.stop()
    with service:
        assert service.refused("GET", "/v1/twins/car") == (503, "twin 'car' waits for its host edge, which is away")
        assert send(service, update("car", 1))[0]["status"] == "retry"

        async def greeted():
            async with connect(f"ws://127.0.0.1:{service.port}/v1/stream?device=car") as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
            return closed.value.rcvd.code

        assert asyncio.run(greeted()) == 1013
        host.start()
        host.linked()
        assert send(service, update("car", 1))[0]["status"] == "applied"
        host.stop()


def test_a_host_that_stands_still_is_away_until_it_goes_on(running):
    service, host = running
    enrol(service, "frozen")
    host.process.send_signal(signal.SIGSTOP)
    try:
        assert [(ack["status"], ack["reason"]) for ack in send(service, update("frozen", 1))] == [("retry", "unavailable")]
        assert not shown(service, "edge")["available"]
    finally:
        host.process.send_signal(signal.SIGCONT)
    until(lambda: shown(service, "edge")["available"])
    assert send(service, update("frozen", 1))[0]["status"] in ("applied", "duplicate")
    assert service.get("/v1/twins/frozen")["revision"] == 1


def test_more_than_may_be_under_way_is_retry_and_nothing_is_lost(running):
    service, host = running
    names = [f"flood-{i}" for i in range(4)]
    for name in names:
        enrol(service, name)

    async def main():
        address = f"ws://127.0.0.1:{service.port}/v1/stream"
        acks = []
        async with connect(address, max_size=None) as one, connect(address, max_size=None) as two:
            host.process.send_signal(signal.SIGSTOP)
            for seq in range(8):
                for socket, name in ((one, names[0]), (two, names[1])):
                    await socket.send(b"\n".join(line_of(update(name, seq * 4000 + i + 1)) for i in range(4000)))
            await asyncio.sleep(0.3)
            host.process.send_signal(signal.SIGCONT)
            for socket in (one, two) * 8:
                acks += json.loads(await socket.recv())["acks"]
        return acks

    try:
        acks = asyncio.run(main())
    finally:
        host.process.send_signal(signal.SIGCONT)
    assert len(acks) == 64_000
    retry = [ack for ack in acks if ack["status"] == "retry"]
    assert retry and all("under way" in ack["detail"] for ack in retry)
    assert {ack["status"] for ack in acks} <= {"retry", "applied", "late"}
    for name in names[:2]:
        told = {ack["seq"] for ack in acks if ack["device"] == name and ack["status"] != "retry"}
        twin = service.get(f"/v1/twins/{name}")
        assert twin["revision"] == sum(ack["device"] == name and ack["status"] == "applied" for ack in acks)
        assert twin["seq"] == max(told)
