"""CartPole, from the physics: a pole hinged on a cart, pushed left or right with 10 N (Barto, Sutton, Anderson 1983, eqs. of the appendix).

Episodes terminate when the pole leans more than 12° or the cart is 2.4 m off, and are truncated at 500 slots: CartPole-v1.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.learning.dqn import Settings, dqn
from edgetwin.learning.trainer import train
from edgetwin.problem import AgentClass, Categorical, Metric, Outcome, Ratio, Spec

GRAVITY, CART_KG, POLE_KG, HALF_POLE_M, FORCE_N, SLOT_S = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
LEAN_MAX_RAD, PLACE_MAX_M, SLOTS = math.radians(12), 2.4, 500

SETTINGS = Settings(
    discount=0.99,
    target_rate=0.02,
    batch=128,
    replay=50_000,
    environments=4,
    slots_per_update=2,
    first_update=1000,
    exploration_slots=10_000,
)


class Named(NamedTuple):
    name: str = "cartpole"


class Agents(NamedTuple):
    """Observation, action or reward of the cart."""

    cart: Any


class CartState(NamedTuple):
    """Motion: place m, speed m/s, lean rad, lean speed rad/s; `first` is that of the episode's beginning, all that is drawn."""

    slot: jax.Array
    first: jax.Array
    motion: jax.Array


def moved(motion, right):
    """The motion one slot later (explicit Euler)."""
    place, speed, lean, turning = motion
    force = jnp.where(right, FORCE_N, -FORCE_N)
    mass = CART_KG + POLE_KG
    push = (force + POLE_KG * HALF_POLE_M * turning**2 * jnp.sin(lean)) / mass
    fall = GRAVITY * jnp.sin(lean) - jnp.cos(lean) * push
    turning_change = fall / (HALF_POLE_M * (4 / 3 - POLE_KG * jnp.cos(lean) ** 2 / mass))
    speed_change = push - POLE_KG * HALF_POLE_M * turning_change * jnp.cos(lean) / mass
    return jnp.stack(
        [
            place + SLOT_S * speed,
            speed + SLOT_S * speed_change,
            lean + SLOT_S * turning,
            turning + SLOT_S * turning_change,
        ]
    )


class CartPole:
    """One slot upright earns 1."""

    name = "cartpole"

    def __init__(self, scenario=None):
        self.scenario = scenario or Named()
        self.spec = Spec(
            agents={"cart": AgentClass(1, 4, Categorical(1, 2))},
            metrics={"upright": Metric("slots", "higher", "slots upright")},
            slots=SLOTS,
            comparison_slots=SLOTS,
            report_slots=SLOTS,
        )

    def reset(self, key):
        first = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return CartState(jnp.zeros((), jnp.int32), first, first)

    def observe(self, state):
        return Agents(state.motion[None])

    def action(self, cart):
        return Agents(cart)

    def step(self, state, action):
        after = CartState(state.slot + 1, state.first, moved(state.motion, action.cart[0, 0] == 1))
        fallen = (jnp.abs(after.motion[0]) > PLACE_MAX_M) | (jnp.abs(after.motion[2]) > LEAN_MAX_RAD)
        return after, Outcome(Agents(jnp.ones(1)), fallen, after.slot >= SLOTS, {"upright": jnp.ones(())})

    def global_state(self, state):
        return jnp.zeros(0)

    def world(self, state):
        return state.first

    def trace(self, key, slots):
        return jnp.broadcast_to(self.reset(key).first, (slots, 4))

    def summary(self, totals):
        return {"upright": Ratio(totals["upright"], 1)}

    def bound(self, keys, slots):
        return lambda metrics: {"upright": float(slots)}

    def scene(self, state, after, outcome):
        return None


def train_cartpole(seed, slots=60_000, settings=SETTINGS):
    """Trains our DQN. Returns two arrays, (blocks,): slots so far, and the mean return of the episodes that ended in the block."""
    run = train(dqn(CartPole(), settings), seed, slots, evaluations=1, evaluation_episodes=16)
    lines = [line for line in run.metrics if line.get("training", {}).get("return") is not None]
    return np.array([line["slots"] for line in lines]), np.array([line["training"]["return"] for line in lines])
