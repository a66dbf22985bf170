"""Real processes whose moves are broken on purpose: what shows that sound ones lose nothing finds it in these."""

import pytest

from twin.deployments import CENTRE, Deployment
from twin.move_faults import HOST, Planned, stopped_at
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


TRIES = 5


def broken(folder, code):
    """What stands in for `-m edgetwin`."""
    program = folder / "broken.py"
    program.write_text(f"{code}\nfrom edgetwin.cli import command\ncommand()\n")
    return [str(program)]


def is_found_out(folder, run, wrong):
    """Whether one of several runs finds the layer broken: a process that ends at a harmless moment does not."""
    for seed in range(TRIES):
        there = folder / str(seed)
        there.mkdir()
        if wrong(run(there, seed).verdict):
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "count"), [(UNFENCED_FILE, "lost"), (FORGETFUL, "twice"), (LOSSY + TRUSTING, "lost")], ids=["fence", "dedup", "hash"]
)
def test_without_it_updates_are_lost_or_applied_twice(tmp_path, code, count):
    def run(folder, seed):
        return killed_at(Deployment(folder, program=broken(folder, code)), KILLS, seed=seed, settle_s=5)

    assert is_found_out(tmp_path, run, lambda verdict: getattr(verdict, count) > 0)


@pytest.mark.slow
def test_without_the_fence_of_the_database(tmp_path, server):
    def run(folder, seed):
        server.run("DROP SCHEMA IF EXISTS edgetwin CASCADE")
        deployment = Deployment(folder, server.address, processes=True, program=broken(folder, UNFENCED_DATABASE))
        return stopped_at(deployment, [Planned("", HOST)] * 6, seed=seed, settle_s=5)

    signs = ("do not follow", "its log", "was given to")
    assert is_found_out(tmp_path, run, lambda verdict: any(sign in one for one in verdict.violations for sign in signs))


@pytest.mark.slow
def test_a_copy_that_is_not_whole_is_not_served(tmp_path):
    outcome = killed_at(Deployment(tmp_path, program=broken(tmp_path, LOSSY)), [Point(CENTRE, "")] * 3)
    assert outcome.verdict.violations == [] and outcome.moves["aborted"] > 0 and "moved" not in outcome.moves
