"""The loop of off-policy learners: what a method asks to be remembered is what was so, and its random numbers are those it asked for."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.learning.off_policy import Method, off_policy
from learning import probes


class Settings(NamedTuple):
    environments: int = 4
    slots_per_update: int = 2
    first_update: int = 0
    batch: int = 8
    replay: int = 1000


def noting(task, draw=jax.random.uniform):
    """Learns nothing, but keeps what it saw of states, observations and noise, and the random numbers of its last updates."""

    def explore(learned, states, seen, noise, slots):
        choice = (noise[:, 0] > 0).astype(jnp.int32)
        kept = {
            "slot": states.slot,
            "noise": noise,
            "choice": choice.astype(jnp.int8),
            "slots": jnp.broadcast_to(slots, len(choice)),
        }
        return kept, task.action(choice[:, None, None])

    return Method(
        init=lambda key: jnp.zeros((100, 3)),
        remember=lambda observations: {"place": jnp.argmax(observations.agent[:, 0], axis=-1), "all": observations.agent},
        explore=explore,
        reward=lambda rewards: jnp.stack([rewards.agent[:, 0], -rewards.agent[:, 0]], axis=1),
        update=lambda learned, batch, noise: (jnp.roll(learned, 1, axis=0).at[0].set(noise), {"mean": jnp.mean(batch.reward)}),
        policy=lambda learned: learned,
        greedy=lambda params, observation: task.action(jnp.ones((1, 1), jnp.int32)),
        noise=2,
        draw=draw,
        update_noise=3,
        block_slots=40,
    )


def played(draw=jax.random.uniform):
    task = probes.cut()
    learner = off_policy("noting", task, Settings(), noting(task, draw))
    state, figures = jax.jit(learner.block)(learner.init(jax.random.key(0)))
    assert learner.block_slots == int(state.slots) == int(state.replay.added) == 40
    return learner, state, figures


def test_rows_are_what_the_method_kept_of_what_was_so():
    """A circle of three places with a reward of 1 in the last, cut after two slots."""
    _, state, figures = played()
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[:40], state.replay.rows)
    place = rows.observation["place"]
    assert rows.observation["all"].shape == (40, 1, 3)
    assert (rows.observation["all"].argmax(axis=2)[:, 0] == place).all()
    assert (rows.following["place"] == (place + 1) % 3).all(), "before any new start"
    np.testing.assert_array_equal(rows.reward, np.stack([place == 2, -1.0 * (place == 2)], axis=1))
    assert (rows.action["slot"] == np.repeat(np.arange(10), 4) % 2).all(), "the states in which was explored"
    assert (rows.action["slots"] == np.repeat(np.arange(10), 4) * 4).all()
    assert (rows.action["choice"] == (rows.action["noise"][:, 0] > 0)).all()
    assert rows.action["choice"].dtype == np.int8
    assert int(figures["updates"]) == 20
    assert float(figures["return"]) == pytest.approx((place == 2).sum() / 20)


def test_an_update_gets_new_uniform_numbers_each_time():
    _, state, _ = played()
    drawn = np.asarray(state.learned)[:20]
    assert len(np.unique(drawn)) == drawn.size == 60
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 5 / np.sqrt(12 * 60)


def test_noise_is_drawn_as_the_method_says():
    _, uniform, _ = played()
    _, normal, _ = played(jax.random.normal)
    uniform, normal = (np.asarray(state.replay.rows.action["noise"])[:40] for state in (uniform, normal))
    assert uniform.min() >= 0 and uniform.max() < 1
    assert normal.min() < 0 and abs(normal.std() - 1) < 5 / np.sqrt(2 * 80)


def test_the_policy_that_is_kept_acts_as_the_method_says():
    learner, state, _ = played()
    observation = probes.Agents(jnp.eye(3)[:1])
    assert learner.act(learner.policy(state), observation, jax.random.key(0)) == probes.Agents(jnp.ones((1, 1), jnp.int32))
