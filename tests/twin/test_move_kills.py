"""SIGKILL of real processes at every numbered step of moves and in every part that hosts have in them: nothing acknowledged is lost, nothing applied
twice, every move ends as the directory has it."""

import pytest

from twin.deployments import CENTRE, Deployment
from twin.move_kills import STEPS, Point, database_killed_at, killed_at, points


def passed(outcome, kills):
    assert outcome.verdict.violations == []
    assert len(outcome.faults.done) == kills
    assert outcome.verdict.acknowledged == outcome.sent > 200
    assert sum(outcome.moves.get(how, 0) for how in ("moved", "aborted", "waiting")) > 0


def test_killed_around_the_commit(tmp_path):
    passed(killed_at(Deployment(tmp_path), [Point(CENTRE, "before-5"), Point(CENTRE, "after-5")]), 2)


@pytest.mark.slow
def test_killed_at_every_point_in_one_process(tmp_path):
    deployment = Deployment(tmp_path)
    everywhere = points(deployment, "edge-1")
    passed(killed_at(deployment, everywhere, seed=1), len(everywhere))


SOME = (
    "before-4",
    "before-5",
    "after-5",
    "host-stage-done",
    "host-freeze-done",
    "host-verify",
    "host-activate",
    "host-release-done",
)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_process_of_several_killed(tmp_path, request, store):
    address = None if store == "sqlite" else request.getfixturevalue("server").address
    deployment = Deployment(tmp_path, address, processes=True)
    some = [point for point in points(deployment, "edge-2") if point.failpoint in SOME]
    passed(killed_at(deployment, some, seed=2), len(some))


@pytest.mark.slow
def test_the_database_killed_while_moves_are_held(tmp_path, server):
    outcome = database_killed_at(Deployment(tmp_path, server.address, processes=True), server, STEPS[5:12:2], seed=3)
    passed(outcome, 4)
