"""A service as a process: its HTTP interface, its WebSocket, what it refuses and how it says so, health, metrics, and how it ends."""

import asyncio
import json
import time

import aiomqtt
import nats
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from edgetwin.errors import InputError
from edgetwin.twin import serve
from edgetwin.twin.messages import line_of
from edgetwin.twin.web import MAX_BODY_BYTES
from twin.hosts import logs_in, sqlite_calls, update
from twin.nats_server import nats_server
from twin.service import ServiceProcess


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with ServiceProcess(tmp_path_factory.mktemp("service") / "twins") as running:
        yield running


def enrol(service, name, kind="vehicle", **place):
    return service.ask("PUT", f"/v1/twins/{name}", {"kind": kind, **place})


def send(service, *updates):
    return service.ask("POST", "/v1/updates", b"\n".join(map(line_of, updates)))["acks"]


def test_a_twin_from_enrolment_to_erasure(service):
    assert enrol(service, "life")["revision"] == 0
    assert [ack["status"] for ack in send(service, update("life", 1), update("life", 2, x_m=3.0, y_m=4.0))] == ["applied"] * 2
    twin = service.get("/v1/twins/life")
    assert (twin["revision"], twin["reported"], twin["boot_id"], twin["seq"]) == (2, {"x_m": 3.0, "y_m": 4.0}, 1, 2)
    assert 0 <= twin["age_s"] < 10 and twin["forecast"] is None
    assert service.get("/v1/twins/life?revision=1")["reported"] == {"x_m": 1.0, "y_m": 2.0}
    assert service.get(f"/v1/twins/life?time_s={time.time() + 1}")["revision"] == 2
    entries = service.get("/v1/twins/life/history?limit=1")["entries"]
    assert [entry["seq"] for entry in entries] == [2]
    assert [entry["seq"] for entry in service.get("/v1/twins/life/history?before=1.2")["entries"]] == [1]
    assert service.ask("PATCH", "/v1/twins/life/desired", {"state": {"speed_mps": 9.0}})["desired"] == {"speed_mps": 9.0}
    assert service.ask("DELETE", "/v1/twins/life") is None
    assert service.refused("GET", "/v1/twins/life") == (404, "twin 'life': not enrolled")
    assert send(service, update("life", 3))[0]["reason"] == "erased"


def test_enrolling_again_changes_nothing(service):
    enrol(service, "twice")
    send(service, update("twice"))
    assert enrol(service, "twice")["revision"] == 1
    assert service.refused("PUT", "/v1/twins/twice", {"kind": "mobile-user"}) == (
        409, "twice is enrolled as vehicle, not mobile-user; erase it first",
    )  # fmt: skip


def test_devices_are_spread_over_the_edge_hosts(service):
    before = {host["name"]: host["twins"] for host in service.get("/v1/hosts")["hosts"]}
    for i in range(9):
        enrol(service, f"spread-{i}")
    after = {host["name"]: host["twins"] for host in service.get("/v1/hosts")["hosts"]}
    assert after["centre"] == 0
    edge = [after[name] for name in after if name != "centre"]
    assert max(edge) - min(edge) <= 1 and sum(edge) == sum(before.values()) + 9
    acks = send(service, *(update(f"spread-{i}") for i in range(9)), update("nobody"))
    assert [ack["status"] for ack in acks] == ["applied"] * 9 + ["quarantined"]
    assert [ack["device"] for ack in acks[:9]] == [f"spread-{i}" for i in range(9)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("PUT", "/v1/twins/new", {"kind": "vehicl"}, 422, "did you mean vehicle?"),
        ("PUT", "/v1/twins/new", {"kind": "vehicle", "colour": 1}, 422, "colour: Extra inputs"),
        ("PUT", "/v1/twins/new", {}, 422, "kind: Field required"),
        ("PUT", "/v1/twins/new", b"{", 422, "JSON"),
        ("PUT", "/v1/twins/_new", {"kind": "vehicle"}, 422, "letters, digits"),
        ("GET", "/v1/twins/none", None, 404, "not enrolled"),
        ("GET", "/v1/twins?limit=5000", None, 422, "limit: Input should be less than or equal to 1000"),
        ("GET", "/v1/twins?limt=5", None, 422, "limt: Extra inputs"),
        ("GET", "/v1/twins/none/history?before=x", None, 422, "before"),
        ("GET", "/v1/quarantine?host=edge-9", None, 404, "there are centre, edge-1"),
        ("GET", "/v1/services/none", None, 404, "not defined"),
        ("PUT", "/v1/services/s", {"kind": "nothing"}, 422, "kind"),
        ("PUT", "/v1/services/s", b"[]", 422, "a JSON object"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("DELETE", "/v1/updates", None, 405, "Method Not Allowed"),
        ("POST", "/v1/updates", b" " * (MAX_BODY_BYTES + 1), 413, "at most 4194304 bytes"),
    ],
)
def test_what_is_refused_says_why(service, method, path, body, status, said):
    found, message = service.refused(method, path, body)
    assert found == status
    assert said in message and "\n" not in message


