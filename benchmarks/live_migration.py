"""Writes docs/results-live-migration.md and its record: how long a twin of 1 MB that is reported to all the time stands still when it
moves, and how long it takes to drain a host of 1,000 twins; with hosts in one process and in processes of their own, over files and over PostgreSQL.

python benchmarks/live_migration.py [MOVES]      of each deployment, 360 unless told; PostgreSQL comes from the wheel that the tests use. For a quiet
machine. Ends with 1 where a bar is missed or anything was lost.
"""

import asyncio
import bisect
import json
import os
import platform
import random
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from live_load import connect, request  # noqa: E402

import edgetwin as et  # noqa: E402
from edgetwin.twin.messages import Update, line_of  # noqa: E402
from twin.checker import judged  # noqa: E402
from twin.deployments import Deployment  # noqa: E402
from twin.move_load import asked, until  # noqa: E402
from twin.servers import postgres_server  # noqa: E402
from twin.streams import Reporter, report  # noqa: E402

ENTRIES = 8_000
EVERY_S = 0.01
DRAINED = 1_000
BARS_MS = (10, 50)
MOVES, ROUND = 360, 120
"""Moves of each deployment, and of each of its twins: a twin that is reported to all the time does not keep its size."""
PAGE = ROOT / "docs" / "results-live-migration.md"


class Measured(NamedTuple):
    """Moves of twins, one at a time: milliseconds that each stood still, and of the longest gap between acknowledgements that its device saw,
    and how many were undone; bytes of the log at a twin's first move and at most; updates acknowledged and how many were lost or applied twice;
    violations that the checker found; seconds of the drain."""

    pause_ms: list[float]
    gap_ms: list[float]
    undone: int
    size_bytes: tuple[int, int]
    acknowledged: int
    lost: int
    twice: int
    violations: list[str]
    drain_s: float


async def filled(service, name, events):
    """Has a device's log hold `ENTRIES` entries, as a vehicle reports them."""
    reader, writer = await connect(service.url)
    draw = random.Random(0)
    for begin in range(0, ENTRIES, 1000):
        some = [
            Update(name, 1, seq, time.time(), {"x_m": draw.uniform(0, 1000), "y_m": draw.uniform(0, 1000), "speed_mps": 13.5})
            for seq in range(begin + 1, begin + 1001)
        ]
        events += [{"event": "sent", **one._asdict()} for one in some]
        status, body = await request(reader, writer, "POST", "/v1/updates", b"\n".join(map(line_of, some)))
        acks = json.loads(body)["acks"]
        assert status == 200 and {ack["status"] for ack in acks} == {"applied"}, body[:200]
        events += [{"event": "acked", "revision": None, **ack} for ack in acks]
    writer.close()


