"""Synchronising a network's twin (Yu, Liu, Chen): when to spend a resource block on refreshing it, and when to trust its forecast."""

from edgetwin.network_sync import rules
from edgetwin.network_sync.task import NetworkSyncTask
from edgetwin.problem import Problem

RULES = ("never", "always", "random", "periodic", "error-threshold", "index")


def compared(task: NetworkSyncTask) -> tuple[str, ...]:
    """All policies, or where packets are partial those that can decide about them."""
    return RULES if task.partial else (*RULES, "causal", "offline-optimum")


PROBLEM = Problem(
    summary="refresh the network's twin or trust its forecast (Yu et al.)",
    scenario="network-sync/a",
    task=NetworkSyncTask,
    policies=rules.POLICIES,
    compared=compared,
    learners="edgetwin.network_sync.agents:LEARNERS",
    studies="edgetwin.network_sync.figures:STUDIES",
    solver="edgetwin.network_sync.instances:solve",
)
