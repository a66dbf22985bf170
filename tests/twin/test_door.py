"""Who is let in as a host and who is not: the centre's door, what both sides say, and what belongs to a version of the protocol."""

import asyncio
import os
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edgetwin.twin.devices.client import Device
from edgetwin.twin.kinds import DEFAULT_KINDS, read_kinds
from edgetwin.twin.link.calls import CALLS
from edgetwin.twin.link.connection import LEASE_S
from edgetwin.twin.link.door import Door
from edgetwin.twin.link.frames import PROTOCOL, Assembly, frames
from edgetwin.twin.link.offer import digest_of
from edgetwin.twin.messages import Ack
from edgetwin.twin.moves.endpoint import OpenMove
from edgetwin.twin.moves.parcel import Base
from edgetwin.twin.record import Entry, Twin
from twin.hosts import logs_in
from twin.service import HostProcess, ServiceProcess
from twin.test_host_process import plain_connect, shown


def test_a_host_is_away_at_once_though_its_socket_cannot_be_closed():
    """What waits to be sent to a host that is cut off keeps a close frame from being sent."""

    class Socket:
        def __init__(self):
            offer = {"protocol": PROTOCOL, "name": "edge", "version": "1", "url": "http://127.0.0.1:1"}
            self._frames = list(frames({"offer": {**offer, "place": "sqlite:x", "kinds": digest_of(read_kinds())}}))

        async def accept(self):
            pass

        async def receive(self):
            if self._frames:
                return {"type": "websocket.receive", "bytes": self._frames.pop(0)}
            return await asyncio.Event().wait()

        async def send_bytes(self, frame):
            await asyncio.sleep(0)

        async def close(self, code, reason):
            await asyncio.Event().wait()

    async def main():
        left = asyncio.Event()
        door = Door(["centre"], read_kinds(), "sqlite:y", lambda remote: asyncio.sleep(0), lambda remote: left.set())
        linking = asyncio.create_task(door.link(Socket()))
        async with asyncio.timeout(LEASE_S + 1.0):
            await left.wait()
        assert "edge" not in door.hosts and not linking.done()
        async with asyncio.timeout(2.0):
            await linking

    asyncio.run(main())


def test_what_passes_the_link_belongs_to_the_protocol():
    """Who changes what a twin, an entry or a call has raises PROTOCOL, so that versions that do not fit refuse each other, and this test."""
    record = (
        *("id", "kind", "epoch", "revision", "reported", "desired", "desired_revision", "boot_id", "seq"),
        *("measured_s", "received_s", "missing", "model"),
    )
    calls = {
        "create": "twin",
        "desire": "twin_id changes if_revision",
        "erase": "twin_id",
        "trim": "",
        "entries": "twin_id limit before",
        "at": "twin_id revision time_s",
        "quarantined": "limit device",
        "quarantine_counts": "",
        "adopt": "ids",
        "shelve": "ids",
        "reserve": "twin move",
        "copy": "twin move",
        "stage": "parcel move",
        "tail": "twin move",
        "extend": "tail move",
        "freeze": "twin move destination",
        "verify": "frozen move",
        "activate": "twin move epoch",
        "release": "twin move",
        "thaw": "twin move",
        "discard": "twin move",
        "open_moves": "",
    }
    assert PROTOCOL == 1
    assert Twin._fields == record
    assert Entry._fields == ("twin", "boot_id", "seq", "revision", "measured_s", "received_s", "changes")
    assert Ack._fields == ("status", "device", "boot_id", "seq", "revision", "reason", "detail", "epoch")
    assert (Base._fields, OpenMove._fields) == (("revision", "state"), ("twin", "move", "role"))
    assert {name: " ".join(call.takes) for name, call in CALLS.items()} == calls


def refused_start(name, service, data, *options, **how):
    """What a host says that ends at once, which the centre must not have taken in."""
    host = HostProcess(name, service, data, *options, **how)
    host.start(wait=False)
    assert host.process.wait(30) == 2, host.log.read_text()
    said = [line for line in host.log.read_text().splitlines() if line.startswith("edgetwin: ")]
    assert len(said) == 1, host.log.read_text()
    return said[0].removeprefix("edgetwin: ")


def warned(service):
    return [one["error"] for one in service.logged() if one["event"] == "a host is not let in"]


@pytest.mark.slow
def test_hosts_that_do_not_fit_are_refused_in_one_line_on_both_sides(running, tmp_path):
    service, _ = running
    before = service.get("/v1/hosts")
    kinds = tmp_path / "kinds.toml"
    kinds.write_text(DEFAULT_KINDS.read_text().replace("100", "90", 1))
    said = refused_start("other", service, tmp_path / "a", "--kinds", str(kinds))
    assert said == "host other has other kinds of twins than the centre: give both the same --kinds" == warned(service)[-1]
    said = refused_start("centre", service, tmp_path / "b")
    assert said == "host centre: the name of a host in the centre's own process; give it another" == warned(service)[-1]
    said = refused_start("edge", service, tmp_path / "c")
    assert said == "host edge: a process is linked under this name already" == warned(service)[-1]
    assert [(host["name"], host["url"]) for host in service.get("/v1/hosts")["hosts"]] == [
        (host["name"], host["url"]) for host in before["hosts"]
    ]


@pytest.mark.slow
def test_what_turns_a_host_away_before_the_link_is_open_is_said_as_it_is(running, tmp_path):
    service, host = running

    class Another:
        url = host.url

    class Elsewhere:
        url = f"http://[::ffff:127.0.0.1]:{service.port}"

    said = refused_start("lost", Another, tmp_path / "a")
    assert said.endswith("/v1/link: not a control centre of this version that hosts can be linked to (status 403)")
    said = refused_start("lost", Elsewhere, tmp_path / "b")
    assert "asked as '[::ffff:127.0.0.1]:" in said and "without a token only localhost" in said


