"""The device client against a real service: nothing reported is lost or applied twice, whatever breaks in between."""

import asyncio
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from edgetwin.errors import InputError
from edgetwin.twin.devices.blocking import BlockingDevice
from edgetwin.twin.devices.client import Device, OutboxFull, Unacknowledged
from edgetwin.twin.devices.outbox import Message, Outbox
from edgetwin.twin.messages import Ack
from edgetwin.twin.refusal import Refused
from twin.live import Live, until


@pytest.fixture
def live(tmp_path):
    with Live(tmp_path) as service:
        yield service


def test_a_device_enrols_itself_and_reports(live):
    async def main():
        async with Device(live.url, "car-7", kind="vehicle") as car:
            ack = await car.report({"x_m": 1.0, "y_m": 2.0}, wait=True)
            assert (ack.status, ack.device, ack.boot_id, ack.seq, ack.revision) == ("applied", "car-7", car.boot_id, 1, 1)
            await car.report({"x_m": 3.0, "y_m": 2.0}, time_s=time.time())
            await car.flush()
            assert car.pending == 0
            ack = await car.report({"x_m": "north", "y_m": 0}, wait=True)
            assert (ack.status, ack.reason) == ("quarantined", "wrong-type")

    asyncio.run(main())
    assert live.centre.twin("car-7").kind == "vehicle"
    assert live.centre.twin("car-7").reported == {"x_m": 3.0, "y_m": 2.0}


def test_the_code_in_the_documentation_runs(live, capsys):
    page = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    code = page.split("```py\n")[1].split("```")[0]
    exec(code.replace("http://127.0.0.1:8700", live.url), {})
    assert capsys.readouterr().out == "applied 2 {}\n"
    assert live.centre.twin("car-7").reported == {"x_m": 12.9, "y_m": 88.3}


def test_a_device_without_asyncio_does_the_same(live):
    with BlockingDevice(live.url, "car", kind="vehicle") as car:
        assert car.report({"x_m": 1, "y_m": 1}) is None
        assert car.report({"x_m": 2, "y_m": 1}, wait=True).revision == 2
        with pytest.raises(InputError):
            car.report({})
        assert car.desired == {}
    with pytest.raises(InputError, match="not enrolled"), BlockingDevice(live.url, "stranger"):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("-device")]


def test_each_start_has_a_higher_boot_whatever_the_clock_says(live, monkeypatch):
    now_s = time.time()
    ahead = int(now_s + 1e6)

    async def main():
        boots = []
        for clock_s in (ahead, now_s, now_s):
            monkeypatch.setattr("edgetwin.twin.devices.client.time.time", lambda clock_s=clock_s: clock_s)
            async with Device(live.url, "car", kind="vehicle") as car:
                await car.report({"x_m": 1, "y_m": 1}, time_s=now_s, wait=True)
                boots.append(car.boot_id)
        return boots

    first, second, third = asyncio.run(main())
    assert (first, second, third) == (1000 * ahead, 1000 * ahead + 1, 1000 * ahead + 2)


def test_a_service_that_restarts_gets_every_report_once_and_in_order(tmp_path):
    """The service is stopped and started under load; half of its acknowledgements are swallowed by ending the connection before they are sent."""
    live = Live(tmp_path)
    draw = random.Random(3)

    async def main():
        with live:
            async with Device(live.url, "car", kind="vehicle") as car:
                for number in range(300):
                    await car.report({"x_m": number, "y_m": 0})
                    await asyncio.sleep(0.002)
                    if number % 100 == 50:
                        await asyncio.to_thread(live.__exit__)
                    if number % 100 == 80:
                        await asyncio.to_thread(live.__enter__)
                    if number % 100 == 90:
                        live.answer = lambda acks: acks if draw.random() < 0.5 else acks[:-1]
                live.answer = lambda acks: acks
                await car.flush()
                return live.entries("car")

    entries = asyncio.run(main())
    assert [entry.seq for entry in entries] == list(range(1, 301))
    assert [entry.revision for entry in entries] == list(range(1, 301))
    assert [entry.changes["x_m"] for entry in entries] == list(range(300))


