"""Critics of the three kinds: how many there are, what each sees and is fitted to, and the loss (32)."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.learning.critics import STATE, critics_of, value_loss
from edgetwin.learning.networks import mlp
from edgetwin.learning.roles import plain_role
from edgetwin.problem import AgentClass, Continuous

pytestmark = pytest.mark.usefixtures("quick_compilation")

COUNTS = {"users": 3, "stations": 2, "centre": 1}
BATCH, STATES, SIZE, CREDITS = 40, 5, 4, 2
HIDDEN = (32,)


def role_of(name, **changes):
    return plain_role(name, AgentClass(COUNTS[name], SIZE, Continuous(1)), hidden=HIDDEN, **changes)


ROLES = {"users": role_of("users", reward="all"), "stations": role_of("stations", reward="all"), "centre": role_of("centre")}


@pytest.fixture(scope="module")
def batch():
    """What is seen, and returns that differ from agent to agent, by class (agents, batch, credits)."""
    rng = np.random.default_rng(0)
    seen = {
        STATE: rng.normal(size=(BATCH, STATES)),
        **{name: rng.normal(size=(count, BATCH, SIZE)) for name, count in COUNTS.items()},
    }
    returns = {name: rng.normal(size=(count, BATCH, 1)) for name, count in COUNTS.items()}
    counted = {name: rng.random((count, BATCH, 1)) < 0.7 for name, count in COUNTS.items()}
    return jax.tree.map(
        lambda leaf: jnp.array(leaf, jnp.float32) if leaf.dtype != bool else jnp.array(leaf), (seen, returns, counted)
    )


def fitted(critics, batch, steps=1500):
    """Estimates before and after, by class, and the last loss."""
    seen, returns, counted = batch
    stack = critics.shape.start(jax.random.key(0))
    learn = jax.jit(
        lambda stack: jax.lax.scan(lambda own, _: critics.learn(own, seen, returns, counted, 1e-2), stack, None, steps)
    )
    after, losses = learn(stack)
    return critics.values(stack, seen), critics.values(after, seen), float(losses[-1])


def test_value_loss_32_by_hand():
    rng = np.random.default_rng(1)
    value, target, counted = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.random((6, 2)) < 0.5
    by_hand = [0.5 * (target[n, c] - value[n, c]) ** 2 for n in range(6) for c in range(2) if counted[n, c]]
    assert value_loss(jnp.array(value), jnp.array(target), jnp.array(counted)) == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert value_loss(jnp.array(value), jnp.array(target), jnp.zeros((6, 2), bool)) == 0


def test_kinds_share_what_they_should():
    """One per agent; one per reward with its discount and trace; one per class."""

    def shared(kind, **other):
        return [(each.classes, each.shape.networks) for each in critics_of({**ROLES, **other}, COUNTS, kind, STATES, HIDDEN)]

    assert shared("agent") == [(("users",), 3), (("stations",), 2), (("centre",), 1)]
    assert shared("own") == [(("users",), 1), (("stations",), 1), (("centre",), 1)]
    assert shared("reward") == [(("users", "stations"), 1), (("centre",), 1)]
    patient = {"stations": role_of("stations", reward="all", discount=0.5)}
    assert shared("reward", **patient) == [(("users",), 1), (("stations",), 1), (("centre",), 1)]
    assert shared("reward", stations=role_of("stations", reward="all", trace=0.5)) == shared("reward", **patient)


def test_a_critic_per_agent_learns_its_agents_returns_where_they_count(batch):
    """40 states, as many returns for each of three agents: a critic of the wrong ones would be off by about 1."""
    _, returns, counted = batch
    users = critics_of(ROLES, COUNTS, "agent", STATES, HIDDEN)[0]
    before, after, loss = fitted(users, batch)
    assert set(before) == {"users"} and after["users"].shape == (3, BATCH, 1)
    error = np.abs(after["users"] - returns["users"])
    for agent in range(3):
        assert error[agent][counted["users"][agent]].mean() < 0.05
        assert error[agent][~counted["users"][agent]].mean() > 0.3
    assert loss < 0.005 < np.mean((before["users"] - returns["users"]) ** 2)


def test_a_critic_per_reward_estimates_the_same_for_all_it_serves(batch):
    _, returns, counted = batch
    shared = critics_of(ROLES, COUNTS, "reward", STATES, HIDDEN)[0]
    _, after, _ = fitted(shared, batch)
    assert {name: values.shape for name, values in after.items()} == {"users": (3, BATCH, 1), "stations": (2, BATCH, 1)}
    for values in after.values():
        for agent in values:
            assert (agent == after["users"][0]).all()
    assert np.abs(after["users"][0] - returns["users"][0])[counted["users"][0]].mean() < 0.05


def test_a_critic_per_class_sees_what_its_actors_see_and_has_a_value_per_credit(batch):
    seen, _, _ = batch
    ahead = ROLES["stations"]
    role = SimpleNamespace(value_init=lambda key: mlp(key, SIZE, HIDDEN, CREDITS), value=ahead.value)
    own = critics_of({"stations": role}, {"stations": 2}, "own", STATES, HIDDEN)[0]
    rng = np.random.default_rng(2)
    returns = {"stations": jnp.array(rng.normal(size=(2, BATCH, CREDITS)), jnp.float32)}
    everything = {"stations": jnp.ones((2, BATCH, CREDITS), bool)}
    _, after, loss = fitted(own, (seen, returns, everything), steps=4000)
    assert after["stations"].shape == (2, BATCH, CREDITS)
    assert np.abs(after["stations"] - returns["stations"]).mean() < 0.15, loss
    swapped = own.values(own.shape.start(jax.random.key(0)), {"stations": seen["stations"][::-1]})["stations"]
    assert swapped == pytest.approx(np.asarray(own.values(own.shape.start(jax.random.key(0)), seen)["stations"])[::-1], abs=1e-6)
