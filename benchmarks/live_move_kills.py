"""Writes docs/results-live-moves.md and its record: twins that move all the time under load, while the processes that move them are killed at every
numbered step of moves and in every part that hosts have in them, stand still, or are cut off from each other; judged by the checker.

python benchmarks/live_move_kills.py [PART …]      kills, failovers, stops, partitions, or all; what is not asked for stays as recorded. page: only
the page, from the record.
PostgreSQL comes from the wheel that the tests use. Partitions need root, ip and iptables. Ends with 1 where anything was lost, applied twice or
otherwise wrong, or a twin was not served again in time.
"""

import json
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from functools import partial
from itertools import cycle, product
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import edgetwin as et  # noqa: E402
from twin.deployments import CENTRE, EDGE, Deployment  # noqa: E402
from twin.failovers import failed_over  # noqa: E402
from twin.machines import apart  # noqa: E402
from twin.move_faults import DESTINATION, SOURCE, Planned, parted_at, stopped_at, ways  # noqa: E402
from twin.move_kills import PARTS, STEPS, database_killed_at, killed_at, points  # noqa: E402
from twin.servers import postgres_server  # noqa: E402

PAGE = ROOT / "docs" / "results-live-moves.md"
RECORD = PAGE.with_suffix(".json")
ROUNDS = 3
FAILED_OVER = 12
FAULTS_AT = [*(step for step in STEPS if step.startswith("before") and step != "before-1"), ""]
SERVED_AGAIN_S = 2.0
KEPT = ("acknowledged", "lost", "applied twice", "violations", "95 % bound on a message's loss", "moves", "undone")


def kills():
    """What became of each kind of deployment, by its name: an outcome for each round, which has a service and a load of its own."""
    found = {}
    for shared in (False, True):
        for processes in (False, True):
            for number in range(ROUNDS if processes else ROUNDS - 1):
                with tempfile.TemporaryDirectory() as folder, postgres_server() if shared else nullcontext() as server:
                    deployment = Deployment(Path(folder), server.address if server else None, processes)
                    everywhere = points(deployment, EDGE[number % len(EDGE)])
                    outcome = killed_at(deployment, everywhere, told=_teller(deployment.kind), seed=number)
                    found.setdefault(deployment.kind, []).append(_plain(outcome))
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        deployment = Deployment(Path(folder), server.address, processes=True)
        outcome = database_killed_at(deployment, server, STEPS, told=_teller("the database"), seed=ROUNDS)
        found[deployment.kind].append(_plain(outcome))
    return found


