"""The offline optimum is the least of all 2^T choices of sync times, and no policy is below it, or below the partial bound, on any episode."""

from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.network_sync import optimum
from edgetwin.problem import Policy, episode_keys, random_action
from edgetwin.registry import policy
from network_sync.walks import make, side_by_side

pytestmark = pytest.mark.usefixtures("quick_compilation")

CLAIMED_BELOW = 1e-5
"""What rounding in single precision may take a policy below the optimum, relative to the cost."""
CRAMPED = {"rb_count": 2, "users__count": 3, "interference_w": [0.03, 0.1], "reward_scale": 1.0, "rate_weight": 0.95}
"""A network in which half of the slots leave no choice."""


def start_and_trace(task, key, slots):
    return task.model.start(task.model.streams(key))[1], task.trace(key, slots)


def costs_of(task, keys, actions):
    """Cost of every sequence of actions, (sequences, slots, heads), on every episode: (episodes, sequences), by the task's own steps."""

    def cost(key, sequence):
        def slot(state, action):
            state, outcome = task.step(state, task.action(action[None]))
            return state, outcome.metrics.cost

        return jax.lax.scan(slot, task.reset(key), sequence)[1].sum()

    run = jax.jit(jax.vmap(jax.vmap(cost, in_axes=(None, 0)), in_axes=(0, None)))
    return np.asarray(run(keys, jnp.asarray(actions, jnp.int32)), float)


@pytest.mark.parametrize("forecaster", ["drift", pytest.param("linear", marks=pytest.mark.slow)])
def test_the_plan_is_the_best_of_all_sync_patterns(forecaster):
    slots, episodes = 7, 24
    task = make(slots=slots, forecaster=forecaster, users__mobility="persistent-walk", users__step_m=4.0, **CRAMPED)
    keys = episode_keys(3, episodes)
    patterns = np.array(list(product([0, 1], repeat=slots)))
    costs = costs_of(task, keys, patterns[:, :, None])
    plan = jax.vmap(lambda key: (optimum.offline_plan(task, *start_and_trace(task, key, slots)), task.trace(key, slots).rates))
    plans, rates = jax.tree.map(np.asarray, jax.jit(plan)(keys))
    assert np.allclose(plans.cost, costs.min(axis=1), rtol=1e-5, atol=1e-6)
    assert not (plans.syncs & ~rates.feasible).any()
    number = plans.syncs @ (1 << np.arange(slots)[::-1])
    assert np.allclose(costs[np.arange(episodes), number], plans.cost, rtol=1e-5, atol=1e-6)
    assert 0.2 < rates.feasible.mean() < 0.8
    assert len(set(number.tolist())) > 5
    free = task.section.rate_weight * rates.serving.astype(float).sum(axis=1).mean()
    least = costs.min(axis=1).mean()
    assert task.bound(keys, slots)({}) == pytest.approx({"cost": least, "reward": free - least}, rel=1e-5)


def test_the_shortest_path_by_hand():
    """Three slots; without a sync they cost 1, 4, 9, one slot after a sync 1, two after 4; syncs cost 2, or cannot be."""
    stay = jnp.array([[1.0, 4.0, 9.0], [0, 1, 4], [0, 0, 1], [0, 0, 0]])
    plan = jax.jit(optimum.shortest_path)(stay, jnp.array([2.0, 2.0, 2.0]))
    assert float(plan.cost) == 4 and plan.syncs.tolist() == [False, True, False]
    plan = jax.jit(optimum.shortest_path)(stay, jnp.array([2.0, jnp.inf, 2.0]))
    assert float(plan.cost) == 5 and plan.syncs.tolist() == [True, False, True]
    assert float(jax.jit(optimum.shortest_path)(stay, jnp.full(3, jnp.inf)).cost) == 14


def random_actions(task):
    return Policy("random actions", task, lambda carry, view, key: (carry, random_action(task, key)))


@pytest.mark.slow
def test_no_policy_is_below_the_optimum_on_any_episode_of_preset_b():
    task, keys = make("b"), episode_keys(11, 192)
    named = ["never", "always", "random[p=.2]", "periodic[k=5]", "error-threshold[s=16]", "index", "causal"]
    rules = [*(policy(task, each) for each in named), random_actions(task), policy(task, "offline-optimum")]
    *costs, least = side_by_side(task, rules, keys).cost.sum(axis=-1)
    for name, cost in zip([*named, "random actions"], costs, strict=True):
        assert (least <= cost * (1 + CLAIMED_BELOW)).all(), name
    bounds = task.bound(keys, task.spec.slots)({})
    assert bounds["cost"] == pytest.approx(least.mean(), rel=1e-5)


@pytest.mark.parametrize("packet_users", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_partial_bound_is_below_every_choice_of_users(packet_users):
    """By brute force over all that can be sent in four slots, to one of two users a packet, or to both. One a packet: often exact."""
    slots = 4
    task = make(slots=slots, refresh="partial", packet_users=packet_users, users__step_m=3.0, **{**CRAMPED, "users__count": 2})
    keys = episode_keys(5, 40)
    sets = [subset for size in range(packet_users + 1) for subset in combinations(range(2), size)]
    choices = np.array([[user in subset for user in range(2)] for subset in sets], int)
    actions = np.array(list(product(choices, repeat=slots)))
    least = costs_of(task, keys, actions).min(axis=1)
    bound = np.asarray(jax.jit(jax.vmap(lambda key: optimum.separate_bound(task, *start_and_trace(task, key, slots))))(keys))
    assert (bound <= least * (1 + CLAIMED_BELOW) + 1e-7).all()
    assert bound.mean() > 0.5 * least.mean()
    if packet_users == 1:
        assert np.mean(np.isclose(bound, least, rtol=1e-5)) > 0.3


@pytest.mark.slow
def test_the_partial_bound_is_below_every_policy():
    task, keys = make(refresh="partial", packet_users=3), episode_keys(2, 192)
    named = ["never", "always", "random[p=.3]", "periodic[k=3]", "error-threshold[s=2]", "index"]
    costs = side_by_side(task, [*(policy(task, each) for each in named), random_actions(task)], keys).cost.sum(axis=-1)
    episodes = jax.vmap(lambda key: optimum.separate_bound(task, *start_and_trace(task, key, task.spec.slots)))
    bound = np.asarray(jax.jit(episodes)(keys))
    for name, cost in zip([*named, "random actions"], costs, strict=True):
        assert (bound <= cost * (1 + CLAIMED_BELOW)).all(), name
    assert task.bound(keys[:8], task.spec.slots)({})["cost"] == pytest.approx(bound[:8].mean(), rel=1e-5)
    assert costs.mean(axis=1).argmin() == named.index("index")


def test_no_optimum_is_claimed_where_an_episode_depends_on_all_earlier_syncs():
    task = make(packet="state", forecaster="linear", slots=6)
    assert task.bound(episode_keys(0, 2), 6) is None
    with pytest.raises(InputError, match='packet = "state" a linear forecast depends on all earlier syncs'):
        policy(task, "offline-optimum")
    with pytest.raises(InputError, match='policy "causal"'):
        policy(task, "causal")
    assert optimum.is_exact(make(packet="state", slots=6))


def test_no_optimum_is_claimed_for_partial_packets():
    task = make(refresh="partial", packet_users=3, slots=6)
    with pytest.raises(InputError, match='refresh = "all"'):
        policy(task, "offline-optimum")
    with pytest.raises(InputError, match='refresh = "all"'):
        policy(task, "causal")
