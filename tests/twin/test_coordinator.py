"""The coordinator against hosts that fail on cue: each step's failure, what is undone, what is carried through, and what waits."""

import asyncio

import pytest

from edgetwin.twin.host import Full, Refused
from edgetwin.twin.moves import failpoints
from edgetwin.twin.moves.endpoint import Away, OpenMove
from edgetwin.twin.moves.migration import STEPS
from edgetwin.twin.moves.place import Place
from edgetwin.twin.moves.run import RETRY_S
from twin.scripted import CAR, Script

BEFORE = ["b.reserve", "a.copy", "b.stage", "a.tail", "b.extend", "a.freeze", "b.verify"]
"""Calls before the commit; `b.reserve` comes after the directory's begin."""
UNDONE = ["directory.abort", "a.thaw", "b.discard"]
SETTLED, MOVED = Place("car-1", "a", 1), Place("car-1", "b", 2)


async def migrate(script):
    return await script.coordinator.migrate(CAR, "b")


@pytest.fixture(autouse=True)
def _no_failpoints():
    yield
    failpoints.arm("")


def test_a_move_asks_for_seven_steps_in_their_order():
    script = Script()
    migration = script.run(migrate)
    assert script.changes() == [
        *("directory.begin", "b.reserve", "a.copy", "b.stage", "a.tail", "b.extend", "a.freeze", "b.verify"),
        *("directory.commit", "b.activate", "a.release", "directory.release"),
    ]
    assert script.place == MOVED
    assert migration == script.told[-1] and migration.outcome == "moved" and migration.has_ended
    assert (migration.id, migration.source, migration.destination, migration.epoch) == ("m0", "a", "b", 1)
    assert list(migration.seconds) == list(STEPS) and 0 < migration.pause_s <= sum(migration.seconds.values())
    assert migration.entries == 302 and migration.size_bytes == 302 * len(b'["car-1",1,1,1,0.0,0.0,{"x_m":1.0}]')
    assert [one.step for one in script.told if one.outcome is None and one.seconds == {}][0] == "prepare"
    assert not script.coordinator.is_moving("car-1")


def test_hosts_of_one_place_copy_nothing():
    script = Script(shared=True)
    assert script.run(migrate).outcome == "moved"
    assert script.changes()[:4] == ["directory.begin", "b.reserve", "a.freeze", "b.verify"]


@pytest.mark.parametrize(("tails", "rounds"), [([100], 1), ([101, 100], 2), ([500] * 6, 5)])
def test_tails_are_sent_until_one_is_small_but_not_for_ever(tails, rounds):
    script = Script(tails=list(tails))
    migration = script.run(migrate)
    assert script.calls.count("a.tail") == script.calls.count("b.extend") == rounds
    assert migration.entries == 300 + sum(tails[:rounds]) + 2


@pytest.mark.parametrize("call", BEFORE)
@pytest.mark.parametrize("error", [Away("no answer"), Refused(409, "no answer"), Full("no answer"), RuntimeError("no answer")])
def test_what_fails_before_the_commit_is_undone_once_the_directory_has_aborted(call, error):
    script = Script()
    script.fails[call] = error
    migration = script.run(migrate)
    assert script.changes() == ["directory.begin", *BEFORE[: BEFORE.index(call) + 1], *UNDONE]
    assert migration.outcome == "aborted: no answer" and migration.pause_s is None
    assert script.place == SETTLED and not script.gates.is_closed("car-1")


@pytest.mark.parametrize("step", range(1, 8))
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_at_any_failpoint_leaves_nothing_open(step, when):
    """Before the commit has been made it is undone; from then on it is carried through, once the failpoint is gone."""
    script = Script()
    failpoints.arm(f"{when}-{step}:error")

    async def work(script):
        migration = await migrate(script)
        failpoints.arm("")
        await script.until(lambda: not script.coordinator.is_moving("car-1"))
        return migration.outcome, script.told[-1].outcome

    first, last = script.run(work)
    if step < 5 or (step, when) == (5, "before"):
        assert first == last == f"aborted: failpoint {when}-{step}" and script.place == SETTLED
    else:
        assert last == "moved" and script.place == MOVED
        assert first == "moved" if step == 5 else first.startswith("waiting: ")


