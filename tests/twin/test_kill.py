"""SIGKILL of the service at random moments under load: nothing acknowledged is lost, nothing applied twice."""

import pytest

from twin.hosts import logs_in
from twin.kills import killed_under_load
from twin.service import ServiceProcess


def test_killed_at_random_moments(tmp_path):
    data = tmp_path / "twins"
    record = killed_under_load(ServiceProcess(data), lambda: logs_in(data), kills=3)
    assert record.verdict.violations == []
    assert record.verdict.acknowledged == record.sent > 200


@pytest.mark.slow
def test_killed_many_times(tmp_path):
    data = tmp_path / "twins"
    record = killed_under_load(ServiceProcess(data), lambda: logs_in(data), kills=20, seed=1)
    assert record.verdict.violations == []
    assert record.verdict.acknowledged == record.sent > 1000


BROKEN = {
    "without the transaction": """
import time
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.store import Batch
whole = SQLiteStore.commit
def in_two(store, batch):
    whole(store, Batch(batch.twins))
    time.sleep(.02)
    return whole(store, Batch((), batch.entries, batch.quarantined))
SQLiteStore.commit = in_two
""",
    "acknowledged before it is on disk": """
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.store import Batch
whole, kept = SQLiteStore.commit, []
def later(store, batch):
    kept.append(batch)
    if len(kept) > 3:
        for one in kept:
            whole(store, one)
        kept.clear()
    return set()
SQLiteStore.commit = later
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_layer_is_found_by_kills(tmp_path, broken):
    program = tmp_path / "broken.py"
    program.write_text(f"{BROKEN[broken]}\nfrom edgetwin.cli import command\ncommand()\n")
    data = tmp_path / "twins"
    service = ServiceProcess(data, "--host", "edge-1", program=[str(program)])
    record = killed_under_load(service, lambda: logs_in(data), kills=6, seed=3, settle_s=5)
    assert any("log" in violation for violation in record.verdict.violations if "status" not in violation)
