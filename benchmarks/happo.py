"""Times the paper's schedule of Beta-HAPPO beside the PyTorch yardstick, and writes docs/results-happo-speed.md.

python benchmarks/happo.py --rounds 5 --torch python3      (a Python that has torch; without one, edgetwin alone)

Whole updates are timed: a rollout of 5000 slots of one environment, then 25 epochs over 36 actors and the critics. The programs take turns,
one update each, so that all meet the same machine; each has a process of its own, which tells the peak of its memory.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results-happo-speed.md"
UPDATES, AGENTS = 150, 36
CRITICS = {"reward": "a critic per reward", "agent": "a critic per agent"}


class Timings(NamedTuple):
    """Seconds of whole updates, the first one (with compilation where there is one) apart, and the peak of memory."""

    program: str
    critics: str
    cold_s: float
    warm_s: list
    peak_memory_mb: float


def peak_memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def edgetwin_updates(connection, critics):
    """A process that does one update of beta-happo-paper whenever it is told to, and answers with its seconds and the peak of its memory."""
    import jax

    import edgetwin as et
    from edgetwin.learning.trainer import programs
    from edgetwin.registry import learner

    jax.config.update("jax_enable_compilation_cache", False)
    chosen = learner(et.task("two-timescale", "two-timescale/physical"), f"beta-happo-paper[critics={critics}]")
    state = programs(chosen).init(jax.random.key(0))
    with suppress(EOFError):
        while connection.recv():
            start = time.perf_counter()
            state, figures = jax.block_until_ready(programs(chosen).block(state))
            connection.send((time.perf_counter() - start, peak_memory_mb()))


class Edgetwin:
    def __init__(self, critics):
        self.connection, theirs = multiprocessing.get_context("spawn").Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=edgetwin_updates, args=(theirs, critics), daemon=True)
        self.process.start()

    def update(self):
        """Seconds of an update, and the peak of memory so far."""
        self.connection.send(True)
        return self.connection.recv()


class Torch:
    """The yardstick, in a process of its own for every update; the second of two is taken, since the first one warms up."""

    def __init__(self, critics, python):
        self.command = [python, str(HERE / "happo_torch.py"), "--critics", critics, "--updates", "2"]

    def update(self):
        measured = json.loads(subprocess.run(self.command, capture_output=True, text=True, check=True).stdout)
        return measured["rollout_s"][-1] + measured["update_s"][-1], measured["peak_memory_mb"]


def measure(rounds, python):
    """Every program with every kind of critics: a first update each, then `rounds` in turns."""
    programs = {("edgetwin", critics): Edgetwin(critics) for critics in CRITICS}
    if python is not None:
        programs |= {("torch", critics): Torch(critics, python) for critics in CRITICS}
    cold = {key: program.update()[0] for key, program in programs.items()}
    warm, peak = {key: [] for key in programs}, dict.fromkeys(programs, 0.0)
    for turn in range(rounds):
        for key, program in programs.items():
            seconds, memory = program.update()
            warm[key].append(seconds)
            peak[key] = max(peak[key], memory)
            print(f"round {turn + 1} of {rounds}: {key[0]}, {CRITICS[key[1]]}: {seconds:.2f} s", file=sys.stderr)
    return [Timings(*key, cold[key], warm[key], peak[key]) for key in programs]


def row(timings):
    median = statistics.median(timings.warm_s)
    first = f"{timings.cold_s:.1f}" if timings.program == "edgetwin" else "–"
    minutes = (UPDATES * median + (max(timings.cold_s - median, 0) if timings.program == "edgetwin" else 0)) / 60
    cells = [
        f"{timings.program}, {CRITICS[timings.critics]}",
        f"{median:.2f} ({min(timings.warm_s):.2f}–{max(timings.warm_s):.2f})",
        first,
        f"{minutes:.1f}",
        f"{timings.peak_memory_mb:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def page(measured, rounds):
    """The measurements as a page: what was measured, and what is projected from it."""
    lines = "\n".join(row(timings) for timings in measured)
    medians = {(timings.program, timings.critics): statistics.median(timings.warm_s) for timings in measured}
    ratios = [
        f"{medians['torch', critics] / medians['edgetwin', critics]:.2f} times as long with {told}"
        for critics, told in CRITICS.items()
        if ("torch", critics) in medians
    ]
    beside = f"Beside edgetwin, the yardstick's update takes {' and '.join(ratios)}. " if ratios else ""
    return f"""# Speed of the paper's schedule

Written by `python benchmarks/happo.py` on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.

`beta-happo-paper` is Table I: {UPDATES} updates, each a rollout of 5000 slots in one environment and 25 full-batch epochs over {AGENTS} actors
one after another. **Measured**: the seconds of whole updates, medians of {rounds} (least and most in brackets), the programs taking turns in one
run; the first update with its compilation; the peak memory of each program's own process. **Projected**: the minutes of the schedule, {UPDATES}
times the median and the compilation once, without evaluations and checkpoints. Whole trainings, as run, are in [the results](results-beta-happo.md).

| program | an update, s | the first, with compilation, s | the schedule, min (projected) | peak memory, MB |
| --- | ---: | ---: | ---: | ---: |
{lines}

{beside}The yardstick, [`happo_torch.py`](../benchmarks/happo_torch.py), is the same algorithm on the same problem with stacked parameters in PyTorch.
The paper says 87 minutes, of other hardware and unknown code: nothing is claimed against that.
"""


def main():
    parser = argparse.ArgumentParser(description="Speed of the paper's schedule, as a page.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", default=sys.executable if importlib.util.find_spec("torch") else None, metavar="PYTHON")
    asked = parser.parse_args()
    PAGE.write_text(page(measure(asked.rounds, asked.torch), asked.rounds), encoding="utf-8")


if __name__ == "__main__":
    main()