@pytest.mark.parametrize("call", ["a.freeze", "b.verify"])
def test_a_freeze_that_takes_longer_than_the_deadline_is_undone(call):
    script = Script(deadline_s=0.02)
    script.waits[call] = asyncio.Event()
    migration = script.run(migrate)
    assert migration.outcome == "aborted: not committed within 0.02 s"
    assert script.changes()[-4:] == [call, *UNDONE] and script.place == SETTLED


def test_a_commit_that_takes_longer_than_the_deadline_is_what_the_directory_says_it_is():
    """The directory does one thing after the other: asked for the twin's place it has taken the commit by then."""
    script = Script(deadline_s=0.05)
    script.slow_s = {"commit": 0.1}
    migration = script.run(migrate)
    assert migration.outcome == "moved" and script.place == MOVED
    assert "a.thaw" not in script.calls and "directory.abort" not in script.calls


def test_the_deadline_does_not_count_the_copy_nor_what_follows_the_commit():
    script = Script(deadline_s=0.05)
    script.waits = {"b.stage": asyncio.Event(), "b.activate": asyncio.Event()}

    async def work(script):
        moving = asyncio.create_task(migrate(script))
        for call in ("b.stage", "b.activate"):
            await script.until(lambda call=call: call in script.calls)
            await asyncio.sleep(0.06)
            script.waits[call].set()
        return await moving

    migration = script.run(work)
    assert migration.outcome == "moved" and migration.pause_s > 0.06


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_nobody_knows_of_is_what_the_directory_says_it_is(when):
    script = Script()
    script.unavailable = {f"commit {when}": 1}
    migration = script.run(migrate)
    if when == "after":
        assert migration.outcome == "moved" and script.place == MOVED
        assert "a.thaw" not in script.calls and "directory.abort" not in script.calls
    else:
        assert migration.outcome == "aborted: its server is away" and script.place == SETTLED
        assert script.calls.count("directory.commit") == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_begin_or_an_abort_nobody_knows_of_is_read_until_it_is_known(when):
    script = Script()
    script.unavailable = {f"begin {when}": 1, f"abort {when}": 1}

    async def work(script):
        await migrate(script)
        await script.until(lambda: not script.coordinator.is_moving("car-1"))
        return await migrate(script)

    assert script.run(work).outcome == "moved" and script.place == MOVED
    assert script.told[0].id != script.told[-1].id


def test_while_the_directory_is_away_nothing_is_thawed_and_messages_do_not_wait():
    script = Script()
    script.unavailable = {"commit after": 1, "place before": 3}

    async def work(script):
        first = await script.coordinator.migrate(CAR, "b")
        calls, closed = script.changes(), script.gates.is_closed("car-1")
        await script.until(lambda: not script.coordinator.is_moving("car-1"))
        return first, calls, closed

    script.directory.trouble = _after_the_commit(script.directory.trouble, script)
    first, calls, closed = script.run(work)
    assert first.outcome == "waiting: the directory: its server is away" and not first.has_ended
    assert calls[-1] == "directory.commit" and not closed
    assert script.told[-1].outcome == "moved" and script.place == MOVED and "a.thaw" not in script.calls


def _after_the_commit(trouble, script):
    """Lets the directory be read as long as it was not committed."""

    def later(method, when):
        if method != "place" or "directory.commit" in script.calls:
            trouble(method, when)

    return later


def test_a_source_that_misses_the_abort_is_told_when_it_is_back():
    script = Script()
    script.fails["b.verify"] = Refused(409, "hashes differ")
    script.fails["a.thaw"] = Away("a is away")

    async def work(script):
        migration = await migrate(script)
        assert migration.outcome == "waiting: a: a is away"
        assert script.place == SETTLED and "b.discard" in script.calls
        with pytest.raises(Refused, match="moving already"):
            await migrate(script)
        del script.fails["a.thaw"]
        await script.coordinator.resolve("a")
        assert not script.coordinator.is_moving("car-1")

    script.run(work)
    assert script.told[-1].outcome == "aborted: hashes differ"


def test_a_destination_that_is_away_after_the_commit_serves_the_twin_when_back():
    script = Script()
    script.fails["b.activate"] = Away("gone")

    async def work(script):
        migration = await migrate(script)
        assert migration.outcome == "waiting: b: gone" and not script.gates.is_closed("car-1")
        assert script.place == Place("car-1", "b", 2, "m0", None, "a")
        assert "a.release" not in script.calls, "the source forgets only once the destination serves"
        del script.fails["b.activate"]
        await script.coordinator.resolve("b")

    script.run(work)
    assert script.told[-1].outcome == "moved" and script.place == MOVED
    assert "a.thaw" not in script.calls and "b.discard" not in script.calls


