"""Host processes and centres that stand still for longer than the lease while twins move under load: on a database the twins of a host are served by
others, and what it still writes is refused; with files of their own they wait for it. Nothing acknowledged is lost, nothing applied twice."""

from itertools import product

import pytest

from twin.deployments import CENTRE, Deployment
from twin.move_faults import DESTINATION, SOURCE, Planned, stopped_at

PLANNED = [Planned(step, part) for step, part in product(["before-4", "before-5", "before-6", ""], [SOURCE, DESTINATION, CENTRE])]


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_hosts_and_centres_that_stand_still_while_twins_move(tmp_path, request, store):
    address = None if store == "sqlite" else request.getfixturevalue("server").address
    outcome = stopped_at(Deployment(tmp_path, address, processes=True), PLANNED, seed=4)
    assert outcome.verdict.violations == []
    assert outcome.verdict.acknowledged == outcome.sent > 200
    faults = outcome.faults
    assert len(faults.done) == len(PLANNED) and outcome.moves["moved"] > 0
    assert faults.links_lost >= sum(fault.member != CENTRE for fault in faults.done)
    assert (faults.taken_over > 0, faults.refused_writes > 0) == ((False, False) if store == "sqlite" else (True, True))
