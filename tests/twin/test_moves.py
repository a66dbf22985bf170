"""Twins that move between hosts of one process: nothing lost, nothing twice, nothing out of order, whatever is under way."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from edgetwin.twin.centre import Centre
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import line_of
from edgetwin.twin.moves import drain as drain_
from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.moves.drain import Drain, drain
from edgetwin.twin.moves.endpoint import Frozen
from edgetwin.twin.record import Twin
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.sqlite import SQLiteStore
from twin.checker import judged
from twin.hosts import logs_in, update

NAMES = ("centre", "north", "south")


@asynccontextmanager
async def centre_over(folder, names=NAMES):
    kinds = read_kinds()
    hosts = [Host(name, SQLiteStore(folder / f"{name}.sqlite"), kinds) for name in names]
    centre = Centre(hosts, kinds, SQLiteDirectory(folder / "directory.sqlite"))
    await centre.start()
    try:
        yield centre
    finally:
        await centre.close()


async def sent(centre, *updates):
    return await centre.take([line_of(one) for one in updates])


def other(centre, twin):
    return "south" if centre.home(twin).name == "north" else "north"


def test_a_twin_moves_with_its_log_its_model_and_what_is_desired_of_it(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            await sent(centre, *(update("car-1", seq, x_m=float(seq), y_m=2.0) for seq in range(1, 31)))
            await centre.desire("car-1", {"occupied": True})
            before, source, destination = centre.twin("car-1"), centre.home("car-1").name, other(centre, "car-1")
            history = await centre.home("car-1").entries("car-1", 100)
            move = await centre.migrate("car-1", destination)
            assert (move.outcome, move.source, move.destination, move.entries) == ("moved", source, destination, 30)
            assert list(move.seconds) == ["prepare", "copy", "freeze", "verify", "commit", "activate", "release"]
            after = centre.twin("car-1")
            assert centre.home("car-1").name == destination and "car-1" not in centre.hosts[source].twins
            assert after == before._replace(epoch=2) and after.model
            assert await centre.home("car-1").entries("car-1", 100) == history
            assert (await centre.home("car-1").at("car-1", revision=3))[1] == {"x_m": 3.0, "y_m": 2.0}
            acks = await sent(centre, update("car-1", 30), update("car-1", 31))
            assert [(ack.status, ack.epoch) for ack in acks] == [("duplicate", 2), ("applied", 2)]
            assert (await centre.migrate("car-1", source)).outcome == "moved" and centre.twin("car-1").epoch == 3

    asyncio.run(main())
    assert {name: len(twin["log"]) for name, twin in logs_in(tmp_path).items()} == {"car-1": 31}


def test_what_is_asked_without_sense_is_refused_and_moves_nothing(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            home = centre.home("car-1").name
            for twin, host, status, said in (
                ("car-2", "south", 404, "not enrolled"),
                ("car-1", "mars", 404, "centre, north, south"),
                ("car-1", home, 409, "already"),
            ):
                with pytest.raises(Refused, match=said) as refused:
                    await centre.migrate(twin, host)
                assert refused.value.status == status
            await centre.cordon(other(centre, "car-1"))
            with pytest.raises(Refused, match="cordoned"):
                await centre.migrate("car-1", other(centre, "car-1"))
            assert centre.home("car-1").name == home and centre.twin("car-1").epoch == 1

    asyncio.run(main())


def test_messages_keep_their_order_while_their_twin_moves(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            for name in ("car-1", "car-2"):
                await centre.enrol(name, "vehicle")
            flying, seq = [], 0
            stopped = asyncio.Event()

            async def move():
                for _ in range(12):
                    assert (await centre.migrate("car-1", other(centre, "car-1"))).outcome == "moved"
                stopped.set()

            moving = asyncio.create_task(move())
            while not stopped.is_set():
                for _ in range(5):
                    seq += 1
                    frame = (
                        (update("car-1", seq), update("car-2", seq)) if seq % 2 else (update("car-2", seq), update("car-1", seq))
                    )
                    flying.append(asyncio.create_task(sent(centre, *frame)))
                await asyncio.sleep(0.004)
            await moving
            statuses = {ack.status for acks in await asyncio.gather(*flying) for ack in acks}
            assert statuses == {"applied"}
            assert centre.twin("car-1").revision == centre.twin("car-2").revision == seq
            assert centre.twin("car-1").epoch == 13

    asyncio.run(main())


def test_many_twins_move_to_and_fro_under_load_and_the_checker_finds_nothing(tmp_path):
    draw = random.Random(3)
    events = []

    async def device(centre, name, stopped):
        seq = 0
        while not stopped.is_set():
            seq += 1
            one = update(name, seq, x_m=draw.random(), y_m=float(seq))
            events.append({"event": "sent", **one._asdict()})
            status = "retry"
            while status == "retry":
                (ack,) = await sent(centre, one)
                status = ack.status
                if status == "retry":
                    await asyncio.sleep(0.001)
            events.append({"event": "acked", **ack._asdict()})
            await asyncio.sleep(draw.random() * 0.004)

    async def main():
        async with centre_over(tmp_path) as centre:
            names = [f"car-{i}" for i in range(12)]
            for name in names:
                await centre.enrol(name, "vehicle")
            stopped = asyncio.Event()
            devices = [asyncio.create_task(device(centre, name, stopped)) for name in names]

            async def mover():
                for _ in range(40):
                    twin = draw.choice(names)
                    try:
                        move = await centre.migrate(twin, draw.choice([name for name in NAMES if name != centre.home(twin).name]))
                    except Refused:
                        continue
                    assert move.outcome == "moved"

            await asyncio.gather(*(mover() for _ in range(3)))
            stopped.set()
            await asyncio.gather(*devices)

    asyncio.run(main())
    verdict = judged(events, logs_in(tmp_path))
    assert verdict.violations == [] and verdict.acknowledged > 200


def test_a_move_that_fails_before_the_commit_leaves_the_twin_where_it_is(tmp_path, monkeypatch):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            await sent(centre, update("car-1", 1))
            source, destination = centre.home("car-1").name, other(centre, "car-1")
            endpoint = centre.hosts[destination].endpoint
            verify = endpoint.verify

            async def corrupted(frozen, move):
                await verify(Frozen(frozen.tail, "0" * 64), move)

            with monkeypatch.context() as patch:
                patch.setattr(endpoint, "verify", corrupted)
                move = await centre.migrate("car-1", destination)
            assert move.outcome.startswith("aborted: the copy of car-1 at") and "hash" in move.outcome
            assert centre.home("car-1").name == source and centre.twin("car-1").epoch == 1
            assert [ack.status for ack in await sent(centre, update("car-1", 2))] == ["applied"]
            assert not endpoint.moving and not centre.hosts[source].endpoint.moving
            assert (await centre.migrate("car-1", destination)).outcome == "moved"

    asyncio.run(main())


def test_a_drained_host_is_empty_and_gets_nothing_until_that_is_undone(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            for i in range(30):
                await centre.enrol(f"car-{i}", "vehicle")
            assert centre.known_hosts() == {"centre": 0, "north": 15, "south": 15}
            await centre.cordon("north")
            state = Drain("north", 15)
            await drain(centre, state)
            assert (state.moved, state.kept, state.done) == (15, {}, True)
            assert centre.known_hosts() == {"centre": 0, "north": 0, "south": 30}
            await centre.enrol("car-30", "vehicle")
            assert centre.home("car-30").name == "south"
            await centre.cordon("south")
            with pytest.raises(Full, match="cordoned"):
                await centre.enrol("car-31", "vehicle")
            await centre.cordon("north", False)
            await centre.enrol("car-31", "vehicle")
            assert centre.home("car-31").name == "north"

    asyncio.run(main())


def test_a_drain_ends_when_the_cordon_is_undone_or_nobody_takes_twins_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(drain_, "NOBODY_S", 0.3)

    async def main():
        async with centre_over(tmp_path) as centre:
            for i in range(60):
                await centre.enrol(f"car-{i}", "vehicle")
            await centre.cordon("north")
            state = Drain("north", 30)
            draining = asyncio.create_task(drain(centre, state))
            while state.moved < 3:
                await asyncio.sleep(0.001)
            await centre.cordon("north", False)
            await draining
            assert state.ended_early == "north is not cordoned any more" and 3 <= state.moved < 30 and state.kept == {}
            for name in ("north", "south"):
                await centre.cordon(name)
            state = Drain("north", 20)
            await drain(centre, state)
            assert "no host that takes twins" in state.ended_early and (state.moved, state.kept, state.done) == (0, {}, True)

    asyncio.run(main())


def test_a_drain_waits_for_twins_that_are_on_their_way_to_the_host(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            home = centre.home("car-1").name
            other = {"north": "south", "south": "north"}[home]
            stage, held = centre.hosts[other].endpoint.stage, asyncio.Event()

            async def slow(parcel, move):
                await held.wait()
                await stage(parcel, move)

            centre.hosts[other].endpoint.stage = slow
            moving = asyncio.create_task(centre.migrate("car-1", other))
            while not centre.expects(other):
                await asyncio.sleep(0.001)
            await centre.cordon(other)
            state = Drain(other, 0)
            draining = asyncio.create_task(drain(centre, state))
            await asyncio.sleep(0.1)
            assert not state.done
            held.set()
            assert (await moving).outcome == "moved"
            await draining
            assert (state.moved, state.total, state.kept) == (1, 1, {}) and centre.home("car-1").name == home

    asyncio.run(main())


def test_a_host_that_joins_has_the_twins_that_the_directory_says_it_has(tmp_path):
    """Though the centre was not told: the answer was lost."""

    async def main():
        async with centre_over(tmp_path) as centre:
            west = Host("west", SQLiteStore(tmp_path / "west.sqlite"), centre.kinds)
            west.start()
            await west.create(Twin("car-1", "vehicle"))
            await centre.moves.ask(centre.directory.enrol, "car-1", "west")
            assert not centre.holds("car-1")
            await centre.join(west, [])
            assert centre.home("car-1") is west
            assert [ack.status for ack in await sent(centre, update("car-1", 1))] == ["applied"]

    asyncio.run(main())


def test_places_outlive_a_restart_and_twins_of_stores_without_a_directory_are_taken_in(tmp_path):
    async def first():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            await sent(centre, update("car-1", 1))
            await centre.migrate("car-1", other(centre, "car-1"))
            return centre.home("car-1").name

    async def again(seq):
        async with centre_over(tmp_path) as centre:
            (ack,) = await sent(centre, update("car-1", seq))
            assert ack.status == "applied"
            return centre.home("car-1").name, ack.epoch

    home = asyncio.run(first())
    assert asyncio.run(again(2)) == (home, 2)
    for file in tmp_path.glob("directory.sqlite*"):
        file.unlink()
    assert asyncio.run(again(3)) == (home, 2)


def test_an_erased_twin_can_come_back_and_move_and_is_not_erased_anywhere(tmp_path):
    async def main():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            await sent(centre, update("car-1", 1))
            await centre.erase("car-1")
            assert not centre.holds("car-1")
            (ack,) = await sent(centre, update("car-1", 2))
            assert (ack.status, ack.reason) == ("quarantined", "erased")
            await centre.enrol("car-1", "vehicle")
            for seq in (3, 4, 5):
                (ack,) = await sent(centre, update("car-1", seq))
                assert ack.status == "applied"
                assert (await centre.migrate("car-1", other(centre, "car-1"))).outcome == "moved"
                assert not centre.home("car-1").has_erased("car-1")

    asyncio.run(main())


def test_a_host_without_its_data_loses_no_places_and_its_devices_keep_theirs(tmp_path):
    async def first():
        async with centre_over(tmp_path) as centre:
            await centre.enrol("car-1", "vehicle")
            await sent(centre, update("car-1", 1))
            return centre.home("car-1").name

    async def without():
        async with centre_over(tmp_path) as centre:
            with pytest.raises(Refused, match="whose data may be elsewhere"):
                centre.twin("car-1")
            return [ack.status for ack in await sent(centre, update("car-1", 2))]

    async def again():
        async with centre_over(tmp_path) as centre:
            return centre.home("car-1").name, [ack.status for ack in await sent(centre, update("car-1", 2))]

    home = asyncio.run(first())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = list(tmp_path.glob(f"{home}.sqlite*"))
    for file in files:
        file.rename(elsewhere / file.name)
    assert asyncio.run(without()) == ["retry"]
    for file in tmp_path.glob(f"{home}.sqlite*"):
        file.unlink()
    for file in files:
        (elsewhere / file.name).rename(file)
    assert asyncio.run(again()) == (home, ["applied"])


def test_an_enrolment_that_was_not_finished_can_be(tmp_path):
    directory = SQLiteDirectory(tmp_path / "directory.sqlite")
    directory.enrol("car-1", "north", 4)
    directory.close()

    async def main():
        async with centre_over(tmp_path) as centre:
            assert not centre.holds("car-1")
            assert await centre.enrol("car-1", "vehicle")
            (ack,) = await sent(centre, update("car-1", 1))
            assert (ack.status, ack.epoch, centre.home("car-1").name) == ("applied", 4, "north")

    asyncio.run(main())