def test_desired_state_is_checked_like_reported(service):
    enrol(service, "wish")
    for state, said in (({"speed_mps": -1}, "from 0 to 100"), ({"sped": 1}, "there are x_m"), ({"occupied": 1}, "boolean")):
        status, message = service.refused("PATCH", "/v1/twins/wish/desired", {"state": state})
        assert status == 422 and said in message
    service.ask("PATCH", "/v1/twins/wish/desired", {"state": {"speed_mps": 1}, "if_revision": 0})
    assert service.refused("PATCH", "/v1/twins/wish/desired", {"state": {"speed_mps": 2}, "if_revision": 0})[0] == 409


def test_bad_lines_beside_good_ones(service):
    enrol(service, "mixed")
    body = b"rubbish\n\n" + line_of(update("mixed", 1)) + b"\n" + line_of(update("mixed", 2)).replace(b"1.0", b"7.0") + b"\r\n"
    acks = service.ask("POST", "/v1/updates", body)["acks"]
    assert [(ack["status"], ack.get("reason")) for ack in acks] == [
        ("quarantined", "malformed"),
        ("applied", None),
        ("damaged", "damaged"),
    ]
    found = service.get("/v1/quarantine?limit=2")
    assert found["counts"]["malformed"] >= 1
    assert {message["reason"] for message in found["messages"]} == {"malformed", "damaged"}


def test_nothing_sent_is_nothing_acknowledged(service):
    assert service.ask("POST", "/v1/updates", b"\n\n") == {"acks": []}


def test_a_device_over_websocket(service):
    enrol(service, "socket")

    async def main():
        async with connect(f"ws://127.0.0.1:{service.port}/v1/stream?device=socket") as socket:
            hello = json.loads(await socket.recv())["hello"]
            assert hello == {"device": "socket", "boot_id": 0, "seq": 0, "desired": {}, "desired_revision": 0}
            for seq in range(1, 41):
                await socket.send(line_of(update("socket", seq)))
            acks = [json.loads(await socket.recv())["acks"][0] for _ in range(40)]
            assert [(ack["seq"], ack["status"]) for ack in acks] == [(seq, "applied") for seq in range(1, 41)]
            await asyncio.to_thread(service.ask, "PATCH", "/v1/twins/socket/desired", {"state": {"speed_mps": 3}})
            assert json.loads(await socket.recv()) == {"desired": {"speed_mps": 3}, "desired_revision": 1}
            await socket.send(line_of(update("mixed", 99)).decode() + "\nrubbish")
            acks = json.loads(await socket.recv())["acks"]
            assert [ack["detail"] for ack in acks][0] == "of mixed, sent by socket"
            await asyncio.to_thread(service.ask, "DELETE", "/v1/twins/socket")
            await asyncio.to_thread(enrol, service, "socket")

    asyncio.run(main())


def test_a_stream_of_nobody_is_closed(service):
    async def closed(path):
        async with connect(f"ws://127.0.0.1:{service.port}{path}") as socket:
            with pytest.raises(ConnectionClosed) as found:
                await socket.recv()
        return found.value.rcvd.code, found.value.rcvd.reason

    assert asyncio.run(closed("/v1/stream?device=nobody")) == (4404, "twin 'nobody': not enrolled")
    assert asyncio.run(closed("/v1/stream?devise=nobody")) == (4400, "devise: unknown; there is device")


def test_a_road_segment_is_kept_current(service):
    definition = {"kind": "road-segment", "points_m": [[0, 5000], [1000, 5000]], "width_m": 20, "of": ["vehicle"]}
    assert service.ask("PUT", "/v1/services/high-street", definition)["count"] == 0
    for name, speed in (("road-1", 10.0), ("road-2", 20.0)):
        enrol(service, name)
        send(service, update(name, 1, x_m=100.0, y_m=5003.0, speed_mps=speed))
    found = service.get("/v1/services/high-street")
    assert (found["count"], found["mean_speed_mps"]) == (2, 15.0)
    send(service, update("road-2", 2, x_m=100.0, y_m=300.0, speed_mps=20.0))
    assert service.get("/v1/services/high-street")["count"] == 1
    service.ask("DELETE", "/v1/twins/road-1")
    assert service.get("/v1/services/high-street")["count"] == 0
    assert service.ask("DELETE", "/v1/services/high-street") is None


def test_metrics_tell_what_became_of_messages(service):
    import urllib.request

    enrol(service, "counted")
    send(service, update("counted"), update("counted"))
    text = urllib.request.urlopen(f"{service.url}/metrics").read().decode()
    for line in ('status="applied"', 'status="duplicate"', "edgetwin_commit_seconds_bucket", "edgetwin_twins{"):
        assert line in text


