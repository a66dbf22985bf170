"""The checker finds what is wrong: in histories put wrong by hand, and in a layer that is broken on purpose."""

import copy
import sqlite3

import pytest

from edgetwin.twin import host as hosts
from edgetwin.twin.messages import Ack
from edgetwin.twin.stores import sqlite as sqlite_store
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stores.store import Batch, StoreUnavailable
from twin.checker import judged
from twin.hosts import arrivals, logs_in, update, with_host


def a_run(tmp_path, groups):
    """Sends groups of updates; returns the devices' history and the logs that are left."""
    sent = {one[:3]: one for group in groups for one in group}
    events = [{"event": "sent", **one._asdict()} for one in sent.values()]

    async def work(host):
        for group in groups:
            try:
                acks = await host.submit(arrivals(*group))
            except (hosts.Full, sqlite3.Error):
                continue
            events.extend({"event": "acked", **ack._asdict()} for ack in acks)

    with_host(tmp_path, work)
    return events, logs_in(tmp_path)


def plain(count=6):
    return [[update(seq=seq, x_m=float(seq), y_m=0.0)] for seq in range(1, count + 1)]


def test_a_sound_run_passes(tmp_path):
    events, twins = a_run(tmp_path, plain())
    verdict = judged(events, twins)
    assert verdict == (6, 0, 0, [])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda twin: twin["log"].pop(2), "acknowledged as applied, not in the log"),
        (lambda twin: twin["log"].append(twin["log"][-1]), "2 times in the log"),
        (lambda twin: twin["log"][1]["changes"].update(x_m=9.0), "sent as"),
        (lambda twin: twin["log"][1].update(measured_s=1.0), "sent as"),
        (lambda twin: twin["log"][1].update(revision=5), "do not follow"),
        (lambda twin: twin["log"][1].update(revision=None), "acknowledged with revision 2"),
        (lambda twin: twin.update(revision=7), "is at revision 7, its log at 6"),
        (lambda twin: twin["reported"].update(x_m=1.0), "its log says"),
        (lambda twin: twin["log"].append({**twin["log"][-1], "seq": 99, "revision": 7}), "never sent"),
    ],
)
def test_each_kind_of_damage_is_found(tmp_path, damage, said):
    events, twins = a_run(tmp_path, plain())
    twins = copy.deepcopy(twins)
    damage(twins["car-1"])
    assert any(said in violation for violation in judged(events, twins).violations)


def test_a_revision_given_twice_and_a_message_applied_twice_are_found(tmp_path):
    events, twins = a_run(tmp_path, plain())
    again = [*events, {**events[-1], "revision": 7}]
    assert judged(again, twins).twice == 1
    shared = [{**event, "revision": 3} if event["event"] == "acked" else event for event in events]
    assert any("was given to 6 messages" in violation for violation in judged(shared, twins).violations)


def under_epochs(*epochs):
    """A sound history of six updates, and the logs after it, answered under epochs by hosts a, b, c."""
    events, log = [], []
    for seq, epoch in enumerate(epochs, 1):
        one = {"device": "car-1", "boot_id": 1, "seq": seq}
        events.append({"event": "sent", **one, "time_s": 0.0, "state": {"x_m": float(seq)}})
        events.append({"event": "acked", **one, "status": "applied", "revision": seq, "epoch": epoch, "host": " abc"[epoch]})
        log.append({"boot_id": 1, "seq": seq, "revision": seq, "measured_s": 0.0, "changes": {"x_m": float(seq)}})
    base = {"revision": 0, "state": {}}
    reported = {"x_m": float(len(epochs))}
    return events, {"car-1": {"revision": len(epochs), "epoch": epochs[-1], "reported": reported, "base": base, "log": log}}


def test_a_history_over_several_owners_passes():
    events, twins = under_epochs(1, 1, 2, 2, 3, 3)
    again = {**events[1], "status": "duplicate", "revision": 4, "epoch": 2, "host": "b"}
    assert judged([*events, again], twins).violations == []
    assert judged([{**event, "epoch": None, "host": None} for event in events], twins).violations == []


def test_epochs_that_go_back_or_have_two_owners_are_found():
    events, twins = under_epochs(1, 1, 2, 1, 3, 3)
    assert judged(events, twins).violations == ["car-1: epochs [1, 1, 2, 1, 3, 3] do not grow with revisions"]
    events, twins = under_epochs(1, 1, 2, 2, 3, 3)
    twins["car-1"]["epoch"] = 2
    assert any("do not grow" in violation for violation in judged(events, twins).violations)
    events, twins = under_epochs(1, 1, 2, 2, 3, 3)
    events[3]["host"] = "c"
    assert judged(events, twins).violations == ["car-1: ['a', 'c'] answered under epoch 1"]


def test_without_dedup_it_fails(tmp_path, monkeypatch):
    """No look into the log, no order of messages, no key in the table: what comes again is applied again."""
    monkeypatch.setattr(hosts, "is_newer", lambda twin, update: True)
    monkeypatch.setattr(sqlite_store, "INSERT_ENTRY", sqlite_store.INSERT_ENTRY.replace("INSERT", "INSERT OR REPLACE"))
    groups = plain()
    verdict = judged(*a_run(tmp_path, [*groups, groups[2]]))
    assert verdict.twice and verdict.violations


def test_without_the_transaction_it_fails(tmp_path, monkeypatch):
    """The log is written after the twins and by itself, and the process ends in between."""
    whole = SQLiteStore.commit

    def in_two(store, batch):
        whole(store, Batch(batch.twins))
        if batch.twins[0].revision == 4:
            raise StoreUnavailable("ended in between")
        return whole(store, Batch((), batch.entries))

    monkeypatch.setattr(SQLiteStore, "commit", in_two)
    assert any("follow" in violation or "its log" in violation for violation in judged(*a_run(tmp_path, plain())).violations)


def test_acknowledged_before_it_is_on_disk_it_fails(tmp_path, monkeypatch):
    def forgetful(store, batch):
        return set()

    groups = plain()

    async def work(host):
        acks = []
        for i, group in enumerate(groups):
            if i == 4:
                monkeypatch.setattr(SQLiteStore, "commit", forgetful)
            acks += await host.submit(arrivals(*group))
        return acks

    acks: list[Ack] = with_host(tmp_path, work)
    monkeypatch.undo()
    events = [{"event": "sent", **one._asdict()} for (one,) in groups] + [{"event": "acked", **ack._asdict()} for ack in acks]
    verdict = judged(events, logs_in(tmp_path))
    assert (verdict.acknowledged, verdict.lost) == (6, 2)
