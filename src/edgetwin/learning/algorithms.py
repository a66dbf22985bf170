"""The algorithms for any task of one agent with one choice, as a problem's `learners` can name them, with their common knobs."""

from edgetwin.learning import dqn as double
from edgetwin.learning import sac as soft
from edgetwin.learning.learner import Learner
from edgetwin.problem import Task


def sac(task: Task, *, discount: float = 0.95, temperature: float = 0.05) -> Learner:
    """Discrete soft actor-critic."""
    return soft.sac(task, soft.Settings(discount=discount, temperature=temperature))


def dqn(task: Task, *, discount: float = 0.95) -> Learner:
    """Double DQN."""
    return double.dqn(task, double.Settings(discount=discount))


LEARNERS = {"sac": sac, "dqn": dqn}