def failovers():
    """Hosts killed that share a database."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        return [list(one) for one in failed_over(Deployment(Path(folder), server.address, processes=True), FAILED_OVER)]


def stops():
    """Hosts and centres that stood still, by kind of deployment."""
    found = {}
    planned = [Planned(step, part) for step, part in product(FAULTS_AT, (SOURCE, DESTINATION, CENTRE))]
    for shared in (False, True):
        with tempfile.TemporaryDirectory() as folder, postgres_server() if shared else nullcontext() as server:
            deployment = Deployment(Path(folder), server.address if server else None, processes=True)
            found[deployment.kind] = [_plain(stopped_at(deployment, planned, seed=1))]
    return found


def partitions():
    """Machines that were cut off, by kind of deployment."""
    found = {}
    for shared in (False, True):
        steps_and_ways, parts = product(FAULTS_AT, ways(shared)), cycle((SOURCE, DESTINATION))
        planned = [Planned(step, part, how) for (step, how), part in zip(steps_and_ways, parts, strict=False)]
        with tempfile.TemporaryDirectory() as folder, apart(Path(folder), shared) as (wires, deployment):
            found[deployment.kind] = [_plain(wires.inside(CENTRE, partial(parted_at, deployment, wires, planned, seed=1)))]
    return found


def _teller(name):
    return lambda done: print(f"\r{name}: {done} kills ", end="", file=sys.stderr, flush=True)


def _plain(outcome):
    led_to = {name: value for name, value in outcome.faults._asdict().items() if isinstance(value, int)}
    print(f"\n{outcome.verdict[:3]} {outcome.verdict.violations[:3]} {outcome.moves}", file=sys.stderr)
    return {
        **dict(zip(("acknowledged", "lost", "twice", "violations"), outcome.verdict, strict=True)),
        "sent": outcome.sent,
        "moves": outcome.moves,
        "faults": [list(fault) for fault in outcome.faults.done],
        **led_to,
    }


def kept(outcomes):
    """Acknowledged, lost, twice, violations, moved and undone of some outcomes, as cells of a table."""
    acknowledged, lost, twice = (sum(one[name] for one in outcomes) for name in ("acknowledged", "lost", "twice"))
    moved, undone = (sum(one["moves"].get(how, 0) for one in outcomes) for how in ("moved", "aborted"))
    violations = sum(len(one["violations"]) for one in outcomes)
    return f"{acknowledged:,} | {lost} | {twice} | {violations} | {3 / acknowledged:.1e} | {moved:,} | {undone:,}"


def kills_row(name, outcomes):
    """A row of the table of kills."""
    recovery = sorted(recovery_s for one in outcomes for _, _, recovery_s, _ in one["faults"])
    return f"| {name} | {len(recovery)} | {kept(outcomes)} | {statistics.median(recovery):.2f} s | {recovery[-1]:.2f} s |"


def faults_head():
    """The head of the table of other faults."""
    names = ["deployment", "faults", *KEPT, "links lost", "taken over", "refused"]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def faults_rows(found, what):
    """Rows of the table of other faults."""
    return "\n".join(
        f"| {name} | {sum(len(one['faults']) for one in some)} {what} | {kept(some)} | {led_to(some)} |"
        for name, some in found.items()
    )


def led_to(outcomes):
    """Links lost, twins taken over and writes refused, as cells of a table."""
    return " | ".join(f"{sum(one[name] for one in outcomes):,}" for name in ("links_lost", "taken_over", "refused_writes"))


def faults_table(found, what):
    """How often something happened at which step, by what happened, for each deployment."""
    points = {name: Counter(map(_point, (fault for one in some for fault in one["faults"]))) for name, some in found.items()}
    steps = dict.fromkeys(step for counts in points.values() for _, step in counts)
    rows = [
        f"| {name} | {thing} | {' | '.join(str(counts[thing, step] or '') for step in steps)} |"
        for name, counts in points.items()
        for thing in dict.fromkeys(thing for thing, _ in counts)
    ]
    return "\n".join([f"| deployment | {what} | {' | '.join(steps)} |\n|---|---|{'---|' * len(steps)}", *rows])


def _point(fault):
    """Who stood still, or what was cut; and where."""
    _, what, step, part, _ = fault
    who = part if step or part == CENTRE else "a host"
    return who if what == "stopped" else what, step or "a random moment"


def points_table(found):
    """Kills by what was killed where, a column for each deployment."""
    counted = {name: _counted(outcomes) for name, outcomes in found.items()}
    places = [*((CENTRE, step) for step in (*STEPS, "")), *(("host", part) for part in (*PARTS, ""))]
    places += [("database", step) for step in STEPS]
    lines = [
        f"| {who} | {point or 'a random moment'} | {' | '.join(str(counted[name].get((who, point), '')) for name in found)} |"
        for who, point in places
        if any((who, point) in counts for counts in counted.values())
    ]
    return "\n".join([f"| killed | at | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}", *lines])


def _counted(outcomes):
    found = {}
    for outcome in outcomes:
        for member, failpoint, *_ in outcome["faults"]:
            who = "host" if failpoint.startswith("host-") or member in EDGE else member
            found[who, failpoint] = found.get((who, failpoint), 0) + 1
    return found


def page(record):
    """The page of a record."""
    count = sum(len(one["faults"]) for outcomes in record["kills"].values() for one in outcomes)
    first, last = (sorted(one[at] for one in record["failovers"]) for at in (2, 3))
    return f"""# Results: killed, stopped and cut off while twins move

