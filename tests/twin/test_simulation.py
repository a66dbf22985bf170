"""Moves in a simulated world, by seed: whatever is killed, cut off, lost, delayed, doubled or damaged, at peace all is as it must be."""

import pytest

from twin.simulation.loop import Stuck
from twin.simulation.verdict import violations
from twin.simulation.world import World

QUICK, ALL, BLOCK = 300, 10_000, 2_500


def wrong(seeds, **options):
    """What is wrong with the worlds of some seeds, by seed."""
    found = {}
    for seed in seeds:
        world = World(seed, **options)
        world.run()
        if said := violations(world):
            found[seed] = said
    return found


def test_the_first_seeds_leave_nothing_wrong():
    assert wrong(range(QUICK)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("begin", range(QUICK, ALL + QUICK, BLOCK))
def test_ten_thousand_seeds_leave_nothing_wrong(begin):
    assert wrong(range(begin, begin + BLOCK)) == {}


@pytest.mark.parametrize("shared", [False, True])
def test_where_nothing_goes_wrong_every_move_comes_about_and_no_message_is_turned_away(shared):
    assert wrong(range(40), faults=(), shared=shared) == {}


def test_a_seed_is_one_history():
    """All that devices saw and all that became of moves is the same; another seed's is another."""

    def history(seed):
        world = World(seed)
        world.run()
        return world.events, world.migrations, world.directory.rows, world.loop.time()

    seeds = range(30)
    first = [history(seed) for seed in seeds]
    assert first == [history(seed) for seed in seeds]
    assert len({repr(one) for one in first}) == len(first)


def test_the_seeds_reach_what_they_are_to_reach():
    """Moves that came about or were undone, for each reason; twins that had several owners; hosts and centres that came back."""
    outcomes, epochs, restarts, statuses = set(), set(), set(), set()
    for seed in range(150):
        world = World(seed)
        world.run()
        outcomes |= {str(one.outcome) for one in world.migrations.values()}
        epochs |= {(world.is_shared, place.epoch) for place in world.directory.rows.values()}
        restarts |= {(name == "centre", times > 1) for name, times in world.starts.items()}
        statuses |= {event["status"] for event in world.events if event["event"] == "acked"}
    said = " ".join(outcomes)
    for reason in (
        "moved",
        "no answer",
        "is away",
        "has hash",
        "not committed within",
        "earlier run of the centre",
        "directory is away",
    ):
        assert reason in said
    assert {(True, 3), (False, 3)} <= epochs and restarts == {(True, True), (True, False), (False, True), (False, False)}
    assert statuses == {"applied", "late", "duplicate", "retry"}


def test_a_world_in_which_nothing_can_happen_any_more_says_so():
    world = World(1)
    with pytest.raises(Stuck):
        world.loop.run_until_complete(world.loop.create_future())
    world.loop.close()
