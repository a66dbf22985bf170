"""Times placement's local search, bounds and optimum, beside HiGHS on the plain linearised model, and writes docs/results-placement-speed.md.

python benchmarks/placement.py      (about ten minutes; for a quiet machine)
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import scipy
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.optimize._highspy import _core as highs

import edgetwin as et
from edgetwin.association.assignment import Assignment, cost
from edgetwin.association.bounds import quick_bound
from edgetwin.association.files import read
from edgetwin.association.instance import assignment
from edgetwin.association.local_search import local_search
from edgetwin.association.optimum import optimum, split_bound

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results-placement-speed.md"
INSTANCES = HERE.parent / "tests" / "association" / "instances"
GAP, CLOSE_GAP = 1e-3, 1e-4
PLAIN_LIMIT_S = 60
LIMIT_S = 300
LARGE, LARGE_SEEDS = "association/n1000-m50", 3


class Timed(NamedTuple):
    """What a solver took, waiting included and not, and the cost and bound that it is told by."""

    seconds: float
    cpu_seconds: float
    value: float
    bound: float


def frozen(size: str) -> list[Assignment]:
    """The frozen instances of a size."""
    return [assignment(read(file)) for file in sorted(INSTANCES.glob(f"{size}-*.npz"))]


def large() -> list[Assignment]:
    """First slots of the large preset."""
    task = et.task("placement", et.scenario(LARGE))
    made = []
    for seed in range(LARGE_SEEDS):
        state = jax.jit(task.reset)(jax.random.key(seed))
        made.append(assignment(task.instance(jax.tree.map(np.asarray, state._replace(streams=0)))[0]))
    return made


def timed(solve: Callable[[], tuple[float, float]]) -> Timed:
    """solve: gives a cost and a bound."""
    wall, cpu = time.perf_counter(), time.process_time()
    value, bound = solve()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu, value, bound)


def plainly(problem: Assignment) -> tuple[float, float]:
    """The textbook model: a continuous z ≥ x_ik + x_jk − 1 for each pair of users and server in place of the product. Cost and bound."""
    users, servers = problem.linear.shape
    first, second = np.triu_indices(users, 1)
    pairs, x, z = len(first), users * servers, len(first) * servers
    own = problem.linear + np.outer(problem.load**2, problem.compute)
    shared = 2 * np.outer(problem.load[first] * problem.load[second], problem.compute)
    objective = np.concatenate([own.ravel(), problem.open_cost, shared.ravel()])
    nothing = sparse.csr_array((users, servers + z))
    each = sparse.kron(sparse.eye_array(users), np.ones((1, servers)))
    hosted = sparse.kron(np.ones((1, users)), sparse.eye_array(servers))
    to_pair = sparse.csr_array(
        (np.ones(2 * pairs), (np.tile(np.arange(pairs), 2), np.concatenate([first, second]))), shape=(pairs, users)
    )
    product = sparse.hstack(
        [sparse.kron(to_pair, sparse.eye_array(servers)), sparse.csr_array((z, servers)), -sparse.eye_array(z)], format="csr"
    )
    opened = sparse.kron(np.ones((users, 1)), sparse.eye_array(servers))
    rows = [
        LinearConstraint(sparse.hstack([each, nothing], format="csr"), 1, 1),
        LinearConstraint(
            sparse.hstack([hosted, -sparse.diags_array(problem.capacity * 1.0), sparse.csr_array((servers, z))], format="csr"),
            -np.inf,
            0,
        ),
        LinearConstraint(sparse.hstack([sparse.eye_array(x), -opened, sparse.csr_array((x, z))], format="csr"), -np.inf, 0),
        LinearConstraint(product, -np.inf, 1),
    ]
    whole = np.concatenate([np.ones(x + servers), np.zeros(z)])
    found = milp(
        objective,
        constraints=rows,
        integrality=whole,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": GAP, "time_limit": PLAIN_LIMIT_S},
    )
    bound = -np.inf if found.mip_dual_bound is None else problem.constant + found.mip_dual_bound
    value = np.inf if found.x is None else cost(problem, found.x[:x].reshape(users, servers).argmax(axis=1))
    return value, bound


def measure(problems: list[Assignment], gaps: tuple[float, ...]) -> list[list[Timed]]:
    """Search, bounds and optimum at each gap, on every problem; search and bounds are told by the closest optimum."""
    rows: list[list[Timed]] = [[] for _ in range(3 + len(gaps))]
    for problem in problems:
        proofs = [timed(lambda gap=gap: optimum(problem, gap, LIMIT_S)[1:3]) for gap in gaps]  # noqa: B023
        host, best = local_search(problem), proofs[-1]
        searched = [
            timed(lambda: (cost(problem, local_search(problem)), best.bound)),  # noqa: B023
            timed(lambda: (best.value, quick_bound(problem, host))),  # noqa: B023
            timed(lambda: (best.value, split_bound(problem, host, gaps[-1], LIMIT_S))),  # noqa: B023
        ]
        for row, run in zip(rows, searched + proofs, strict=True):
            row.append(run)
    return rows


def told(runs: list[Timed]) -> str:
    """Median seconds, of the processor in brackets, and the largest gap."""
    seconds, cpu = (statistics.median(run[part] for run in runs) for part in (0, 1))
    gap = max(run.value / run.bound - 1 if run.bound > 0 else np.inf for run in runs)
    return f"{seconds:.2g} s ({cpu:.2g}), " + (f"{100 * max(gap, 0):.2g} %" if np.isfinite(gap) else "no bound")


def page() -> str:
    version = f"{highs.HIGHS_VERSION_MAJOR}.{highs.HIGHS_VERSION_MINOR}.{highs.HIGHS_VERSION_PATCH}"
    load = os.getloadavg()[0]
    names = ("local search", "quick bound", "split bound", "optimum", "optimum, close")
    lines = ["| users, servers | " + " | ".join(names) + " | plain model |", "|---|" + "---|" * (len(names) + 1)]
    for size in ("n80-m5", "n80-m10", "n100-m5", "n100-m10"):
        problems = frozen(size)
        measured = measure(problems, (GAP, CLOSE_GAP))
        plain = timed(lambda: plainly(problems[0]))  # noqa: B023
        users, servers = size[1:].split("-m")
        lines.append(f"| {users}, {servers} | {' | '.join(told(row) for row in measured)} | {told([plain])} |")
        print(lines[-1], flush=True)
    measured = measure(large(), (GAP,))
    lines.append(f"| 1000, 50 | {' | '.join(told(row) for row in measured)} | not tried | not tried: 25 million products |")
    print(lines[-1], flush=True)
    return f"""# Placement: speed of search, bounds and proof

