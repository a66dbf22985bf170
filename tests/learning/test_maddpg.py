"""Multi-agent DDPG: its equations against NumPy and finite differences, and what it learns where the best policy is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toys
from edgetwin.errors import InputError
from edgetwin.learning import maddpg
from edgetwin.learning.networks import mlp
from edgetwin.learning.off_policy import Transition
from learning import games, probes
from learning.steering import Steering

AGENTS, SIZE, NUMBERS, BATCH = 3, 4, 2, 6
rng = np.random.default_rng(5)


def stack(seed, inputs, outputs):
    return mlp(jax.random.key(seed), inputs, (7, 5), outputs, stack=(AGENTS,))


ACTORS, SLOW_ACTORS = (stack(seed, SIZE, NUMBERS) for seed in (0, 1))
CRITICS, SLOW_CRITICS = (stack(seed, SIZE + AGENTS * NUMBERS, 1) for seed in (2, 3))
PLAIN = Transition(
    observation=rng.normal(size=(BATCH, SIZE)),
    action=rng.uniform(-1, 1, (BATCH, AGENTS, NUMBERS)),
    reward=rng.normal(size=(BATCH, AGENTS)),
    following=rng.normal(size=(BATCH, SIZE)),
    terminated=np.array([0, 1, 0, 0, 1, 0], bool),
)
ROWS = Transition(*(jnp.asarray(leaf, None if leaf.dtype == bool else jnp.float32) for leaf in PLAIN))


def one(networks, agent):
    """A network of a stack in plain NumPy: a function of one row, and its parameters."""
    return [
        (np.asarray(w[agent], float), np.asarray(b[agent], float)) for w, b in zip(networks.weights, networks.biases, strict=True)
    ]


def through(layers, row):
    for index, (weight, bias) in enumerate(layers):
        row = row @ weight + bias
        row = row if index == len(layers) - 1 else np.maximum(row, 0)
    return row


def pi(layers, state):
    return np.tanh(through(layers, state))


def q(layers, state, actions):
    return through(layers, np.concatenate([state, *actions]))[0]


def along(layers, direction, step):
    return [(w + step * dw, b + step * db) for (w, b), (dw, db) in zip(layers, direction, strict=True)]


def random_directions():
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), ACTORS), jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape), CRITICS
    )


def slope(gradient, direction):
    return sum(float(np.sum(np.asarray(g, float) * d)) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))


STEP = 1e-6


def test_noise_is_added_and_kept_in_bounds_29():
    noise = rng.normal(size=PLAIN.action.shape)
    by_hand = np.minimum(np.maximum(PLAIN.action + 0.7 * noise, -1), 1)
    assert (np.abs(by_hand) == 1).any()
    np.testing.assert_allclose(maddpg.with_noise(ROWS.action, jnp.asarray(noise), 0.7), by_hand, atol=1e-6)


def test_each_critic_is_asked_about_its_own_agent_28():
    own = rng.uniform(-1, 1, PLAIN.action.shape)
    asked = np.asarray(maddpg.each_with_its_own(ROWS.action, jnp.asarray(own)))
    for i in range(AGENTS):
        for n in range(BATCH):
            by_hand = [own[n, j] if j == i else PLAIN.action[n, j] for j in range(AGENTS)]
            np.testing.assert_allclose(asked[i, n], by_hand, atol=1e-7)


def test_the_actors_go_along_the_printed_product_28_30():
    """E[∇_a Q_i(s, a_1, …, a_n) at a_i = π_i(s), times ∇_θ π_i(s)], both factors by central differences."""
    direction, _ = random_directions()
    ascent = 0.0
    for i in range(AGENTS):
        actor, critic, change = one(ACTORS, i), one(CRITICS, i), one(direction, i)
        for n in range(BATCH):
            state = PLAIN.observation[n]
            moved = (pi(along(actor, change, STEP), state) - pi(along(actor, change, -STEP), state)) / (2 * STEP)
            for c in range(NUMBERS):
                up, down = (PLAIN.action[n].copy() for _ in "ud")
                up[i] = down[i] = pi(actor, state)
                up[i, c], down[i, c] = up[i, c] + STEP, down[i, c] - STEP
                ascent += (q(critic, state, up) - q(critic, state, down)) / (2 * STEP) * moved[c] / BATCH
    gradient = jax.jit(jax.grad(maddpg.actors_loss))(ACTORS, CRITICS, ROWS)
    assert slope(gradient, direction) == pytest.approx(-ascent, rel=1e-3)


def test_target_bootstraps_by_the_slow_copies_unless_terminated_31():
    found = np.asarray(jax.jit(maddpg.target)(SLOW_ACTORS, SLOW_CRITICS, ROWS, 0.7))
    for n in range(BATCH):
        state = PLAIN.following[n]
        joint = [pi(one(SLOW_ACTORS, j), state) for j in range(AGENTS)]
        for i in range(AGENTS):
            later = 0 if PLAIN.terminated[n] else 0.7 * q(one(SLOW_CRITICS, i), state, joint)
            assert found[i, n] == pytest.approx(PLAIN.reward[n, i] + later, abs=1e-5)


def test_the_critics_go_along_the_printed_product_31():
    """E[2(y − Q_i(s, a_1, …, a_n)) ∇Q_i(s, a_1, …, a_n)], ∇Q by central differences."""
    _, direction = random_directions()
    targets, ascent = rng.normal(size=(AGENTS, BATCH)), 0.0
    for i in range(AGENTS):
        critic, change = one(CRITICS, i), one(direction, i)
        for n in range(BATCH):
            seen = PLAIN.observation[n], PLAIN.action[n]
            moved = (q(along(critic, change, STEP), *seen) - q(along(critic, change, -STEP), *seen)) / (2 * STEP)
            ascent += 2 * (targets[i, n] - q(critic, *seen)) * moved / BATCH
    gradient = jax.jit(jax.grad(maddpg.critics_loss))(CRITICS, ROWS, jnp.asarray(targets))
    assert slope(gradient, direction) == pytest.approx(-ascent, rel=1e-3)


SMALL = maddpg.Settings(hidden=(32, 32), batch=64, environments=16, slots_per_update=4, first_update=500, target_rate=0.05)


SLOW = SMALL._replace(learning_rate=1e-4, policy_learning_rate=1e-4)


def trained(task, *stages):
    """The last learner and its state, each of the stages (settings, blocks) going on where the one before ended."""
    state = None
    for settings, blocks in stages:
        learner = maddpg.maddpg("maddpg", task, settings)
        state, block = learner.init(jax.random.key(0)) if state is None else state, jax.jit(learner.block)
        for _ in range(blocks):
            state, _ = block(state)
    return learner, state


@pytest.mark.parametrize("terminates", [False, True])
def test_two_agents_find_the_regulator_where_the_value_goes_on_and_rest_where_it_ends(terminates):
    task = Steering(terminates)
    first, second = task.gains(SMALL.discount)
    assert (first, second) == ((0.0, 0.0) if terminates else pytest.approx((2 * second, second))), "who pays half pushes twice"
    learner, state = trained(task, (SMALL, 40), (SLOW, 20))
    params, key = learner.policy(state), jax.random.key(1)

    def pushed(number):
        return learner.act(params, task.observe(task.reset(key)._replace(number=number)), key).pushers[:, 0]

    def worth(number):
        """Minus the discounted cost from `number` on."""

        def slot(number, weight):
            after, outcome = task.step(task.reset(key)._replace(number=number), task.action(pushed(number)[:, None]))
            return after.number, weight * outcome.rewards.pushers[0]

        return jnp.sum(jax.lax.scan(slot, number, SMALL.discount ** jnp.arange(1 if terminates else 40))[1])

    starts = jnp.linspace(-0.9, 0.9, 7)
    slopes = np.polyfit(starts, jax.vmap(pushed)(starts), 1)[0]
    np.testing.assert_allclose(slopes, [first, second], atol=0.05)
    best = task.price(SMALL.discount) * float(jnp.sum(starts**2))
    assert -float(jnp.sum(jax.vmap(worth)(starts))) == pytest.approx(best, rel=0.02)


def test_agents_hit_the_targets_that_only_one_of_them_sees():
    """The actors see what all agents see, in the bounds of the task; the third's target lies in a corner of them."""
    task = games.Targets()
    learner, state = trained(task, (SMALL, 30), (SLOW, 15))
    params, key = learner.policy(state), jax.random.key(1)
    for drawn in ([0.2, 0.7], [0.9, 0.1]):
        moment = games.Moment(jnp.zeros((), bool), jnp.array(drawn))
        aimed = learner.act(params, task.observe(moment), key).aimers
        np.testing.assert_allclose(aimed, task.targets(moment.drawn), atol=0.15)


def test_what_is_kept_stays_in_bounds_and_the_task_gets_its_own_scale():
    _, state = trained(Steering(False), (SMALL._replace(noise_std=1.0), 1))
    kept = np.asarray(state.replay.rows.action)[: int(state.replay.added)]
    assert kept.min() == -1
    assert kept.max() == 1
    before, after = (np.asarray(each)[: len(kept), 0] for each in (state.replay.rows.observation, state.replay.rows.following))
    np.testing.assert_allclose(after - before, (-0.5 + 1.5 * kept).sum(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (probes.matched(), "learns real numbers, but an action of probe is a choice of 2"),
        (toys.TwoSpeeds(), "learns for agents of one class, but toy-two-speeds has several"),
    ],
)
def test_what_it_cannot_learn_is_refused(task, says):
    with pytest.raises(InputError, match=says):
        maddpg.maddpg("maddpg", task)


def test_noise_must_not_be_negative():
    with pytest.raises(InputError, match=r"maddpg: noise_std = -0.1: must be at least 0"):
        maddpg.maddpg("maddpg", Steering(False), SMALL._replace(noise_std=-0.1))
