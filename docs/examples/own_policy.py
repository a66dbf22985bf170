"""Policies and a task of one's own, explained in docs/own-policy.md. Run it: python docs/examples/own_policy.py"""

from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

import edgetwin as et
from edgetwin import registry
from edgetwin.physical.radio import at_serving, power_for_rate
from edgetwin.problem import AgentClass, Categorical, Metric, Outcome, Policy, Problem, Ratio, Spec
from edgetwin.scenario import network

# Policies for two-timescale


def by_data(task, *, time_s: float = 0.02, rise: float = 4.0):
    """Enough power to send the data in `time_s` at the mean gain, if interference lifts the noise `rise` times."""
    radio = task.radio
    equal = jnp.ones((task.sites, 2 * task.users))

    def act(carry, view, key):
        sight = task.observer.read_users(view.observation)
        gain = task.mean_gain(sight.position_m, task.nearest_site(sight.position_m))
        power_w = power_for_rate(sight.data_bits / time_s, gain, radio.bandwidth_hz, rise * radio.noise_power_w)
        share = jnp.clip(power_w / radio.tx_power_max_w, 0, 1)
        return carry, {"users": share[:, None], "stations": equal}

    return Policy(name="by-data", task=task, act=act, controls=("users", "stations"))


def lazy(task, *, margin_m: float = 100.0):
    """A twin moves to the nearest server, but only if that is closer than its present one by more than `margin_m`."""
    servers_m = task.sites_m[task.server_sites]

    def act(carry, view, key):
        sight = task.observer.read_centre(view.observation)
        distance = jnp.linalg.norm(sight.position_m[:, None] - servers_m[None], axis=2)
        here = jnp.take_along_axis(distance, sight.host[:, None], axis=1)[:, 0]
        chosen = jnp.where(here - distance.min(axis=1) > margin_m, distance.argmin(axis=1), sight.host)
        return carry, {"centre": chosen[None]}

    return Policy(name="lazy", task=task, act=act, controls=("centre",))


def even(task):
    """Every server hosts the same number of twins, as close to their users as that allows. SciPy, so it runs on the host."""
    servers_m = np.asarray(task.sites_m[task.server_sites])
    seats = np.tile(np.arange(task.servers), ceil(task.users / task.servers))

    def init(key, view):
        return 0

    def act(slot, view, key):
        sight = task.observer.read_centre(view.observation)
        if slot % task.radio.frame_slots:
            return slot + 1, {"centre": np.asarray(sight.host)[None]}
        distance = np.linalg.norm(np.asarray(sight.position_m)[:, None] - servers_m[None], axis=2)
        chosen = seats[linear_sum_assignment(distance[:, seats])[1]]
        return slot + 1, {"centre": chosen[None].astype(np.int32)}

    return Policy(name="even", task=task, act=act, init=init, runs_on="host", controls=("centre",))


def seen_gain(task, *, snr: float = 5.0):
    """`inversion` with the true gain, fading included, in place of the mean: it must see the state."""
    equal = jnp.ones((task.sites, 2 * task.users))

    def act(carry, view, key):
        gain = at_serving(view.state.world.gain, view.state.serving)
        share = jnp.clip(snr * task.radio.noise_power_w / gain / task.radio.tx_power_max_w, 0, 1)
        return carry, {"users": share[:, None], "stations": equal}

    return Policy(name="seen-gain", task=task, act=act, information="state", controls=("users", "stations"))


POLICIES = {"by-data": by_data, "lazy": lazy, "even": even, "seen-gain": seen_gain}

# A task: where should one service stand?


class Field(NamedTuple):
    """Observation, action or reward: there is one agent class, called centre."""

    centre: Any


class State(NamedTuple):
    slot: jax.Array
    key: jax.Array
    visitor_m: jax.Array
    host: jax.Array


