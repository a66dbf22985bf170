"""Host processes that stand still for longer than their lease while twins move under load: on a database their twins are served by others, and
what they still write is refused; with files of their own their twins wait for them. Nothing acknowledged is lost, nothing applied twice."""

import pytest

from twin.deployments import Deployment
from twin.move_faults import stopped_at

STEPS = ["before-4", "before-5", "before-6", ""]


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_hosts_that_stand_still_while_twins_move(tmp_path, request, store):
    address = None if store == "sqlite" else request.getfixturevalue("server").address
    outcome = stopped_at(Deployment(tmp_path, address, processes=True), STEPS, seed=4)
    assert outcome.verdict.violations == []
    assert outcome.verdict.acknowledged == outcome.sent > 200
    assert len(outcome.faults) == 2 * len(STEPS) and outcome.moves["moved"] > 0