Written by `python benchmarks/live_move_kills.py` with edgetwin {et.__version__}, Python {platform.python_version()}. A control centre with
three edge hosts; 20 devices send batches over HTTP to the centre, some messages twice, some late, and 4 report over the device client's
WebSocket, which follows their twins; three movers have twins moved from host to host all the time.

**Killed.** A process ends with SIGKILL by itself when a move has come to a numbered step, or to a part that a host has in it, for the first to
the sixth time since its start (`EDGETWIN_FAILPOINT`), and is started again, mostly armed for the next point, so that some end while they still
bring to an end what was left before. The database is killed while moves are held at a step. In one process, centre and hosts die together.

| deployment | kills | {" | ".join(KEPT)} | recovery, median | worst |
|---|---|{"---|" * len(KEPT)}---|---|
{chr(10).join(kills_row(name, outcomes) for name, outcomes in record["kills"].items())}

The checker (`tests/twin/checker.py`) compares what devices sent and were told with the logs in the end; besides, each twin must have exactly
one owner, where the directory says so at that epoch, no copy or freeze may be left, every move must have ended, and a twin that the directory had
on its way when the centre died must be back at its source, or at its destination, as the directory said. A violation is anything else. Recovery is
until all processes are ready and linked again, those too that are started anew for the next kill.

The bound is 3/N, what 0 of N tells if messages are lost independently of each other; messages of one kill are not, so read it beside the
bound for a kill, 3/{count} = {3 / count:.2g}. Without the fence, dedup or the hash the checker fails (`tests/twin/test_broken_moves.py`).

**Stopped and cut off.** When a move is at a step, its source, its destination or the centre stands still (SIGSTOP) for 1.2 to 2.5 s, longer than the
lease of a host, and goes on; or, with centre, hosts and database each in a network namespace of its own, two of them are cut off from each other,
in one direction or both, for .1 to 2.5 s; or either at a random moment. The same checks. Links lost: how often the centre took a host to be away.
Taken over: twins of hosts that were away, which others of the database served then. Refused: writes that the store refused to hosts that had come
back and had lost their twins.

{faults_head()}
{faults_rows(record["stops"], "stops")}
{faults_rows(record["partitions"], "cuts")}

**Failover.** On a database that hosts share, twins of a host that is gone are served by others. {len(first)} times the host with most of
60 twins is killed with SIGKILL, and devices send to its twins all the time. The first takes an update again after
{statistics.median(first):.2f} s, the last after {statistics.median(last):.2f} s (medians), at worst {last[-1]:.2f} s. A host counts as away when
nothing was heard of it for 1 s, or when its link closes and it does not come back within 1 s.

## Kills by point

{points_table(record["kills"])}

## Stops and cuts by point

{faults_table(record["stops"], "stopped")}

{faults_table(record["partitions"], "cut off")}
"""


def is_met(record):
    """Whether nothing was lost, applied twice or otherwise wrong in a record, and twins were served again in time."""
    outcomes = [one for part in ("kills", "stops", "partitions") for some in record[part].values() for one in some]
    return not any(one["lost"] or one["twice"] or one["violations"] for one in outcomes) and all(
        one[-1] <= SERVED_AGAIN_S for one in record["failovers"]
    )


MEASURES = {part.__name__: part for part in (kills, failovers, stops, partitions)}


def main(parts):
    """Measures parts, all unless told, and writes the page once there is a record of each; returns whether all is as it must be."""
    if unknown := set(parts) - {*MEASURES, "page"}:
        sys.exit(f"{', '.join(unknown)}: there are {', '.join(MEASURES)} and page")
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    for name in [name for name in MEASURES if name in parts or not parts]:
        began = time.perf_counter()
        record[name] = MEASURES[name]()
        print(f"\n{name}: {(time.perf_counter() - began) / 60:.0f} minutes", file=sys.stderr)
        RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")
    if missing := MEASURES.keys() - record.keys():
        sys.exit(f"no page yet: {', '.join(missing)} was never measured")
    PAGE.write_text(page(record), encoding="utf-8")
    return is_met(record)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
