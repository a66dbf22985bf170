"""The learner of placement as printed: what its networks see, and a run that is trained, stopped, resumed and loaded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from edgetwin import registry
from edgetwin.association.maddpg_mlp import shared_state
from edgetwin.learning import arrays, trainer

SMALL = {"users.count": 6, "sites.count": 3, "placement.slots": 4}


@pytest.fixture(scope="module")
def learner():
    task = et.task("placement", et.scenario("association/n80-m5", SMALL))
    return registry.learner(task, "maddpg-mlp[noise_std=0.3]")


def test_its_settings_are_table_ii(learner):
    settings = registry.learner(learner.task, "maddpg-mlp").settings
    assert [settings.discount, settings.batch, settings.policy_learning_rate, settings.target_rate] == [0.7, 32, 1e-3, 0.005]
    assert learner.settings.noise_std == 0.3
    assert learner.budgets["paper"] == 5000 * 25


def test_the_shared_state_has_all_that_servers_see_once(learner):
    task = learner.task

    @jax.jit
    def second_slot(key):
        state, _ = task.step(task.reset(key), task.action_of(jnp.array([0, 0, 1, 1, 1, 0])))
        return shared_state(task.observe(state).servers), *task._columns(state), *task._pairs(state)

    told, users, servers, to_server, hosted = map(np.asarray, second_slot(jax.random.key(1)))
    assert hosted.any()
    by_hand = [*servers.T.ravel()]
    for server in range(3):
        by_hand += [*to_server[:, server], *hosted[:, server]]
    np.testing.assert_array_equal(told, [*by_hand, *users.ravel()])


def plain(leaf):
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@pytest.mark.slow
def test_a_run_is_resumed_bit_for_bit_and_loads(learner, tmp_path, quick_compilation):
    slots = 2 * learner.block_slots
    whole = trainer.train(learner, 2, slots, tmp_path / "whole", evaluations=1, evaluation_episodes=2)

    def stop(slots, budget, line):
        if slots == learner.block_slots:
            raise KeyboardInterrupt

    with pytest.raises(trainer.Stopped):
        trainer.train(learner, 2, slots, tmp_path / "stopped", evaluations=1, evaluation_episodes=2, progress=stop)
    trainer.resume(learner, tmp_path / "stopped")
    for file in ("checkpoint.safetensors", "policy.safetensors"):
        (one, _), (two, _) = (arrays.read(tmp_path / name / file) for name in ("whole", "stopped"))
        assert one.keys() == two.keys()
        assert all(np.array_equal(plain(one[name]), plain(two[name])) for name in one)
    assert whole.metrics[-1]["training"]["updates"] == learner.block_slots
    loaded = et.load(tmp_path / "whole", learner.task)
    state = learner.task.reset(jax.random.key(0))
    view = loaded.view(learner.task.observe(state), state, None)
    scores = loaded.act((), view, jax.random.key(0))[1].servers
    assert scores.shape == (3, 7)
    assert float(abs(scores).max()) <= 1
    assert loaded.information == "observation"
