"""The equations, one by one, against a calculation by hand in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.learning import dqn, sac
from edgetwin.learning.networks import mlp, rows_of, towards
from edgetwin.learning.off_policy import Transition

rng = np.random.default_rng(3)
Q = rng.normal(size=(6, 3))
LOGITS = rng.normal(size=(6, 3))
POLICY = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
ALPHA = 0.3


def by_hand_value(q, policy, temperature):
    return [
        sum(p * (value - temperature * np.log(p)) for p, value in zip(*row, strict=True)) for row in zip(policy, q, strict=True)
    ]


def test_soft_value_13():
    assert sac.soft_value(jnp.array(Q), jnp.log(POLICY), ALPHA) == pytest.approx(by_hand_value(Q, POLICY, ALPHA), abs=1e-5)
    even = np.full((1, 4), 0.25)
    assert sac.soft_value(jnp.zeros((1, 4)), jnp.log(even), ALPHA)[0] == pytest.approx(ALPHA * np.log(4)), "the entropy, times α"


def test_policy_loss_18_is_least_at_the_soft_maximum():
    by_hand = np.mean([sum(POLICY[s, a] * (ALPHA * np.log(POLICY[s, a]) - Q[s, a]) for a in range(3)) for s in range(6)])
    assert sac.policy_loss(jnp.log(POLICY), jnp.array(Q), ALPHA) == pytest.approx(by_hand, abs=1e-5)
    best = jax.nn.log_softmax(jnp.array(Q) / ALPHA)
    least = sac.policy_loss(best, jnp.array(Q), ALPHA)
    assert least == pytest.approx(-np.mean(ALPHA * np.log(np.exp(Q / ALPHA).sum(axis=1))), abs=1e-5)
    assert least < by_hand


def transitions():
    rewards, ended = rng.normal(size=6), np.array([0, 1, 0, 0, 1, 0], bool)
    return Transition(None, None, jnp.array(rewards), None, jnp.array(ended)), rewards, ended


def test_q_loss_20():
    batch, rewards, ended = transitions()
    value = rng.normal(size=6)
    target = [r + (0 if over else 0.9 * v) for r, over, v in zip(rewards, ended, value, strict=True)]
    assert sac.q_target(batch, jnp.array(value), 0.9) == pytest.approx(target, abs=1e-6)
    both = rng.normal(size=(2, 6))
    by_hand = sum(0.5 * np.mean([(both[k, n] - target[n]) ** 2 for n in range(6)]) for k in (0, 1))
    assert sac.q_loss(jnp.array(both), jnp.array(target)) == pytest.approx(by_hand, rel=1e-5)


def test_double_q_target_chooses_online_and_judges_slowly():
    batch, rewards, ended = transitions()
    slow = rng.normal(size=(6, 3))
    by_hand = [rewards[n] + (0 if ended[n] else 0.9 * slow[n, int(np.argmax(Q[n]))]) for n in range(6)]
    assert dqn.double_q_target(batch, jnp.array(Q), jnp.array(slow), 0.9) == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize(("slots", "epsilon"), [(0, 1.0), (500, 0.525), (1000, 0.05), (9000, 0.05)])
def test_exploration_falls_linearly_and_stays(slots, epsilon):
    settings = dqn.Settings(exploration_slots=1000, exploration_end=0.05)
    assert dqn.exploration(jnp.array(slots), settings) == pytest.approx(epsilon)


def test_a_stack_of_networks_is_those_networks():
    stack = mlp(jax.random.key(0), 4, (8, 6), 3, stack=(2,))
    inputs = rng.normal(size=(5, 4)).astype(np.float32)
    for k in range(2):
        values = inputs
        for layer, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            values = values @ np.asarray(weight[k]) + np.asarray(bias[k])
            values = np.maximum(values, 0) if layer < 2 else values
        assert np.asarray(stack(jnp.array(inputs)))[k] == pytest.approx(values, abs=1e-5)
    assert not np.allclose(stack.weights[0][0], stack.weights[0][1])


def test_fresh_weights_are_uniform_within_the_root_of_the_inputs():
    network = mlp(jax.random.key(0), 16, (256,), 2)
    assert np.abs(network.weights[0]).max() == pytest.approx(1 / 4, rel=0.01)
    assert np.std(network.weights[0]) == pytest.approx(1 / 4 / np.sqrt(3), rel=0.05)
    assert np.abs(network.weights[1]).max() == pytest.approx(1 / 16, rel=0.02)


def test_slow_copies_approach_at_the_rate():
    old, new = (mlp(jax.random.key(seed), 2, (3,), 1) for seed in (0, 1))
    moved = towards(old, new, 0.25)
    assert np.asarray(moved.weights[0]) == pytest.approx(0.75 * np.asarray(old.weights[0]) + 0.25 * np.asarray(new.weights[0]))


def test_rows_of_takes_each_rows_own_choice():
    assert rows_of(jnp.array(Q), jnp.array([0, 2, 1, 1, 0, 2])) == pytest.approx(Q[np.arange(6), [0, 2, 1, 1, 0, 2]])
