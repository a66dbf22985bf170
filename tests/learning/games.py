"""Small worlds of several agents whose values are known exactly: a table of payoffs, and a target that each agent has to hit."""

from collections import namedtuple
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.problem import AgentClass, Categorical, Continuous, Metric, Outcome, Ratio, Spec
from learning.probes import Named


class Moment(NamedTuple):
    """The one slot of a game: whether it has been played, and what was drawn for it."""

    played: jax.Array
    drawn: jax.Array


class Game:
    """One slot, in which agents of some classes act at once. Subclasses say what is drawn, seen and paid."""

    name = "game"

    def __init__(self, agents, state_size):
        self.scenario = Named(self.name)
        self.action = namedtuple("PerClass", agents)
        self.spec = Spec(
            agents=agents,
            metrics={"payoff": Metric("1", "higher", "mean payoff of the agents")},
            slots=1,
            comparison_slots=1,
            report_slots=1,
            state_size=state_size,
        )

    def paid(self, state, action):
        """By class, (agents,)."""
        raise NotImplementedError

    def step(self, state, action):
        rewards = self.paid(state, action)
        ends = jnp.ones((), bool)
        metrics = {"payoff": jnp.mean(jnp.concatenate(list(rewards.values()))), "slots": jnp.ones(())}
        return state._replace(played=ends), Outcome(self.action(**rewards), ends, ~ends, metrics)

    def world(self, state):
        return state.drawn

    def trace(self, key, slots):
        return self.reset(key).drawn[None]

    def summary(self, totals):
        return {"payoff": Ratio(totals["payoff"], totals["slots"])}

    def bound(self, keys, slots):
        return None

    def scene(self, state, after, outcome):
        return None


class Table(Game):
    """Everybody chooses once, nobody sees anything, and all get what the table has for the joint choice.

    payoff: an axis of choices for each agent, in the order of the classes. counts: agents per class.
    """

    def __init__(self, payoff, **counts):
        self.payoff = np.asarray(payoff, float)
        self.counts = counts
        assert self.payoff.ndim == sum(counts.values()) and len(set(self.payoff.shape)) == 1
        choice = Categorical(1, self.payoff.shape[0])
        super().__init__({name: AgentClass(count, 1, choice) for name, count in counts.items()}, state_size=1)

    def reset(self, key):
        return Moment(jnp.zeros((), bool), jnp.zeros(()))

    def observe(self, state):
        return self.action(**{name: jnp.ones((count, 1)) for name, count in self.counts.items()})

    def global_state(self, state):
        return jnp.ones(1)

    def paid(self, state, action):
        chosen = jnp.concatenate([getattr(action, name)[:, 0] for name in self.counts])
        payoff = jnp.asarray(self.payoff)[tuple(chosen)]
        return {name: jnp.full(count, payoff) for name, count in self.counts.items()}


class Targets(Game):
    """Three agents aim, each at a target of its own, and pay the squares of what they miss, summed over two real numbers in [−1, 2].

    The first agent's target is always (.5, 0), which it does not see; the second's is drawn from [0, 1]² and seen; the third's lies in a
    corner, where the bounds are. The critics' global state is the drawn target.
    """

    name = "targets"
    low, high = -1.0, 2.0

    def __init__(self):
        agents = {"aimers": AgentClass(3, 2, Continuous(2, self.low, self.high))}
        super().__init__(agents, state_size=2)

    def reset(self, key):
        return Moment(jnp.zeros((), bool), jax.random.uniform(key, (2,)))

    def observe(self, state):
        return self.action(jnp.stack([jnp.ones(2), state.drawn, jnp.ones(2)]))

    def global_state(self, state):
        return state.drawn

    def targets(self, drawn):
        """(3, 2)."""
        return jnp.stack([jnp.array([0.5, 0.0]), drawn, jnp.array([self.high, self.low])])

    def paid(self, state, action):
        return {"aimers": -jnp.sum((action.aimers - self.targets(state.drawn)) ** 2, axis=-1)}


def expected(payoff, policies):
    """The expectation of a table under policies that are independent of each other, (choices,) each."""
    for policy in policies:
        payoff = np.tensordot(policy, payoff, axes=(0, 0))
    return float(payoff)


def group_value(payoff, policies, group):
    """Q of a group of agents: a table with an axis for each agent, of length 1 where it is not of the group but follows its policy."""
    for agent, policy in enumerate(policies):
        if agent not in group:
            payoff = np.expand_dims(np.tensordot(policy, payoff, axes=(0, agent)), agent)
    return payoff


def group_advantage(payoff, policies, before, agents):
    """A^{agents}(a_before, a_agents) = Q^{before ∪ agents}(a_before, a_agents) − Q^{before}(a_before): how much better the agents' choices
    are than their policies, given the choices of those before them (Kuba et al. 2022, Definition 1). A table as `group_value`'s."""
    return group_value(payoff, policies, {*before, *agents}) - group_value(payoff, policies, set(before))
