"""The algorithms that learn to place, by name."""

from edgetwin.association.maddpg_mlp import maddpg_mlp

PLACEMENT_LEARNERS = {"maddpg-mlp": maddpg_mlp}
