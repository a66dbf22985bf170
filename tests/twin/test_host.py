"""A host: order, dedup, late messages, quarantine, time travel, back-pressure, and a store that cannot be written to."""

import asyncio
import itertools
import random
import time
from contextlib import suppress

import pytest

from edgetwin.twin import writer as writers
from edgetwin.twin.host import Host
from edgetwin.twin.kinds import Kind, Property, read_kinds
from edgetwin.twin.messages import MAX_INTEGER, Bad
from edgetwin.twin.moves.endpoint import Frozen
from edgetwin.twin.moves.parcel import Base, Parcel, Tail, hash_of, sum_of
from edgetwin.twin.record import Twin, applied
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.sqlite import SQLiteStore
from twin.checker import judged
from twin.hosts import FullDisk, arrivals, logs, logs_in, sqlite_calls, update, with_host


def statuses(acks):
    return [ack.status for ack in acks]


def test_an_update_is_on_disk_before_it_is_acknowledged(tmp_path):
    async def work(host):
        for seq in range(1, 20):
            (ack,) = await host.submit(arrivals(update(seq=seq, x_m=float(seq), y_m=0.0)))
            assert (ack.status, ack.revision) == ("applied", seq)
            rows = sqlite_calls(tmp_path / "edge-1.sqlite", "SELECT max(revision), count(*) FROM log WHERE twin = 'car-1'")
            assert rows == [(seq, seq)]

    with_host(tmp_path, work)


def test_what_comes_again_is_acknowledged_and_not_applied(tmp_path):
    async def work(host):
        first = update(seq=1)
        assert statuses(await host.submit(arrivals(first, first, update(seq=2), first))) == [
            "applied",
            "duplicate",
            "applied",
            "duplicate",
        ]
        assert statuses(await host.submit(arrivals(first))) == ["duplicate"]
        assert host.twins["car-1"].revision == 2
        assert len(await host.entries("car-1", 10)) == 2

    with_host(tmp_path, work)


def test_what_comes_late_is_history_and_not_state(tmp_path):
    async def work(host):
        await host.submit(arrivals(update(seq=1, x_m=1.0, y_m=0.0), update(seq=5, x_m=5.0, y_m=0.0)))
        assert host.twins["car-1"].missing == 3
        (ack,) = await host.submit(arrivals(update(seq=3, x_m=3.0, y_m=0.0)))
        assert (ack.status, ack.revision) == ("late", 2)
        assert statuses(await host.submit(arrivals(update(seq=3, x_m=3.0, y_m=0.0)))) == ["duplicate"]
        twin = host.twins["car-1"]
        assert twin.reported["x_m"] == 5.0 and twin.revision == 2 and twin.missing == 2
        assert [(entry.seq, entry.revision) for entry in await host.entries("car-1", 10)] == [(5, 2), (3, None), (1, 1)]

    with_host(tmp_path, work)


def test_a_device_that_started_anew_goes_on_from_one(tmp_path):
    async def work(host):
        await host.submit(arrivals(update(boot_id=1, seq=9, x_m=9.0, y_m=0.0)))
        acks = await host.submit(arrivals(update(boot_id=2, seq=1), update(boot_id=1, seq=10, x_m=10.0, y_m=0.0)))
        assert statuses(acks) == ["applied", "late"]
        twin = host.twins["car-1"]
        assert (twin.boot_id, twin.seq, twin.missing, twin.reported["x_m"]) == (2, 1, 0, 1.0)

    with_host(tmp_path, work)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_with_repetitions_ends_in_what_the_checker_wants(tmp_path, seed):
    draw = random.Random(seed)
    sent = [
        update(f"car-{i}", seq, boot, x_m=float(seq), y_m=float(boot)) for i in range(3) for boot in (1, 2) for seq in range(1, 9)
    ]
    stream = [*sent, *draw.choices(sent, k=60)]
    draw.shuffle(stream)
    events = [{"event": "sent", **one._asdict()} for one in sent]

    async def work(host):
        rest = iter(stream)
        while group := list(itertools.islice(rest, draw.randint(1, 9))):
            acks = await host.submit(arrivals(*group))
            events.extend({"event": "acked", **ack._asdict()} for ack in acks)

    with_host(tmp_path, work, twins=("car-0", "car-1", "car-2"))
    verdict = judged(events, logs_in(tmp_path))
    assert verdict.violations == []
    assert verdict.acknowledged == len(sent)


