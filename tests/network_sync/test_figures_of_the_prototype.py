"""The figures that an independent prototype of preset A gave come out again, and the rules stand in the order they should.

The prototype's figures are means of 1500 episodes of its own. `always` alone scatters by 2 % from one such sample to another, so 4096
episodes of seed 0 are pooled here.
"""

from typing import NamedTuple

import numpy as np
import pytest

from edgetwin.network_sync import programme
from edgetwin.network_sync.task import NetworkSyncTask
from edgetwin.problem import Policy, episode_keys
from edgetwin.registry import policy
from network_sync.walks import make, side_by_side

PROTOTYPE = {
    "never": 2.56,
    "always": 0.98,
    "random": 0.63,
    "periodic": 0.482,
    "error-threshold": 0.452,
    "index": 0.398,
    "offline-optimum": 0.368,
}


pytestmark = pytest.mark.slow


class Measured(NamedTuple):
    task: NetworkSyncTask
    rules: dict[str, Policy]
    cost: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def preset_a():
    """Every rule's cost of every episode, (episodes,)."""
    task = make("a")
    rules = {name: policy(task, name) for name in (*PROTOTYPE, "causal")}
    costs = side_by_side(task, list(rules.values()), episode_keys(0, 4096), batch=512).cost.sum(axis=-1)
    return Measured(task, rules, dict(zip(rules, costs, strict=True)))


@pytest.mark.parametrize("name", PROTOTYPE)
def test_mean_cost(preset_a, name):
    assert preset_a.cost[name].mean() == pytest.approx(PROTOTYPE[name], rel=0.03)


def test_no_rule_is_below_the_optimum_on_any_episode(preset_a):
    least = preset_a.cost["offline-optimum"]
    for name, cost in preset_a.cost.items():
        assert (least <= cost * (1 + 1e-5)).all(), name
    assert np.mean(least < preset_a.cost["index"] * 0.999) > 0.8


def test_the_causal_programme_is_not_worse_than_the_index(preset_a):
    """By 1 % at most; measured, it is a little better."""
    assert (preset_a.cost["causal"] - 1.01 * preset_a.cost["index"]).mean() <= 0


def test_numbers_that_are_not_given_are_tuned_and_marked(preset_a):
    for name, knob, expected in (("periodic", "k", 4), ("random", "p", None), ("error-threshold", "s", None)):
        param = preset_a.rules[name].params[knob]
        assert param.tuned and (expected is None or param.value == expected)
    assert not policy(preset_a.task, "periodic[k=4]").params["k"].tuned
    assert not preset_a.rules["causal"].params


def test_tuning_and_the_programme_give_the_same_again(preset_a):
    assert policy(preset_a.task, "error-threshold").params == preset_a.rules["error-threshold"].params
    values = [programme.solve(preset_a.task) for _ in range(2)]
    for one, two in zip(*values, strict=True):
        assert np.array_equal(one, two)
