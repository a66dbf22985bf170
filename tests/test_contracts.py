"""The contract kit on three toy problems, and on broken variants of them, each caught under the name of what is broken."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from edgetwin import registry
from edgetwin.evaluation.check import check_policy, check_task
from edgetwin.problem import Policy

pytestmark = pytest.mark.usefixtures("quick_compilation")


def failed(clauses):
    return {clause.name for clause in clauses if not clause.passed}


@pytest.mark.parametrize("problem", [toys.ASSIGN, toys.TRACK, toys.TWO_SPEEDS], ids=lambda problem: problem.summary)
def test_toy_tasks_pass_every_clause(problem):
    assert failed(check_task(problem.task(None))) == set()


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        (toys.ASSIGN, "hungarian"),
        (toys.ASSIGN, "cheapest"),
        (toys.TRACK, "follow[gain=0.5]"),
        (toys.TRACK, "foresee"),
        (toys.TWO_SPEEDS, "flat-out+busy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_toy_policies_pass_every_clause(problem, name):
    policy = registry.policy(problem.task(None), name, problem.policies)
    assert failed(check_policy(policy)) == set()


class IgnoresSeed(toys.Track):
    def reset(self, key):
        return super().reset(jax.random.key(0))

    def trace(self, key, slots):
        return super().trace(jax.random.key(0), slots)


class DrawsFromNumPy(toys.Track):
    def reset(self, key):
        state = super().reset(key)
        return state._replace(place=state.place + np.random.uniform())


class DrawsFromPython(toys.Track):
    def step(self, state, action):
        state, outcome = super().step(state, action)
        return state._replace(place=state.place + 0.1 * random.random()), outcome


class FreshEntropy(toys.Track):
    def reset(self, key):
        state = super().reset(key)
        return state._replace(place=state.place + np.random.default_rng().uniform())


class WrongShape(toys.Track):
    def observe(self, state):
        return toys.Agents(super().observe(state).agents[0])


class WrongReward(toys.TwoSpeeds):
    def step(self, state, action):
        state, outcome = super().step(state, action)
        return state, outcome._replace(rewards=outcome.rewards._replace(workers=outcome.rewards.workers[:1]))


class NotANumber(toys.Track):
    def step(self, state, action):
        state, outcome = super().step(state, action)
        return state, outcome._replace(rewards=toys.Agents(jnp.where(state.slot == 3, jnp.nan, outcome.rewards.agents)))


class OutOfBounds(toys.Track):
    def observe(self, state):
        return toys.Agents(1e3 * super().observe(state).agents)


class BossAlwaysHeard(toys.TwoSpeeds):
    def step(self, state, action):
        state, outcome = super().step(state, action)
        return state._replace(mode=action.boss[0]), outcome


class BossNeverHeard(toys.TwoSpeeds):
    def step(self, state, action):
        mode = state.mode
        state, outcome = super().step(state, action)
        return state._replace(mode=mode), outcome


class WorldDependsOnActions(toys.Track):
    def step(self, state, action):
        after, outcome = super().step(state, action)
        return after._replace(target=after.target + action.agents[0, 0]), outcome


class FalseTrace(toys.Track):
    def trace(self, key, slots):
        return super().trace(key, slots) + 1


class NeverEnds(toys.Track):
    def step(self, state, action):
        state, outcome = super().step(state, action)
        return state, outcome._replace(truncated=jnp.zeros((), bool))


class ChangesShape(toys.Track):
    def step(self, state, action):
        state, outcome = super().step(state, action)
        return state._replace(place=state.place[None]), outcome


class ForgetsAMetric(toys.TwoSpeeds):
    def summary(self, totals):
        return {"cost": super().summary(totals)["cost"]}


class NoPicture(toys.Track):
    def scene(self, state, after, outcome):
        return "a picture"


class BoundOfNothing(toys.Assign):
    def bound(self, keys, slots):
        return lambda metrics: {"price": 1.0}


@pytest.mark.parametrize(
    ("task", "clause"),
    [
        (IgnoresSeed, "seeds matter"),
        (DrawsFromNumPy, "global random state"),
        (DrawsFromPython, "global random state"),
        (FreshEntropy, "determinism"),
        (WrongShape, "shapes"),
        (WrongReward, "shapes"),
        (NotANumber, "finite"),
        (OutOfBounds, "bounds"),
        (BossAlwaysHeard, "timescales"),
        (BossNeverHeard, "timescales"),
        (WorldDependsOnActions, "common random numbers"),
        (FalseTrace, "trace"),
        (NeverEnds, "episode end"),
        (ChangesShape, "compiles"),
        (ForgetsAMetric, "summary"),
        (NoPicture, "scene"),
        (BoundOfNothing, "bound"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_broken_tasks_are_caught_by_name(task, clause):
    caught = {found.name: found.detail for found in check_task(task()) if not found.passed}
    assert clause in caught
    assert caught[clause]


def policy_of(act, **changes):
    task = toys.Track()
    return Policy(name="broken", task=task, act=act, **changes)


def _constant(value):
    return lambda carry, view, key: (carry, toys.Agents(value))


@pytest.mark.parametrize(
    ("policy", "clause"),
    [
        (policy_of(_constant(jnp.full((1, 1), 1.5))), "bounds"),
        (policy_of(_constant(jnp.full((1, 1), jnp.nan))), "finite"),
        (policy_of(_constant(jnp.zeros((1, 2)))), "shapes"),
        (policy_of(lambda carry, view, key: (carry, toys.Agents(jnp.full((1, 1), np.random.uniform())))), "global random state"),
        (
            policy_of(
                lambda carry, view, key: (carry, toys.Agents(np.full((1, 1), np.random.default_rng().uniform()))), runs_on="host"
            ),
            "determinism",
        ),
        (policy_of(lambda carry, view, key: (jnp.zeros(3), toys.Agents(jnp.zeros((1, 1))))), "carry"),
        (policy_of(_constant(jnp.zeros((1, 1))), information="everything"), "declaration"),
        (policy_of(lambda carry, view, key: (carry, toys.Agents(view.state.place[None, None]))), "finite"),
    ],
    ids=["bounds", "NaN", "shape", "global random state", "fresh entropy", "carry", "declaration", "peeks at the state"],
)
def test_broken_policies_are_caught_by_name(policy, clause):
    assert clause in failed(check_policy(policy))


def test_a_choice_must_be_an_integer():
    task = toys.Assign()
    policy = Policy(name="float", task=task, act=lambda carry, view, key: (carry, toys.Agents(jnp.zeros((1, task.jobs)))))
    caught = {found.name: found.detail for found in check_policy(policy) if not found.passed}
    assert caught["shapes"] == "action.agents is float32, a choice must be an integer"