def test_null_takes_a_property_away(tmp_path):
    async def work(host):
        await host.submit(
            arrivals(update(seq=1, x_m=1.0, y_m=2.0, speed_mps=3.0), update(seq=2, x_m=1.0, y_m=2.0, speed_mps=None))
        )
        assert host.twins["car-1"].reported == {"x_m": 1.0, "y_m": 2.0}
        assert (await host.at("car-1", revision=1))[1] == {"x_m": 1.0, "y_m": 2.0, "speed_mps": 3.0}

    with_host(tmp_path, work)


def test_bad_messages_are_put_aside_and_good_ones_beside_them_are_not(tmp_path):
    async def work(host):
        bad = (Bad("malformed", "no JSON"), b"garbage \xff")
        acks = await host.submit([bad, *arrivals(update(seq=1), update("car-9"), update(seq=2, x_m=1.0), update(seq=3))])
        assert [(ack.status, ack.reason) for ack in acks] == [
            ("quarantined", "malformed"), ("applied", None), ("quarantined", "unknown-device"), ("quarantined", "missing"), ("applied", None),
        ]  # fmt: skip
        assert await host.quarantine_counts() == {"malformed": 1, "missing": 1, "unknown-device": 1}
        newest = (await host.quarantined(10))[0]
        assert newest.device == "car-1" and b'"seq":2' in newest.message
        assert host.twins["car-1"].revision == 2

    with_host(tmp_path, work)


def test_a_message_that_was_quarantined_may_be_sent_again_put_right(tmp_path):
    async def work(host):
        assert statuses(await host.submit(arrivals(update(seq=1, x_m=1.0)))) == ["quarantined"]
        assert statuses(await host.submit(arrivals(update(seq=1)))) == ["applied"]

    with_host(tmp_path, work)


def test_time_travel(tmp_path):
    now = [1000.0]

    async def work(host):
        for seq in range(1, 6):
            now[0] = 1000.0 + 10 * seq
            await host.submit(arrivals(update(seq=seq, time_s=now[0], x_m=float(seq), y_m=0.0)))
        assert await host.at("car-1", revision=3) == (3, {"x_m": 3.0, "y_m": 0.0})
        assert await host.at("car-1", revision=0) == (0, {})
        assert await host.at("car-1", time_s=1039.9) == (3, {"x_m": 3.0, "y_m": 0.0})
        assert await host.at("car-1", time_s=1000.0) == (0, {})
        assert (await host.at("car-1", time_s=2000.0))[0] == 5
        with pytest.raises(Refused, match="is at revision 5; 6 is not there yet"):
            await host.at("car-1", revision=6)
        with pytest.raises(Refused, match="not enrolled"):
            await host.at("car-2", revision=1)

    with_host(tmp_path, work, clock=lambda: now[0])


