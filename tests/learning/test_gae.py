"""Advantages: against a loop over slots, and in the cases that have a formula of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.learning.gae import gae

SLOTS, ENVIRONMENTS, AGENTS = 23, 4, 3


def episodes(seed, slots=SLOTS, ending=0.2):
    """Rewards, values, following values (apart from `values`, as after a restart), and ends of which half are terminations."""
    rng = np.random.default_rng(seed)
    rewards, values, following = rng.normal(size=(3, slots, ENVIRONMENTS, AGENTS)).astype(np.float32)
    ended = rng.random((slots, ENVIRONMENTS)) < ending
    terminated = ended & (rng.random((slots, ENVIRONMENTS)) < 0.5)
    return rewards, values, following, terminated, ended


def by_loop(rewards, values, following, terminated, ended, discount, trace):
    """(31) as a sum: Σ_l (discount·trace)^l δ_{n+l}, up to the end of the episode that slot n is in."""
    advantages = np.zeros(rewards.shape)
    slots, environments = ended.shape
    for environment in range(environments):
        for slot in range(slots):
            weight = 1.0
            for later in range(slot, slots):
                after = 0.0 if terminated[later, environment] else following[later, environment]
                error = rewards[later, environment] + discount * after - values[later, environment]
                advantages[slot, environment] += weight * error
                weight *= discount * trace
                if ended[later, environment]:
                    break
    return advantages


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.01, 1), st.floats(0, 1))
def test_agrees_with_a_loop_over_slots(seed, discount, trace):
    case = episodes(seed)
    advantages, returns = gae(*case, discount, trace)
    expected = by_loop(*case, discount, trace)
    np.testing.assert_allclose(advantages, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(returns, expected + case[1], rtol=1e-4, atol=1e-4)


def test_any_or_no_axes_after_the_environments():
    rewards, values, following, terminated, ended = episodes(1)
    together, _ = gae(rewards, values, following, terminated, ended, 0.9, 0.95)
    alone, _ = gae(rewards[..., 1], values[..., 1], following[..., 1], terminated, ended, 0.9, 0.95)
    np.testing.assert_allclose(alone, together[..., 1], rtol=1e-6)


@pytest.mark.parametrize("trace", [0.0, 0.95, 1.0])
def test_without_a_future_the_advantage_is_reward_minus_value(trace):
    case = episodes(2)
    advantages, returns = gae(*case, 0.0, trace)
    np.testing.assert_array_equal(advantages, case[0] - case[1])
    np.testing.assert_array_equal(returns, case[0])
    np.testing.assert_allclose(advantages, by_loop(*case, 0.0, trace), rtol=1e-6)


def test_trace_one_returns_the_discounted_sum_of_rewards():
    """Consistent values telescope: what is left is the rewards, and the last value where the episode was cut off."""
    rewards, values, _, terminated, ended = episodes(3, ending=0.0)
    last = np.full_like(values[0], 0.7)
    following = np.concatenate([values[1:], last[None]])
    for over in (False, True):
        terminated[-1] = over
        ended[-1] = True
        _, returns = gae(rewards, values, following, terminated, ended, 0.9, 1.0)
        total = np.zeros_like(last) if over else last
        for slot in reversed(range(SLOTS)):
            total = rewards[slot] + 0.9 * total
            np.testing.assert_allclose(returns[slot], total, rtol=1e-4, atol=1e-5)


def test_trace_zero_is_the_one_step_error():
    """(32): r_n + γ V_{n+1} is what the critic is fitted to, V_{n+1} being 0 after a termination only."""
    rewards, values, following, terminated, ended = case = episodes(4)
    assert np.any(ended & ~terminated) and np.any(terminated)
    _, returns = gae(*case, 0.9, 0.0)
    np.testing.assert_allclose(returns, rewards + 0.9 * np.where(terminated[..., None], 0, following), rtol=1e-5, atol=1e-5)


def test_what_follows_a_termination_is_never_looked_at():
    rewards, values, following, terminated, ended = episodes(5)
    hidden = np.where(terminated[..., None], np.nan, following)
    for left, right in zip(
        gae(rewards, values, following, terminated, ended, 0.9, 0.95),
        gae(rewards, values, hidden, terminated, ended, 0.9, 0.95),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
