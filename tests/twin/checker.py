"""Judges what a service of twins did from what its devices saw, and from the logs it ended with: nothing acknowledged is lost, nothing applied
twice. It knows none of the service's code, so that what it says does not rest on what it judges.

A history is a list of events as devices write them down: `sent` before a message is first sent, `acked` when an answer came. Where an answer says
under which `epoch` the twin was, and which `host` gave it, these are judged too: epochs grow with revisions, and none has two hosts.
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

KEPT = ("applied", "late", "duplicate")


class Verdict(NamedTuple):
    """How many messages were acknowledged as kept, how many of them are lost and how many applied twice, and every violation in words."""

    acknowledged: int
    lost: int
    twice: int
    violations: list[str]


def read_history(path: Path) -> list[dict[str, Any]]:
    """The events in a file, one JSON object a line; a last line that was cut off is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def judged(events: list[dict[str, Any]], twins: dict[str, dict[str, Any]]) -> Verdict:
    """The verdict on a service. twins: by id `revision`, `reported`, `epoch`, `base` (revision and state its log begins with), and `log`, a list
    of {boot_id, seq, revision, measured_s, changes} in the order of (boot_id, seq)."""
    sent = {(e["device"], e["boot_id"], e["seq"]): e for e in events if e["event"] == "sent"}
    kept = {(e["device"], e["boot_id"], e["seq"]): e for e in events if e["event"] == "acked" and e["status"] in KEPT}
    violations: list[str] = []
    entries = {}
    for name, twin in twins.items():
        for entry in twin["log"]:
            entries.setdefault((name, entry["boot_id"], entry["seq"]), []).append(entry)
    twice = {key for key, found in entries.items() if len(found) > 1}
    violations += [f"{key}: {len(entries[key])} times in the log" for key in twice]
    lost = [key for key in kept if key not in entries and not _trimmed(twins, key, kept[key])]
    violations += [f"{key}: acknowledged as {kept[key]['status']}, not in the log" for key in lost]
    for key, (entry, *_) in entries.items():
        violations += _as_sent(key, entry, sent.get(key))
    for key, event in kept.items():
        violations += _as_acknowledged(key, event, entries.get(key, [None])[0])
    for name, twin in twins.items():
        violations += [f"{name}: {wrong}" for wrong in _twin(twin)]
    violations += _epochs([e for e in events if e["event"] == "acked" and e["status"] in KEPT], twins)
    given = defaultdict(set)
    for (name, *key), event in kept.items():
        if event["status"] == "applied":
            given[name, event["revision"]].add(tuple(key))
    for (name, revision), keys in given.items():
        if len(keys) > 1:
            violations.append(f"{name}: revision {revision} was given to {len(keys)} messages")
            twice.add((name, revision))
    applied_again = Counter(
        (e["device"], e["boot_id"], e["seq"], e["status"])
        for e in events
        if e["event"] == "acked" and e["status"] in ("applied", "late")
    )
    for (*who, status), times in applied_again.items():
        if times > 1:
            violations.append(f"{tuple(who)}: acknowledged as {status} {times} times")
            twice.add(tuple(who))
    return Verdict(len(kept), len(lost), len(twice), violations)


def _trimmed(twins, key, event):
    """Whether an applied message may have been folded into the beginning of the log."""
    base = twins.get(key[0], {}).get("base", {"revision": 0})
    return event["revision"] is not None and event["status"] == "applied" and event["revision"] <= base["revision"]


def _as_sent(key, entry, event):
    if event is None:
        return [f"{key}: in the log, never sent"]
    if event["state"] != entry["changes"] or event["time_s"] != entry["measured_s"]:
        return [
            f"{key}: in the log as {entry['changes']} at {entry['measured_s']}, sent as {event['state']} at {event['time_s']}"
        ]
    return []


def _as_acknowledged(key, event, entry):
    if entry is None or event["status"] == "duplicate":
        return []
    said = event["revision"] if event["status"] == "applied" else None
    return [f"{key}: acknowledged with revision {said}, in the log with {entry['revision']}"] if entry["revision"] != said else []


def _twin(twin):
    violations = []
    begin = twin["base"]["revision"]
    applied = [entry for entry in twin["log"] if entry["revision"] is not None]
    revisions = [entry["revision"] for entry in applied]
    if revisions != list(range(begin + 1, begin + 1 + len(revisions))):
        violations.append(f"revisions {_short(revisions)} do not follow {begin} one by one in the order of messages")
    if twin["revision"] != begin + len(applied):
        violations.append(f"is at revision {twin['revision']}, its log at {begin + len(applied)}")
    state = dict(twin["base"]["state"])
    for entry in sorted(applied, key=lambda entry: entry["revision"]):
        state.update(entry["changes"])
        state = {name: value for name, value in state.items() if value is not None}
    if state != twin["reported"]:
        violations.append(f"reports {twin['reported']}, its log says {state}")
    return violations


def _epochs(acks, twins):
    seen, hosts = defaultdict(set), defaultdict(set)
    for ack in acks:
        if ack.get("epoch") is not None:
            seen[ack["device"]].add((ack["revision"], ack["epoch"]))
            if ack.get("host") is not None:
                hosts[ack["device"], ack["epoch"]].add(ack["host"])
    violations = [
        f"{name}: {sorted(those)} answered under epoch {epoch}" for (name, epoch), those in hosts.items() if len(those) > 1
    ]
    for name, pairs in seen.items():
        if name in twins and twins[name].get("epoch") is not None:
            pairs.add((twins[name]["revision"], twins[name]["epoch"]))
        epochs = [epoch for _, epoch in sorted(pairs)]
        if epochs != sorted(epochs):
            violations.append(f"{name}: epochs {_short(epochs)} do not grow with revisions")
    return violations


def _short(values):
    return values if len(values) <= 12 else [*values[:6], "…", *values[-5:]]