async def moved(deployment, reporter, moves, told):
    """Moves the reporter's twin to and fro; milliseconds of each pause and of the device's longest gap, how many were undone, and bytes carried first
    and last."""
    pauses, spans, undone, sizes = [], [], 0, []
    hosts = deployment.edge[:2]
    _, twin = await asked(deployment.centre, "GET", f"/v1/twins/{reporter.name}")
    at = hosts.index(twin["host"]) if twin["host"] in hosts else 1
    while len(pauses) < moves:
        began = time.perf_counter()
        status, move = await asked(deployment.centre, "POST", f"/v1/twins/{reporter.name}/migrate", {"host": hosts[1 - at]})
        if status != 200:
            undone += 1
            print(status, move.get("reason", move), file=sys.stderr)
            assert undone <= max(10, moves // 10), "too many moves are undone"
            continue
        at = 1 - at
        spans.append((began, time.perf_counter()))
        pauses.append(1000 * move["pause_s"])
        sizes.append(move["size_bytes"])
        told(len(pauses))
        await asyncio.sleep(0.03)
    await asyncio.sleep(0.5)
    return pauses, [1000 * gap_s(reporter.acked_at, *span) for span in spans], undone, (sizes[0], sizes[-1])


def gap_s(times, began, ended):
    """The longest time between two acknowledgements of which one may have waited for what happened meanwhile."""
    first, last = max(bisect.bisect_left(times, began) - 1, 0), bisect.bisect_right(times, ended) + 1
    heard = times[first : last + 1]
    return max((after - before for before, after in zip(heard, heard[1:], strict=False)), default=float("nan"))


async def drained(deployment):
    """Seconds to drain a host of `DRAINED` twins, each with ten entries."""
    centre, (host, *others) = deployment.centre, deployment.edge
    names = [f"car-{i}" for i in range(DRAINED)]
    for other in others:
        await asked(centre, "PUT", f"/v1/hosts/{other}/cordon")
    for name in names:
        assert (await asked(centre, "PUT", f"/v1/twins/{name}", {"kind": "vehicle"}))[0] == 201
    for other in others:
        await asked(centre, "DELETE", f"/v1/hosts/{other}/cordon")
    reader, writer = await connect(centre.url)
    for seq in range(1, 11):
        lines = [line_of(Update(name, 1, seq, time.time(), {"x_m": 0.5 * seq, "y_m": 2.0})) for name in names]
        status, body = await request(reader, writer, "POST", "/v1/updates", b"\n".join(lines))
        assert status == 200 and body.count(b'"applied"') == DRAINED, body[:200]
    writer.close()
    assert (await asked(centre, "POST", f"/v1/hosts/{host}/drain"))[0] == 202

    async def done():
        state = (await asked(centre, "GET", f"/v1/hosts/{host}/drain"))[1]
        return state if state.get("done") else None

    state = await until(done, 600)
    assert state["kept"] == 0, state
    return state["seconds"]


def measured(deployment, moves, told):
    """Measures a deployment from its start to its end."""
    events, names = [], [f"bus-{i}" for i in range(1, -(-moves // ROUND) + 1)]

    async def one(name, count, done):
        reporter, stopping = Reporter(deployment.centre.url, name, events), asyncio.Event()
        await asked(deployment.centre, "PUT", f"/v1/twins/{name}", {"kind": "vehicle"})
        await filled(deployment.centre, name, events)
        reporting = asyncio.create_task(report(reporter, random.Random(1), stopping, EVERY_S))
        await until(lambda: _has(reporter), 10)
        found = await moved(deployment, reporter, count, lambda number: told(done + number))
        stopping.set()
        await asyncio.wait_for(reporting, 30)
        return found

    async def main():
        await asyncio.to_thread(deployment.start)
        counts = [min(ROUND, moves - begin) for begin in range(0, moves, ROUND)]
        each = [await one(name, count, i * ROUND) for i, (name, count) in enumerate(zip(names, counts, strict=True))]
        pauses, gaps, undone, sizes = zip(*each, strict=True)
        told_of = sum(pauses, []), sum(gaps, []), sum(undone), (sizes[0][0], max(last for _, last in sizes))
        return *told_of, await drained(deployment)

    try:
        *found, drain_s = asyncio.run(main())
    except BaseException:
        deployment.kill()
        raise
    wrong = deployment.stop()
    held = deployment.held()
    verdict = judged(events, {name: held.twins[name] for name in names})
    found += verdict[:3]
    return Measured(*found, [*verdict.violations, *held.violations, *wrong], drain_s)


async def _has(reporter):
    return len(reporter.acked_at) > 10


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def moving(name, one):
    """A row of the table of moves."""

    def figures(values):
        return " | ".join(f"{percentile(values, share):.1f}" for share in (0.5, 0.99, 1.0))

    sizes = " to ".join(f"{size / 1e6:.2f}" for size in one.size_bytes) if any(one.size_bytes) else "nothing"
    return f"| {name} | {len(one.pause_ms):,} | {figures(one.pause_ms)} | {figures(one.gap_ms)} | {one.undone} | {sizes} |"


def keeping(name, one):
    """A row of the table of what was kept."""
    return f"| {name} | {one.acknowledged:,} | {one.lost} | {one.twice} | {len(one.violations)} | {one.drain_s:.1f} |"


def is_met(one):
    """Whether pauses are within the bars and nothing was lost, applied twice or otherwise wrong."""
    within = all(percentile(one.pause_ms, share) <= bar for share, bar in zip((0.5, 0.99), BARS_MS, strict=True))
    return within and not (one.lost or one.twice or one.violations)


def main(moves):
    """Measures all deployments; returns whether the bars are met."""
    results = {}
    for processes, shared in ((False, False), (True, False), (True, True)):
        with tempfile.TemporaryDirectory() as folder, postgres_server() if shared else nullcontext() as server:
            deployment = Deployment(Path(folder), server.address if server else None, processes)
            name = deployment.kind
            results[name] = measured(
                deployment, moves, lambda done, name=name: print(f"\r{name}: {done}", end="", file=sys.stderr, flush=True)
            )
            said = [moving(name, results[name]), keeping(name, results[name]), *results[name].violations[:5]]
            print("", *said, sep="\n", file=sys.stderr)

    def rows(kind):
        return "\n".join(kind(name, one) for name, one in results.items())

    page = f"""# Results: a twin that moves under load

Written by `python benchmarks/live_migration.py{"" if moves == MOVES else f" {moves}"}` with edgetwin {et.__version__},
Python {platform.python_version()}, on {os.cpu_count()} cores that service, database and device share. A vehicle's twin with {ENTRIES:,} entries
in its log is reported to every {1000 * EVERY_S:.0f} ms by the device client over WebSocket, and moved to and fro between two edge hosts; each
{ROUND} times, so that it keeps its size: {moves * len(results):,} moves in all.

| deployment | moves | pause, ms: median | 99 % | worst | gap, ms: median | 99 % | worst | undone | carried, MB |
|---|---|---|---|---|---|---|---|---|---|
{rows(moving)}

**Pause**: from asking for the freeze until the destination serves, as `GET /v1/moves` tells it; the bars are {BARS_MS[0]} ms for the
median and {BARS_MS[1]} ms for the 99th percentile. **Gap**: the longest time between two acknowledgements that the device saw around
a move; without moves it is the {1000 * EVERY_S:.0f} ms between reports and a commit. Carried: the log, at a twin's first move and, grown,
at its last; between hosts that share a database nothing is.

| deployment | acknowledged | lost | twice | violations | drain of {DRAINED:,} twins, s |
|---|---|---|---|---|---|
{rows(keeping)}

What the device was told and what stores hold in the end are compared by the checker (`tests/twin/checker.py`). The twins of the host
that is drained have ten entries each, and nobody reports to them meanwhile.
"""
    PAGE.write_text(page, encoding="utf-8")
    record = {name: one._asdict() for name, one in results.items()}
    PAGE.with_suffix(".json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(page)
    return all(map(is_met, results.values()))


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else MOVES) else 1)