class Visits:
    """In every slot a visitor appears somewhere. One service stands at a server; every fourth slot it may move, for 200 m."""

    name = "visits"
    every, move_cost_m = 4, 200.0

    def __init__(self, scenario):
        self.scenario = scenario
        self.network = network(scenario)
        self.servers_m = jnp.asarray(self.network.sites_xy_m[self.network.server_sites])
        self.servers = len(self.servers_m)
        self.spec = Spec(
            agents={"centre": AgentClass(1, 2 + self.servers, Categorical(1, self.servers), every=self.every, first=self.every)},
            metrics={"cost_m": Metric("m", "lower", "way to the visitor and moves, mean over slots")},
            slots=40,
            comparison_slots=40,
            report_slots=10,
        )

    def reset(self, key):
        return State(jnp.zeros((), jnp.int32), key, self._visitor(key, 0), jnp.zeros((), jnp.int32))

    def _visitor(self, key, slot):
        return self.network.width_m * jax.random.uniform(jax.random.fold_in(key, slot), (2,))

    def ways_m(self, visitor_m):
        """From the visitor to every server, (servers,)."""
        return jnp.linalg.norm(self.servers_m - visitor_m, axis=1)

    def observe(self, state):
        place = 2 * state.visitor_m / self.network.width_m - 1
        return Field(jnp.concatenate([place, jax.nn.one_hot(state.host, self.servers)])[None])

    def action(self, centre):
        return Field(centre)

    def step(self, state, action):
        may_move = (state.slot % self.every == 0) & (state.slot >= self.every)
        host = jnp.where(may_move, action.centre[0, 0], state.host)
        cost = self.ways_m(state.visitor_m)[host] + self.move_cost_m * (host != state.host)
        slot = state.slot + 1
        outcome = Outcome(
            rewards=Field(-cost[None] / self.network.width_m),
            terminated=jnp.zeros((), bool),
            truncated=slot >= self.spec.slots,
            metrics={"cost_m": cost, "slots": jnp.ones((), jnp.int32)},
        )
        return State(slot, state.key, self._visitor(state.key, slot), host), outcome

    def summary(self, totals):
        return {"cost_m": Ratio(totals["cost_m"], totals["slots"])}

    def world(self, state):
        return state.visitor_m

    def trace(self, key, slots):
        return jax.vmap(lambda slot: self._visitor(key, slot))(jnp.arange(slots))

    def bound(self, keys, slots):
        """No policy pays less than the way to the server nearest to each visitor."""
        visitors = jax.vmap(lambda key: self.trace(key, slots))(keys).reshape(-1, 2)
        least = float(jax.vmap(self.ways_m)(visitors).min(axis=1).mean())
        return lambda metrics: {"cost_m": least}

    def global_state(self, state):
        return jnp.zeros(0)

    def scene(self, state, after, outcome):
        return None


def chase(task):
    """To the server nearest to the visitor."""

    def act(carry, view, key):
        visitor_m = (view.observation.centre[0, :2] + 1) / 2 * task.network.width_m
        return carry, Field(jnp.argmin(task.ways_m(visitor_m))[None, None])

    return Policy(name="chase", task=task, act=act)


def stay(task, *, server: int = 0):
    """At one server for ever."""
    return Policy(name="stay", task=task, act=lambda carry, view, key: (carry, Field(jnp.full((1, 1), server))))


PROBLEM = Problem(
    summary="where should one service stand?",
    scenario="two-timescale/physical",
    task=Visits,
    policies={"chase": chase, "stay": stay},
    compared=("chase", "stay"),
)


def main():
    base = et.task("two-timescale", et.scenario("two-timescale/physical", {"users.count": 8}))
    known = {**registry.factories(base), **POLICIES}
    names = ["by-data[rise=8]+nearest", "by-data[rise=8]+even", "seen-gain+lazy"]
    own = [registry.policy(base, name, known) for name in names]
    report(et.check(own[0]), et.compare(base, own, episodes=2, slots=100))
    visits = Visits(et.scenario("two-timescale/physical"))
    own = [registry.policy(visits, name, PROBLEM.policies) for name in ("chase", "stay[server=3]")]
    report(et.check(visits), et.compare(visits, own, episodes=8))


def report(clauses, table):
    for clause in clauses:
        print("PASS" if clause.passed else "FAIL", clause.name, clause.detail)
    for name, row in table.rows.items():
        print(
            name,
            row.policy.information,
            row.policy.runs_on,
            {metric: round(value.mean, 4) for metric, value in row.metrics.items()},
        )


if __name__ == "__main__":
    main()
