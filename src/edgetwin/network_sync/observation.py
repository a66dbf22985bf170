"""What the base station sees: positions as the paper says, the twin's error as well, or the few numbers a good decision needs.

"paper" is s_t alone (III-C 2). But the right decision depends on how wrong the twin is, what a sync costs now and how long the episode
lasts; seen from positions alone, states that call for opposite decisions look the same. "error" adds the twin's error and the price,
"compact" is (S, C_t, age, slots left). Where packets are partial, "compact" has errors and ages user by user.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.scenario.schema import NetworkSync

OBSERVATION_LIMIT = 40.0
"""log1p of a weighted squared error stays below this for any movement on Earth; positions count in half widths of the area."""


class Sight(NamedTuple):
    """What the base station knows in a slot. position_blocks, error_blocks (truth − twin): (users, 2); age: (users,); sync_loss C_t, infinite where
    no resource block meets the deadline; slots_left counts this slot."""

    position_blocks: jax.Array
    error_blocks: jax.Array
    age: jax.Array
    sync_loss: jax.Array
    slots_left: jax.Array


class Knowledge(NamedTuple):
    """What rules decide by. squared_error: (users,), blocks²; age: (users,); the others as in `Sight`."""

    squared_error: jax.Array
    age: jax.Array
    sync_loss: jax.Array
    slots_left: jax.Array


class Observer:
    """Sights as observation vectors, and compact ones back again. Costs are weighed by `reward_scale` and seen through log1p."""

    def __init__(self, section: NetworkSync, users: int, width_blocks: float):
        self.section, self.users, self.half_width = section, users, width_blocks / 2
        self.error_price = section.reward_scale * (1 - section.rate_weight) / users
        self.partial = section.refresh == "partial"
        self.size = {
            "paper": 2 * users,
            "error": 4 * users + 2,
            "compact": 2 * users + 3 if self.partial else 5,
        }[section.observation]

    def observe(self, sight: Sight) -> jax.Array:
        """The base station's observation, (size,)."""
        positions = (sight.position_blocks / self.half_width).ravel()
        if self.section.observation == "paper":
            return jnp.clip(positions, -OBSERVATION_LIMIT, OBSERVATION_LIMIT)
        feasible = jnp.isfinite(sight.sync_loss)
        price = jnp.stack([jnp.log1p(self.section.reward_scale * jnp.where(feasible, sight.sync_loss, 0)), feasible])
        if self.section.observation == "error":
            error = jnp.sign(sight.error_blocks) * jnp.log1p(jnp.abs(sight.error_blocks))
            return jnp.clip(jnp.concatenate([positions, error.ravel(), price]), -OBSERVATION_LIMIT, OBSERVATION_LIMIT)
        squared = jnp.sum(sight.error_blocks**2, axis=-1)
        left = jnp.stack([sight.slots_left / self.section.slots])
        if self.partial:
            return jnp.concatenate([jnp.log1p(self.error_price * squared), sight.age / self.section.slots, price, left])
        own = jnp.stack([jnp.log1p(self.error_price * squared.sum()), sight.age[0] / self.section.slots])
        return jnp.concatenate([own, price, left])

    def read(self, observation: jax.Array) -> Knowledge:
        """What a compact observation tells, the mean squared error for every user where packets hold all of them."""
        shown = self.users if self.partial else 1
        scale = self.error_price if self.partial else self.error_price * self.users
        squared = jnp.broadcast_to(jnp.expm1(observation[:shown]) / scale, (self.users,))
        age = jnp.broadcast_to(jnp.round(observation[shown : 2 * shown] * self.section.slots).astype(jnp.int32), (self.users,))
        price, feasible, left = observation[2 * shown :]
        loss = jnp.where(feasible > 0.5, jnp.expm1(price) / self.section.reward_scale, jnp.inf)
        return Knowledge(squared, age, loss, jnp.round(left * self.section.slots).astype(jnp.int32))
