"""Writes docs/results-association.md: frozen placement instances beside their optimum, migration on the paper's network, a day of taxis.

python benchmarks/association.py      (EDGETWIN_DATA may name the folder of data sets; without data sets the taxis are left out)
"""

import argparse
import time
from pathlib import Path

import numpy as np
import scipy

import edgetwin as et
from edgetwin.association.files import solve
from edgetwin.evaluation.compare import compare

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
PAGE = HERE.parent / "docs" / "results-association.md"
INSTANCES = HERE.parent / "tests" / "association" / "instances"
PLACERS = ("nearest", "greedy", "local-search", "optimum[gap=0.0005]")
MOVERS = ("never", "nearest", "algorithm-3-literal", "algorithm-3", "priced", "slot-optimum", "clairvoyant")
SEEDS = 12


def placement():
    """Frozen instances by size: mean cost and seconds of every rule, and how far the optimum is proven."""
    files = sorted(INSTANCES.glob("*.npz"))
    rows = {name: solve(files, name) for name in PLACERS}
    lines = [
        "| users, servers | "
        + " | ".join(name.partition("[")[0] for name in PLACERS)
        + " | proven gap | greedy over optimum | optimum, s |",
        "|---|" + "---|" * (len(PLACERS) + 3),
    ]
    for size in ("n80-m5", "n80-m10", "n100-m5", "n100-m10"):
        own = {name: [row for row in each if row["name"].startswith(size + "-")] for name, each in rows.items()}
        mean = {name: np.mean([row["value"] for row in each]) for name, each in own.items()}
        best = own[PLACERS[-1]]
        gap = max(row["value"] / row["lower_bound"] - 1 for row in best)
        seconds = np.median([row["seconds"] for row in best])
        over = 100 * (mean["greedy"] / mean[PLACERS[-1]] - 1)
        users, servers = size[1:].split("-m")
        told = [f"{mean[name]:.3f}" for name in PLACERS]
        lines.append(f"| {users}, {servers} | {' | '.join(told)} | ≤ {100 * gap:.3f} % | {over:.1f} % | {seconds:.2f} |")
    return "\n".join(lines)


def table(comparison):
    columns = ("net_utility", "utility", "migrations_per_100_users", "delay_violations")
    lines = [
        "| policy | knows | net utility | utility | migrations per 100 users and slot | over their limit | bound on net utility |",
        "|---|" + "---|" * 6,
    ]
    for name, row in comparison.rows.items():
        told = [_told(row.metrics[metric]) for metric in columns]
        bound = row.bound.get("net_utility")
        lines.append(f"| `{name}` | {row.policy.information} | {' | '.join(told)} | {'–' if bound is None else f'{bound:.4g}'} |")
    return "\n".join(lines)


def _told(estimate):
    if estimate.ci95 is None:
        return f"{estimate.mean:.4g}"
    return f"{estimate.mean:.4g} [{estimate.ci95[0]:.4g}, {estimate.ci95[1]:.4g}]"


def migration(capacity=40, share="equal", movers=MOVERS, episodes=SEEDS):
    settings = {"association.capacity": capacity, "migration.compute_share": share}
    return compare(et.task("migration", et.scenario("association/n100-m10", settings)), movers, episodes=episodes)


def difference(comparison, first, second):
    told = comparison.difference("net_utility", first, second)
    return f"{told.mean:+.4f} [{told.ci95[0]:+.4f}, {told.ci95[1]:+.4f}]"


def taxis():
    """A day, and how long priced migration takes with all compilation."""
    task = et.task("migration", "sf-taxis")
    start = time.perf_counter()
    compare(task, ["priced"], episodes=1)
    seconds = time.perf_counter() - start
    return compare(task, ["never", "nearest", "priced"], episodes=3), seconds


def put_in_readme(placements):
    """Puts the table of frozen instances between the marks in README.md."""
    begin, end = "<!-- results: association -->", "<!-- /results: association -->"
    before, _, rest = README.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    told = f"Placement, frozen instances, mean cost J in s, and how far above the optimum its proof leaves the truth:\n\n{placements}"
    README.write_text(f"{before}{begin}\n{told}\n{end}{after}", encoding="utf-8")


def page():
    placements = placement()
    put_in_readme(placements)
    equal = migration()
    free = migration(capacity=100, movers=("never", "algorithm-3-literal", "algorithm-3", "priced"))
    reserved = migration(share="reserved", movers=("never", "priced", "slot-optimum", "clairvoyant"))
    parts = [
        "# Association: results",
        "Written by `python benchmarks/association.py`; do not edit. "
        f"HiGHS as SciPy {scipy.__version__} ships it. Intervals are 95 %, over networks.",
        "## Placement: frozen instances",
        "Mean cost J over six instances of each size, in seconds; `tests/association/instances`, float64.",
        placements,
        "## Migration: 100 users, 10 servers, 150 slots",
        f"{SEEDS} networks, equal shares (load-dependent). A move costs its transfer time, once.",
        table(equal),
        "`priced` less the others, net utility, paired: "
        + "; ".join(
            f"`{name}` {difference(equal, 'priced', name)}" for name in ("never", "nearest", "algorithm-3", "algorithm-3-literal")
        )
        + ".",
        "Capacities of 40 hold the printed Algorithm 3 back, which knows none. With room for everyone everywhere (`association.capacity = 100`):",
        table(free),
        "With compute reserved for each place ($F_k/N_k$), where `slot-optimum` is exact:",
        table(reserved),
    ]
    try:
        day, seconds = taxis()
        parts += [
            "## A day of taxis",
            "`sf-taxis`: 536 taxis, 209 towers, 1441 minutes, 3 draws of data, shadowing and CPUs. "
            f"The whole day with `priced` took {seconds:.0f} s, first placement and compilation included.",
            table(day),
        ]
    except et.DataUnavailable as missing:
        parts.append(f"The day of taxis is left out: {missing}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
