"""Hosts that share a database: the twins of one that is gone are served by the others, and what it still writes is refused by the store."""

import asyncio
import json
import signal
import time
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.twin.devices.client import Device
from edgetwin.twin.link.failover import shares
from edgetwin.twin.messages import line_of
from twin.detour import Detour
from twin.hosts import update
from twin.live import until
from twin.servers import postgres_server
from twin.service import HostProcess, ServiceProcess
from twin.test_host_process import enrol, send, shown


@given(st.integers(0, 60), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 30), min_size=1))
def test_twins_are_shared_out_to_those_that_have_fewest(count, able):
    chosen = shares([f"car-{i}" for i in range(count)], able)
    after = {name: able[name] + list(chosen.values()).count(name) for name in able}
    assert len(chosen) == count
    assert all(after[name] == able[name] for name in able if able[name] > min(after.values()) + 1)
    raised = [after[name] for name in able if after[name] > able[name]]
    assert not raised or max(raised) - min(after.values()) <= 1


class Cluster:
    """A centre without edge hosts of its own and hosts a, b and c, over one database. ways: addresses by which hosts reach it another way."""

    def __init__(self, folder, server, **ways):
        address = server.address
        self.service = ServiceProcess(folder / "centre", "--no-hosts", "--store", address)
        self.hosts = {name: HostProcess(name, self.service, folder / name, "--store", ways.get(name, address)) for name in "abc"}

    def __enter__(self):
        self.service.start()
        for host in self.hosts.values():
            host.start(wait=False)
        for host in self.hosts.values():
            host.linked()
        return self

    def __exit__(self, *_):
        for process in (*self.hosts.values(), self.service):
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGCONT)
                process.stop()

    def homes(self, twins):
        """Where twins live, by their names."""
        return {name: self.service.get(f"/v1/twins/{name}")["host"] for name in twins}


def test_twins_of_a_host_that_is_killed_are_served_by_the_others(tmp_path, server):
    twins = [f"car-{i}" for i in range(30)]
    with Cluster(tmp_path, server) as cluster:
        service = cluster.service
        for name in twins:
            enrol(service, name)
        send(service, *(update(name, 1) for name in twins))
        lost = [name for name, host in cluster.homes(twins).items() if host == "a"]
        assert len(lost) == 10

        async def main():
            async with Device(service.url, lost[0]) as car:
                await car.report({"x_m": 0, "y_m": 0}, wait=True)
                cluster.hosts["a"].kill()
                killed = time.perf_counter()
                for number in range(1, 6):
                    async with asyncio.timeout(30):
                        ack = await car.report({"x_m": number, "y_m": 0}, wait=True)
                    if number == 1:
                        print(f"served again {time.perf_counter() - killed:.2f} s after the kill")
                return ack

        ack = asyncio.run(main())
        assert (ack.status, ack.revision, ack.epoch) == ("applied", 7, 2)
        until(lambda: "a" not in cluster.homes(twins).values(), 30)
        assert {shown(service, name)["twins"] for name in "bc"} == {15}
        assert [ack["status"] for ack in send(service, *(update(name, 1) for name in lost[1:]))] == ["duplicate"] * 9
        assert [ack["epoch"] for ack in send(service, *(update(name, 2) for name in lost[1:]))] == [2] * 9
        entries = service.get(f"/v1/twins/{lost[0]}/history")["entries"]
        assert [entry["changes"]["x_m"] for entry in entries][::-1] == [1.0, 0, 1, 2, 3, 4, 5]
        cluster.hosts["a"].start()
        cluster.hosts["a"].linked()
        assert shown(service, "a")["twins"] == 0
        assert enrol(service, "new")["host"] == "a"


