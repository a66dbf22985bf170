"""The emulated fleet against a real service: what it says it did is what the service has, through faults and restarts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import edgetwin.cli.emulate  # noqa: F401
from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.scenario import scenario
from edgetwin.twin.bus import LocalBus
from edgetwin.twin.devices.couriers import HttpCourier
from edgetwin.twin.devices.emulate import Emulation, Plan
from edgetwin.twin.devices.faults import BAD, Faults
from edgetwin.twin.devices.figures import Latencies
from edgetwin.twin.messages import Ack
from edgetwin.twin.nats.mqtt import serve_mqtt
from twin.checker import judged, read_history
from twin.live import Live, until
from twin.nats_server import nats_server
from twin.service import ServiceProcess

WALKS = scenario("association/n100-m10")
EVERYTHING = Faults(loss=0.05, duplicate=0.1, reorder=0.2, corrupt=0.05, skew=0.5, reboot=0.05, silence=0.02, bad=0.1)


@pytest.fixture
def live(tmp_path):
    with Live(tmp_path) as service:
        yield service


def emulated(live, tmp_path, meanwhile=lambda: None, **plan):
    """A run's summary, and its history."""
    file = tmp_path / "history.jsonl"
    settings = {"url": live.url, "scenario": WALKS, "devices": 20, "rate_hz": 20.0, "duration_s": 1.0, "history": file, **plan}
    emulation = Emulation(Plan(**settings))
    other = threading.Thread(target=meanwhile)
    other.start()
    summary = asyncio.run(emulation.run())
    other.join()
    return summary, read_history(file)


def twins(live):
    """The service's twins with their logs, as the checker wants them."""

    def entry(one):
        return {
            "boot_id": one.boot_id,
            "seq": one.seq,
            "revision": one.revision,
            "measured_s": one.measured_s,
            "changes": one.changes,
        }

    return {
        name: {
            "revision": live.centre.twin(name).revision,
            "reported": live.centre.twin(name).reported,
            "base": {"revision": 0, "state": {}},
            "log": [entry(one) for one in live.entries(name)],
        }
        for name in [twin.id for twin in live.centre.page("", 10_000)]
    }


@pytest.mark.parametrize("protocol", ["http", "websocket"])
def test_without_faults_every_report_is_applied_once(live, tmp_path, protocol):
    summary, events = emulated(live, tmp_path, protocol=protocol)
    assert summary["made"] == summary["settled"] == summary["transmitted"] == 400
    assert summary["acked"] == {"applied": 400}
    assert summary["unsettled"] == 0
    found = twins(live)
    assert {twin["revision"] for twin in found.values()} == {20}
    verdict = judged(events, found)
    assert verdict.violations == []
    assert verdict.acknowledged == 400
    last = live.centre.twin("emulated-3").reported
    assert set(last) == {"x_m", "y_m", "speed_mps", "heading_rad"}
    assert 0 <= last["x_m"] <= WALKS.area.width_m


@pytest.mark.parametrize("protocol", ["http", "websocket"])
def test_whatever_goes_wrong_what_is_acknowledged_is_there(live, tmp_path, protocol):
    """Every fault at once, and the service restarts twice under load."""

    def restarts():
        for _ in range(2):
            time.sleep(0.7)
            live.__exit__()
            time.sleep(0.2)
            live.__enter__()

    summary, events = emulated(live, tmp_path, restarts, protocol=protocol, faults=EVERYTHING, duration_s=2.5, seed=4)
    verdict = judged(events, twins(live))
    assert verdict.violations == []
    assert verdict.acknowledged > 400
    assert summary["unsettled"] == 0
    assert summary["connections_lost"] > 0
    assert summary["lost_by_reboot"] > 0
    for status in ("applied", "late", "duplicate", "damaged", "quarantined"):
        assert summary["acked"][status] > 0, status
    assert {*BAD, "clock-skew", "malformed"} - {"missing"} <= set(summary["reasons"])


def test_by_mqtt_the_same_promises_hold(live, tmp_path):
    async def both():
        async with nats_server(tmp_path / "nats") as server:
            live.centre.bus = LocalBus()
            stop = asyncio.Event()
            serving = asyncio.run_coroutine_threadsafe(serve_mqtt(server.url, live.centre, stop), live._loop)
            plan = Plan(
                live.url,
                WALKS,
                devices=80,
                protocol="mqtt",
                broker=f"mqtt://127.0.0.1:{server.mqtt_port}",
                rate_hz=8,
                duration_s=2,
                faults=Faults(loss=0.05, duplicate=0.1, corrupt=0.05, bad=0.05),
                history=tmp_path / "history.jsonl",
            )
            try:
                return await Emulation(plan).run()
            finally:
                live._loop.call_soon_threadsafe(stop.set)
                await asyncio.wrap_future(serving)

    summary = asyncio.run(both())
    verdict = judged(read_history(tmp_path / "history.jsonl"), twins(live))
    assert verdict.violations == []
    assert verdict.acknowledged > 1000
    assert (summary["made"], summary["unsettled"]) == (1280, 0)


