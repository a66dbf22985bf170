"""What a host does with calls of a move that reach it twice, or after the move has ended there: over the real host, in virtual time."""

import asyncio
import random

import pytest

from edgetwin.twin.messages import Update
from edgetwin.twin.moves.endpoint import OpenMove
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Refused
from edgetwin.twin.stores.store import StoreUnavailable
from twin.simulation.host import SimulatedHost
from twin.simulation.loop import VirtualLoop
from twin.simulation.network import Process
from twin.simulation.store import Disk, MemoryStore

CAR = Twin("car-1", "vehicle")


def with_hosts(work, shared):
    """Runs `await work(a, b)` on two hosts, the first of which holds car-1 after three updates."""
    loop, rng = VirtualLoop(lambda executor, name, call: None), random.Random(1)
    disk = Disk(shared=True)
    hosts = []

    async def main():
        for name in ("a", "b"):
            hosts.append(SimulatedHost(Process(name, loop), MemoryStore(disk if shared else Disk(), name), rng))
        await hosts[0].create(CAR)
        for seq in (1, 2, 3):
            await hosts[0].take(Update("car-1", 1, seq, 0.0, {"x_m": float(seq)}))
        await work(*hosts)
        for host in hosts:
            host.process.kill()

    loop.run_until_complete(main())
    loop.close()


async def moved(a, b, move, epoch):
    """A whole move from a to b."""
    if not a.store.shared:
        await b.endpoint.stage(await a.endpoint.copy("car-1", move), move)
    frozen = await a.endpoint.freeze("car-1", move, b.name)
    await b.endpoint.verify(frozen, move)
    if a.store.shared:
        a.store.disk.owners["car-1"], a.store.disk.twins["car-1"] = b.name, frozen.tail.twin._replace(epoch=epoch)
    await b.endpoint.activate("car-1", move, epoch)
    await a.endpoint.release("car-1", move)


@pytest.mark.parametrize("shared", [False, True])
def test_a_twin_goes_there_and_back_and_there_again(shared):
    async def work(a, b):
        for move, one, other, epoch in (("m1", a, b, 2), ("m2", b, a, 3), ("m3", a, b, 4)):
            await moved(one, other, move, epoch)
            assert list(other.twins) == ["car-1"] and not one.twins and not one.endpoint.followed and not one.endpoint.frozen
        assert (await b.take(Update("car-1", 1, 4, 0.0, {"x_m": 4.0})))["revision"] == 4

    with_hosts(work, shared)


@pytest.mark.parametrize("shared", [False, True])
def test_what_comes_after_the_end_of_a_move_is_refused(shared):
    async def work(a, b):
        parcel = await a.endpoint.copy("car-1", "m1")
        frozen = await a.endpoint.freeze("car-1", "m1", "b")
        for host in (a, b):
            await host.endpoint.thaw("car-1", "m1")
            await host.endpoint.discard("car-1", "m1")
        late = [
            lambda: b.endpoint.reserve(CAR, "m1"),
            lambda: a.endpoint.copy("car-1", "m1"),
            lambda: b.endpoint.stage(parcel, "m1"),
            lambda: b.endpoint.extend(frozen.tail, "m1"),
            lambda: a.endpoint.freeze("car-1", "m1", "b"),
            lambda: b.endpoint.verify(frozen, "m1"),
        ]
        for call in late:
            with pytest.raises(Refused, match="m1 has ended"):
                await call()
        assert await a.endpoint.open_moves() == await b.endpoint.open_moves() == []
        assert (await a.take(Update("car-1", 1, 4, 0.0, {"x_m": 4.0})))["status"] == "applied"

    with_hosts(work, shared)


def test_a_copy_ends_where_a_commit_failed_that_was_made():
    """What that commit added was not heard, so that the copy would lack it and its hash would not tell."""

    async def work(a, b):
        await b.endpoint.stage(await a.endpoint.copy("car-1", "m1"), "m1")
        failing = ["after"]

        def trouble(when):
            if when in failing:
                failing.remove(when)
                raise StoreUnavailable("no answer")

        a.store.disk.trouble = trouble
        assert (await a.take(Update("car-1", 1, 4, 0.0, {"x_m": 4.0})))["status"] == "retry" and not failing
        while not a.available:
            await asyncio.sleep(0.1)
        assert a.twins["car-1"].revision == 4
        for late in (a.endpoint.tail("car-1", "m1"), a.endpoint.freeze("car-1", "m1", "b")):
            with pytest.raises(Refused, match="does not copy car-1"):
                await late
        await moved(a, b, "m2", 2)
        assert [entry.changes["x_m"] for entry in await b.entries("car-1", 10)] == [4.0, 3.0, 2.0, 1.0]

    with_hosts(work, shared=False)


def test_a_copy_that_was_verified_stays_as_it_is():
    async def work(a, b):
        parcel = await a.endpoint.copy("car-1", "m1")
        await b.endpoint.stage(parcel, "m1")
        await a.take(Update("car-1", 1, 4, 0.0, {"x_m": 4.0}))
        frozen = await a.endpoint.freeze("car-1", "m1", "b")
        await b.endpoint.verify(frozen, "m1")
        await b.endpoint.stage(parcel, "m1")
        damaged = frozen.tail._replace(entries=[frozen.tail.entries[0]._replace(changes={"x_m": 9.0})])
        await b.endpoint.extend(damaged, "m1")
        await b.endpoint.verify(frozen._replace(tail=damaged), "m1")
        twin = await b.endpoint.activate("car-1", "m1", 2)
        log = await b.entries("car-1", 10)
        assert twin.revision == 4 and [entry.changes["x_m"] for entry in log] == [4.0, 3.0, 2.0, 1.0]

    with_hosts(work, shared=False)


def test_a_copy_that_comes_again_when_the_twin_has_moved_on_is_not_kept():
    async def work(a, b):
        parcel = await a.endpoint.copy("car-1", "m1")
        await b.endpoint.stage(parcel, "m1")
        await b.endpoint.verify(await a.endpoint.freeze("car-1", "m1", "b"), "m1")
        await b.endpoint.activate("car-1", "m1", 2)
        assert (await b.endpoint.activate("car-1", "m1", 2)).epoch == 2
        await a.endpoint.release("car-1", "m1")
        await moved(b, a, "m2", 3)
        with pytest.raises(Refused, match="m1 has ended"):
            await b.endpoint.stage(parcel, "m1")
        with pytest.raises(Refused, match="no copy"):
            await b.endpoint.activate("car-1", "m1", 2)
        assert await b.endpoint.open_moves() == []

    with_hosts(work, shared=False)


def test_a_source_whose_store_was_away_forgets_the_move_all_the_same():
    """Reading its twins anew it finds car-1 given away; the release that comes then leaves nothing that a later move would stumble over."""

    async def work(a, b):
        frozen = await a.endpoint.freeze("car-1", "m1", "b")
        a.store.disk.owners["car-1"], a.store.disk.twins["car-1"] = "b", frozen.tail.twin._replace(epoch=2)
        await a.there()
        assert await a.endpoint.open_moves() == []
        await b.endpoint.activate("car-1", "m1", 2)
        await a.endpoint.release("car-1", "m1")
        await moved(b, a, "m2", 3)
        assert await b.endpoint.open_moves() == []
        assert await a.endpoint.freeze("car-1", "m3", "b")
        assert await a.endpoint.open_moves() == [OpenMove("car-1", "m3", "source")]

    with_hosts(work, shared=True)
