"""The learner of placement: what it looks at is what the task computes, credit is what trying it out gives, and it learns."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edgetwin as et
from edgetwin import registry
from edgetwin.association import ddpg, placement_actor, placement_critic
from edgetwin.association.placement import NEAR_HZ, NEAR_S
from edgetwin.association.placement_sight import Seen, seen
from edgetwin.learning import arrays, trainer
from edgetwin.learning.learner import Learner
from edgetwin.learning.off_policy import Transition

SMALL = {"users.count": 12, "sites.count": 4, "association.capacity": 8}


@pytest.fixture(scope="module")
def task():
    return et.task("placement", et.scenario("association/n80-m5", SMALL))


@pytest.fixture(scope="module")
def states(task):
    return jax.jit(jax.vmap(task.reset))(jax.random.split(jax.random.key(3), 6))


@pytest.fixture(scope="module")
def sight(task, states):
    return seen(jax.vmap(task.observe)(states).servers, task.section)


@pytest.fixture(scope="module")
def actor():
    """One whose numbers matter from the first round: its last layers are not small."""
    fresh = placement_actor.actor(jax.random.key(5))
    drawn = iter(jax.random.split(jax.random.key(6), 100))
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(drawn), leaf.shape), fresh)


@pytest.fixture(scope="module")
def critic():
    return placement_critic.critic(jax.random.key(7))


def chosen(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def test_wires_work_and_air_are_the_task_s(task, states, sight, quick_compilation):
    for index in range(6):
        state = jax.tree.map(
            lambda leaf, index=index: None if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf[index]),
            states,
        )
        instance, who = task.instance(state)
        assert len(who) == 12
        air_s = instance.system_bits / instance.rate_bps
        np.testing.assert_allclose(sight.air[index] * NEAR_S, air_s, rtol=1e-4)
        np.testing.assert_allclose(sight.wire[index] * NEAR_S, instance.path_s - air_s[:, None], rtol=1e-3, atol=1e-4)
        host = np.arange(12) % 4
        load = np.bincount(host, np.asarray(sight.root_work[index]), 4)
        together_s = (np.bincount(host, instance.load, 4) ** 2 / instance.cpu_hz).sum()
        np.testing.assert_allclose((load**2 / sight.cpu[index]).sum(), together_s, rtol=1e-4)
        np.testing.assert_allclose(sight.cpu[index] * NEAR_HZ, instance.cpu_hz, rtol=1e-6)
        np.testing.assert_allclose(sight.capacity[index] * 12, instance.capacity, rtol=1e-6)


def test_who_is_absent_counts_nowhere(task, states, sight, actor, critic, quick_compilation):
    away = states._replace(world=states.world._replace(present=states.world.present.at[:, 0].set(False)))
    without = seen(jax.vmap(task.observe)(away).servers, task.section)
    assert not without.present[:, 0].any() and without.present[:, 1:].all()
    gone = chosen(sight, slice(None))._replace(
        wire=sight.wire[:, 1:], root_work=sight.root_work[:, 1:], air=sight.air[:, 1:], capacity=sight.capacity * 12 / 11
    )
    same = without._replace(capacity=gone.capacity)
    np.testing.assert_allclose(
        placement_actor.opening_logits(actor, same), placement_actor.opening_logits(actor, gone), atol=2e-4
    )
    at = jax.nn.one_hot(jnp.arange(12) % 4, 4)[None].repeat(6, axis=0).at[:, 0].set(0)
    both = [placement_critic.value(critic, *each, jnp.ones((6, 4), bool)) for each in ((same, at), (gone, at[:, 1:]))]
    np.testing.assert_allclose(*both, rtol=2e-3)


def test_servers_and_users_can_be_renumbered(sight, actor, critic, quick_compilation):
    """The same network for all: whoever is asked first, the answer is the same."""
    order, users = jnp.asarray([2, 0, 3, 1]), jax.random.permutation(jax.random.key(1), 12)
    other = Seen(
        sight.wire[:, users][:, :, order],
        sight.root_work[:, users],
        sight.air[:, users],
        sight.cpu[:, order],
        sight.capacity[:, order],
    )
    worth, again = (placement_actor.opening_logits(actor, each) for each in (sight, other))
    np.testing.assert_allclose(again, worth[:, order], atol=1e-4)
    assert np.ptp(worth, axis=1).min() > 1e-3, "servers differ, so must what is said of them"
    preference, renumbered = (placement_actor.associated(actor, each, jnp.ones((6, 4), bool))[0] for each in (sight, other))
    np.testing.assert_allclose(renumbered, preference[:, users][:, :, order], atol=1e-3)
    at = jax.nn.one_hot(jnp.arange(12) % 4, 4)[None].repeat(6, axis=0)
    all_open = jnp.ones((6, 4), bool)
    np.testing.assert_allclose(
        placement_critic.value(critic, other, at[:, users][:, :, order], all_open),
        placement_critic.value(critic, sight, at, all_open),
        rtol=1e-4,
    )


def test_users_associate_with_open_servers_only_and_each_with_one_in_all(sight, actor):
    is_open = jnp.asarray([[True, False, True, True]] * 6)
    _, soft = placement_actor.associated(actor, sight, is_open)
    np.testing.assert_allclose(soft.sum(axis=-1), 1, rtol=1e-5)
    assert soft[:, :, 1].max() < 1e-5


def test_the_action_is_the_placement_that_the_actor_thinks_of(task, states, sight, actor, quick_compilation):
    """Scores keep order and margins: (23)'s projection makes of the action what it makes of the preferences."""
    capacity = jnp.asarray(task.capacity)
    worth = placement_actor.limited(placement_actor.opening_logits(actor, sight)) + jnp.asarray([0.5, -1.0, 0.2, -0.4])
    is_open = ddpg.opened(worth, capacity, sight.present)
    preference, _ = placement_actor.associated(actor, sight, is_open)
    at = ddpg.hosted(preference, is_open, capacity, sight.present)
    action = task.action(placement_actor.scores(worth, preference))
    assert jnp.abs(action.servers).max() <= 1 + 1e-6
    np.testing.assert_array_equal(jax.vmap(task.host_of)(states, action), at.argmax(axis=-1))
    np.testing.assert_array_equal(at.sum(axis=-1), 1)
    assert (at.sum(axis=1) <= capacity).all()


