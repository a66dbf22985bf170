"""DQN learns CartPole, whose physics is that of Gymnasium's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.evaluation.check import check_task
from learning import cartpole


def test_it_keeps_the_contract():
    assert [clause for clause in check_task(cartpole.CartPole()) if not clause.passed] == []


def test_it_moves_as_gymnasiums_cart_does():
    gymnasium = pytest.importorskip("gymnasium")
    theirs, ours = gymnasium.make("CartPole-v1").unwrapped, cartpole.CartPole()
    rng = np.random.default_rng(0)
    step = jax.jit(ours.step)
    for seed in range(5):
        first, _ = theirs.reset(seed=seed)
        state = cartpole.CartState(jnp.zeros((), jnp.int32), jnp.array(first), jnp.array(first))
        for _ in range(60):
            choice = int(rng.integers(2))
            seen, reward, terminated, _, _ = theirs.step(choice)
            state, outcome = step(state, ours.action(jnp.array([[choice]])))
            assert np.asarray(ours.observe(state).cart[0]) == pytest.approx(seen, abs=1e-3)
            assert bool(outcome.terminated) == terminated
            assert float(outcome.rewards.cart[0]) == reward
            if terminated:
                break


def test_it_is_truncated_at_500_slots_not_terminated():
    task = cartpole.CartPole()
    state = cartpole.CartState(jnp.array(499), jnp.zeros(4), jnp.zeros(4))
    _, outcome = task.step(state, task.action(jnp.array([[1]])))
    assert (bool(outcome.terminated), bool(outcome.truncated)) == (False, True)


def test_dqn_learns_to_balance():
    slots, returns = cartpole.train_cartpole(0)
    assert slots[-1] >= 60_000
    assert returns[0] < 60
    assert returns.max() > 450, "near the most there is, 500, at least for a while"
