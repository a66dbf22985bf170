"""Real processes whose moves are broken on purpose: what shows that sound ones lose nothing finds it in these."""

import pytest

from twin.deployments import CENTRE, Deployment
from twin.move_faults import stopped_at
from twin.move_kills import Point, killed_at

UNFENCED_FILE = """
from edgetwin.twin.host import Host
from edgetwin.twin.moves.gates import Gates
from edgetwin.twin.stores import sqlite
sqlite.UPDATE_TWIN = sqlite.UPDATE_TWIN.replace(f" AND {sqlite.moves.NOT_LEAVING}", "")
Gates.close = lambda gates, twin: None
decide = Host._decide
def unfenced(host, *values):
    frozen, host.endpoint.frozen = host.endpoint.frozen, {}
    try:
        return decide(host, *values)
    finally:
        host.endpoint.frozen = frozen
Host._decide = unfenced
"""
UNFENCED_DATABASE = """
from edgetwin.twin.stores import postgres
postgres.UPDATE_TWINS = postgres.UPDATE_TWINS.replace("there.epoch = new.epoch AND there.owner = %s", "%s::text <> ''")
"""
FORGETFUL = """
from edgetwin.twin.stores import sqlite
whole = sqlite.moves.activate
def forgetful(database, twin, move, epoch):
    database.execute("UPDATE arriving SET boot_id = 0, seq = 0 WHERE id = ? AND move = ?", (twin, move))
    return whole(database, twin, move, epoch)
sqlite.moves.activate = forgetful
sqlite.SQLiteStore.known = lambda store, keys: set()
sqlite.INSERT_ENTRY = sqlite.INSERT_ENTRY.replace("INSERT", "INSERT OR REPLACE")
"""
LOSSY = """
from edgetwin.twin.stores.sqlite import SQLiteStore
stage = SQLiteStore.stage
SQLiteStore.stage = lambda store, parcel, move: stage(store, parcel._replace(entries=parcel.entries[:-1]), move)
"""
TRUSTING = """
from edgetwin.twin.moves.host_moves import HostMoves
async def trusting(moves, frozen, move):
    await moves.extend(frozen.tail, move)
HostMoves.verify = trusting
"""
KILLS = [Point(CENTRE, "after-5"), Point(CENTRE, "after-7"), Point(CENTRE, "")]


def broken(folder, code):
    """What stands in for `-m edgetwin`."""
    program = folder / "broken.py"
    program.write_text(f"{code}\nfrom edgetwin.cli import command\ncommand()\n")
    return [str(program)]


@pytest.mark.slow
def test_without_the_fence_of_files(tmp_path):
    outcome = killed_at(Deployment(tmp_path, program=broken(tmp_path, UNFENCED_FILE)), KILLS, settle_s=5)
    assert outcome.verdict.lost > 0


@pytest.mark.slow
def test_without_the_fence_of_the_database(tmp_path, server):
    deployment = Deployment(tmp_path, server.address, processes=True, program=broken(tmp_path, UNFENCED_DATABASE))
    outcome = stopped_at(deployment, ["", "", ""], seed=6, settle_s=5)
    assert any("do not follow" in one or "its log" in one or "was given to" in one for one in outcome.verdict.violations)


@pytest.mark.slow
def test_without_what_came_before_carried_along(tmp_path):
    outcome = killed_at(Deployment(tmp_path, program=broken(tmp_path, FORGETFUL)), KILLS, settle_s=5)
    assert outcome.verdict.twice > 0


@pytest.mark.slow
def test_a_copy_that_is_not_whole_is_not_served(tmp_path):
    outcome = killed_at(Deployment(tmp_path, program=broken(tmp_path, LOSSY)), [Point(CENTRE, "")] * 3)
    assert outcome.verdict.violations == [] and outcome.moves["aborted"] > 0 and "moved" not in outcome.moves


@pytest.mark.slow
def test_without_the_hash_it_is(tmp_path):
    outcome = killed_at(Deployment(tmp_path, program=broken(tmp_path, LOSSY + TRUSTING)), KILLS, settle_s=5)
    assert outcome.verdict.lost > 0
