"""Critics: who estimates the value for whom. One per agent as the paper prints, one per reward, or one per class on what its actors see.

The first two look at the global state and differ only in how many equal estimates are learned; the third is for rewards of an agent's own.
A target's shape is (agents, batch, credits), classes by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from edgetwin.learning import stacks
from edgetwin.learning.networks import mlp
from edgetwin.learning.roles import Role

Kind = Literal["agent", "reward", "own"]
KINDS: tuple[Kind, ...] = ("agent", "reward", "own")
STATE = "state"
"""The name of the global state among what is seen, beside the classes."""


@dataclass(frozen=True, eq=False)
class Critics:
    """A stack of critics that see alike.

    `predict(critic, seen)` is one critic's estimate; `target(by_class, index)` what the critic `index` should estimate, of targets or
    masks by class; `spread(estimates)` takes those of the stack, critics first, to classes.
    """

    classes: tuple[str, ...]
    shape: stacks.Shape
    predict: Callable[[Any, Mapping[str, jax.Array]], jax.Array]
    target: Callable[[Mapping[str, jax.Array], jax.Array], jax.Array]
    spread: Callable[[jax.Array], dict[str, jax.Array]]

    def values(self, stack: stacks.Stack, seen: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the critics say of what is seen: (agents, batch, credits) by class. One after another: a batch of them is slower."""
        return self.spread(jax.lax.map(lambda row: self.predict(self.shape.network(row), seen), stack.rows))

    def learn(
        self,
        stack: stacks.Stack,
        seen: Mapping[str, jax.Array],
        returns: Mapping[str, jax.Array],
        counted: Mapping[str, jax.Array],
        learning_rate: jax.Array | float,
    ) -> tuple[stacks.Stack, jax.Array]:
        """One step of every critic towards its returns, where they are counted; and the mean loss."""

        def one(_: None, rows: tuple[jax.Array, stacks.Stack]) -> tuple[None, tuple[stacks.Stack, jax.Array]]:
            index, critic = rows
            target, weight = self.target(returns, index), self.target(counted, index)
            loss, gradient = jax.value_and_grad(
                lambda flat: value_loss(self.predict(self.shape.network(flat), seen), target, weight)
            )(critic.rows)
            return None, (stacks.descend(critic, gradient, learning_rate), loss)

        _, (stack, losses) = jax.lax.scan(one, None, (jnp.arange(self.shape.networks), stack))
        return stack, jnp.mean(losses)


def value_loss(value: jax.Array, target: jax.Array, counted: jax.Array) -> jax.Array:
    """½·E[(target − V)²] over what is counted.     two-timescale (32)

    With the target r + γV(s′) it is (32) as printed; here the target is the return of (31) (decision 31).
    """
    return 0.5 * jnp.sum(jnp.where(counted, (target - value) ** 2, 0)) / jnp.maximum(jnp.sum(counted), 1)


def critics_of(
    roles: Mapping[str, Role], counts: Mapping[str, int], kind: Kind, state_size: int, hidden: tuple[int, ...]
) -> list[Critics]:
    """The critics of a kind for these roles; counts: agents per class."""
    if kind == "own":
        return [_own(name, role) for name, role in roles.items()]
    if kind == "agent":
        return [_of_state((name,), {name: count}, count, state_size, hidden) for name, count in counts.items()]
    groups: dict[Any, dict[str, int]] = {}
    for name, role in roles.items():
        groups.setdefault((role.reward, role.discount, role.trace), {})[name] = counts[name]
    return [_of_state(tuple(group), group, 1, state_size, hidden) for group in groups.values()]


def _of_state(classes: tuple[str, ...], counts: dict[str, int], stack: int, state_size: int, hidden: tuple[int, ...]) -> Critics:
    return Critics(
        classes=classes,
        shape=stacks.shape(lambda key: mlp(key, state_size, hidden, 1), stack),
        predict=lambda critic, seen: critic(seen[STATE]),
        target=lambda by_class, index: by_class[classes[0]][index],
        spread=lambda values: {name: jnp.broadcast_to(values, (count, *values.shape[1:])) for name, count in counts.items()},
    )


def _own(name: str, role: Role) -> Critics:
    return Critics(
        classes=(name,),
        shape=stacks.shape(role.value_init, 1),
        predict=lambda critic, seen: role.value(critic, seen[name]),
        target=lambda by_class, index: by_class[name],
        spread=lambda values: {name: values[0]},
    )
