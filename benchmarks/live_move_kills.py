"""Writes docs/results-live-moves.md: twins that move all the time under load, while the processes that move them are killed at every numbered step
of moves and in every part that hosts have in them, judged by the checker.

python benchmarks/live_move_kills.py [ROUNDS]      3 unless told, some 110 kills each; PostgreSQL comes from the wheel that the tests use
"""

import json
import platform
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import edgetwin as et  # noqa: E402
from twin.deployments import EDGE, Deployment  # noqa: E402
from twin.failovers import failed_over  # noqa: E402
from twin.move_kills import PARTS, STEPS, database_killed_at, killed_at, points  # noqa: E402
from twin.servers import postgres_server  # noqa: E402

FAILED_OVER = 12
DEPLOYMENTS = [(shared, processes) for shared in (False, True) for processes in (False, True)]


def runs(rounds, processes, shared):
    """Outcomes of one deployment, a service and load of its own for each round; the last kills the database, where there is one."""
    for number in range(rounds if processes else (rounds + 1) // 2):
        with tempfile.TemporaryDirectory() as folder, postgres_server() if shared else nullcontext() as server:
            deployment = Deployment(Path(folder), server.address if server else None, processes)
            everywhere = points(deployment, EDGE[number % len(EDGE)])
            yield deployment.kind, killed_at(deployment, everywhere, told=_teller(deployment.kind, number), seed=number)
    if shared and processes:
        with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
            deployment = Deployment(Path(folder), server.address, processes)
            yield deployment.kind, database_killed_at(deployment, server, STEPS, told=_teller("the database", 0), seed=rounds)


def failovers():
    """Hosts killed that share a database."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        return failed_over(Deployment(Path(folder), server.address, processes=True), FAILED_OVER)


def _teller(name, number):
    return lambda done: print(f"\r{name}, round {number + 1}: {done} kills ", end="", file=sys.stderr, flush=True)


def row(name, outcomes):
    """A row of the table of deployments."""
    kills = [kill for outcome in outcomes for kill in outcome.faults.done]
    recovery = sorted(kill.recovery_s for kill in kills)
    acknowledged, lost, twice = (sum(outcome.verdict[i] for outcome in outcomes) for i in range(3))
    violations = sum(len(outcome.verdict.violations) for outcome in outcomes)
    moved, undone = (sum(outcome.moves.get(how, 0) for outcome in outcomes) for how in ("moved", "aborted"))
    return (
        f"| {name} | {len(kills)} | {acknowledged:,} | {lost} | {twice} | {violations} | {3 / acknowledged:.1e} | {moved:,} | {undone:,} | "
        f"{statistics.median(recovery):.2f} s | {recovery[-1]:.2f} s |"
    )


def points_table(results):
    """Kills by what was killed where, a column for each deployment."""
    counted = {name: _counted(outcomes) for name, outcomes in results.items()}
    places = [*(("centre", step) for step in STEPS), *(("host", part) for part in PARTS), *(("database", step) for step in STEPS)]
    places += [("centre", ""), ("host", "")]
    lines = [
        f"| {who} | {point or 'a random moment'} | {' | '.join(str(counted[name].get((who, point), '')) for name in results)} |"
        for who, point in places
    ]
    head = f"| killed | at | {' | '.join(results)} |\n|---|---|{'---|' * len(results)}"
    return "\n".join([head, *(line for line in lines if not line.endswith("|  |  |  |  |"))])


def _counted(outcomes):
    found = {}
    for outcome in outcomes:
        for kill in outcome.faults.done:
            who = "host" if kill.failpoint.startswith("host-") or kill.member in EDGE else kill.member
            found[who, kill.failpoint] = found.get((who, kill.failpoint), 0) + 1
    return found


def main(rounds):
    began, results = time.perf_counter(), {}
    for shared, processes in DEPLOYMENTS:
        for name, outcome in runs(rounds, processes, shared):
            results.setdefault(name, []).append(outcome)
            print(f"\n{name}: {outcome.verdict[:3]} {outcome.verdict.violations[:3]} {outcome.moves}", file=sys.stderr)
    given = failovers()
    until_first, until_last = sorted(one.first_s for one in given), sorted(one.last_s for one in given)
    rows = "\n".join(row(name, outcomes) for name, outcomes in results.items())
    minutes = (time.perf_counter() - began) / 60
    kills = sum(len(outcome.faults.done) for outcomes in results.values() for outcome in outcomes)
    page = f"""# Results: killed while twins move

Written by `python benchmarks/live_move_kills.py` with edgetwin {et.__version__}, Python {platform.python_version()}, in {minutes:.0f} minutes. A
control centre with three edge hosts; 20 devices send batches over HTTP to the centre, some messages twice, some late, and 4 report over the
device client's WebSocket, which follows their twins; three movers have twins moved from host to host all the time. Then a process ends with
SIGKILL by itself when a move has come to a numbered step, or to a part that a host has in it, for the first to the sixth time since its start
(`EDGETWIN_FAILPOINT`), and is started again, mostly armed for the next point, so that some end while they still bring to an end what was left
before. The database is killed while moves are held at a step. In one process, centre and hosts die together.

| deployment | kills | acknowledged | lost | applied twice | violations | 95 % bound on a message's loss | moves | undone | recovery, median | worst |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

The checker (`tests/twin/checker.py`) compares what devices sent and were told with the logs in the end; besides, each twin must have exactly one
owner, where the directory says so at that epoch, no copy or freeze may be left, and a twin that the directory had on its way when the centre died
must be back at its source, or at its destination, as the directory said. A violation is anything else. Recovery is until all processes are ready
and linked again.

The bound is 3/N, what 0 of N tells if messages are lost independently of each other; messages of one kill are not, so read it beside the bound for a
kill, 3/{kills} = {3 / kills:.2g}. Without the fence, dedup or the hash the checker fails (`tests/twin/test_broken_moves.py`).

{points_table(results)}

**Failover.** On a database that hosts share, twins of a host that is gone are served by others. {len(given)} times the host with
most of 60 twins is killed with SIGKILL, and devices send to its twins all the time. The first takes an update again after
{statistics.median(until_first):.2f} s, the last after {statistics.median(until_last):.2f} s (medians), at worst {until_last[-1]:.2f} s. A host
counts as away when nothing was heard of it for 1 s, or when its link closes and it does not come back within 1 s.
"""
    (ROOT / "docs" / "results-live-moves.md").write_text(page, encoding="utf-8")
    summary = {
        name: [
            {**outcome._asdict(), "verdict": outcome.verdict._asdict(), "faults": outcome.faults._asdict()}
            for outcome in outcomes
        ]
        for name, outcomes in results.items()
    }
    for outcomes in summary.values():
        for outcome in outcomes:
            outcome["faults"]["done"] = [list(kill) for kill in outcome["faults"]["done"]]
    summary = {"deployments": summary, "failovers": [list(one) for one in given]}
    (ROOT / "docs" / "results-live-moves.json").write_text(json.dumps(summary) + "\n", encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
