"""Edge association (Lu, Maharjan, Zhang): which servers host whose twins, and when twins follow their users to another."""

from edgetwin.association import migration_rules, rules
from edgetwin.association.migration import MigrationTask
from edgetwin.association.placement import PlacementTask
from edgetwin.problem import Problem


def compared(task: MigrationTask) -> tuple[str, ...]:
    """All rules; the slot's optimum, which looks at every move one by one, not for a day of taxis."""
    shown = ("never", "nearest", "algorithm-3-literal", "algorithm-3", "priced")
    return shown if task.network.visits is not None else (*shown, "slot-optimum")


PLACEMENT = Problem(
    summary="open servers and place twins on them (Lu et al., P1)",
    scenario="association/n100-m10",
    task=PlacementTask,
    policies=rules.POLICIES,
    compared=("random", "nearest", "greedy", "local-search", "optimum"),
    learners="edgetwin.association.learners:PLACEMENT_LEARNERS",
    studies="edgetwin.association.studies:STUDIES",
    solver="edgetwin.association.files:solve",
)

MIGRATION = Problem(
    summary="move twins after their users (Lu et al., P2)",
    scenario="association/n100-m10",
    task=MigrationTask,
    policies=migration_rules.POLICIES,
    compared=compared,
    learners="edgetwin.association.learners:MIGRATION_LEARNERS",
)
