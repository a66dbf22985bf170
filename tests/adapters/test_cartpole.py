"""The learners' CartPole, through the adapter, moves as Gymnasium's CartPole-v1 does: what is learned on both can be compared."""

import gymnasium as gym
import numpy as np
import pytest

from edgetwin.adapters.gymnasium import GymnasiumEnv
from learning.cartpole import CartPole


def balance(slot, seen):
    """Pushes to where the pole falls, and the cart back to the middle."""
    place, speed, lean, turning = seen
    return int(lean + 0.5 * turning + 0.05 * place + 0.1 * speed > 0)


PUSHES = {
    "right": lambda slot, seen: 1,
    "left and right in turn": lambda slot, seen: slot % 2,
    "balance": balance,
}


@pytest.mark.parametrize("push", PUSHES.values(), ids=PUSHES)
def test_cartpole_is_gymnasiums(push):
    """From the same motion, the same push gives the same next motion, reward and end. (Over many slots the pole magnifies rounding.)"""
    ours, theirs = GymnasiumEnv(CartPole()), gym.make("CartPole-v1")
    for seed in range(3):
        seen, _ = ours.reset(seed=seed)
        theirs.reset(seed=seed)
        for slot in range(500):
            action = push(slot, seen)
            theirs.unwrapped.state = tuple(map(float, seen))
            seen, reward, terminated, truncated, _ = ours.step(action)
            expected, *said, _ = theirs.step(action)
            np.testing.assert_allclose(seen, expected, atol=1e-6)
            assert [reward, terminated, truncated] == said
            if terminated or truncated:
                break
        assert (terminated, truncated) == (push is not balance, push is balance)