def test_history_ends_where_its_kind_says_and_the_state_does_not(tmp_path):
    kinds = {"vehicle": read_kinds()["vehicle"].model_copy(update={"retention_s": 100.0})}
    now = [1000.0]

    async def main():
        host = Host("edge-1", SQLiteStore(tmp_path / "a.sqlite"), kinds, clock=lambda: now[0])
        host.start()
        await host.create(Twin("car-1", "vehicle"))
        for seq in range(1, 11):
            now[0] = 1000.0 + 20 * seq
            changes = {"x_m": float(seq), "y_m": 0.0} | ({"speed_mps": 7.0} if seq == 1 else {})
            await host.submit(arrivals(update(seq=seq, time_s=now[0], **changes)))
        gone = await host.trim()
        assert gone == 4
        assert await host.trim() == 0
        assert await host.at("car-1", revision=5) == (5, {"x_m": 5.0, "y_m": 0.0, "speed_mps": 7.0})
        with pytest.raises(Refused, match="history reaches back to revision 4 only"):
            await host.at("car-1", revision=3)
        assert statuses(await host.submit(arrivals(update(seq=2, time_s=1040.0, x_m=2.0, y_m=0.0)))) == ["quarantined"]
        now[0] = 9000.0
        assert await host.trim() == 5
        assert statuses(await host.submit(arrivals(update(seq=10, time_s=1200.0, x_m=10.0, y_m=0.0)))) == ["duplicate"]
        await host.close()
        store = SQLiteStore(tmp_path / "a.sqlite")
        assert judged([], logs(store)).violations == [f"{('car-1', 1, 10)}: in the log, never sent"]
        store.close()

    asyncio.run(main())


def test_erased_data_is_nowhere_and_stays_away(tmp_path):
    secret = b"123456.789"

    async def work(host):
        await host.submit(arrivals(update(x_m=123456.789, y_m=0.0), update("car-2", x_m=5.5, y_m=0.0)))
        await host.submit(arrivals(update(seq=2, x_m=123456.789)))
        files = list(tmp_path.glob("edge-1.sqlite*"))
        assert any(secret in path.read_bytes() for path in files)
        await host.erase("car-1")
        assert not any(secret in path.read_bytes() or b"car-1" in path.read_bytes() for path in tmp_path.glob("edge-1.sqlite*"))
        (ack,) = await host.submit(arrivals(update(seq=3, x_m=123456.789, y_m=0.0)))
        assert (ack.status, ack.reason) == ("quarantined", "erased")
        assert not any(secret in path.read_bytes() for path in tmp_path.glob("edge-1.sqlite*"))
        assert await host.quarantine_counts() == {}
        await host.create(Twin("car-1", "vehicle"))
        assert statuses(await host.submit(arrivals(update(seq=4)))) == ["applied"]

    with_host(tmp_path, work, twins=("car-1", "car-2"))


def test_a_twin_that_is_erased_while_it_is_frozen_is_not_frozen_when_it_comes_again(tmp_path):
    async def work(host):
        await host.endpoint.copy("car-1", "m")
        await host.endpoint.freeze("car-1", "m", "edge-2")
        assert statuses(await host.submit(arrivals(update(seq=1)))) == ["retry"]
        await host.erase("car-1")
        await host.create(Twin("car-1", "vehicle"))
        assert statuses(await host.submit(arrivals(update(seq=2)))) == ["applied"]
        assert await host.endpoint.open_moves() == []

    with_host(tmp_path, work)


def test_a_twin_that_another_host_has_is_not_served_after_the_store_was_away_and_makes_room_when_it_comes_back(tmp_path):
    """As after a restored backup: what the store has of it is old."""

    async def work(host):
        await host.submit(arrivals(*(update(seq=seq) for seq in range(1, 4))))
        await host.shelve(["car-1"])
        await host.do(host.load)
        assert "car-1" not in host.twins and statuses(await host.submit(arrivals(update(seq=4)))) == ["retry"]
        twin, entry = applied(Twin("car-1", "vehicle", 2), update(seq=9), {}, 1.0)
        parcel = Parcel(twin, Base(), [entry])
        await host.endpoint.reserve(twin, "m")
        await host.endpoint.stage(parcel, "m")
        await host.endpoint.verify(Frozen(Tail(twin, []), hash_of(twin, Base(), sum_of([entry]))), "m")
        assert await host.endpoint.activate("car-1", "m", 3) == twin._replace(epoch=3)
        assert await host.entries("car-1", 9) == [entry]

    with_host(tmp_path, work)


