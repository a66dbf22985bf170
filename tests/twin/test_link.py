"""The link between centre and host: what is sent arrives as it was, in order and as a whole or not at all; what breaks is said."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.twin.host import Host
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.link import frames as frames_
from edgetwin.twin.link.calls import CALLS
from edgetwin.twin.link.connection import Broken, Parts
from edgetwin.twin.link.frames import FRAME_BYTES, Assembly, Garbled, frames
from edgetwin.twin.messages import Bad, Quarantined
from edgetwin.twin.moves.endpoint import Away, Endpoint, Frozen, OpenMove
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.sqlite import SQLiteStore
from twin.hosts import arrivals, update
from twin.links import linked

TWIN = Twin(
    "car-1", "vehicle", 3, 7, {"x_m": 1.5, "note": 'a"\u2028\ud800\0'}, {"speed_mps": 2}, 4, 9, 11, 1.25, 2.5, 1, {"m": [1, 2.0]}
)


def entries(count, size=10):
    return [
        Entry("car-1", 1, i, i if i % 7 else None, i + 0.1, i + 0.3, {"x_m": i / 3, "note": "x" * size}) for i in range(count)
    ]


class Scripted:
    """A host that does as it is told: `answers` by call; what it was called with is in `calls`."""

    name, available, pending, fenced_writes = "edge-1", True, 0, 0

    def __init__(self, **answers):
        self.twins, self.calls, self._answers = {}, [], answers
        self.endpoint = self
        self.submitted = asyncio.Event()

    def __getattr__(self, name):
        if name.startswith("_") or name not in CALLS:
            raise AttributeError(name)

        async def obey(**arguments):
            self.calls.append((name, arguments))
            answer = self._answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return await answer(**arguments) if callable(answer) else answer

        return obey

    def submit(self, lines):
        self.calls.append(("submit", lines))
        self.submitted.set()
        return asyncio.get_running_loop().create_future()


@given(
    st.dictionaries(st.text(max_size=20), st.integers() | st.text(max_size=50), max_size=5),
    st.integers(0, 40),
    st.integers(1, 12),
)
def test_messages_are_cut_and_put_together(head, size, at_most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_, "FRAME_BYTES", at_most)
        body = bytes(range(size))
        sent = [*frames(head, body), *frames({"next": 1})]
    assert all(1 < len(frame) <= at_most + 1 for frame in sent)
    assembly = Assembly()
    assert [found for frame in sent if (found := assembly.add(frame)) is not None] == [(head, body), ({"next": 1}, b"")]


@pytest.mark.parametrize("frame", [b"", b"\2abc", "text", b"\0\0\0\0\2[]", b"\0\0\0\0\t{}", b"\0\0\0\0\2{]"])
def test_what_is_no_message_is_garbled(frame):
    with pytest.raises(Garbled):
        Assembly().add(frame)


def test_a_message_without_end_is_not_gathered_for_ever(monkeypatch):
    monkeypatch.setattr(frames_, "MESSAGE_BYTES", 3 * FRAME_BYTES)
    assembly = Assembly()
    assert [assembly.add(b"\1" + bytes(FRAME_BYTES)) for _ in range(3)] == [None] * 3
    with pytest.raises(Garbled, match="more than"):
        assembly.add(b"\1" + bytes(FRAME_BYTES))


LOG = entries(400)
QUARANTINED = [
    Quarantined("malformed", "not an object", None, bytes(range(256)), 3.5),
    Quarantined("damaged", "d", "car-1", b"", 1.0),
]
PASSED = {
    "create": ({"twin": TWIN}, TWIN),
    "desire": ({"twin_id": "car-1", "changes": {"speed_mps": None}, "if_revision": None}, TWIN),
    "erase": ({"twin_id": "car-1"}, None),
    "adopt": ({"ids": ["car-1", "car-2"]}, [TWIN, TWIN]),
    "shelve": ({"ids": ["car-1"]}, None),
    "trim": ({}, 12),
    "entries": ({"twin_id": "car-1", "limit": 5, "before": (3, 4)}, LOG),
    "at": ({"twin_id": "car-1", "revision": None, "time_s": 1.5}, (3, {"x_m": 1.0})),
    "quarantined": ({"limit": 3, "device": None}, QUARANTINED),
    "quarantine_counts": ({}, {"malformed": 3}),
    "reserve": ({"twin": TWIN, "move": "m"}, None),
    "copy": ({"twin": "car-1", "move": "m"}, Parcel(TWIN, Base(3, {"x_m": 2}), LOG)),
    "stage": ({"parcel": Parcel(TWIN, Base(), LOG), "move": "m"}, None),
    "tail": ({"twin": "car-1", "move": "m"}, Tail(TWIN, [])),
    "extend": ({"tail": Tail(TWIN, LOG), "move": "m"}, None),
    "freeze": ({"twin": "car-1", "move": "m", "destination": "edge-2"}, Frozen(Tail(TWIN, LOG[:3]), "abc")),
    "verify": ({"frozen": Frozen(Tail(TWIN, LOG[:3]), "abc"), "move": "m"}, None),
    "activate": ({"twin": "car-1", "move": "m", "epoch": 4}, TWIN),
    "release": ({"twin": "car-1", "move": "m"}, None),
    "thaw": ({"twin": "car-1", "move": "m"}, None),
    "discard": ({"twin": "car-1", "move": "m"}, None),
    "open_moves": ({}, [OpenMove("car-1", "m", "source")]),
}


def test_every_call_arrives_as_it_was_made_and_its_answer_as_it_was_given():
    async def main():
        host = Scripted(**{name: result for name, (_, result) in PASSED.items()})
        async with linked(host) as pair:
            for name, (arguments, result) in PASSED.items():
                at = pair.remote.endpoint if CALLS[name].of_endpoint else pair.remote
                assert await getattr(at, name)(**arguments) == result
            return host.calls

    assert asyncio.run(main()) == [(name, arguments) for name, (arguments, _) in PASSED.items()]
    assert PASSED.keys() == CALLS.keys()
    assert {name for name in vars(Endpoint) if not name.startswith("_")} == {
        name for name, call in CALLS.items() if call.of_endpoint
    }


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (Refused(409, "no\nroom"), Refused(409, "no room")),
        (Full("wait"), Full("wait")),
        (Away("gone"), Away("gone")),
        (ZeroDivisionError("oops"), Away("ZeroDivisionError: oops")),
    ],
)
def test_errors_travel_as_such(said, heard):
    async def main():
        async with linked(Scripted(thaw=said, trim=said)) as pair:
            with pytest.raises(type(heard)) as found:
                await pair.remote.endpoint.thaw("car-1", "m")
            with pytest.raises(Refused if isinstance(heard, Refused) else Full, match=str(heard)):
                await pair.remote.trim()
            return found.value

    found = asyncio.run(main())
    assert str(found) == str(heard) and getattr(found, "status", None) == getattr(heard, "status", None)


def test_a_long_log_goes_in_parts_and_others_do_not_wait_for_it():
    log = entries(20_000, 100)

    async def main():
        staged = []

        async def stage(parcel, move):
            staged.append(parcel)

        async with linked(Scripted(stage=stage, quarantine_counts={})) as pair:
            staging = asyncio.create_task(pair.remote.endpoint.stage(Parcel(TWIN, Base(), log), "m"))
            between = 0
            while not staging.done():
                await pair.remote.quarantine_counts()
                between += not staging.done()
            await staging
            return staged, between, [len(frame) for frame in pair.to_host.frames]

    staged, between, sizes = asyncio.run(main())
    assert staged == [Parcel(TWIN, Base(), log)]
    assert between >= 2
    assert sum(sizes) > 3 * FRAME_BYTES and max(sizes) <= FRAME_BYTES + 1


def test_a_parcel_that_is_cut_off_is_not_staged():
    async def main():
        host = Scripted()
        async with linked(host) as pair:
            pair.to_host.left = 6
            with pytest.raises(Away):
                await pair.remote.endpoint.stage(Parcel(TWIN, Base(), entries(20_000, 100)), "m")
            with pytest.raises(Away):
                await pair.remote.endpoint.thaw("car-1", "m")
        return host.calls, len(pair.to_host.frames)

    calls, sent = asyncio.run(main())
    assert calls == [] and sent > 3


def test_a_call_that_was_given_up_leaves_nothing_behind():
    async def main():
        async with linked(Scripted(open_moves=[])) as pair:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await pair.remote.endpoint.stage(Parcel(TWIN, Base(), entries(30_000, 100)), "m")
            assert await pair.remote.endpoint.open_moves() == []
            assert pair.obedience._parts._there == {}
            assert pair.remote._asked == {}

    asyncio.run(main())


def test_who_waits_when_the_link_breaks_is_told():
    async def main():
        host = Scripted(freeze=lambda **_: asyncio.sleep(60))
        async with linked(host) as pair:
            asked = asyncio.create_task(pair.remote.endpoint.freeze("car-1", "m", "edge-2"))
            acks = pair.remote.submit(arrivals(update()))
            await host.submitted.wait()
            pair.to_centre.cut()
            with pytest.raises(Away, match="edge-1 went away"):
                await asked
            with pytest.raises(Full, match="edge-1 went away"):
                await acks
            assert not pair.remote.available
            with pytest.raises(Full, match="edge-1 is away"):
                pair.remote.submit(arrivals(update()))
            with pytest.raises(Full):
                await pair.remote.trim()

    asyncio.run(main())


def test_a_host_that_says_nothing_for_the_lease_is_away():
    async def main():
        async with linked(Scripted()) as pair:
            assert pair.remote.available
            pair.to_centre.hold()
            async with asyncio.timeout(20):
                while pair.remote.available:
                    await asyncio.sleep(0.02)
            return pair.ended

    assert isinstance(asyncio.run(main()), Broken)


def test_no_more_is_taken_than_may_be_under_way(monkeypatch):
    monkeypatch.setattr("edgetwin.twin.link.remote_host.MAX_PENDING", 10)

    async def main():
        async with linked(Scripted()) as pair:
            first = pair.remote.submit(arrivals(*(update(seq=seq) for seq in range(1, 31))))
            assert pair.remote.pending == 30
            with pytest.raises(Full, match="30 messages under way"):
                pair.remote.submit(arrivals(update(seq=31)))
            pair.to_centre.cut()
            with pytest.raises(Full):
                await first
            assert pair.remote._sent == 0

    asyncio.run(main())


def test_an_answer_that_does_not_come_is_retry(monkeypatch):
    monkeypatch.setattr("edgetwin.twin.link.calls.SHORT_S", 0.05)
    monkeypatch.setitem(CALLS, "thaw", CALLS["thaw"]._replace(limit_s=0.05))

    async def main():
        async with linked(Scripted(thaw=lambda **_: asyncio.sleep(60))) as pair:
            with pytest.raises(Full, match="did not answer"):
                await pair.remote.submit(arrivals(update()))
            with pytest.raises(Away, match="did not answer thaw"):
                await pair.remote.endpoint.thaw("car-1", "m")
            assert pair.remote._asked == {}

    asyncio.run(main())


def test_messages_arrive_with_what_was_found_wrong_with_them():
    bad = (Bad("malformed", "of car-2, sent by car-1", "car-2", 1, 2), b'{"device": "car-2"}')
    long = (Bad("too-large", "70000 bytes", "car-1"), b"x" * 70_000)

    async def main():
        host = Scripted()
        async with linked(host) as pair:
            good = arrivals(update(seq=4))
            pair.remote.submit([*good, bad, long])
            await host.submitted.wait()
            return good, host.calls[0][1]

    good, lines = asyncio.run(main())
    assert lines[0] == good[0]
    assert [(found.reason, found.detail, found.device, found.boot_id, found.seq) for found, _ in lines[1:]] == [
        ("malformed", "of car-2, sent by car-1", "car-2", 1, 2), ("too-large", "70000 bytes", "car-1", None, None),
    ]  # fmt: skip
    assert [line for _, line in lines[1:]] == [bad[1], b"x" * 4096]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"call": "fold", "with": {}}, "edge-1: the call 'fold' is not known in protocol 1; run the same edgetwin on both sides"),
        (
            {"call": "thaw", "with": {"twin": "car-1", "move": "m", "softly": True}},
            "arguments twin, move, softly: there are twin, move in protocol 1",
        ),
    ],
)
def test_a_call_of_another_protocol_is_refused_in_one_line_and_not_obeyed(call, said):
    async def main():
        host = Scripted(quarantine_counts={})
        async with linked(host) as pair:
            pair.centre_end.post({**call, "id": 900})
            await pair.remote.quarantine_counts()
            assembly = Assembly()
            heads = [found[0] for frame in pair.to_centre.frames if (found := assembly.add(frame)) is not None]
            return host.calls, [head["error"] for head in heads if head.get("answer") == 900]

    assert asyncio.run(main()) == ([("quarantine_counts", {})], [["refused", 501, said]])


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ({"sing": 1}, b""),
        ({"twins": 1}, b"{"),
        ({"twins": 1}, b"[[1]]"),
        ({"beat": {"available": True}}, b""),
        ({"part": 1}, b"[3]"),
    ],
)
def test_anything_else_that_is_not_known_ends_the_link(head, body):
    async def main():
        async with linked(Scripted()) as pair:
            pair.host_end.post(head, body)
            async with asyncio.timeout(20):
                while pair.remote.is_here:
                    await asyncio.sleep(0.01)
            return pair.ended

    assert isinstance(asyncio.run(main()), Garbled)


@pytest.mark.parametrize("room_bytes", [2**19, 0])
def test_what_is_acknowledged_is_in_the_mirror_and_so_is_what_comes_by_other_ways(tmp_path, monkeypatch, room_bytes):
    monkeypatch.setattr("edgetwin.twin.link.teller.ROOM_BYTES", room_bytes)

    async def main():
        pairs = []
        host = Host(
            "edge-1", SQLiteStore(tmp_path / "edge-1.sqlite"), read_kinds(),
            lambda twins: [pair.teller.changed(twin.id for twin in twins) for pair in pairs],
            gone=lambda ids: [(pair.teller.changed(ids), pair.front.left(ids)) for pair in pairs], others=True,
        )  # fmt: skip
        host.start()
        try:
            await host.create(Twin("car-0", "vehicle"))
            async with linked(host) as pair:
                pairs.append(pair)
                remote = pair.remote
                assert set(remote.twins) == {"car-0"}
                heard = []
                remote.changed = lambda twins: heard.extend((twin.id, twin.revision) for twin in twins)
                await remote.create(Twin("car-1", "vehicle"))
                assert remote.twins["car-1"].revision == 0
                for seq in range(1, 201):
                    (ack,) = await remote.submit(arrivals(update("car-1", seq)))
                    assert ack.status == "applied" and remote.twins["car-1"].revision == ack.revision == seq
                assert [revision for twin, revision in heard if twin == "car-1"][-1] == 200
                await remote.desire("car-1", {"speed_mps": 3})
                assert remote.twins["car-1"].desired == {"speed_mps": 3}
                acks = await pair.front.take([line for _, line in arrivals(update("car-0"), update("nobody"))])
                assert [(ack.status, ack.reason) for ack in acks] == [("applied", None), ("retry", "moved")]
                await remote.quarantine_counts()
                assert remote.twins["car-0"].revision == 1
                await remote.erase("car-0")
                assert set(remote.twins) == {"car-1"}
                assert [entry.seq for entry in await remote.entries("car-1", 2)] == [200, 199]
                with pytest.raises(Refused, match="not there yet"):
                    await remote.at("car-1", 500)
        finally:
            await host.close()

    asyncio.run(main())


def test_changes_that_find_no_room_are_told_once_there_is(tmp_path, monkeypatch):
    async def main():
        host = Scripted()
        async with linked(host) as pair:
            monkeypatch.setattr("edgetwin.twin.link.teller.ROOM_BYTES", 0)
            for revision in range(3):
                host.twins["car-1"] = TWIN._replace(revision=revision)
                pair.teller.changed(["car-1"])
            assert pair.remote.twins == {}
            heard = []
            pair.remote.changed = lambda twins: heard.extend(twin.revision for twin in twins)
            monkeypatch.setattr("edgetwin.twin.link.teller.ROOM_BYTES", 2**19)
            async with asyncio.timeout(20):
                while not heard:
                    await asyncio.sleep(0.01)
            return heard

    assert asyncio.run(main()) == [2]


def test_entries_without_all_their_parts_are_none():
    parts = Parts()
    parts.add(7, b"[]")
    assert parts.take(7, 2) is None
    assert parts.take(7, 0) == []


def test_messages_on_the_hosts_own_sockets_wait_while_their_twin_is_frozen_and_others_do_not(tmp_path):
    async def main():
        host = Host("edge-1", SQLiteStore(tmp_path / "edge-1.sqlite"), read_kinds(), others=True)
        host.start()
        try:
            for name in ("car-1", "car-2"):
                await host.create(Twin(name, "vehicle"))
            async with linked(host) as pair:
                endpoint, front = pair.remote.endpoint, pair.front

                async def frozen_by(move):
                    await endpoint.copy("car-1", move)
                    await endpoint.freeze("car-1", move, "edge-2")

                def sent(*updates):
                    return asyncio.create_task(front.take([line for _, line in arrivals(*updates)]))

                await frozen_by("m1")
                first = sent(update("car-1", 1))
                second = sent(update("car-1", 2), update("car-2", 1))
                async with asyncio.timeout(20):
                    while host.twins["car-2"].revision == 0:
                        await asyncio.sleep(0.001)
                assert not first.done() and not second.done()
                await endpoint.thaw("car-1", "m1")
                acks = [*await first, *await second]
                assert [(ack.status, ack.device, ack.revision) for ack in acks] == [
                    ("applied", "car-1", 1), ("applied", "car-1", 2), ("applied", "car-2", 1),
                ]  # fmt: skip
                await frozen_by("m2")
                waiting = sent(update("car-1", 3))
                await asyncio.sleep(0)
                await endpoint.release("car-1", "m2")
                assert [(ack.status, ack.reason) for ack in await waiting] == [("retry", "moved")]
                assert set(pair.remote.twins) == {"car-2"}
                with pytest.raises(Refused, match="ask http://centre") as elsewhere:
                    front.twin("car-1")
                assert elsewhere.value.status == 421
        finally:
            await host.close()

    asyncio.run(main())
