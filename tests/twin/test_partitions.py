"""Centre, hosts and database each on a machine of its own, whose network drops what they send to each other while twins move under load: every two of
them in each direction and in both."""

from itertools import cycle

import pytest

from twin.deployments import CENTRE
from twin.machines import apart
from twin.move_faults import DESTINATION, SOURCE, Planned, parted_at, ways
from twin.namespaces import why_not

STEPS = ["before-4", "before-5", "before-6", ""]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["sqlite", "postgresql"])
def test_machines_that_are_cut_off_while_twins_move(tmp_path, shared):
    if reason := why_not():
        pytest.skip(reason)
    each = ways(shared)
    assert len(each) == (9 if shared else 3)
    planned = [Planned(*one) for one in zip(sorted(STEPS * 3), cycle([SOURCE, DESTINATION]), cycle(each), strict=False)]
    with apart(tmp_path, shared) as (wires, deployment):
        outcome = wires.inside(CENTRE, lambda: parted_at(deployment, wires, planned, seed=5))
    assert outcome.verdict.violations == []
    assert outcome.verdict.acknowledged == outcome.sent > 200
    assert len({fault.what for fault in outcome.faults.done}) == len(each) and outcome.moves["moved"] > 0
    assert outcome.faults.links_lost > 0 and (outcome.faults.taken_over > 0) == shared
