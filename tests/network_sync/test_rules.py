"""Rules by hand, the programme's last decision, and tuning: the least mean cost on episodes that no comparison has."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.network_sync import programme, tuning
from edgetwin.network_sync.observation import Knowledge
from edgetwin.problem import Policy, View, episode_keys
from edgetwin.registry import policy
from network_sync.walks import make

pytestmark = pytest.mark.usefixtures("quick_compilation")


def asked(task, name, known):
    """What a policy asks for where this is known: it is given a task that says so."""
    task.knowledge = lambda state: known
    rule = policy(task, name)
    return np.asarray(rule.act((), View(None, state=()), jax.random.key(0))[1].station[0]).tolist()


@pytest.fixture(scope="module")
def full():
    """Four users who move with v = 1 on average, λ = .1; rules read the state."""
    rows = [[0.2, 0.2, 0.2, 0.2, 0.2], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.2, 0.2]]
    task = make(slots=9, users__count=4, users__move_probability=rows, rate_weight=0.9, observation="error")
    assert np.allclose(task.step_error, [0.8, 1, 1, 0.8])
    task.step_error = np.ones(4)
    return task


def known(squared_error, age, loss, left):
    users = jnp.broadcast_to(jnp.asarray(squared_error, float), (4,))
    return Knowledge(users, jnp.broadcast_to(jnp.asarray(age), (4,)), jnp.asarray(float(loss)), jnp.asarray(left))


@pytest.mark.parametrize(
    ("name", "situation", "syncs"),
    [
        ("never", known(1e6, 9, 0, 9), 0),
        ("always", known(0, 1, 1e6, 1), 1),
        ("random[p=0]", known(1, 1, 1, 1), 0),
        ("random[p=1]", known(1, 1, 1, 1), 1),
        ("periodic[k=3]", known(1, 2, 1, 9), 0),
        ("periodic[k=3]", known(1, 3, 1, 9), 1),
        ("periodic[k=1]", known(1, 1, 1, 9), 1),
        ("error-threshold[s=2]", known([2, 2, 2, 2.1], 1, 1, 9), 1),
        ("error-threshold[s=2]", known([2, 2, 2, 1.9], 1, 1, 9), 0),
        ("index", known([0, 4, 4, 4], 1, 0.59, 9), 1),  # λS(S+v)/2v = .1·3·4/2 = .6
        ("index", known([0, 4, 4, 4], 1, 0.61, 9), 0),
        ("index", known(3, 1, 0.31, 1), 0),  # one slot left: λS = .3
        ("index", known(3, 1, 0.29, 1), 1),
        ("index", known(3, 1, np.inf, 9), 0),
    ],
)
def test_by_hand(full, name, situation, syncs):
    assert asked(full, name, situation) == [syncs]


def test_the_index_of_partial_packets_takes_the_dearest_users_together():
    """λ·(S + v)/2v·S_u/4 with λ = .1, v = 1, S = 2.5: users at 3 and 4 have .13125 and .175, together .30625."""
    task = make(slots=9, users__count=4, rate_weight=0.9, refresh="partial", packet_users=2, observation="error")
    task.step_error = np.ones(4)
    assert asked(task, "index", known([2, 4, 1, 3], 1, 0.30, 9)) == [0, 1, 0, 1]
    assert asked(task, "index", known([2, 4, 1, 3], 1, 0.31, 9)) == [0, 0, 0, 0]
    assert asked(task, "periodic[k=3]", known(1, [1, 3, 4, 2], 1, 9)) == [0, 1, 1, 0]


def test_the_programme_s_last_decision_is_exact():
    """With no slot after this one a sync pays where C ≤ λS; with more it pays where it does not now; and never at any price."""
    task = make(slots=5)
    values = programme.solve(task)
    weight = 1 - task.section.rate_weight
    generator = np.random.default_rng(0)
    error, loss = generator.uniform(0, 8, 400), generator.uniform(0, 0.1, 400)

    @jax.jit
    @jax.vmap
    def decided(error, loss):
        return jnp.stack([programme.syncs(values, known(error, 1, 0, left)._replace(sync_loss=loss)) for left in (1, 5)])

    last, first = np.asarray(decided(error, loss)).T
    assert (last == (loss <= weight * error)).all()
    assert (first & ~last).mean() > 0.05
    assert not programme.syncs(values, known(1e3, 1, np.inf, 5))


def test_tuning_finds_the_least_mean_cost_on_episodes_that_no_comparison_has():
    """A world whose cost is (value − u)², u drawn by the episode: best is the number tried that is next to the mean of u."""
    seen = []

    class Guess:
        spec = SimpleNamespace(slots=1)
        observe = staticmethod(lambda state: state)

        def reset(self, key):
            jax.debug.callback(lambda data: seen.append(tuple(data.tolist())), jax.random.key_data(key))
            return 4 * jax.random.uniform(key)

        def step(self, state, action):
            return state, SimpleNamespace(metrics=SimpleNamespace(cost=(action - state) ** 2))

    def rule(value):
        return Policy("guess", None, lambda carry, view, key: (carry, value))

    tried = np.linspace(0, 4, 17)
    assert tuning.best(Guess(), rule, tried) == 2.0
    jax.effects_barrier()
    assert len(set(seen)) == tuning.EPISODES
    for seed in (0, 1, tuning.TUNING_SEED):
        compared = np.asarray(jax.random.key_data(episode_keys(seed, 1000))).tolist()
        assert not set(seen) & set(map(tuple, compared))
