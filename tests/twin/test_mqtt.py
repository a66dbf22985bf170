"""Devices over MQTT with a real NATS server: what is acknowledged end to end is applied once, whatever is killed in between."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import nats
import pytest

from edgetwin.errors import InputError
from edgetwin.twin.bus import LocalBus, desired_news
from edgetwin.twin.centre import Centre
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import Ack, line_of
from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.nats import stream as nats_stream
from edgetwin.twin.nats.mqtt import STREAM, frames, serve_mqtt
from edgetwin.twin.record import Twin
from edgetwin.twin.stores.sqlite import SQLiteStore
from twin.hosts import FullDisk, logs_in, update
from twin.nats_server import NatsServer, nats_server


@asynccontextmanager
async def front_over(folder, devices=("car-1",), around=lambda store: store):
    """A control centre with one host over the store in a folder, and the devices enrolled."""
    kinds = read_kinds()
    host = Host("edge-1", around(SQLiteStore(folder / "edge-1.sqlite")), kinds)
    front = Centre([host], kinds, SQLiteDirectory(folder / "directory.sqlite"))
    await front.start()
    front.bus = LocalBus()
    try:
        for device in devices:
            await front.enrol(device, "vehicle")
        yield front
    finally:
        await front.close()


@asynccontextmanager
async def serving(server, front):
    """Serves devices; begins once the stream takes what they send, if the server runs."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve_mqtt(server.url, front, stop))
    try:
        if server.runs:
            client = await nats.connect(server.url)
            async with asyncio.timeout(10):
                while True:
                    with suppress(nats.js.errors.NotFoundError):
                        await client.jetstream().stream_info(STREAM)
                        break
                    await asyncio.sleep(0.01)
            await client.close()
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def device_at(server, device="car-1", **login):
    """A device's connection, told of its acknowledgements and its desired state."""
    async with aiomqtt.Client("127.0.0.1", server.mqtt_port, identifier=f"id-{device}", timeout=2, **login) as client:
        await client.subscribe([(f"edgetwin/v1/acks/{device}", 1), (f"edgetwin/v1/desired/{device}", 1)])
        yield client


async def send(client, *updates, topic="car-1"):
    payload = b"\n".join(one if isinstance(one, bytes) else line_of(one) for one in updates)
    await client.publish(f"edgetwin/v1/updates/{topic}", payload, qos=1)


async def heard(client, what="acks", within_s=10.0):
    """The next answer of a kind."""
    async with asyncio.timeout(within_s):
        async for message in client.messages:
            fields = json.loads(message.payload)
            if what in fields:
                return fields
    raise AssertionError


async def all_heard(client, within_s):
    """All acknowledgements until none come for so long."""
    told = []
    with suppress(TimeoutError):
        while True:
            told += (await heard(client, within_s=within_s))["acks"]
    return told


def statuses(answer):
    return [ack["status"] for ack in answer["acks"]]


def test_lines_are_answered_in_order_on_the_acks_topic(tmp_path):
    async def main():
        async with (
            nats_server(tmp_path / "nats") as server,
            front_over(tmp_path) as front,
            serving(server, front),
            device_at(server) as car,
        ):
            await send(car, update(seq=1, x_m=5.0, y_m=6.0), update(seq=2, x_m=7.0, y_m=6.0))
            answer = await heard(car)
            assert statuses(answer) == ["applied", "applied"]
            assert [ack["seq"] for ack in answer["acks"]] == [1, 2]
            assert front.twin("car-1").reported == {"x_m": 7.0, "y_m": 6.0}

            spoiled = line_of(update(seq=3)).replace(b"x_m", b"z_m")
            await send(car, b"rubbish", spoiled, update(seq=2), update(seq=3))
            assert statuses(await heard(car)) == ["quarantined", "damaged", "duplicate", "applied"]

    asyncio.run(main())


