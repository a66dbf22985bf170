"""The algorithms that learn to place and to migrate, by name."""

from edgetwin.association.maddpg_mlp import maddpg_mlp
from edgetwin.association.migration_learner import afterstate_td

PLACEMENT_LEARNERS = {"maddpg-mlp": maddpg_mlp}
MIGRATION_LEARNERS = {"afterstate-td": afterstate_td}