@pytest.mark.parametrize(
    ("call", "role", "ended"), [("a.release", "source", "moved"), ("b.discard", "destination", "aborted: no")]
)
def test_who_does_not_have_the_twin_holds_nothing_up_while_it_is_away_and_is_told_when_back(call, role, ended):
    """However long that is: the twin moves on meanwhile."""
    script = Script()
    host = call[0]
    script.fails[call] = Away("gone")
    if host == "b":
        script.fails["b.verify"] = Refused(409, "no")

    async def work(script):
        migration = await migrate(script)
        assert migration.outcome == ended and not script.coordinator.is_moving("car-1")
        assert script.place == (MOVED if ended == "moved" else SETTLED)
        script.fails.clear()
        script.hosts[host].open = [OpenMove("car-1", "m0", role)]
        await script.coordinator.resolve(host)
        assert script.calls.count(call) == 2

    script.run(work)


def test_what_waits_is_tried_again_without_being_asked_and_not_hotly():
    script = Script()
    script.fails["b.activate"] = Away("gone")

    async def work(script):
        await migrate(script)
        await asyncio.sleep(0.5)
        tries = script.calls.count("b.activate")
        script.fails.clear()
        await script.until(lambda: script.place == MOVED)
        return tries

    assert 2 <= script.run(work) <= 5


def test_a_move_that_was_left_open_is_undone_or_carried_through_at_the_next_start():
    for left, changes, outcome in (
        (Place("car-1", "a", 1, "old", "b"), UNDONE, "aborted: left open by an earlier run of the centre"),
        (Place("car-1", "b", 2, "old", None, "a"), ["b.activate", "a.release", "directory.release"], "moved"),
    ):
        script = Script()
        script.directory.rows["car-1"] = left
        script.run(lambda script: script.coordinator.recover())
        assert script.changes() == changes
        told = script.told[-1]
        assert (told.id, told.source, told.destination, told.epoch, told.outcome) == ("old", "a", "b", 1, outcome)
        assert script.place == (SETTLED if left.is_moving else MOVED)


def test_a_move_left_open_does_not_keep_a_twin_from_moving():
    script = Script()
    script.directory.rows["car-1"] = Place("car-1", "a", 1, "old", "b")
    assert script.run(migrate).outcome == "moved"
    assert [one.id for one in script.told if one.has_ended] == ["old", "m0"]


@pytest.mark.parametrize(
    ("place", "part", "told"),
    [
        (Place("car-1", "a", 1), OpenMove("car-1", "old", "source"), ["a.thaw"]),
        (Place("car-1", "a", 1, "old", "b"), OpenMove("car-1", "old", "source"), ["directory.abort", "a.thaw"]),
        (Place("car-1", "c", 2), OpenMove("car-1", "old", "source"), ["a.release"]),
        (Place("car-1", "c", 1), OpenMove("car-1", "old", "destination"), ["a.discard"]),
        (Place("car-1", "c", 1, "new", "a"), OpenMove("car-1", "old", "destination"), ["a.discard"]),
        (None, OpenMove("car-1", "old", "source"), []),
        (None, OpenMove("car-1", "old", "destination"), ["a.discard"]),
        (
            Place("car-1", "a", 2, "old", None, "b"),
            OpenMove("car-1", "old", "destination"),
            ["a.activate", "b.release", "directory.release"],
        ),
        (
            Place("car-1", "b", 2, "old", None, "a"),
            OpenMove("car-1", "old", "source"),
            ["b.activate", "a.release", "directory.release"],
        ),
    ],
)
def test_a_host_that_comes_back_is_told_by_what_the_directory_says(place, part, told):
    script = Script()
    script.directory.rows = {} if place is None else {"car-1": place}
    script.hosts["a"].open = [part]
    script.run(lambda script: script.coordinator.resolve("a"))
    assert script.changes() == told


def test_a_move_under_way_is_left_to_who_drives_it():
    script = Script()
    script.waits["b.stage"] = asyncio.Event()

    async def work(script):
        moving = asyncio.create_task(migrate(script))
        await script.until(lambda: "b.stage" in script.calls)
        script.hosts["a"].open = [OpenMove("car-1", "m0", "source"), OpenMove("car-1", "stale", "source")]
        before = script.changes()
        await script.coordinator.resolve("a")
        await script.coordinator.recover()
        with pytest.raises(Refused, match="moving already"):
            await migrate(script)
        assert script.changes() == [*before, "a.thaw"], "of the stale move alone"
        script.waits["b.stage"].set()
        return await moving

    assert script.run(work).outcome == "moved"


