"""SIGKILL of real processes at every numbered step of moves and in every part that hosts have in them: nothing acknowledged is lost, nothing applied
twice, every move ends as the directory has it."""

import pytest

from twin.deployments import CENTRE, Deployment
from twin.move_kills import Point, killed_at, points_in_one_process


def passed(outcome, kills):
    assert outcome.verdict.violations == []
    assert len(outcome.faults.done) == kills
    assert outcome.verdict.acknowledged == outcome.sent > 200
    assert outcome.moves["moved"] > 0


def test_killed_around_the_commit(tmp_path):
    passed(killed_at(Deployment(tmp_path), [Point(CENTRE, "before-5"), Point(CENTRE, "after-5")]), 2)


@pytest.mark.slow
def test_killed_at_every_point_in_one_process(tmp_path):
    points = points_in_one_process()
    passed(killed_at(Deployment(tmp_path), points, seed=1), len(points))
