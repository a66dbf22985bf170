"""The algorithms that learn to place and to migrate, by name."""

from edgetwin.association import ddpg as structured
from edgetwin.association.maddpg_mlp import maddpg_mlp
from edgetwin.association.migration_learner import afterstate_td
from edgetwin.association.placement import PlacementTask
from edgetwin.learning.learner import Learner


def ddpg(task: PlacementTask, *, discount: float = 0.0, noise_std: float = 1.7, anneal_slots: int = 48_000) -> Learner:
    """Algorithm 1 as it takes to learn placement."""
    return structured.ddpg(task, structured.Settings(discount=discount, noise_std=noise_std, anneal_slots=anneal_slots))


PLACEMENT_LEARNERS = {"ddpg": ddpg, "maddpg-mlp": maddpg_mlp}
MIGRATION_LEARNERS = {"afterstate-td": afterstate_td}
