"""What goes wrong in a simulated world, and when, drawn from its seed."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twin.simulation.world import World

TROUBLE_S = 2.5
"""How long things go wrong."""
FAULTS = ("lost", "doubled", "reordered", "slow", "corrupted", "hosts", "centre", "partitions", "directory", "disks", "traps")
TRAPS = [f"{when}-{step}" for when in ("before", "after") for step in range(1, 8)] + [
    *("begin", "abort", "release"),
    *["commit"] * 7,
]
"""Where somebody may be killed: the coordinator's failpoints, and while the directory is being asked."""


def drawn(world: "World") -> None:
    """Draws from the seed what happens in a world, and when."""
    rng, network, names = world.rng, world.network, list(world.hosts)
    network.lost, network.doubled, network.reordered, network.slow, world.corrupted = (
        rng.choice([0.02, 0.1, 0.3]) if fault in world.faults else 0.0 for fault in FAULTS[:5]
    )
    begin = world.loop.time()

    def at(count: int, what: Callable[[], Any]) -> None:
        for _ in range(count):
            world.loop.call_at(begin + rng.uniform(0, TROUBLE_S), what)

    at(rng.randint(2, 12), lambda: world.migrate(rng.choice(world.twins), rng.choice(names)))
    if "hosts" in world.faults:
        at(rng.randint(1, 3), lambda: world.crash(rng.choice(names), rng.uniform(0.02, 0.9)))
    if "centre" in world.faults:
        at(rng.randint(1, 2), lambda: world.crash("centre", rng.uniform(0.01, 0.4)))
    if "partitions" in world.faults:
        at(rng.randint(1, 3), lambda: world.cut(_some_pairs(rng.choice(names), rng), rng.uniform(0.05, 1.2)))
    if "directory" in world.faults:
        at(rng.randint(1, 3), lambda: _away(world, "directory_away"))
    if "disks" in world.faults:
        at(rng.randint(1, 2), lambda: _away(world, "disks_away"))
    if "traps" in world.faults:
        for _ in range(rng.randint(1, 3)):
            world.traps[rng.choice(TRAPS)] = rng.choice(["centre", "centre", "centre", *names])


def _some_pairs(name: str, rng: random.Random) -> set[tuple[str, str]]:
    both = [(name, "centre"), ("centre", name)]
    return set(both) if rng.random() < 0.5 else {rng.choice(both)}


def _away(world: "World", what: str) -> None:
    setattr(world, what, world.rng.choice([0.1, 0.3, 0.9]))
    world.loop.call_later(world.rng.uniform(0.05, 0.5), setattr, world, what, 0.0)