def test_what_opening_gains_is_what_trying_it_gives(task, sight, actor, critic, quick_compilation):
    capacity = jnp.asarray(task.capacity)
    is_open = jnp.asarray([[True, True, False, False], [True, True, True, True], [False, True, True, False]] * 2)
    gains = ddpg.opening_gains(actor, critic, sight, is_open, capacity)

    @jax.jit
    def worth(opens):
        preference, _ = placement_actor.associated(actor, sight, opens)
        at = ddpg.hosted(preference, opens, capacity, sight.present)
        return placement_critic.value(critic, sight, at, at.any(axis=-2))

    for server in range(4):
        opens, shut = is_open.at[:, server].set(True), is_open.at[:, server].set(False)
        room = np.asarray((shut * capacity).sum(axis=1) >= 12)
        expected = np.where(room, worth(opens) - worth(shut), 0)
        np.testing.assert_allclose(gains[:, server], expected, atol=1e-5)
    assert (np.asarray(gains)[0, :2] == 0).all(), "two servers of eight hold twelve users, one does not"
    assert (np.asarray(gains)[1] != 0).any()


def test_opening_follows_the_mean_over_draws(task, sight, actor, critic):
    """Summed over all draws of the other servers, what `actor_loss` follows is the derivative of the mean of Q in a server's probability."""
    capacity, one = jnp.asarray([12, 12, 12, 12]), chosen(sight, slice(0, 1))
    probability = np.array([0.3, 0.6, 0.5, 0.8])

    @jax.jit
    def worth(opens):
        preference, _ = placement_actor.associated(actor, one, opens)
        at = ddpg.hosted(preference, opens, capacity, one.present)
        return placement_critic.value(critic, one, at, at.any(axis=-2))[0]

    gains_of = jax.jit(lambda opens: ddpg.opening_gains(actor, critic, one, opens, capacity)[0])

    sets = [np.array([bool(number >> bit & 1) for bit in range(4)]) for number in range(1, 16)]
    values = {tuple(opens): float(worth(jnp.asarray(opens)[None])) for opens in sets}
    for server in range(4):
        followed = by_hand = 0.0
        for opens in sets:
            others = np.delete(opens, server)
            if not others.any():
                continue
            chance = np.prod(np.where(others, np.delete(probability, server), 1 - np.delete(probability, server)))
            gain = float(gains_of(jnp.asarray(opens)[None])[server])
            own = probability[server] if opens[server] else 1 - probability[server]
            followed += chance * own * gain
            if opens[server]:
                shut = opens.copy()
                shut[server] = False
                by_hand += chance * (values[tuple(opens)] - values[tuple(shut)])
        assert followed == pytest.approx(by_hand, rel=1e-3, abs=1e-5)


