"""Centre, hosts and database each on a machine of its own, whose network drops what they send to each other while twins move under load."""

import pytest

from twin.deployments import CENTRE, EDGE, Deployment
from twin.move_faults import parted_at
from twin.namespaces import network, why_not
from twin.servers import postgres_server

STEPS = ["before-2", "before-3", "before-4", "before-5", "before-6", "before-7", "", ""]
DATABASE = "database"


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["sqlite", "postgresql"])
def test_hosts_that_are_cut_from_the_centre_while_twins_move(tmp_path, shared):
    if reason := why_not():
        pytest.skip(reason)
    token = tmp_path / "token"
    token.write_text("as-long-as-it-must-be")
    with network(CENTRE, *EDGE, DATABASE) as wires:
        machines = {name: wires.machine(name, token) for name in (CENTRE, *EDGE)}
        serving = postgres_server(wires.address[DATABASE]) if shared else None
        server = wires.inside(DATABASE, serving.__enter__) if serving else None
        try:
            deployment = Deployment(tmp_path, server.address if server else None, processes=True, machines=machines)
            outcome = wires.inside(CENTRE, lambda: parted_at(deployment, wires, STEPS, seed=5))
        finally:
            if serving:
                serving.__exit__(None, None, None)
    assert outcome.verdict.violations == []
    assert outcome.verdict.acknowledged == outcome.sent > 200
    assert len(outcome.faults) == 2 * len(STEPS) and outcome.moves["moved"] > 0
