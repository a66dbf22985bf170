"""Small worlds whose values are known exactly, one per property that a learner must have."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.problem import AgentClass, Categorical, Metric, Outcome, Problem, Ratio, Spec


class Named(NamedTuple):
    name: str = "probe"


class Agents(NamedTuple):
    """Observation, action or reward of the one agent."""

    agent: Any


class ProbeState(NamedTuple):
    slot: jax.Array
    key: jax.Array
    place: jax.Array


class Chain:
    """A finite Markov decision process, seen as it is (one-hot).

    transition: (places, choices, places), probabilities. reward: (places, choices). terminal: (places,), where arriving terminates.
    An episode begins in a uniformly random place that is not terminal, or in place 0 where `begin_at_0`, and is truncated after `slots`.
    """

    def __init__(self, transition, reward, terminal=None, slots=8, begin_at_0=False, name="probe", scenario=None):
        self.transition, self.reward = np.asarray(transition, float), np.asarray(reward, float)
        self.places, self.choices = self.reward.shape
        self.terminal = np.zeros(self.places, bool) if terminal is None else np.asarray(terminal)
        self.begin = np.where(np.arange(self.places) == 0, 1.0, 0.0) if begin_at_0 else (~self.terminal).astype(float)
        self.name, self.scenario = name, scenario or Named()
        self.spec = Spec(
            agents={"agent": AgentClass(1, self.places, Categorical(1, self.choices))},
            metrics={"reward": Metric("1", "higher", "mean reward of a slot")},
            slots=slots,
            comparison_slots=slots,
            report_slots=slots,
            state_size=self.places,
        )

    def reset(self, key):
        place = jax.random.categorical(key, jnp.log(self.begin))
        return ProbeState(jnp.zeros((), jnp.int32), key, place)

    def observe(self, state):
        return Agents(self.global_state(state)[None])

    def action(self, agent):
        return Agents(agent)

    def step(self, state, action):
        chosen = action.agent[0, 0]
        key = jax.random.fold_in(state.key, state.slot)
        place = jax.random.categorical(key, jnp.log(jnp.asarray(self.transition))[state.place, chosen])
        reward = jnp.asarray(self.reward)[state.place, chosen]
        after = ProbeState(state.slot + 1, state.key, place)
        terminated, truncated = jnp.asarray(self.terminal)[place], after.slot >= self.spec.slots
        return after, Outcome(Agents(reward[None]), terminated, truncated, {"reward": reward, "slots": jnp.ones(())})

    def global_state(self, state):
        return jax.nn.one_hot(state.place, self.places)

    def world(self, state):
        return state.slot

    def trace(self, key, slots):
        return jnp.arange(slots)

    def summary(self, totals):
        return {"reward": Ratio(totals["reward"], totals["slots"])}

    def bound(self, keys, slots):
        return None

    def scene(self, state, after, outcome):
        return None


def walk(*following):
    """Transition probabilities where every choice leads from place i to following[i]."""
    places = len(following)
    return np.eye(places)[np.array(following)][:, None, :].repeat(2, axis=1)


def constant():
    """Reward 1, whatever is seen or done, for ever: V = 1/(1 − β)."""
    return Chain(walk(0), [[1.0, 1.0]])


def observed():
    """One slot; the reward is ±1 by what is seen."""
    return Chain(walk(2, 2, 2), [[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]], [False, False, True])


def delayed():
    """Three slots, the reward 1 in the last only: V = β², β, 1."""
    return Chain(walk(1, 2, 3, 3), [[0, 0], [0, 0], [1, 1], [0, 0]], [False, False, False, True], begin_at_0=True)


def chosen():
    """One slot; the reward is 1 for the second choice, −1 for the first."""
    return Chain(walk(1, 1), [[-1.0, 1.0], [0.0, 0.0]], [False, True])


def matched():
    """One slot; the reward is 1 where the choice is what is seen, else −1."""
    return Chain(walk(2, 2, 2), [[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]], [False, False, True])


def cut():
    """A circle of three places with a reward of 1 in the last, truncated after two slots anywhere: V = β²/(1 − β³), β/(1 − β³), 1/(1 − β³).

    What is seen first in the next episode is another place than what was seen last.
    """
    return Chain(walk(1, 2, 0), [[0, 0], [0, 0], [1, 1]], slots=2)


def ended():
    """Reward 1 in each of two slots, then the problem terminates: V = 1 + β, 1."""
    return Chain(walk(1, 2, 2), [[1, 1], [1, 1], [0, 0]], [False, False, True], begin_at_0=True)


def random_mdp(seed=0, places=5, choices=3):
    """A random process: everything can follow everything."""
    rng = np.random.default_rng(seed)
    return Chain(rng.dirichlet(np.ones(places), (places, choices)), rng.normal(size=(places, choices)), slots=16)


def together(*chains, slots):
    """All of them as one process that begins in any place of any, and which of its places are whose."""
    ends = np.cumsum([chain.places for chain in chains])
    parts = [range(end - chain.places, end) for chain, end in zip(chains, ends, strict=True)]
    transition, reward = np.zeros((ends[-1], 2, ends[-1])), np.concatenate([chain.reward for chain in chains])
    for chain, part in zip(chains, parts, strict=True):
        transition[np.ix_(part, range(2), part)] = chain.transition
    return Chain(transition, reward, np.concatenate([chain.terminal for chain in chains]), slots), parts


def _problem(scenario):
    return Chain(walk(1, 2, 0), [[0.0, 1.0], [0.5, 0.0], [0.0, 0.2]], slots=8, name="learning.probes:PROBLEM", scenario=scenario)


PROBLEM = Problem("a small circle", "two-timescale/physical", _problem, {}, learners="edgetwin.learning.algorithms:LEARNERS")