def test_retry_keeps_and_damaged_sends_again_until_it_gives_up(live):
    seen = []

    def deny(acks):
        seen.append([ack.seq for ack in acks])
        return [ack._replace(status="retry") for ack in acks] if len(seen) < 3 else acks

    async def main():
        async with Device(live.url, "car", kind="vehicle") as car:
            live.answer = deny
            first = await car.report({"x_m": 1, "y_m": 0}, wait=True)
            assert seen == [[1], [1], [1]]
            live.answer = lambda acks: [Ack("damaged", reason="damaged") for _ in acks if not seen.append(acks)]
            del seen[:]
            second = await car.report({"x_m": 2, "y_m": 0}, wait=True)
            return first, second

    first, second = asyncio.run(main())
    assert first.status == "duplicate"
    assert (second.status, len(seen)) == ("damaged", 5)


def test_a_full_outbox_says_so_and_waiting_waits_for_room(live):
    async def main():
        async with Device(live.url, "car", kind="vehicle", capacity=3) as car:
            await asyncio.to_thread(live.__exit__)
            for number in range(3):
                await car.report({"x_m": number, "y_m": 0})
            with pytest.raises(OutboxFull):
                await car.report({"x_m": 3, "y_m": 0})
            waiting = asyncio.create_task(car.report({"x_m": 4, "y_m": 0}, wait=True))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await asyncio.to_thread(live.__enter__)
            assert (await waiting).seq == 4
        return [entry.changes["x_m"] for entry in live.entries("car")]

    assert asyncio.run(main()) == [0, 1, 2, 4]


def test_desired_state_comes_at_the_start_and_when_it_changes(live):
    heard = []

    async def main():
        async with Device(live.url, "car", kind="vehicle", on_desired=heard.append) as car:
            await asyncio.to_thread(live.do, live.centre.desire("car", {"occupied": True}))
            await asyncio.to_thread(until, lambda: car.desired == {"occupied": True})
        async with Device(live.url, "car", on_desired=heard.append) as car:
            assert (car.desired, car.desired_revision) == ({"occupied": True}, 1)

    asyncio.run(main())
    assert heard == [{"occupied": True}] * 2


def test_what_the_service_refuses_is_told(live):
    async def main():
        with pytest.raises(InputError, match="'car': not enrolled"):
            async with Device(live.url, "car"):
                pass
        with pytest.raises(InputError, match="kind 'ship': there are"):
            async with Device(live.url, "car", kind="ship"):
                pass
        async with Device(live.url, "car", kind="vehicle") as car:
            for state, said in (({}, "at least one property"), ({"x_m": float("nan")}, "JSON"), ({"x_m": object()}, "JSON")):
                with pytest.raises(InputError, match=said):
                    await car.report(state)
            assert car.pending == 0

    asyncio.run(main())


def test_an_erased_device_does_not_enrol_itself_again(live):
    async def main():
        async with Device(live.url, "car", kind="vehicle") as car:
            await asyncio.to_thread(live.do, live.centre.erase("car"))
            await asyncio.to_thread(live.__exit__)
            await asyncio.to_thread(live.__enter__)
            await car.report({"x_m": 0, "y_m": 0}, wait=True)

    with pytest.raises(InputError, match="not enrolled"):
        asyncio.run(main())
    assert not live.centre.holds("car")


def test_reports_that_nobody_took_are_told_at_the_end(monkeypatch):
    monkeypatch.setattr("edgetwin.twin.devices.client.START_S", 0.1)
    monkeypatch.setattr("edgetwin.twin.devices.client.CLOSE_S", 0.1)

    async def main():
        async with Device("http://127.0.0.1:1", "car") as car:
            await car.report({"x_m": 0, "y_m": 0})

    with pytest.raises(Unacknowledged, match="car: 1 reports"):
        asyncio.run(main())


