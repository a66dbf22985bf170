"""Every learner finds the known values of small worlds, one per property; SAC also the soft values and the policy of a random process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.learning import dqn, sac
from learning import probes

DISCOUNT = 0.8
COMMON = {"discount": DISCOUNT, "target_rate": 0.05, "hidden": (32, 32), "batch": 128, "environments": 8, "slots_per_update": 4}
SAC = sac.Settings(**COMMON, temperature=0.05)
TIGHT = 0.08  # of values up to 6; without the entropy in (13), SAC would be .27 off at the lower temperature
DQN = dqn.Settings(**COMMON, exploration_slots=4000, exploration_end=0.3)


def trained(*learners, blocks=3):
    """The state after training by one learner, and then by the next."""
    state = learners[0].init(jax.random.key(0))
    for learner in learners:
        block = jax.jit(learner.block)
        for _ in range(blocks):
            state, _ = block(state)
    return state


def settled(algorithm, chain, settings):
    """What is learnt fast at first, then slowly, so that the noise of minibatches averages out; and the process as the replay has it.

    Which state followed how often is itself random. What (20) converges to is the solution of the process with these frequencies.
    """
    slow = {name: 1e-4 for name in settings._fields if name.endswith("learning_rate")}
    state = trained(algorithm(chain, settings), algorithm(chain, settings._replace(**slow)), blocks=5)
    assert int(state.replay.added) < settings.replay, "nothing was overwritten"
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[: int(state.replay.added)], state.replay.rows)
    seen = np.zeros(chain.transition.shape)
    np.add.at(seen, (rows.observation.argmax(axis=1), rows.action, rows.following.argmax(axis=1)), 1)
    return state.learned, probes.Chain(seen / seen.sum(axis=2, keepdims=True), chain.reward)


def exact_q(chain, discount=DISCOUNT, temperature=0.0, sweeps=2000):
    """(Soft) value iteration: V = α log Σ exp(Q/α), at temperature 0 the largest Q; nothing follows a terminal place. float64."""
    q = np.zeros_like(chain.reward)
    for _ in range(sweeps):
        top = q.max(axis=1)
        value = top if not temperature else top + temperature * np.log(np.exp((q - top[:, None]) / temperature).sum(axis=1))
        q = chain.reward + discount * chain.transition @ np.where(chain.terminal, 0.0, value)
    return q


PROBES = {
    "value of a constant reward": (probes.constant, [[5.0, 5.0]]),
    "reward by what is seen": (probes.observed, [[1, 1], [-1, -1]]),
    "delayed reward, discounted": (probes.delayed, [[0.64, 0.64], [0.8, 0.8], [1, 1]]),
    "reward by what is done": (probes.chosen, [[-1, 1]]),
    "reward by both": (probes.matched, [[1, -1], [-1, 1]]),
    "truncation bootstraps": (probes.cut, np.outer([0.64, 0.8, 1], [1, 1]) / (1 - 0.512)),
    "termination does not": (probes.ended, [[1.8, 1.8], [1, 1]]),
}


@pytest.fixture(scope="module")
def together():
    """All probes side by side as one process, so that a learner learns them at once, and which of its places are whose."""
    chain, parts = probes.together(*(make() for make, _ in PROBES.values()), slots=2)
    return chain, dict(zip(PROBES, parts, strict=True))


@pytest.fixture(scope="module")
def dqn_q(together):
    """Q of every place and choice."""
    chain, _ = together
    return np.asarray(trained(dqn.dqn(chain, DQN)).learned.critic(jnp.eye(chain.places)))


@pytest.fixture(scope="module")
def sac_q(together):
    """The smaller Q of both, of every place and choice."""
    chain, _ = together
    return np.asarray(trained(sac.sac(chain, SAC)).learned.critics(jnp.eye(chain.places)).min(axis=0))


@pytest.mark.parametrize("probe", PROBES)
def test_dqn_finds_the_values(probe, together, dqn_q):
    chain, known = PROBES[probe][0](), np.array(PROBES[probe][1])
    assert exact_q(chain)[: len(known)] == pytest.approx(known), "the known values are those of value iteration"
    assert dqn_q[together[1][probe]][: len(known)] == pytest.approx(known, abs=0.03)


@pytest.mark.parametrize("probe", PROBES)
def test_sac_finds_the_soft_values(probe, together, sac_q):
    chain, known = PROBES[probe][0](), np.array(PROBES[probe][1])
    soft = exact_q(chain, temperature=SAC.temperature)[: len(known)]
    entropy = SAC.temperature * np.log(2) / (1 - DISCOUNT)
    assert (soft >= known - 1e-9).all() and (soft <= known + entropy).all()
    assert sac_q[together[1][probe]][: len(known)] == pytest.approx(soft, abs=0.03)


def soft_value_of(policy, chain, temperature, sweeps=2000):
    """What a policy is worth in every place, its entropy counted, exactly. policy: (places, choices), all above 0."""
    value = np.zeros(chain.places)
    for _ in range(sweeps):
        q = chain.reward + DISCOUNT * chain.transition @ value
        value = (policy * (q - temperature * np.log(policy))).sum(axis=1)
    return value


@pytest.mark.parametrize("temperature", [pytest.param(0.05, marks=pytest.mark.slow), 0.5])
def test_sac_is_soft_value_iteration_on_a_random_process(temperature):
    """At the low temperature a Q error of 0.03 shifts near-ties by half, so there the policy is judged by what it is worth."""
    learnt, chain = settled(sac.sac, probes.random_mdp(), SAC._replace(temperature=temperature, slots_per_update=2))
    exact = exact_q(chain, temperature=temperature)
    q = np.asarray(learnt.critics(jnp.eye(chain.places)).min(axis=0))
    policy = np.asarray(jax.nn.softmax(learnt.actor(jnp.eye(chain.places)).astype(float)))
    soft = np.exp((exact - exact.max(axis=1, keepdims=True)) / temperature)
    soft /= soft.sum(axis=1, keepdims=True)
    tried = soft > 0.02
    assert exact[tried] == pytest.approx(exact_q(probes.random_mdp(), temperature=temperature)[tried], abs=0.15)
    assert q[tried] == pytest.approx(exact[tried], abs=TIGHT)
    best = soft_value_of(soft, chain, temperature)
    assert best == pytest.approx((soft * (exact - temperature * np.log(soft))).sum(axis=1))
    worth = soft_value_of(policy, chain, temperature)
    assert (worth <= best + 1e-6).all()
    assert worth == pytest.approx(best, abs=0.01)
    if temperature == 0.5:
        assert policy == pytest.approx(soft, abs=0.03)


def test_dqn_is_value_iteration_on_a_random_process():
    learnt, chain = settled(dqn.dqn, probes.random_mdp(), DQN._replace(slots_per_update=2))
    exact = exact_q(chain)
    q = np.asarray(learnt.critic(jnp.eye(chain.places)))
    assert q == pytest.approx(exact, abs=TIGHT)
    assert (q.argmax(axis=1) == exact.argmax(axis=1)).all()
