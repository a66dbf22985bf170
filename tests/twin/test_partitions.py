"""Centre, hosts and database each on a machine of its own, whose network drops what they send to each other while twins move under load."""

import pytest

from twin.deployments import CENTRE
from twin.machines import apart
from twin.move_faults import parted_at
from twin.namespaces import why_not

STEPS = ["before-4", "before-5", "before-6", "", ""]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["sqlite", "postgresql"])
def test_machines_that_are_cut_off_while_twins_move(tmp_path, shared):
    if reason := why_not():
        pytest.skip(reason)
    with apart(tmp_path, shared) as (wires, deployment):
        outcome = wires.inside(CENTRE, lambda: parted_at(deployment, wires, STEPS, seed=5))
    assert outcome.verdict.violations == []
    assert outcome.verdict.acknowledged == outcome.sent > 200
    assert len(outcome.faults) == 2 * len(STEPS) and outcome.moves["moved"] > 0