def test_it_comes_back_with_what_it_had_and_ends_in_order(tmp_path):
    data = tmp_path / "twins"
    service = ServiceProcess(data, "--host", "north", "--host", "south")
    with service:
        enrol(service, "car")
        send(service, update("car"))
        service.ask(
            "PUT", "/v1/services/all", {"kind": "road-segment", "points_m": [[0, 0], [9, 0]], "width_m": 9, "of": ["vehicle"]}
        )
    assert service.process.returncode == 0
    with service:
        assert service.get("/v1/twins/car")["revision"] == 1
        assert service.get("/v1/services/all")["count"] == 1
        assert [host["name"] for host in service.get("/v1/hosts")["hosts"]] == ["centre", "north", "south"]
        second = ServiceProcess(data, "--host", "north", "--host", "south")
        with pytest.raises(RuntimeError, match="another process has this store open"):
            second.start()
        assert second.process.returncode == 2
    assert logs_in(data)["car"]["revision"] == 1
    assert sqlite_calls(data / "north.sqlite", "PRAGMA integrity_check") == [("ok",)]
    logged = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    assert [one["event"] for one in logged] == ["ready", "stopped", "ready", "stopped"]


def test_with_a_token_nothing_else_is_open(tmp_path):
    token = tmp_path / "token"
    token.write_text("correct-horse-battery\n")
    service = ServiceProcess(tmp_path / "twins", "--token-file", str(token))
    with service:
        assert service.refused("GET", "/v1/twins")[0] == 401
        assert service.get("/health") == {"status": "ok"}

        async def main():
            headers = {"Authorization": "Bearer correct-horse-battery"}
            async with connect(f"ws://127.0.0.1:{service.port}/v1/stream", additional_headers=headers) as socket:
                await socket.send(b"rubbish")
                assert json.loads(await socket.recv())["acks"][0]["reason"] == "malformed"
            with pytest.raises(Exception, match="401"):
                async with connect(f"ws://127.0.0.1:{service.port}/v1/stream"):
                    pass

        asyncio.run(main())


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("0.0.0.0:8700", "reachable from elsewhere: give a token file"),
        ("[::]:8700", "reachable from elsewhere"),
        ("localhost", "ADDRESS:PORT"),
        ("127.0.0.1:http", "the port is a number"),
        ("127.0.0.1:70000", "the port is a number"),
        ("example.org:80", "ADDRESS:PORT"),
    ],
)
def test_where_it_may_listen(listen, said):
    with pytest.raises(InputError, match=said):
        serve.address(listen, None)


def test_loopback_needs_no_token():
    assert serve.address("127.0.0.1:8700", None) == ("127.0.0.1", 8700)
    assert serve.address("[::1]:0", None) == ("::1", 0)
    assert serve.address("0.0.0.0:80", "t" * 16) == ("0.0.0.0", 80)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hosts": ["a", "a"]}, "each once"),
        ({"hosts": ["centre"]}, "the control centre's"),
        ({"hosts": ["a/b"]}, "letters, digits"),
        ({"hosts": ["a"], "store": "mysql://x"}, "sqlite, or postgresql://"),
    ],
)
def test_options_without_sense(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        serve.application(tmp_path, **options)


def test_a_service_with_mqtt_takes_messages_by_it_and_tells_changes(tmp_path):
    async def main():
        async with nats_server(tmp_path / "nats") as server:
            service = ServiceProcess(tmp_path / "twins", "--nats", server.url)
            await asyncio.to_thread(service.start)
            try:
                await asyncio.to_thread(enrol, service, "radio")
                listener = await nats.connect(server.url)
                changes = await listener.subscribe("edgetwin.bus.changes.>")
                async with aiomqtt.Client("127.0.0.1", server.mqtt_port, identifier="radio") as device:
                    await device.subscribe("edgetwin/v1/acks/radio", qos=1)
                    await device.subscribe("edgetwin/v1/desired/radio", qos=1)
                    messages = aiter(device.messages)

                    async def told(topic):
                        async with asyncio.timeout(20):
                            while (message := await anext(messages)).topic.value != f"edgetwin/v1/{topic}/radio":
                                pass
                            return json.loads(message.payload)

                    for _ in range(100):
                        await device.publish("edgetwin/v1/updates/radio", line_of(update("radio", 1)), qos=1)
                        try:
                            async with asyncio.timeout(0.2):
                                found = await told("acks")
                                break
                        except TimeoutError:
                            continue
                    assert found["acks"][0]["status"] in ("applied", "duplicate")
                    revisions = [0]  # that of the enrolment may still come
                    while revisions == [0]:
                        news = json.loads((await changes.next_msg(timeout=10)).data)
                        revisions = [one["revision"] for one in news if one["twin_id"] == "radio"]
                    assert revisions == [1]
                    await asyncio.to_thread(service.ask, "PATCH", "/v1/twins/radio/desired", {"state": {"speed_mps": 4}})
                    while (await told("desired"))["desired"] != {"speed_mps": 4}:
                        pass
                await listener.close()
            finally:
                assert await asyncio.to_thread(service.stop) == 0
        assert logs_in(tmp_path / "twins")["radio"]["revision"] == 1

    asyncio.run(main())