def test_the_critic_is_told_who_was_where(task, sight, critic):
    host = jnp.asarray([list(order) * 3 for order in list(permutations(range(4)))[:6]])
    at = jax.nn.one_hot(host, 4)
    values = placement_critic.value(critic, sight, at, at.any(axis=1))
    wanted = jnp.linspace(-3, -1, 6)
    assert float(ddpg.critic_loss(critic, sight, host, wanted)) == pytest.approx(float(np.mean((wanted - values) ** 2)), rel=1e-5)


def test_what_is_to_be_learned_ends_with_a_termination(task, sight, actor, critic):
    capacity = jnp.asarray(task.capacity)
    ended = jnp.asarray([True, False, True, False, False, True])
    batch = Transition(sight, None, jnp.linspace(-3, -2, 6), sight, ended)
    np.testing.assert_array_equal(ddpg.target(actor, critic, batch, 0.0, capacity), batch.reward)
    y = ddpg.target(actor, critic, batch, 0.7, capacity)
    is_open = ddpg.opened(placement_actor.opening_logits(actor, sight), capacity, sight.present)
    at = ddpg.hosted(placement_actor.associated(actor, sight, is_open)[0], is_open, capacity, sight.present)
    following = placement_critic.value(critic, sight, at, at.any(axis=-2))
    np.testing.assert_allclose(y, batch.reward + 0.7 * np.where(ended, 0, following), rtol=1e-5)


@pytest.mark.parametrize(("knob", "allowed"), [("discount=1", "below 1"), ("noise_std=-1", "at least 0")])
def test_a_setting_without_sense_is_an_error(task, knob, allowed):
    with pytest.raises(et.InputError, match=allowed):
        registry.learner(task, f"ddpg[{knob}]")


def plain(leaf):
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@pytest.mark.slow
def test_a_run_is_resumed_bit_for_bit(tmp_path):
    learner: Learner = registry.learner(et.task("placement", et.scenario("association/n80-m5", SMALL)), "ddpg")
    slots = 2 * learner.block_slots
    whole = trainer.train(learner, 2, slots, tmp_path / "whole", evaluations=1, evaluation_episodes=2)

    def stop(slots, budget, line):
        if 0 < slots < budget:
            raise KeyboardInterrupt

    with pytest.raises(trainer.Stopped):
        trainer.train(learner, 2, slots, tmp_path / "halves", evaluations=1, evaluation_episodes=2, progress=stop)
    trainer.resume(learner, tmp_path / "halves")
    one, other = (arrays.read(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "halves"))
    for name, leaf in one.items():
        np.testing.assert_array_equal(plain(leaf), plain(other[name]), err_msg=name)
    assert whole.about["trained_slots"] == slots


@pytest.mark.slow
def test_it_learns_to_place_and_to_close():
    """From rewards alone: within 8 % of the local search on other networks, where greedy is further above it."""
    task = et.task("placement", et.scenario("association/n80-m10", {"users.count": 40}))
    run = et.train(task, "ddpg", budget=16_000, evaluations=1)
    table = et.compare(task, ["greedy", "local-search", run], episodes=32)
    cost = {name: row.metrics["cost"].mean for name, row in table.rows.items()}
    best = cost["local-search"]
    assert cost[run.name] < 1.08 * best < cost["greedy"], {name: each / best for name, each in cost.items()}