@pytest.mark.slow
def test_a_host_without_the_token_is_not_let_in(tmp_path):
    token, other = tmp_path / "token", tmp_path / "other"
    token.write_text("correct-horse-battery\n")
    other.write_text("incorrect-horse-battery\n")
    with ServiceProcess(tmp_path / "centre", "--no-hosts", "--token-file", str(token)) as service:
        for name, options in (("without", ()), ("with-another", ("--token-file", str(other)))):
            assert "does not accept the token" in refused_start(name, service, tmp_path / "edge", *options)
        host = HostProcess("edge", service, tmp_path / "edge", "--token-file", str(token))
        host.start()
        try:

            async def main():
                async with Device(service.url, "car", kind="vehicle", token="correct-horse-battery") as car:
                    async with asyncio.timeout(20):
                        ack = await car.report({"x_m": 1, "y_m": 1}, wait=True)
                    assert ack.status == "applied"
                with pytest.raises(InvalidStatus, match="401"):
                    await plain_connect(f"ws://127.0.0.1:{host.port}/v1/stream?device=car")

            asyncio.run(main())
            assert host.refused("GET", "/v1/twins/car")[0] == 401
        finally:
            assert host.stop() == 0
    assert logs_in(tmp_path / "edge")["car"]["revision"] == 1


SAME = "run the same edgetwin on both sides"
OFFER = {
    "protocol": PROTOCOL, "name": "tampered", "version": "9", "url": "http://127.0.0.1:9", "place": "sqlite:x", "kinds": digest_of(read_kinds()),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"protocol": 2, "name": None, "shape": [1]},
            f"host None speaks protocol 2 of the link and the centre 1: {SAME}",
        ),
        ({"protocol": 0}, f"host tampered speaks protocol 0 of the link and the centre 1: {SAME}"),
        ({"name": "a/b"}, "host 'a/b': letters, digits, _ and -, at most 128, not beginning with _ or -"),
        ({"url": "ftp://x"}, "host tampered: 'ftp://x' is not the http:// or https:// address that devices reach it at"),
        ({"place": "postgresql://db:5432/x"}, "host tampered keeps twins in postgresql://db:5432/x and the centre in sqlite:"),
    ],
)
def test_a_tampered_offer_is_refused_and_nothing_is_changed(running, changes, said):
    service, _ = running
    before = {host["name"] for host in service.get("/v1/hosts")["hosts"]}

    async def main():
        async with connect(f"ws://127.0.0.1:{service.port}/v1/link") as socket:
            for frame in frames({"offer": {**OFFER, **changes}}):
                await socket.send(frame)
            head, _ = Assembly().add(await socket.recv())
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            return head, closed.value.rcvd.code

    head, code = asyncio.run(main())
    assert head["refused"].startswith(said) and head["again"] is False and code == 4409
    assert warned(service)[-1] == head["refused"]
    assert {host["name"] for host in service.get("/v1/hosts")["hosts"]} == before


def test_more_fields_in_an_offer_of_this_protocol_are_let_be(running):
    service, _ = running

    async def main():
        async with connect(f"ws://127.0.0.1:{service.port}/v1/link") as socket:
            for frame in frames({"offer": {**OFFER, "colour": "green"}}):
                await socket.send(frame)
            head, _ = Assembly().add(await socket.recv())
            for frame in frames({"sing": True}):
                await socket.send(frame)
            with suppress(ConnectionClosed):
                while True:
                    await socket.recv()
            return head, (socket.close_code, socket.close_reason)

    head, closed = asyncio.run(main())
    assert head["welcome"]["protocol"] == PROTOCOL
    assert closed == (4400, f"'sing' is not known in this protocol; {SAME}")
    assert shown(service, "tampered") == {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"welcome": {"protocol": 2}},
            f"the centre speaks protocol 2 of the link and this host 1: {SAME}",
        ),
        ({"refused": "host edge speaks otherwise", "again": False}, "host edge speaks otherwise"),
    ],
)
def test_a_centre_of_another_protocol_is_left_in_one_line(tmp_path, answer, said):
    async def main():
        async def centre(socket):
            await socket.recv()
            for frame in frames(answer):
                await socket.send(frame)
            await socket.wait_closed()

        async with serve(centre, "127.0.0.1", 0) as server:

            class Service:
                url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

            return await asyncio.to_thread(refused_start, "edge", Service, tmp_path / "edge")

    assert asyncio.run(main()) == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--centre", "localhost:8700"), "centre 'localhost:8700': http://HOST:PORT or https://HOST:PORT"),
        (("--listen", "0.0.0.0:0"), "reachable from elsewhere: give a token file"),
        (("--public-url", "edge.example"), "public-url 'edge.example': http://HOST:PORT"),
        (("--centre", "http://localhost:port"), "centre 'http://localhost:port': http://HOST:PORT or https://HOST:PORT"),
        (("--centre", "http://[::1"), "centre 'http://[::1': http://HOST:PORT or https://HOST:PORT"),
        (("--store", "mysql://x"), "store 'mysql://x': sqlite, or postgresql://USER@HOST/DATABASE"),
    ],
)
def test_options_without_sense(tmp_path, capsys, options, said):
    from edgetwin.cli import main

    given = dict(zip(options[::2], options[1::2], strict=True))
    arguments = {"--centre": "http://127.0.0.1:1", "--data": str(tmp_path), **given}
    assert main(["host", "edge", *(part for option in arguments.items() for part in option)]) == 2
    assert said in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