def test_a_move_that_others_ended_is_not_carried_on():
    """The twin's host was given up while it was copied, as failover does on a shared store."""
    script = Script(shared=True)
    script.waits["b.verify"] = asyncio.Event()

    async def work(script):
        moving = asyncio.create_task(migrate(script))
        await script.until(lambda: "b.verify" in script.calls)
        script.directory.rows["car-1"] = Place("car-1", "c", 2)
        script.waits["b.verify"].set()
        return await moving

    migration = script.run(work)
    assert migration.outcome == "aborted: the directory gave car-1 to another; c has it now" and script.place == Place(
        "car-1", "c", 2
    )
    assert script.changes()[-3:] == ["directory.commit", "a.release", "b.discard"]


def test_a_caller_that_goes_away_does_not_stop_the_move():
    script = Script()
    script.waits["a.freeze"] = asyncio.Event()

    async def work(script):
        asking = asyncio.create_task(migrate(script))
        await script.until(lambda: "a.freeze" in script.calls)
        asking.cancel()
        script.waits["a.freeze"].set()
        await script.until(lambda: script.place == MOVED)

    script.run(work)


def test_a_host_that_leaves_while_it_is_told_of_a_move_does_not_leave_that_open():
    """The link of a host ends, and with it who tells it, while another host is asked."""
    script = Script()
    script.fails["a.thaw"] = script.fails["b.verify"] = Away("gone")

    async def work(script):
        await migrate(script)
        script.fails.clear()
        script.waits["b.discard"] = asyncio.Event()
        script.calls.clear()
        telling = asyncio.create_task(script.coordinator.resolve("a"))
        await script.until(lambda: "b.discard" in script.calls)
        await asyncio.sleep(2 * RETRY_S)  # the next try is due, and leaves it to who tells
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        script.waits["b.discard"].set()
        await script.until(lambda: not script.coordinator.is_moving("car-1"))

    script.run(work)
    assert script.told[-1].outcome == "aborted: gone" and script.place == SETTLED


def test_a_centre_that_stops_leaves_the_move_to_the_next_start():
    script = Script()
    script.waits["b.verify"] = asyncio.Event()

    async def work(script):
        moving = asyncio.create_task(migrate(script))
        await script.until(lambda: "b.verify" in script.calls)
        await script.coordinator.close()
        with pytest.raises(asyncio.CancelledError):
            await moving
        assert script.place.is_moving
        script.coordinator = script.another()
        await script.coordinator.recover()

    script.run(work)
    assert script.place == SETTLED and script.changes()[-3:] == UNDONE


@pytest.mark.parametrize(
    ("arrange", "status", "said"),
    [
        (lambda script: script.directory.rows.clear(), 404, "not enrolled"),
        (lambda script: script.directory.rows.update({"car-1": MOVED}), 409, "at b already"),
        (lambda script: script.gone.add("b"), 503, "b is away"),
        (lambda script: script.gone.add("a"), 503, "a is away"),
        (lambda script: script.unavailable.update({"place before": 1}), 503, "cannot be read"),
    ],
)
def test_a_move_that_cannot_begin_is_refused_and_changes_nothing(arrange, status, said):
    script = Script()
    arrange(script)
    with pytest.raises(Refused, match=said) as refused:
        script.run(migrate)
    assert refused.value.status == status and script.changes() == [] and script.told == []
    assert not script.coordinator.is_moving("car-1")


def test_messages_wait_from_before_the_freeze_until_the_destination_serves():
    script = Script()
    script.waits = {"a.freeze": asyncio.Event(), "b.activate": asyncio.Event(), "a.release": asyncio.Event()}

    async def work(script):
        moving = asyncio.create_task(migrate(script))
        seen = []
        for call in script.waits:
            await script.until(lambda call=call: call in script.calls)
            seen.append(script.gates.is_closed("car-1"))
            script.waits[call].set()
        await moving
        return seen

    assert script.run(work) == [True, True, False]
    place, closed = script.places[0]
    assert (place.host, closed) == ("b", True), "who routes hears of the new place while the gate is closed"
