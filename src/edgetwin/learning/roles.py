"""What an agent class is to a learner: which network looks at what, what its outputs mean, and what it is paid by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from edgetwin.learning import heads
from edgetwin.learning.networks import mlp
from edgetwin.problem import AgentClass, Categorical, Continuous

HIDDEN = (128, 64)


@dataclass(frozen=True, eq=False)
class Role:
    """How the agents of a class learn.

    `features(observation) → (agents, …)` is what an actor looks at, of the class's observation (agents, size). `init(key)` makes one
    actor, `outputs(actor, features) → (…, components, head.parameters)`. `decode(action, observation) → (agents, size)` turns what the
    head drew, (agents, components), into an action of the task.

    `credits` is how many advantages an agent has: 1 for its whole action, or `components`, one each. `value_init(key)` and
    `value(critic, features) → (…, credits)` are a critic of the same features, where critics look at those. Classes with the same
    `reward` and discount can share a critic of the global state. `shared`: one actor for all agents of the class.
    """

    head: heads.Head
    components: int
    features: Callable[[jax.Array], jax.Array]
    init: Callable[[jax.Array], Any]
    outputs: Callable[[Any, jax.Array], jax.Array]
    decode: Callable[[jax.Array, jax.Array], jax.Array]
    value_init: Callable[[jax.Array], Any]
    value: Callable[[Any, jax.Array], jax.Array]
    reward: str
    credits: int = 1
    shared: bool = False
    discount: float = 0.9
    trace: float = 0.95


def plain_role(
    name: str,
    agents: AgentClass,
    *,
    bounded: heads.Head | None = None,
    hidden: tuple[int, ...] = HIDDEN,
    reward: str | None = None,
    shared: bool = False,
    discount: float = 0.9,
    trace: float = 0.95,
) -> Role:
    """A role for any class: an MLP of the observation, with a Beta for each real number (or the head `bounded`) or a softmax for each choice."""
    action = agents.action
    if isinstance(action, Continuous):
        head, components = bounded or heads.beta_by_softplus(), action.size
    else:
        head, components = heads.categorical(action.choices), action.heads

    def decode(drawn: jax.Array, observation: jax.Array) -> jax.Array:
        if isinstance(action, Categorical):
            return drawn
        return action.low + (action.high - action.low) * head.bound(drawn)

    def outputs(actor: Any, features: jax.Array) -> jax.Array:
        flat = actor(features)
        return flat.reshape(*flat.shape[:-1], components, head.parameters)

    return Role(
        head=head,
        components=components,
        features=lambda observation: observation,
        init=lambda key: mlp(key, agents.observation_size, hidden, components * head.parameters),
        outputs=outputs,
        decode=decode,
        value_init=lambda key: mlp(key, agents.observation_size, hidden, 1),
        value=lambda critic, features: critic(features),
        reward=reward or name,
        shared=shared,
        discount=discount,
        trace=trace,
    )