def test_what_a_host_writes_that_lost_its_twins_is_refused_by_the_store(tmp_path, server):
    with Cluster(tmp_path, server) as cluster:
        service, a = cluster.service, cluster.hosts["a"]
        for i in range(3):
            enrol(service, f"car-{i}")
        (mine,) = [name for name, host in cluster.homes([f"car-{i}" for i in range(3)]).items() if host == "a"]
        assert send(a, update(mine, 1))[0]["status"] == "applied"
        a.process.send_signal(signal.SIGSTOP)
        until(lambda: service.get(f"/v1/twins/{mine}")["host"] != "a", 30)

        async def zombie():
            body = line_of(update(mine, 2))
            reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
            writer.write(b"POST /v1/updates HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            assert (await asyncio.to_thread(send, service, update(mine, 3)))[0]["status"] == "applied"
            a.process.send_signal(signal.SIGCONT)
            head = await reader.readuntil(b"\r\n\r\n")
            answer = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            writer.close()
            return json.loads(answer)["acks"]

        acks = asyncio.run(zombie())
        assert [(ack["status"], ack["reason"]) for ack in acks] == [("retry", "moved")]
        until(lambda: shown(service, "a")["available"], 30)
        twin = service.get(f"/v1/twins/{mine}")
        assert (twin["revision"], twin["seq"], twin["epoch"]) == (2, 3, 2)
        assert a.refused("GET", f"/v1/twins/{mine}")[0] == 421
        until(lambda: shown(service, "a")["fenced_writes"] == 1)
        metrics = urllib.request.urlopen(f"{a.url}/metrics").read().decode()
        assert 'edgetwin_fenced_writes_total{host="a"} 1.0' in metrics
        assert send(service, update(mine, 2))[0]["status"] == "late"


@pytest.mark.slow
def test_a_host_that_cannot_reach_the_database_while_the_centre_can_is_replaced_and_its_devices_go_to_the_centre(
    tmp_path, server
):
    way = Detour(("127.0.0.2", server.port), ("127.0.0.1", server.port))
    with way, Cluster(tmp_path, server, a=f"{server.address}?hostaddr=127.0.0.2") as cluster:
        service, a = cluster.service, cluster.hosts["a"]
        for i in range(3):
            enrol(service, f"car-{i}")
        (mine,) = [name for name, host in cluster.homes([f"car-{i}" for i in range(3)]).items() if host == "a"]

        async def main():
            async with Device(service.url, mine) as car, asyncio.timeout(60):
                assert (await car.report({"x_m": 0, "y_m": 0}, wait=True)).status == "applied"
                await asyncio.to_thread(way.cut)
                ack = await car.report({"x_m": 1, "y_m": 0}, wait=True)
                return ack.status, ack.revision, ack.epoch

        assert asyncio.run(main()) == ("applied", 2, 2)
        assert service.get(f"/v1/twins/{mine}")["host"] in "bc" and not shown(service, "a")["available"]
        assert a.get("/ready", None) is None and a.process.poll() is None
        metrics = urllib.request.urlopen(f"{service.url}/metrics").read().decode()
        assert 'edgetwin_failed_over_twins_total{host="a"} 1.0' in metrics and 'edgetwin_host_available{host="a"} 0.0' in metrics
        way.open()
        until(lambda: shown(service, "a")["available"], 30)
        assert shown(service, "a")["twins"] == 0 and a.refused("GET", f"/v1/twins/{mine}")[0] == 421


@pytest.mark.slow
def test_a_database_that_is_away_for_everybody_moves_no_twins(tmp_path):
    """However long: hosts that come back later than the centre are waited for."""
    with postgres_server() as database, Cluster(tmp_path, database) as cluster:
        service, twins = cluster.service, [f"car-{i}" for i in range(6)]
        for name in twins:
            enrol(service, name)
        before = cluster.homes(twins)
        send(service, *(update(name, 1) for name in twins))
        database.kill()
        assert {ack["status"] for ack in send(service, *(update(name, 2) for name in twins))} == {"retry"}
        time.sleep(6)
        database.start()
        until(lambda: all(shown(service, name)["available"] for name in "abc"), 30)
        until(
            lambda: {ack["status"] for ack in send(service, *(update(name, 2) for name in twins))} <= {"applied", "duplicate"}, 30
        )
        assert cluster.homes(twins) == before


@pytest.mark.slow
def test_twins_wait_as_long_as_nobody_may_have_them(tmp_path, server):
    with Cluster(tmp_path, server) as cluster:
        service = cluster.service
        enrol(service, "car")
        home = service.get("/v1/twins/car")["host"]
        others = [name for name in "abc" if name != home]
        for name in (*others, "centre"):
            service.ask("PUT", f"/v1/hosts/{name}/cordon")
        send(service, update("car", 1))
        cluster.hosts[home].kill()
        until(lambda: any("cannot be given" in one["event"] for one in service.logged()), 30)
        assert service.get("/v1/twins/car")["host"] == home
        assert send(service, update("car", 2))[0]["status"] == "retry"
        service.ask("DELETE", f"/v1/hosts/{others[0]}/cordon")
        until(lambda: service.get("/v1/twins/car")["host"] == others[0], 30)
        until(lambda: send(service, update("car", 2))[0]["status"] in ("applied", "duplicate"), 30)


@pytest.mark.slow
def test_twins_of_a_host_that_the_service_is_started_without_go_to_others(tmp_path, server):
    store = ("--store", server.address)
    with ServiceProcess(tmp_path / "before", "--host", "north", *store) as service:
        enrol(service, "car")
        send(service, update("car", 1))
    with ServiceProcess(tmp_path / "after", "--no-hosts", *store) as service:
        assert shown(service, "north")["twins"] == 1 and not shown(service, "north")["available"]
        with HostProcess("a", service, tmp_path / "a", *store):
            until(lambda: service.get("/v1/twins/car", {}).get("host") == "a", 30)
            assert [ack["status"] for ack in send(service, update("car", 2))] == ["applied"]
            service.ask("DELETE", "/v1/hosts/north", None, None)
            assert shown(service, "north") == {}


@pytest.mark.slow
def test_a_centre_that_starts_gives_on_what_a_host_has_left(tmp_path, server):
    with Cluster(tmp_path, server) as cluster:
        service = cluster.service
        for i in range(3):
            enrol(service, f"car-{i}")
        send(service, *(update(f"car-{i}", 1) for i in range(3)))
        service.kill()
        cluster.hosts["a"].kill()
        service.start()
        until(lambda: "a" not in [service.get(f"/v1/twins/car-{i}", {}).get("host", "a") for i in range(3)], 30)
        acks = send(service, *(update(f"car-{i}", 2) for i in range(3)))
        assert sorted((ack["status"], ack["epoch"]) for ack in acks) == [("applied", 1), ("applied", 1), ("applied", 2)]
