"""A world of real-valued actions whose best policy is known: two agents steer one number towards 0 and pay for how hard they push."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.problem import AgentClass, Continuous, Metric, Outcome, Ratio, Spec
from learning.probes import Named

PUSH_COST = (0.5, 1.0)
EASE = sum(1 / cost for cost in PUSH_COST)


class Pushers(NamedTuple):
    """Observation, action or reward of both agents."""

    pushers: Any


class Held(NamedTuple):
    number: jax.Array


class Steering:
    """x ← x + u_1 + u_2 for x² + ½u_1² + u_2², which both agents pay, in episodes of one slot; pushes are from −2 to 1.

    Where an episode is truncated the value goes on: the best pushes are those of the linear-quadratic regulator. Where it terminates
    nothing follows, and nobody should push.
    """

    name = "steering"
    low, high = -2.0, 1.0

    def __init__(self, terminates):
        self.terminates, self.scenario, self.action = terminates, Named(self.name), Pushers
        self.spec = Spec(
            agents={"pushers": AgentClass(2, 1, Continuous(1, self.low, self.high))},
            metrics={"cost": Metric("1", "lower", "mean cost of a slot")},
            slots=1,
            comparison_slots=1,
            report_slots=1,
        )

    def reset(self, key):
        return Held(jax.random.uniform(key, minval=-1.0, maxval=1.0))

    def observe(self, state):
        return Pushers(jnp.full((2, 1), state.number))

    def step(self, state, action):
        pushes = action.pushers[:, 0]
        cost = state.number**2 + jnp.sum(jnp.array(PUSH_COST) * pushes**2)
        over = jnp.ones((), bool)
        after = Held(state.number + pushes.sum())
        outcome = Outcome(
            Pushers(jnp.full(2, -cost)), over & self.terminates, over & ~jnp.array(self.terminates), {"cost": cost, "slots": 1.0}
        )
        return after, outcome

    def summary(self, totals):
        return {"cost": Ratio(totals["cost"], totals["slots"])}

    def price(self, discount, sweeps=200):
        """P of the best value −P x², by the Riccati equation P = 1 + γP/(1 + γP Σ 1/r)."""
        price = 1.0
        for _ in range(0 if self.terminates else sweeps):
            price = 1 + discount * price / (1 + discount * price * EASE)
        return price

    def gains(self, discount):
        """The best pushes per unit of x, (2,): −(γP/r)/(1 + γP Σ 1/r)."""
        later = 0.0 if self.terminates else discount * self.price(discount)
        return [-later / cost / (1 + later * EASE) for cost in PUSH_COST]
