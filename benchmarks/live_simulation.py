"""Writes docs/results-live-simulation.md and its record: simulated worlds in which twins move while all goes wrong that can, and how many it takes to
find protocols that are broken on purpose.

python benchmarks/live_simulation.py [SEEDS]      10,000 unless told. Ends with 1 where a world of the sound protocol was wrong, or a broken one was
not found.
"""

import json
import platform
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import edgetwin as et  # noqa: E402
from twin.simulation.broken import BROKEN  # noqa: E402
from twin.simulation.trouble import FAULTS  # noqa: E402
from twin.simulation.verdict import violations  # noqa: E402
from twin.simulation.world import World  # noqa: E402

PAGE = ROOT / "docs" / "results-live-simulation.md"
SEEDS, AT_MOST = 10_000, 500
OUTCOMES = {"moved": "moved", "aborted": "aborted"} | dict.fromkeys(("None", "waiting"), "ended by a later centre")


def sound(seeds):
    """What came of the worlds of the first seeds."""
    outcomes, faults, messages, wrong, began = Counter(), Counter(), 0, {}, time.process_time()
    for seed in range(seeds):
        world = World(seed)
        world.run()
        outcomes.update(OUTCOMES[str(one.outcome).partition(":")[0]] for one in world.migrations.values())
        faults.update(world.faults)
        messages += sum(event["event"] == "sent" for event in world.events)
        if found := violations(world):
            wrong[seed] = found
        if seed % 100 == 99:
            print(f"\r{seed + 1:,} worlds", end="", file=sys.stderr, flush=True)
    seconds = time.process_time() - began
    return {"seeds": seeds, "outcomes": outcomes, "faults": faults, "messages": messages, "wrong": wrong, "cpu_s": seconds}


def found_after(parts):
    """How many worlds of a broken protocol it takes until one is wrong, and what is; None where none of `AT_MOST` is."""
    for seed in range(AT_MOST):
        world = World(seed, parts)
        world.run()
        if wrong := violations(world):
            return seed + 1, wrong[0]
    return None, ""


def page(record):
    """The page of a record."""
    whole = record["sound"]
    faults = "\n".join(f"| {fault} | {whole['faults'][fault]:,} |" for fault in FAULTS)
    broken = "\n".join(f"| {what} | {seeds or 'not found'} | {wrong} |" for what, (seeds, wrong) in record["broken"].items())
    return f"""# Results: simulated moves

Written by `python benchmarks/live_simulation.py{"" if whole["seeds"] == SEEDS else f" {whole['seeds']}"}` with edgetwin {et.__version__}, Python
{platform.python_version()}, in {whole["cpu_s"]:.0f} s of one core. Each world has one to three twins, two or three hosts and a centre, which run the
code of edgetwin that moves twins, over a network, clocks, stores and a directory in memory (`tests/twin/simulation`). A seed says what goes wrong
and when, and is one history.

**{whole["seeds"]:,} worlds, {len(whole["wrong"])} of them wrong.** {whole["messages"]:,} messages;
of the moves {", ".join(f"{count:,} {how}" for how, count in sorted(whole["outcomes"].items()))}. At the end of a world, when all is healed: what
devices were told is in the logs, once; each twin has one owner, where the directory says so; no copy, no freeze and no move is left.

| what goes wrong | worlds with it |
|---|---|
{faults}

Protocols that differ from the sound one in one thing, and how many worlds it takes until one is wrong:

| broken | worlds | what was wrong |
|---|---|---|
{broken}
"""


def main(seeds):
    """Simulates; returns whether the sound protocol was never wrong and each broken one was."""
    record = {"sound": sound(seeds), "broken": {what: found_after(parts) for what, parts in BROKEN.items()}}
    PAGE.with_suffix(".json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    PAGE.write_text(page(record), encoding="utf-8")
    return not record["sound"]["wrong"] and all(found for found, _ in record["broken"].values())


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS) else 1)
