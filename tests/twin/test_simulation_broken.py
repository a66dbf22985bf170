"""The simulator finds protocols that are broken: each of these differs from the sound one in one thing."""

import pytest

from twin.simulation.broken import BROKEN
from twin.simulation.verdict import violations
from twin.simulation.world import World

SEEDS = 500
"""In which each must be found. How many it takes is in `needed`."""


def needed(parts):
    """How many seeds it takes until something is wrong, and what that is."""
    for seed in range(SEEDS):
        world = World(seed, parts)
        world.run()
        if found := violations(world):
            return seed + 1, found
    return None, []


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_protocol_is_found(what):
    seeds, found = needed(BROKEN[what])
    assert seeds is not None, what
    print(f"{what}: found with {seeds} seeds: {found[0]}")