Written by `python benchmarks/placement.py` with edgetwin {et.__version__}, Python {platform.python_version()}, SciPy {scipy.__version__}
and the HiGHS {version} it ships, on {os.cpu_count()} cores with a load of {load:.1f} when it
began. Each cell: median seconds over six frozen instances (80 to 100 users) or {LARGE_SEEDS} first slots of `{LARGE}`, with those
of the processor alone in brackets (about what a machine without other work takes), and the largest gap.

- **local search**: a placement; gap to the bound of the closest optimum beside it.
- **quick bound**: Lagrangian ascent from that placement, without the time of the search; gap of the closest optimum to it. It holds for every
  placement, with and without delay limits and anti-affinity.
- **split bound**: HiGHS with perspective cuts, servers open or not, users divisible; gap of the closest optimum to it. It holds with and without
  delay limits.
- **optimum**: search and proof together to a gap of {100 * GAP:g} %; **close**: to {100 * CLOSE_GAP:g} % or {LIMIT_S} s.
- **plain model**: the same HiGHS on the textbook linearisation, one variable for each pair of users and server, with a limit of {PLAIN_LIMIT_S} s and
  a gap of {100 * GAP:g} %, on the first instance; the gap is the one it proved in that time, of which other work took a part.

{chr(10).join(lines)}
"""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
