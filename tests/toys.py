"""Three toy problems that prove the contracts: a one-shot one solved on the host, a single agent, agent classes on two timescales."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from edgetwin.problem import AgentClass, Categorical, Continuous, Metric, Outcome, Policy, Problem, Ratio, Spec


class _Scenario(NamedTuple):
    name: str = "toy"


class Agents(NamedTuple):
    """Observation, action or reward of a class called `agents`."""

    agents: Any


class AssignState(NamedTuple):
    slot: jax.Array
    cost: jax.Array


class Assign:
    """One shot: four jobs on six machines, each machine at most one job; a job that shares a machine pays 10."""

    name = "toy-assign"
    jobs, machines = 4, 6

    def __init__(self, scenario=None):
        self.scenario = _Scenario()
        self.spec = Spec(
            agents={"agents": AgentClass(1, self.jobs * self.machines, Categorical(self.jobs, self.machines))},
            metrics={"cost": Metric("1", "lower", "sum of the costs")},
            slots=1,
            comparison_slots=1,
            report_slots=1,
        )

    def reset(self, key):
        return AssignState(jnp.zeros((), jnp.int32), jax.random.uniform(key, (self.jobs, self.machines)))

    def observe(self, state):
        return Agents(state.cost.reshape(1, -1))

    def action(self, agents):
        return Agents(agents)

    def step(self, state, action):
        chosen = action.agents[0]
        shared = jnp.sum(chosen[:, None] == chosen[None, :], axis=1) > 1
        cost = jnp.sum(state.cost[jnp.arange(self.jobs), chosen]) + 10.0 * jnp.sum(shared)
        done = jnp.ones((), bool)
        return state._replace(slot=state.slot + 1), Outcome(Agents(-cost[None]), done, ~done, {"cost": cost})

    def global_state(self, state):
        return jnp.zeros(0)

    def world(self, state):
        return state.cost

    def trace(self, key, slots):
        return jnp.broadcast_to(self.reset(key).cost, (slots, self.jobs, self.machines))

    def summary(self, totals):
        return {"cost": Ratio(totals["cost"], 1)}

    def bound(self, keys, slots):
        cheapest = [np.asarray(self.reset(key).cost).min(axis=1).sum() for key in keys]
        return lambda metrics: {"cost": float(np.mean(cheapest))}

    def scene(self, state, after, outcome):
        return None


def hungarian(task):
    """The optimum, on the host with SciPy."""

    def act(carry, view, key):
        cost = np.asarray(view.observation.agents).reshape(task.jobs, task.machines)
        return carry, Agents(linear_sum_assignment(cost)[1].astype(np.int32)[None])

    return Policy(name="", task=task, act=act, runs_on="host")


def cheapest(task):
    """Every job to its cheapest machine, whoever else is there."""

    def act(carry, view, key):
        return carry, Agents(jnp.argmin(view.observation.agents.reshape(task.jobs, task.machines), axis=1)[None])

    return Policy(name="", task=task, act=act)


class TrackState(NamedTuple):
    slot: jax.Array
    key: jax.Array
    target: jax.Array
    place: jax.Array


class Track:
    """One agent follows a target that jumps about; the cost of a slot is the squared distance left."""

    name = "toy-track"

    def __init__(self, scenario=None):
        self.scenario = _Scenario()
        self.spec = Spec(
            agents={"agents": AgentClass(1, 2, Continuous(1, -1.0, 1.0))},
            metrics={"error": Metric("1", "lower", "mean squared distance")},
            slots=40,
            comparison_slots=40,
            report_slots=10,
            curves=("error",),
            state_size=2,
        )

    def _target(self, key, slot):
        return jax.random.uniform(jax.random.fold_in(key, slot), minval=-1.0)

    def reset(self, key):
        return TrackState(jnp.zeros((), jnp.int32), key, self._target(key, 0), jnp.zeros(()))

    def observe(self, state):
        return Agents(jnp.stack([state.target, state.place])[None])

    def action(self, agents):
        return Agents(agents)

    def step(self, state, action):
        place = jnp.clip(state.place + action.agents[0, 0], -2.0, 2.0)
        cost = (place - state.target) ** 2
        after = TrackState(state.slot + 1, state.key, self._target(state.key, state.slot + 1), place)
        ends = state.slot + 1 >= self.spec.slots
        return after, Outcome(Agents(-cost[None]), jnp.zeros((), bool), ends, {"cost": cost, "slots": jnp.ones((), jnp.int32)})

    def global_state(self, state):
        return jnp.stack([state.target, state.place])

    def world(self, state):
        return state.target

    def trace(self, key, slots):
        return jax.vmap(lambda slot: self._target(key, slot))(jnp.arange(slots))

    def summary(self, totals):
        return {"error": Ratio(totals["cost"], totals["slots"])}

    def bound(self, keys, slots):
        return None

    def scene(self, state, after, outcome):
        return None


def follow(task, *, gain: float = 1.0):
    """Moves by `gain` times the distance, at most 1."""

    def act(carry, view, key):
        target, place = view.observation.agents[0]
        return carry, Agents(jnp.clip(gain * (target - place), -1, 1)[None, None])

    return Policy(name="", task=task, act=act)


def foresee(task):
    """Knows the future: stands where the target is."""

    def init(key, view):
        return jnp.zeros((), jnp.int32)

    def act(carry, view, key):
        return carry + 1, Agents(jnp.clip(view.trace[carry] - view.state.place, -1, 1)[None, None])

    return Policy(name="", task=task, act=act, init=init, information="trace")


class Crew(NamedTuple):
    """Observation, action or reward of workers and their boss."""

    workers: Any
    boss: Any


class CrewState(NamedTuple):
    slot: jax.Array
    key: jax.Array
    load: jax.Array
    mode: jax.Array


class TwoSpeeds:
    """Three workers act every slot; a boss chooses each one's mode every fifth slot, from slot 5 on. Effort costs, unmet load costs."""

    name = "toy-two-speeds"
    workers, every = 3, 5

    def __init__(self, scenario=None):
        self.scenario = _Scenario()
        self.spec = Spec(
            agents={
                "workers": AgentClass(self.workers, 2, Continuous(1)),
                "boss": AgentClass(1, 2 * self.workers, Categorical(self.workers, 2), every=self.every, first=self.every),
            },
            metrics={
                "cost": Metric("1", "lower", "effort and unmet load"),
                "changes": Metric("1", None, "mode changes per slot"),
            },
            slots=30,
            comparison_slots=30,
            report_slots=5,
            frontier=("changes", "cost"),
            curves=("cost",),
        )

    def _load(self, key, slot):
        return jax.random.uniform(jax.random.fold_in(key, slot), (self.workers,))

    def reset(self, key):
        return CrewState(jnp.zeros((), jnp.int32), key, self._load(key, 0), jnp.zeros(self.workers, jnp.int32))

    def observe(self, state):
        mode = state.mode.astype(float)
        return Crew(jnp.stack([state.load, mode], axis=1), jnp.concatenate([state.load, mode])[None])

    def action(self, workers, boss):
        return Crew(workers, boss)

    def step(self, state, action):
        on_time = (state.slot % self.every == 0) & (state.slot > 0)
        mode = jnp.where(on_time, action.boss[0], state.mode)
        power = action.workers[:, 0] * (1 + mode)
        cost = jnp.sum(0.1 * (1 + mode) + jnp.maximum(state.load - power, 0))
        after = CrewState(state.slot + 1, state.key, self._load(state.key, state.slot + 1), mode)
        rewards = Crew(jnp.full(self.workers, -cost), -cost[None])
        metrics = {"cost": cost, "changes": jnp.sum(mode != state.mode), "slots": jnp.ones((), jnp.int32)}
        return after, Outcome(rewards, jnp.zeros((), bool), state.slot + 1 >= self.spec.slots, metrics)

    def global_state(self, state):
        return jnp.zeros(0)

    def world(self, state):
        return state.load

    def trace(self, key, slots):
        return jax.vmap(lambda slot: self._load(key, slot))(jnp.arange(slots))

    def summary(self, totals):
        return {"cost": Ratio(totals["cost"], totals["slots"]), "changes": Ratio(totals["changes"], totals["slots"])}

    def bound(self, keys, slots):
        return None

    def scene(self, state, after, outcome):
        return None


def flat_out(task):
    """Workers give everything."""
    return Policy(
        name="", task=task, act=lambda carry, view, key: (carry, {"workers": jnp.ones((task.workers, 1))}), controls=("workers",)
    )


def busy(task, *, above: float = 0.5):
    """The boss turns on the second mode where the load is above a level."""

    def act(carry, view, key):
        return carry, {"boss": (view.observation.boss[:, : task.workers] > above).astype(jnp.int32)}

    return Policy(name="", task=task, act=act, controls=("boss",))


ASSIGN = Problem("assignment", "toy", Assign, {"hungarian": hungarian, "cheapest": cheapest})
TRACK = Problem("following", "toy", Track, {"follow": follow, "foresee": foresee})
TWO_SPEEDS = Problem("a crew", "toy", TwoSpeeds, {"flat-out": flat_out, "busy": busy})