def test_a_device_speaks_only_for_itself(tmp_path):
    async def main():
        async with (
            nats_server(tmp_path / "nats") as server,
            front_over(tmp_path, ["car-1", "car-2"]) as front,
            serving(server, front),
            device_at(server, "car-2") as other,
        ):
            await send(other, update("car-1", x_m=9.0, y_m=9.0), update("car-2"), topic="car-2")
            answer = await heard(other)
            assert statuses(answer) == ["quarantined", "applied"]
            assert "car-1" in answer["acks"][0]["detail"] and answer["acks"][0]["reason"] == "malformed"
            assert front.twin("car-1").revision == 0
            await send(other, update("car-2", seq=2), topic="no.such.device")
            await send(other, update("car-2", seq=2), topic="car-2")
            assert statuses(await heard(other)) == ["applied"]
            assert (await front.own.quarantine_counts())["malformed"] == 2

    asyncio.run(main())


def test_the_configuration_in_the_documentation_holds_devices_to_their_own_topics(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text(encoding="utf-8").split("```")[1]
    config = text.replace("{", "{{").replace("}", "}}")
    for found, put in (
        ("127.0.0.1:4222", "127.0.0.1:{port}"),
        ("0.0.0.0:1883", "127.0.0.1:{mqtt_port}"),
        ("/var/lib/nats", "{folder}"),
    ):
        assert found in config
        config = config.replace(found, put)

    async def main():
        async with nats_server(tmp_path / "nats", config) as server, front_over(tmp_path, ["car-1", "car-2"]) as front:
            server.url = server.url.replace("//", "//edgetwin:change-me@")
            async with serving(server, front), device_at(server, username="car-1", password="change-me-too") as car:
                await car.publish("edgetwin/v1/updates/car-2", line_of(update("car-2")))
                await send(car, update())
                assert statuses(await heard(car)) == ["applied"]
                assert front.twin("car-2").revision == 0
                assert await front.own.quarantine_counts() == {}
            with pytest.raises(aiomqtt.MqttError):
                async with device_at(server):
                    pass

    asyncio.run(main())


def test_the_desired_state_comes_when_it_changes_after_a_boot_and_when_asked_for(tmp_path):
    async def main():
        async with nats_server(tmp_path / "nats") as server, front_over(tmp_path) as front, serving(server, front):
            async with device_at(server) as car:
                await send(car, update())
                await heard(car)
                await front.bus.publish(*desired_news(await front.home("car-1").desire("car-1", {"speed_mps": 3.0})))
                assert await heard(car, "desired") == {"desired": {"speed_mps": 3.0}, "desired_revision": 1}
                await send(car, b"")
                assert await heard(car, "desired") == {"desired": {"speed_mps": 3.0}, "desired_revision": 1}
            await front.home("car-1").desire("car-1", {"speed_mps": 4.0})
            async with device_at(server) as car:
                for seq, told in ((1, True), (2, False)):
                    await send(car, update(boot_id=2, seq=seq))
                    assert statuses(await heard(car)) == ["applied"]
                    if told:
                        assert (await heard(car, "desired"))["desired_revision"] == 2
                    else:
                        with pytest.raises(TimeoutError):
                            await heard(car, "desired", within_s=0.3)

    asyncio.run(main())


def test_what_a_host_cannot_take_now_waits_in_its_order_even_if_nats_restarts(tmp_path, monkeypatch):
    monkeypatch.setattr("edgetwin.twin.nats.link.PAUSE_S", 0.1)
    disk = None

    def around(store):
        nonlocal disk
        disk = FullDisk(store)
        return disk

    async def main():
        async with nats_server(tmp_path / "nats") as server, front_over(tmp_path, around=around) as front, serving(server, front):
            async with device_at(server) as car:
                await send(car, update(seq=1))
                await heard(car)
                disk.fill()
                for seq in range(2, 402):
                    await send(car, update(seq=seq, x_m=float(seq), y_m=seq / 7))
                told = await all_heard(car, within_s=1)
            assert len(told) < 400
            server.kill()
            await server.start()
            async with device_at(server) as car:
                disk.empty()
                while len(told) < 400:
                    told += (await heard(car))["acks"]
            assert {ack["status"] for ack in told} <= {"applied", "duplicate"}
            twin = front.twin("car-1")
            assert (twin.revision, twin.seq, twin.missing) == (401, 401, 0)

    asyncio.run(main())
    log = logs_in(tmp_path)["car-1"]["log"]
    assert [entry["seq"] for entry in log if entry["revision"] is not None] == list(range(1, 402))


def test_a_line_is_put_aside_once_while_others_of_its_message_wait(tmp_path):
    class Half:
        """Settles what is not an update, and updates only from the third time on."""

        bus = LocalBus()
        asked = []

        async def take(self, lines, sender=None):
            self.asked.append(list(lines))
            late = len(self.asked) > 2
            return [Ack("quarantined") if line == b"rubbish" else Ack("applied" if late else "retry", sender) for line in lines]

        def twin(self, twin_id):
            return Twin(twin_id, "vehicle")

    async def main():
        front = Half()
        async with nats_server(tmp_path / "nats") as server, serving(server, front), device_at(server) as car:
            await send(car, b"rubbish", b"good")
            assert statuses(await heard(car)) == ["quarantined", "applied"]
            assert front.asked == [[b"rubbish", b"good"], [b"good"], [b"good"]]

    asyncio.run(main())


def test_messages_wait_in_the_stream_while_nobody_serves(tmp_path):
    async def main():
        async with nats_server(tmp_path / "nats") as server, front_over(tmp_path) as front:
            async with serving(server, front), device_at(server) as car:
                await send(car, update(seq=1))
                await heard(car)
            async with device_at(server) as car:
                for seq in range(2, 50):
                    await send(car, update(seq=seq))
                assert front.twin("car-1").seq == 1
                async with serving(server, front):
                    for seq in range(2, 50):
                        assert [(a["status"], a["seq"]) for a in (await heard(car))["acks"]] == [("applied", seq)]

    asyncio.run(main())


async def persistent_device(server, device, count, acked, pause_s=0.004):
    """Sends updates 1 to `count` until each is acknowledged, over as many connections as it takes."""
    unsettled = {}

    async def hear(car):
        async for message in car.messages:
            for ack in json.loads(message.payload)["acks"]:
                if ack["status"] in ("applied", "late", "duplicate"):
                    acked.setdefault(ack["seq"], []).append(ack["status"])
                    unsettled.pop(ack["seq"], None)

    seq = 0
    while seq < count or unsettled:
        try:
            async with device_at(server, device) as car:
                hearing = asyncio.create_task(hear(car))
                try:
                    for one in list(unsettled.values()):
                        await send(car, one, topic=device)
                    while seq < count:
                        await asyncio.sleep(pause_s)
                        seq += 1
                        unsettled[seq] = update(device, seq, x_m=float(seq), y_m=0.0)
                        await send(car, unsettled[seq], topic=device)
                    async with asyncio.timeout(1):
                        while unsettled and not hearing.done():
                            await asyncio.sleep(0.02)
                finally:
                    hearing.cancel()
                    await asyncio.gather(hearing, return_exceptions=True)
        except (aiomqtt.MqttError, TimeoutError):
            await asyncio.sleep(0.05)


def test_what_was_acknowledged_is_applied_once_though_nats_and_the_service_are_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("edgetwin.twin.nats.link.PAUSE_S", 0.1)
    devices, count = ["car-1", "car-2"], 400
    acked = {device: {} for device in devices}

    async def main():
        async with nats_server(tmp_path / "nats") as server, front_over(tmp_path, devices) as front:
            fleet = [asyncio.create_task(persistent_device(server, device, count, acked[device])) for device in devices]
            for _ in range(3):
                async with serving(server, front):
                    await asyncio.sleep(0.4)
                    assert all(len(acks) < count for acks in acked.values())
                    server.kill()
                    await asyncio.sleep(0.1)
                    await server.start()
                    await asyncio.sleep(0.4)
            async with serving(server, front), asyncio.timeout(40):
                await asyncio.gather(*fleet)

    asyncio.run(main())
    for device, found in logs_in(tmp_path).items():
        in_log = [entry["seq"] for entry in found["log"]]
        assert sorted(acked[device]) == sorted(in_log) == list(range(1, count + 1))
        assert all(statuses.count("applied") + statuses.count("late") <= 1 for statuses in acked[device].values())


def test_a_full_stream_refuses_and_what_it_refused_is_not_acknowledged(tmp_path, monkeypatch):
    monkeypatch.setattr(nats_stream, "MAX_STREAM_BYTES", 20_000)

    async def main():
        async with nats_server(tmp_path / "nats") as server, front_over(tmp_path) as front:
            async with serving(server, front), device_at(server) as car:
                await send(car, update(seq=1))
                await heard(car)
            async with device_at(server) as car:
                for seq in range(2, 302):
                    await send(car, update(seq=seq))  # each has its PUBACK
                async with serving(server, front):
                    taken = [ack["seq"] for ack in await all_heard(car, within_s=2)]
                    assert taken == list(range(2, taken[-1] + 1)) and 20 < len(taken) < 200
                    assert front.twin("car-1").seq == taken[-1]
                    for seq in range(taken[-1] + 1, taken[-1] + 11):
                        await send(car, update(seq=seq))
                        assert statuses(await heard(car)) == ["applied"]

    asyncio.run(main())


def test_a_reader_is_told_when_another_has_taken_its_place(tmp_path):
    async def main():
        async with nats_server(tmp_path / "nats") as server:
            client = await nats.connect(server.url)
            await nats_stream.made_ready(client, "S", "s.*")
            first, second = (nats_stream.Reader(client, "S", "r") for _ in range(2))
            await first.open()
            assert await first.next(0.2) == []
            await client.publish("s.a", b"1")
            [message] = await first.next(5)
            await second.open()
            with pytest.raises(nats.errors.Error, match="another reader"):
                await first.next(5)
            [again] = await second.next(5)
            assert again.data == message.data == b"1"
            await again.ack()
            assert await second.next(0.2) == []
            await client.close()

    asyncio.run(main())


def test_more_than_the_reader_may_have_unsettled_stays_in_the_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(nats_stream, "MAX_UNSETTLED", 30)
    monkeypatch.setattr(nats_stream, "BATCH", 20)

    async def main():
        async with nats_server(tmp_path / "nats") as server:
            client = await nats.connect(server.url)
            await nats_stream.made_ready(client, "S", "s.*")
            for number in range(100):
                await client.publish("s.a", b"%d" % number)
            reader = nats_stream.Reader(client, "S", "r")
            await reader.open()
            came = []
            async with asyncio.timeout(30):
                while len(came) < 30:
                    came += await reader.next(0.5)
            for _ in range(3):
                assert await reader.next(0.2) == []
            done = 0
            async with asyncio.timeout(30):
                while done < 100:
                    for message in came[done : done + 10]:
                        await message.ack()
                    done = min(done + 10, len(came))
                    if len(came) < 100:
                        came += await reader.next(0.5)
            assert [int(message.data) for message in came] == list(range(100))
            async with asyncio.timeout(30):
                while (await client.jetstream().stream_info("S")).state.messages:
                    await asyncio.sleep(0.02)
            await client.close()

    asyncio.run(main())


def test_answers_are_split_where_they_are_too_long():
    acks = [Ack("applied", "car-1", 1, seq, seq) for seq in range(1, 101)]
    parts = frames(acks, 1000)
    assert len(parts) > 5 and all(len(part) <= 1000 for part in parts)
    assert [ack["seq"] for part in parts for ack in json.loads(part)["acks"]] == list(range(1, 101))
    assert frames([], 1000) == [b'{"acks":[]}']


@pytest.mark.parametrize(
    "url", ["localhost:4222", "http://localhost:4222", "nats://", "nats://user:secret@host:port", "nats://h:0"]
)
def test_an_address_without_sense_is_refused_and_no_password_shown(url):
    with pytest.raises(InputError, match="nats://HOST:PORT") as error:
        asyncio.run(serve_mqtt(url, None, asyncio.Event()))
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("edgetwin.twin.nats.link.PAUSE_S", 0.1)

    async def main():
        server = NatsServer(tmp_path / "nats")
        async with front_over(tmp_path) as front, serving(server, front):
            await asyncio.sleep(0.3)
            try:
                await server.start()
                async with device_at(server) as car:
                    answer = None
                    while answer is None:
                        await send(car, update())
                        try:
                            answer = await heard(car, within_s=1)
                        except TimeoutError:
                            continue
                assert statuses(answer) == ["applied"]
            finally:
                server.kill()

    asyncio.run(main())