KILLED = """
import asyncio, os, sys
from edgetwin.twin.devices.blocking import BlockingDevice
from edgetwin.twin.devices.client import Device

async def main():
    async with Device(sys.argv[1], "car", kind="vehicle", folder=sys.argv[2]) as car:
        await car.report({"x_m": 0, "y_m": 0}, wait=True)
        print(car.boot_id, flush=True)
        sys.stdin.readline()
        for number in range(1, 6):
            await car.report({"x_m": number, "y_m": 0})
        os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def test_a_killed_device_sends_what_was_left_under_its_old_numbers(live, tmp_path):
    device = subprocess.Popen(
        [sys.executable, "-c", KILLED, live.url, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    boot_id = int(device.stdout.readline())
    live.answer = lambda acks: [Ack("retry")] * len(acks)
    with device:
        device.communicate("go\n", timeout=20)
    assert device.returncode == -9
    live.answer = lambda acks: acks

    async def main():
        async with Device(live.url, "car", folder=tmp_path) as car:
            assert car.boot_id > boot_id
            await car.report({"x_m": 9, "y_m": 0}, wait=True)
            with pytest.raises(InputError, match="outbox"):
                Outbox(10, tmp_path / "car.outbox")

    asyncio.run(main())
    entries = live.entries("car")
    assert [(entry.boot_id, entry.seq, entry.changes["x_m"]) for entry in entries[:6]] == [(boot_id, n + 1, n) for n in range(6)]
    assert entries[6].changes == {"x_m": 9, "y_m": 0}
    assert [entry.revision for entry in entries] == list(range(1, 8))


def test_an_outbox_keeps_order_and_settles_by_name(tmp_path):
    box = Outbox(4, tmp_path / "box")
    messages = [Message(5, seq, b"x" * 10) for seq in (1, 2, 3, 4)]
    for message in messages:
        box.put(message)
    with pytest.raises(OutboxFull):
        box.put(Message(5, 5, b""))
    assert box.first(10, 25) == messages[:2]
    assert box.first(3, 1000) == messages[:3]
    assert box.first(3, 1) == messages[:1]
    box.settle([messages[1]])
    box.close()
    again = Outbox(4, tmp_path / "box")
    assert again.first(9, 1000) == [messages[0], *messages[2:]]
    again.close()


def test_a_file_that_is_no_outbox_is_refused(tmp_path):
    (tmp_path / "box").write_bytes(b"hello" * 100)
    with pytest.raises(InputError, match="box: cannot be used as an outbox"):
        Outbox(4, tmp_path / "box")
    assert (tmp_path / "box").read_bytes() == b"hello" * 100


@pytest.mark.parametrize(("url", "name"), [("ws://x", "car"), ("127.0.0.1:8700", "car"), ("http://x", "a/b")])
def test_addresses_and_names_without_sense_are_refused(url, name):
    with pytest.raises(InputError):
        Device(url, name)


def away_for(live, times):
    """Lets the service say `times` times that the twin is elsewhere; returns the count of times that it was asked."""
    there, asked = live.centre.twin, []

    def twin(name):
        asked.append(name)
        if len(asked) <= times:
            raise Refused(421, f"{name}: ask the centre")
        return there(name)

    live.centre.twin = twin
    return asked


def test_a_twin_that_left_is_asked_for_at_once(live, monkeypatch):
    monkeypatch.setattr("edgetwin.twin.devices.client.PAUSE_S", (60.0, 60.0))
    live.do(live.centre.enrol("car", "vehicle"))

    async def main():
        async with Device(live.url, "car") as car:
            await car.report({"x_m": 1, "y_m": 1}, wait=True)
            asked = away_for(live, 1)
            await asyncio.to_thread(live.do, live.centre.bus.publish("desired.car", b"{}"))
            await asyncio.to_thread(until, lambda: len(asked) >= 2, 20)
            async with asyncio.timeout(20):
                assert (await car.report({"x_m": 2, "y_m": 1}, wait=True)).revision == 2

    asyncio.run(main())


def test_a_twin_that_is_nowhere_is_asked_for_after_a_pause(live):
    live.do(live.centre.enrol("car", "vehicle"))

    async def main():
        asked = away_for(live, 4)
        async with Device(live.url, "car") as car:
            await car.report({"x_m": 1, "y_m": 1}, wait=True)
            return asked

    began = time.perf_counter()
    assert len(asyncio.run(main())) == 5
    assert time.perf_counter() - began > 0.05 + 0.1 + 0.2 + 0.4


def test_a_redirect_from_https_to_http_is_not_followed(monkeypatch):
    opened = []

    async def open_(self, address):
        opened.append(address)
        raise InvalidStatus(Response(307, "", Headers(Location="ws://elsewhere/v1/stream?device=car")))

    monkeypatch.setattr(Device, "_open", open_)
    for url, followed in (("http://centre", True), ("https://centre", False)):
        opened.clear()
        with pytest.raises(InvalidStatus):
            asyncio.run(Device(url, "car")._connect())
        assert (
            opened == [f"ws{url.removeprefix('http')}/v1/stream?device=car"] + ["ws://elsewhere/v1/stream?device=car"] * followed
        )
