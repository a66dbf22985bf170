"""How learners are fitted to the problem: the paper's SAC and its baseline DQN, to the letter of Table I and as they learn.

`-paper` is Table I: discount .8, actor rate 1e-4. It is meant for `network-sync/paper`, where positions are all that is observed and the
reward is raw. The defaults look .95 ahead (decision 18) and learn with both rates at 1e-3.
"""

from edgetwin.learning import algorithms
from edgetwin.learning import dqn as double
from edgetwin.learning import sac as soft
from edgetwin.learning.learner import Learner
from edgetwin.network_sync.task import NetworkSyncTask


def sac_paper(task: NetworkSyncTask) -> Learner:
    """Soft actor-critic with Table I: β = .8, α = .05, λ_π = 1e-4, λ_Q = 1e-3."""
    return soft.sac(task, soft.Settings(discount=0.8, temperature=0.05, learning_rate=1e-3, policy_learning_rate=1e-4))


def dqn_paper(task: NetworkSyncTask) -> Learner:
    """Double DQN with what Table I says of both: β = .8, λ_Q = 1e-3."""
    return double.dqn(task, double.Settings(discount=0.8, learning_rate=1e-3))


LEARNERS = {**algorithms.LEARNERS, "sac-paper": sac_paper, "dqn-paper": dqn_paper}
