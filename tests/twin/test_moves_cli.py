"""`edgetwin hosts`, `migrate`, `moves`, `cordon` and `drain` as an operator types them, over a service that runs; and hosts forgotten over HTTP."""

import json
import re

import pytest

from edgetwin.cli import main
from twin.hosts import update
from twin.live import until
from twin.service import HostProcess, ServiceProcess
from twin.test_host_process import enrol, send, shown


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operated")
    with ServiceProcess(folder / "centre", "--host", "north", "--host", "south") as service:
        yield service


@pytest.fixture
def typed(service, capsys):
    """What a command says, on both streams, and its exit status."""

    def typed(*arguments):
        status = main([*arguments, "--url", service.url])
        out, error = capsys.readouterr()
        return status, out, error

    return typed


def enrolled(service, host, *names):
    """Enrols devices at a host, each with a message."""
    other = {"north": "south", "south": "north"}[host]
    service.ask("PUT", f"/v1/hosts/{other}/cordon")
    for name in names:
        assert enrol(service, name)["host"] == host
    service.ask("DELETE", f"/v1/hosts/{other}/cordon")
    send(service, *(update(name, 1) for name in names))


def test_a_twin_is_moved_and_the_move_is_shown(service, typed):
    enrolled(service, "north", "car")
    status, out, _ = typed("migrate", "car", "south")
    assert status == 0
    assert re.fullmatch(r"car: from north to south, epoch 2, 1 log entries, not changed for \d+\.\d ms\n", out)
    assert service.get("/v1/twins/car")["host"] == "south"
    status, out, _ = typed("migrate", "car", "north", "--json")
    move = json.loads(out)
    assert (status, move["outcome"], move["epoch"], list(move["seconds"])[-1]) == (0, "moved", 2, "release")
    status, out, _ = typed("moves", "car", "--json")
    assert status == 0 and [one["destination"] for one in json.loads(out)["moves"]] == ["north", "south"]
    assert json.loads(typed("moves", "nobody", "--json")[1]) == {"moves": []}
    status, out, _ = typed("moves", "--limit", "1")
    assert status == 0 and re.search(r"car\s+south\s+north\s+3\s+1\s+[\d.]+\s+[\d.]+\s+moved", out), out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("migrate", "stays", "north"), "stays is at north already"),
        (("migrate", "stays", "west"), "host 'west': there are centre, north, south"),
        (("migrate", "nobody", "south"), "twin 'nobody': not enrolled"),
        (("drain", "west"), "host 'west': there are centre, north, south"),
        (("cordon", "west"), "host 'west': there are centre, north, south"),
        (("moves", "--limit", "0"), "limit: "),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(service, typed, arguments, said):
    if service.get("/v1/twins/stays", None) is None:
        enrolled(service, "north", "stays")
    status, out, error = typed(*arguments)
    assert status == 2 and out == ""
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:port", "http://a host", "http://[::1", "ftp://x"])
@pytest.mark.parametrize("command", [["hosts"], ["migrate", "a", "b"], ["drain", "a"]])
def test_an_address_without_a_service_is_said_in_one_line(capsys, command, url):
    assert main([*command, "--url", url]) == 2
    out, error = capsys.readouterr()
    assert out == "" and url in error and "Traceback" not in error and error.count("\n") == 1


def test_hosts_are_shown_with_what_is_decided_about_them(service, typed):
    assert typed("cordon", "south") == (0, "south gets no new twins\n", "")
    status, out, _ = typed("hosts")
    assert status == 0 and re.search(r"south\s+[\d,]+\s+here, cordoned", out) and re.search(r"north\s+[\d,]+\s+here\s", out), out
    assert typed("migrate", "nobody", "south")[0] == 2
    found = {host["name"]: host for host in json.loads(typed("hosts", "--json")[1])["hosts"]}
    assert (
        found["south"]["cordoned"] and not found["north"]["cordoned"] and found["north"]["version"] == found["centre"]["version"]
    )
    assert typed("cordon", "south", "--undo") == (0, "south gets twins again\n", "")
    assert not shown(service, "south")["cordoned"]


def test_a_host_is_drained_and_what_cannot_move_is_said(service, typed):
    names = [f"van-{i}" for i in range(12)]
    enrolled(service, "south", *names)
    count = shown(service, "south")["twins"]
    assert service.refused("GET", "/v1/hosts/south/drain") == (404, "host 'south': not drained since the service started")
    typed("cordon", "north")
    status, out, _ = typed("drain", "south")
    assert status == 1
    assert out.startswith(f"south: 0 of {count} twins moved in ")
    assert "the rest stays: there is no host that takes twins now" in out
    typed("cordon", "north", "--undo")
    status, out, _ = typed("drain", "south", "--json")
    state = json.loads(out)
    assert (status, state["moved"], state["kept"], state["done"], state["ended_early"]) == (0, count, 0, True, None)
    assert {service.get(f"/v1/twins/{name}")["host"] for name in names} == {"north"} and shown(service, "south")["twins"] == 0
    assert [ack["status"] for ack in send(service, *(update(name, 2) for name in names))] == ["applied"] * 12
    typed("cordon", "south", "--undo")


def test_a_move_whose_destination_dies_after_the_commit_waits_for_it(service, typed, tmp_path):
    """It has moved, which the operator is told, and goes on by itself; the host is not forgotten while it has the twin."""
    enrolled(service, "north", "bus")
    far = HostProcess("far", service, tmp_path / "far")
    far.start(failpoint="host-activate:kill")
    far.linked()
    try:
        status, out, _ = typed("migrate", "bus", "far")
        assert status == 1 and re.fullmatch(
            r"bus: the move waits for far: .*\. The service goes on by itself; edgetwin moves bus shows how far it is\n", out
        ), out
        until(lambda: not shown(service, "far")["available"])
        assert shown(service, "far")["its_twins"] == "wait for it" and shown(service, "far")["twins"] == 1
        assert re.search(r"bus .*waiting: far: far ", typed("moves", "bus")[1].replace("\n", " "))
        assert re.search(r"far\s+1\s+away: its twins wait for it", typed("hosts")[1])
        assert send(service, update("bus", 2))[0]["status"] == "retry"
        assert service.refused("DELETE", "/v1/hosts/far") == (409, "host far has 1 twins, which wait for it")
        far.start()
        far.linked()
        until(lambda: service.get("/v1/moves?twin=bus")["moves"][0]["outcome"] == "moved")
        assert send(service, update("bus", 2))[0]["status"] == "applied"
        twin = service.get("/v1/twins/bus")
        assert (twin["host"], twin["available"], twin["epoch"], twin["revision"]) == ("far", True, 2, 2)
        assert service.refused("DELETE", "/v1/hosts/far") == (409, "host far is here; end it first")
        assert typed("migrate", "bus", "north")[0] == 0
    finally:
        assert far.stop() == 0
    until(lambda: not shown(service, "far")["available"])
    assert service.ask("DELETE", "/v1/hosts/far") is None
    assert shown(service, "far") == {}
