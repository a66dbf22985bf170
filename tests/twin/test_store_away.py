"""A database that goes away under load: devices keep what was not taken, nothing acknowledged is lost, and the service goes on by itself."""

import asyncio
import subprocess
import time

import pytest

from edgetwin.twin.stores.postgres import PostgresStore
from twin.checker import judged
from twin.devices import Devices
from twin.hosts import logs, logs_in
from twin.servers import postgres_server
from twin.service import ServiceProcess


def test_a_database_that_is_killed_and_comes_back(tmp_path):
    with postgres_server() as database:
        service = ServiceProcess(tmp_path / "twins", "--host", "edge-1", "--store", database.address)
        names = [f"car-{i}" for i in range(10)]
        load = Devices(service.port, names)

        async def main():
            service.start()
            for name in names:
                service.ask("PUT", f"/v1/twins/{name}", {"kind": "vehicle"})
            sending = asyncio.create_task(load.run())
            for _ in range(3):
                await asyncio.sleep(0.5)
                database.kill()
                while service.get("/ready", None) is not None:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(database.start)
                began = time.perf_counter()
                while service.get("/ready", None) is None:
                    assert time.perf_counter() - began < 20, service.log.read_text()[-1000:]
                    await asyncio.sleep(0.02)
            load.stop()
            await asyncio.wait_for(sending, 60)

        asyncio.run(main())
        assert service.stop() == 0
        store = PostgresStore(database.address, "edge-1")
        verdict = judged(load.events, logs(store))
        store.close()
    assert verdict.violations == []
    assert verdict.acknowledged == sum(event["event"] == "sent" for event in load.events) > 100
    assert "cannot be written to; devices keep their data" in service.log.read_text()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_and_has_room_again(small_disk):
    service = ServiceProcess(small_disk / "twins", "--host", "edge-1")
    service.log = small_disk.parent / "service.log"
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_500_000)
    names = [f"car-{i}" for i in range(10)]
    load = Devices(service.port, names, batch=40)

    async def main():
        service.start()
        for name in names:
            service.ask("PUT", f"/v1/twins/{name}", {"kind": "vehicle"})
        sending = asyncio.create_task(load.run())
        async with asyncio.timeout(60):
            while "cannot be written to; devices keep their data" not in service.log.read_text():
                await asyncio.sleep(0.05)
        assert service.process.poll() is None
        acknowledged = service.get("/v1/twins/car-0")["revision"]
        load.stop()
        await asyncio.sleep(0.5)
        assert load.unsettled > 0
        filler.unlink()
        await asyncio.wait_for(sending, 60)
        assert service.get("/v1/twins/car-0")["revision"] >= acknowledged

    asyncio.run(main())
    assert service.stop() == 0
    verdict = judged(load.events, logs_in(small_disk / "twins"))
    assert verdict.violations == []
    assert verdict.acknowledged == sum(event["event"] == "sent" for event in load.events)
