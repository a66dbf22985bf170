"""Bad messages of every kind among good ones, by the thousand, into a running service: each in quarantine with its reason, good ones untouched."""

import itertools
import json
import random
import time

import pytest

from edgetwin.twin.messages import MAX_LINE_BYTES, REASONS, Update, line_of
from twin.checker import judged
from twin.hosts import logs_in, sqlite_calls
from twin.service import ServiceProcess

GROUP = 500


def changed(update, **changes):
    return json.dumps({**update._asdict(), **changes}).encode()


def with_state(update, **state):
    return changed(update, state={**update.state, **state})


def truncated(update, draw):
    line = changed(update)
    return line[: draw.randrange(1, len(line))]


def flipped(update, draw):
    line = bytearray(line_of(update))
    place = draw.randrange(2, len(line) - 30)
    line[place] ^= 1 << draw.randrange(6)
    return bytes(line) if line[place] not in (10, 13) else flipped(update, draw)


BAD = {
    "malformed": [
        truncated,
        lambda u, d: bytes(d.randrange(128, 256) for _ in range(40)),
        lambda u, d: changed(u, seq=d.choice([0, -1, 1.5, "1", None, 2**63])),
        lambda u, d: changed(u, boot_id=True),
        lambda u, d: changed(u, state=d.choice([{}, [], 1, None])),
        lambda u, d: changed(u, time_s="today"),
        lambda u, d: changed(u, extra=1),
        lambda u, d: b"[" * 30_000 if d.random() < 0.01 else b"[[]]",
        lambda u, d: b"null",
    ],
    "damaged": [flipped],
    "too-large": [lambda u, d: changed(u, extra="x" * MAX_LINE_BYTES) if d.random() < 0.02 else b"y" * (MAX_LINE_BYTES + 1)],
    "unknown-device": [lambda u, d: changed(u, device=f"nobody-{d.randrange(1000)}")],
    "erased": [lambda u, d: changed(u, device="gone")],
    "unknown-property": [lambda u, d: with_state(u, colour="red")],
    "wrong-type": [lambda u, d: with_state(u, x_m=d.choice(["1", True, [], {}]))],
    "not-a-number": [lambda u, d: with_state(u, x_m=d.choice([float("nan"), float("inf"), float("-inf")]))],
    "out-of-range": [lambda u, d: with_state(u, speed_mps=d.choice([-0.001, 1e9, -1e300, 10**30]))],
    "missing": [lambda u, d: changed(u, state={"speed_mps": 1.0}), lambda u, d: with_state(u, y_m=None)],
    "clock-skew": [lambda u, d: changed(u, time_s=u.time_s + d.choice([60, 1e6, 1e12]))],
    "too-old": [lambda u, d: changed(u, time_s=d.choice([0, -1e9, u.time_s - 8 * 86400]))],
}


def storm(service, data, bad_messages, seed=0):
    assert set(BAD) == set(REASONS)
    draw = random.Random(seed)
    devices = [f"car-{i}" for i in range(20)]
    for name in [*devices, "gone"]:
        service.ask("PUT", f"/v1/twins/{name}", {"kind": "vehicle"})
    service.ask("DELETE", "/v1/twins/gone")
    seqs, events = itertools.count(1), []
    expected = dict.fromkeys(BAD, 0)
    reasons = [reason for reason in BAD if reason != "too-large"]
    sent_bad = 0
    while sent_bad < bad_messages:
        lines, due = [], []
        for _ in range(GROUP):
            update = Update(draw.choice(devices), 1, next(seqs), round(time.time(), 3), {"x_m": draw.random(), "y_m": 1.0})
            if draw.random() < 0.1:
                events.append({"event": "sent", **update._asdict()})
                lines.append(line_of(update))
                due.append("applied")
                continue
            reason = "too-large" if draw.random() < 0.001 else draw.choice(reasons)
            lines.append(draw.choice(BAD[reason])(update, draw))
            due.append(reason)
            expected[reason] += 1
            sent_bad += 1
        acks = service.ask("POST", "/v1/updates", b"\n".join(lines))["acks"]
        for line, ack, wanted in zip(lines, acks, due, strict=True):
            assert (ack.get("reason") or ack["status"]) == wanted, (line[:300], ack)
            if wanted == "applied":
                events.append({"event": "acked", **ack})
    counts = service.get("/v1/quarantine?limit=1")["counts"]
    assert service.stop() == 0
    del expected["erased"]
    assert counts == expected
    assert sqlite_calls(
        data / "centre.sqlite", "SELECT count(*) FROM quarantine WHERE device = 'gone' OR message LIKE '%gone%'"
    ) == [(0,)]
    verdict = judged(events, logs_in(data))
    assert verdict.violations == [] and verdict.acknowledged == sum(event["event"] == "sent" for event in events)
    return sent_bad


def test_thousands_of_bad_messages(tmp_path):
    with ServiceProcess(tmp_path / "twins") as service:
        assert storm(service, tmp_path / "twins", 4_000) >= 4_000


@pytest.mark.slow
def test_a_hundred_thousand_bad_messages(tmp_path):
    with ServiceProcess(tmp_path / "twins") as service:
        assert storm(service, tmp_path / "twins", 100_000, seed=1) >= 100_000