def test_a_service_that_has_no_room_is_asked_again(live, tmp_path):
    asked = []
    live.answer = lambda acks: acks if len(asked) > 8 or asked.append(acks) else [Ack("retry")] * len(acks)
    summary, events = emulated(live, tmp_path)
    assert summary["acked"]["retry"] > 0
    assert summary["unsettled"] == 0
    assert judged(events, twins(live)).violations == []


def test_the_seed_decides_how_devices_move_and_what_goes_wrong(live, tmp_path):
    def states(seed):
        wrong = Faults(reboot=0.1, silence=0.05)
        _, events = emulated(live, tmp_path, seed=seed, faults=wrong, duration_s=0.5)
        sent = [event for event in events if event["event"] == "sent"]
        first = min(event["boot_id"] for event in sent)
        return [(e["device"], e["boot_id"] > first, e["seq"], e["state"]) for e in sent]

    once = states(1)
    assert states(1) == once
    assert states(2) != once


def test_the_command_tells_what_became_of_all(live, capsys):
    words = f"emulate --url {live.url} --scenario association/n100-m10 --devices 20 --rate 10 --duration 0.5".split()
    assert main([*words, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["made"], summary["acked"]) == (100, {"applied": 100})
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert main(words) == 0
    assert "100" in capsys.readouterr().out


def test_interrupted_it_ends_in_order(live, capsys):
    def interrupt():
        until(lambda: any(twin.revision > 2 for twin in live.centre.page("", 1)))
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    assert (
        main(["emulate", "--url", live.url, "--scenario", "association/n100-m10", "--devices", "20", "--rate", "20", "--json"])
        == 0
    )
    other.join()
    summary = json.loads(capsys.readouterr().out)
    assert summary["made"] == summary["settled"] > 20
    assert summary["elapsed_s"] < 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--devices", "0"], "devices = 0: at least 1"),
        (["--rate", "0"], "rate = 0: updates per second"),
        (["--duration", "-1"], "duration = -1: seconds, above 0"),
        (["--fault", "los=1"], "--fault los=1: there are loss"),
        (["--url", "ftp://here"], "url ftp://here: http://HOST:PORT"),
        (["--protocol", "mqtt", "--broker", "nats://here"], "broker nats://here: mqtt://HOST:PORT"),
        (["--history", "/nowhere/at/all"], "history /nowhere/at/all: cannot be written"),
        (["--scenario", "atlantis"], "scenario 'atlantis' is not known"),
    ],
)
def test_plans_without_sense_are_refused(words, said, capsys):
    assert main(["emulate", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_service_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("edgetwin.twin.devices.emulate.START_S", 0.1)
    with pytest.raises(InputError, match="http://127.0.0.1:1: emulated-. cannot be enrolled"):
        asyncio.run(Emulation(Plan("http://127.0.0.1:1", WALKS, 20)).run())


def test_http_answers_in_pieces_are_put_together():
    """An answer that comes byte by byte, one that ends the connection, and one that breaks off."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 201 Created\r\nContent-LENGTH:  2\r\nconnection: close\r\n\r\n{}":
            writer.write(bytes([byte]))
            await writer.drain()
        writer.close()

    async def break_off(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
        writer.close()

    async def main_():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            asking = HttpCourier(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            assert await asking.ask("PUT", "/a") == (201, b"{}")
            assert await asking.ask("PUT", "/b") == (201, b"{}")
            await asking.close()
        async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
            asking = HttpCourier(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(ConnectionError):
                await asking.deliver(["a"], [b"{}"])
            await asking.close()

    asyncio.run(main_())


def test_quantiles_are_those_of_all_times_to_two_per_cent():
    times = Latencies()
    assert times.quantile_ms(0.5) is None
    for number in range(1, 1001):
        times.add(number / 1000)
    assert times.quantile_ms(0.5) == pytest.approx(500, rel=0.02)
    assert times.quantile_ms(0.99) == pytest.approx(990, rel=0.02)


@pytest.mark.parametrize("protocol", ["http", "websocket"])
def test_a_fleet_and_the_service_itself_as_two_processes(tmp_path, protocol):
    with ServiceProcess(tmp_path / "twins") as service:
        words = f"emulate --url {service.url} --scenario association/n100-m10 --devices 20 --rate 10 --duration 1 --protocol {protocol}"
        done = subprocess.run([sys.executable, "-m", "edgetwin", *words.split(), "--json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["made"], summary["acked"], summary["unsettled"]) == (200, {"applied": 200}, 0)
        assert service.get("/v1/twins/emulated-19")["revision"] == 10