def test_desired_state_has_revisions_of_its_own(tmp_path):
    async def work(host):
        twin = await host.desire("car-1", {"speed_mps": 5.0, "occupied": True})
        assert (twin.desired_revision, twin.revision) == (1, 0)
        with pytest.raises(Refused, match="at revision 1, not 0"):
            await host.desire("car-1", {"speed_mps": 6.0}, if_revision=0)
        twin = await host.desire("car-1", {"occupied": None}, if_revision=1)
        assert twin.desired == {"speed_mps": 5.0}

    async def look_again(host):
        assert host.twins["car-1"].desired_revision == 2

    with_host(tmp_path, work)
    with_host(tmp_path, look_again, twins=())


def test_what_waits_is_bounded(tmp_path):
    async def work(host):
        async def send(i):
            return await host.submit(arrivals(*(update(seq=10 * i + j + 1) for j in range(10))))

        done = await asyncio.gather(*(send(i) for i in range(30)), return_exceptions=True)
        full = [one for one in done if isinstance(one, Full)]
        taken = [one for one in done if isinstance(one, list)]
        assert full and taken and len(full) + len(taken) == 30
        assert host.twins["car-1"].revision == 10 * len(taken)
        assert statuses(await host.submit(arrivals(update(seq=1000)))) == ["applied"]

    with_host(tmp_path, work, max_pending=50)


def test_a_disk_that_is_full_loses_nothing_and_the_host_goes_on_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "PAUSE_S", 0.01)

    async def main():
        disk = FullDisk(SQLiteStore(tmp_path / "edge-1.sqlite"))
        host = Host("edge-1", disk, read_kinds())
        host.start()
        await host.create(Twin("car-1", "vehicle"))
        seq, acked = 0, 0
        disk.fill()
        with suppress(Full):
            while seq < 10_000:
                seq += 1
                acked += statuses(await host.submit(arrivals(update(seq=seq)))) == ["applied"]
        assert acked == seq - 1 == host.twins["car-1"].revision
        with pytest.raises(Full):
            await host.submit(arrivals(update(seq=seq)))
        disk.empty()
        until = time.time() + 5
        while True:
            try:
                assert statuses(await host.submit(arrivals(update(seq=seq)))) == ["applied"]
                break
            except Full:
                assert time.time() < until
                await asyncio.sleep(0.01)
        await host.close()
        return seq

    seq = asyncio.run(main())
    assert len(logs_in(tmp_path)["car-1"]["log"]) == seq


def test_what_was_taken_is_written_before_a_host_closes(tmp_path):
    async def main():
        host = Host("edge-1", SQLiteStore(tmp_path / "edge-1.sqlite"), read_kinds())
        host.start()
        await host.create(Twin("car-1", "vehicle"))
        waiting = [asyncio.ensure_future(host.submit(arrivals(update(seq=i + 1)))) for i in range(200)]
        await asyncio.sleep(0)
        await host.close()
        assert statuses([ack for acks in await asyncio.gather(*waiting) for ack in acks]) == ["applied"] * 200
        with pytest.raises(Full, match="is stopping"):
            await host.submit(arrivals(update(seq=201)))

    asyncio.run(main())
    assert logs_in(tmp_path)["car-1"]["revision"] == 200


def test_huge_whole_numbers_and_odd_strings_are_kept_as_they_are(tmp_path):
    kinds = {"odd": Kind(properties={"n": Property(type="integer", maximum=1e30), "s": Property(type="string")})}

    async def main():
        host = Host("edge-1", SQLiteStore(tmp_path / "edge-1.sqlite"), kinds)
        host.start()
        await host.create(Twin("car-1", "odd"))
        state = {"n": 10**29 + 1, "s": "a\x00b\ud800 ü"}
        assert statuses(await host.submit(arrivals(update(boot_id=MAX_INTEGER, seq=MAX_INTEGER, **state)))) == ["applied"]
        await host.close()
        again = Host("edge-1", SQLiteStore(tmp_path / "edge-1.sqlite"), kinds)
        assert again.twins["car-1"].reported == state
        again.store.close()

    asyncio.run(main())
