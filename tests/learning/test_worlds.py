"""Environments side by side: the same as one after the other, and episodes that end begin anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from edgetwin.learning import worlds
from edgetwin.problem import episode_keys, random_action
from learning import probes

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_they_step_as_the_task_does_and_returns_are_those_of_a_loop():
    chain = probes.random_mdp()
    side = worlds.start(chain, jax.random.key(0), 3)
    step = jax.jit(lambda side, actions: worlds.step(chain, side, actions))
    gained = np.zeros(3)
    rng = np.random.default_rng(0)
    for slot in range(2 * chain.spec.slots):
        chosen = rng.integers(0, chain.choices, (3, 1, 1))
        each = [chain.step(jax.tree.map(lambda leaf: leaf[n], side.states), chain.action(jnp.array(chosen[n]))) for n in range(3)]  # noqa: B023
        after, moved = step(side, chain.action(jnp.array(chosen)))
        gained += [float(outcome.rewards.agent[0]) for _, outcome in each]
        for n, (state, _) in enumerate(each):
            assert (moved.following.agent[n] == chain.observe(state).agent).all(), (
                "what was seen after the slot, not after a new start"
            )
        last = slot % chain.spec.slots == chain.spec.slots - 1
        assert moved.ended.tolist() == [last] * 3
        assert not moved.terminated.any()
        expected = gained if last else np.zeros(3)
        assert np.allclose(moved.returns.agent[:, 0], expected, atol=1e-4)
        if last:
            gained[:] = 0
            assert (after.states.slot == 0).all()
            assert (jax.random.key_data(after.states.key) != jax.random.key_data(side.states.key)).any(axis=1).all()
        side = after


def test_only_those_that_ended_begin_anew():
    chain = probes.Chain(probes.walk(1, 1), [[0, 0], [0, 0]], [False, True])
    chain.transition = np.array([[[1.0, 0], [0, 1]], [[0, 1], [0, 1]]])
    side = worlds.start(chain, jax.random.key(0), 2)
    after, moved = worlds.step(chain, side, chain.action(jnp.array([[[0]], [[1]]])))
    assert moved.terminated.tolist() == [False, True]
    assert after.states.slot.tolist() == [1, 0]
    assert (jax.random.key_data(after.states.key[0]) == jax.random.key_data(side.states.key[0])).all()


def test_agent_classes_are_no_obstacle():
    crew = toys.TwoSpeeds()
    side = worlds.start(crew, jax.random.key(0), 4)
    actions = jax.vmap(lambda key: random_action(crew, key))(episode_keys(0, 4))
    _, moved = worlds.step(crew, side, actions)
    assert moved.rewards.workers.shape == (4, 3)
    assert moved.returns.boss.shape == (4, 1)
