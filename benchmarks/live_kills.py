"""Writes docs/results-live-kills.md: a service of twins killed again and again under load, on SQLite and on PostgreSQL, judged by the checker.

python benchmarks/live_kills.py [KILLS]      100 unless told; PostgreSQL comes from the wheel that the tests use
"""

import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import edgetwin as et  # noqa: E402
from twin.hosts import logs, logs_in  # noqa: E402
from twin.kills import killed_under_load  # noqa: E402
from twin.servers import postgres_server  # noqa: E402
from twin.service import ServiceProcess  # noqa: E402

HOSTS = ("edge-1", "edge-2", "edge-3")


def of_sqlite(kills, folder):
    data = folder / "sqlite"
    return killed_under_load(ServiceProcess(data), lambda: logs_in(data), kills, seed=1, told=_tell("SQLite", kills))


def of_postgres(kills, folder):
    from edgetwin.twin.stores.postgres import PostgresStore

    with postgres_server() as server:

        def read():
            found = {}
            for name in HOSTS:
                store = PostgresStore(server.address, name)
                found |= logs(store)
                store.close()
            return found

        service = ServiceProcess(folder / "postgres", "--store", server.address)
        return killed_under_load(service, read, kills, seed=2, told=_tell("PostgreSQL", kills))


def _tell(name, kills):
    return lambda done: print(f"\r{name}: {done} of {kills} kills", end="" if done < kills else "\n", file=sys.stderr, flush=True)


def row(name, record):
    verdict = record.verdict
    bound = 3 / verdict.acknowledged
    recovery = sorted(record.recovery_s)
    return (
        f"| {name} | {record.kills} | {verdict.acknowledged:,} | {verdict.lost} | {verdict.twice} | {len(verdict.violations)} | {bound:.1e} | "
        f"{statistics.median(recovery):.2f} s | {recovery[-1]:.2f} s |"
    )


def main(kills):
    with tempfile.TemporaryDirectory() as folder:
        records = {"SQLite": of_sqlite(kills, Path(folder)), "PostgreSQL": of_postgres(kills, Path(folder))}
    rows = "\n".join(row(name, record) for name, record in records.items())
    page = f"""# Results: killed under load

Written by `python benchmarks/live_kills.py` with edgetwin {et.__version__}, Python {platform.python_version()}. `edgetwin serve` with three edge
hosts and 40 devices that send all the time, some messages twice, some late; SIGKILL at a random moment up to half a second after it was
ready, one time in ten also while it starts. Devices write down what they sent and what they were told; when all is settled the service stops,
and the checker (`tests/twin/checker.py`) compares their histories with the logs.

| store | kills | acknowledged | lost | applied twice | violations | 95 % bound on a message's loss | recovery, median | worst |
|---|---|---|---|---|---|---|---|---|
{rows}

The bound is 3/N, what 0 of N tells if messages are lost independently of each other; messages of one kill are not, so read it beside the
bound for a kill, 3/{kills} = {3 / kills:.2g}. SIGKILL ends a process, not a machine: that an acknowledged update survives a loss of power rests
on fsync before the acknowledgement, which a trace of system calls shows (`tests/twin/test_durable.py`), and on a disk that keeps its word.
Without dedup or without the transaction the checker fails (`tests/twin/test_checker.py`, `tests/twin/test_kill.py`).
"""
    (ROOT / "docs" / "results-live-kills.md").write_text(page, encoding="utf-8")
    summary = {name: {**record._asdict(), "verdict": record.verdict._asdict()} for name, record in records.items()}
    (ROOT / "docs" / "results-live-kills.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
