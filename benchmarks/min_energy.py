"""How fast slots are solved to their optimum, in a batch and one at a time, single precision, warm: prints milliseconds and slots a second.

python benchmarks/min_energy.py [FILE.npz]      (a file of frozen slots; the one of 30 users in tests/two_timescale/instances by default)
"""

import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from edgetwin.two_timescale import instances
from edgetwin.two_timescale.admission import serve_most

FILE = Path(__file__).parent.parent / "tests" / "two_timescale" / "instances" / "slots-k30.npz"
REPEATS = 15


def fastest_s(solve, *arguments):
    """The least time of some calls, after one that compiles."""
    jax.block_until_ready(solve(*arguments))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(solve(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    data = instances.read(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
    slots, limits = instances.slots_of(data)
    active = jnp.asarray(data["active"])
    solve = lambda slot, requests: serve_most(slot, requests, limits)  # noqa: E731
    batch_s = fastest_s(jax.jit(jax.vmap(solve)), slots, active)
    one_s = fastest_s(jax.jit(solve), jax.tree.map(lambda each: each[0], slots), active[0])
    count, users = active.shape
    print(
        f"{users} users, load {os.getloadavg()[0]:.1f}: {count / batch_s:,.0f} slots/s in a batch of {count}, {1e3 * one_s:.2f} ms alone"
    )


if __name__ == "__main__":
    main()
