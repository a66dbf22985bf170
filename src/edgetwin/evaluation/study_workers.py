"""Where a study's jobs are done: in this process, or in several that never outlive it.

A job writes its own result file when it is done, so nothing that happens to the process that started it can lose the result. A worker
that dies (out of memory, a crash in native code) takes its own job with it and no other.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from hashlib import sha256
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgetwin.evaluation.study import FORMAT, Job, plain
from edgetwin.files import replacing

State = Literal["kept", "started", "done", "failed"]
Report = Callable[[str, State], None]


class Work(NamedTuple):
    """A job, the file for its result, and the folder for its run files."""

    job: Job
    file: Path
    folder: Path


def perform(work: Work) -> str | None:
    """Does a job and writes its file. Returns None, or one line that says why it failed; the whole trace is in its folder then."""
    trace = work.folder / "error.txt"
    try:
        work.folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with redirect_stdout(sys.stderr):
            value = plain(work.job.load()(json.loads(json.dumps(dict(work.job.settings))), work.folder))
        _write(work, value, time.perf_counter() - start)
        trace.unlink(missing_ok=True)
    except Exception as error:
        said = " ".join(str(error).split())
        with replacing(trace) as file:
            file.write(traceback.format_exc())
        return f"{type(error).__name__}{': ' * bool(said)}{said} (trace in {trace})"
    return None


def do_all(works: Sequence[Work], workers: int, report: Report) -> dict[str, str]:
    """Does all jobs, `workers` at a time, each in the order given. Returns what went wrong by the names of the jobs that failed."""
    failed: dict[str, str] = {}

    def ended(work: Work, error: str | None) -> None:
        if error is not None:
            failed[work.job.name] = error
        report(work.job.name, "done" if error is None else "failed")

    if workers == 1:
        for work in works:
            report(work.job.name, "started")
            ended(work, perform(work))
    else:
        _in_processes(works, min(workers, len(works)), report, ended)
    return failed


def _in_processes(works: Sequence[Work], workers: int, report: Report, ended: Callable[[Work, str | None], None]) -> None:
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // max(workers, 1))
    waiting = deque(works)
    busy: dict[Connection, tuple[Any, Work]] = {}

    def give(connection: Connection, process: Any) -> None:
        work = waiting.popleft()
        busy[connection] = process, work
        report(work.job.name, "started")
        connection.send(work)

    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                connection, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
                process.start()
                theirs.close()
                give(connection, process)
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                process, work = busy.pop(ready)
                try:
                    error = ready.recv()
                except (EOFError, OSError):
                    process.join()
                    ended(work, f"its process died (exit status {process.exitcode})")
                    continue
                ended(work, error)
                if waiting:
                    give(ready, process)
                else:
                    ready.close()
                    process.join()
    finally:
        for process, _ in busy.values():
            process.kill()
            process.join()


def _serve(connection: Connection, threads: int) -> None:
    """A worker: one job after another until nobody sends more. ^C is its parent's business, and it ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["PJRT_NPROC"] = str(threads)  # JAX's thread pools, made at its first use
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            work = connection.recv()
        except EOFError:
            return
        connection.send(perform(work))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _write(work: Work, value: Any, seconds: float) -> None:
    result = {
        "format": FORMAT,
        "edgetwin": version("edgetwin"),
        "job": work.job.name,
        "function": work.job.function,
        "settings": dict(work.job.settings),
        "seconds": round(seconds, 3),
        "sha256": checksum(value),
        "value": value,
    }
    with replacing(work.file) as file:
        json.dump(result, file, allow_nan=False, ensure_ascii=False)


def checksum(value: Any) -> str:
    """Of a result as it stands in its file."""
    return sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
