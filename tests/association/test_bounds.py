"""Bounds: below the best of all placements, near it, and what they rule out."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from association.placements import brute_force, random_assignment
from edgetwin.association.assignment import cost
from edgetwin.association.bounds import dual_of, first_prices, fixed_by, quick_bound
from edgetwin.association.files import read
from edgetwin.association.instance import assignment as assignment_of
from edgetwin.association.local_search import local_search
from edgetwin.association.optimum import split_bound

FOLDER = Path(__file__).parent / "instances"
EXPECTED = {row["name"]: row for row in json.loads((FOLDER / "expected.json").read_text())}
seeds = st.integers(0, 10**6)


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans(), st.booleans(), st.floats(0.3, 4))
def test_no_placement_costs_less(seed, tight, pins, limits):
    assignment = random_assignment(seed, 6, 3, tight=tight, pins=pins)
    best = brute_force(assignment)
    if best is None:
        return
    draw = np.random.default_rng(seed)
    dual = dual_of(assignment)
    prices = draw.uniform(0, 1, 6 + 3)
    assert dual.at(prices).value <= best[1] * (1 + 1e-12)
    assert quick_bound(assignment) <= best[1] * (1 + 1e-12)
    limited = assignment._replace(load_limit=draw.uniform(0, limits, (6, 3)) * assignment.load.mean())
    assert quick_bound(limited) == quick_bound(assignment)


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans())
def test_each_server_takes_the_best_of_all_crowds_that_fit(seed, tight):
    """v_k, and what it rises by with one user enforced, from all sets of users."""
    assignment = random_assignment(seed, 6, 3, tight=tight, pins=seed % 2 == 0)
    draw = np.random.default_rng(seed)
    prices = np.concatenate([draw.uniform(0, 2, 6), draw.uniform(0, 0.3, 3)])
    dual = dual_of(assignment)
    found = dual.at(prices)
    total = assignment.constant + prices[:6].sum()
    for server in range(3):
        each = assignment.linear[:, server] + prices[6 + server] * dual.load - prices[:6]
        each[~assignment.allowed[:, server]] = np.inf
        load = prices[6 + server] / (2 * assignment.compute[server] * assignment.load.mean())
        fixed = assignment.open_cost[server] - assignment.compute[server] * load**2
        room = min(assignment.capacity[server], 6)
        crowds = [crowd for size in range(room + 1) for crowd in combinations(range(6), size)]
        values = np.array([fixed + each[list(crowd)].sum() for crowd in crowds])
        assert found.opening[server] == pytest.approx(values.min(), rel=1e-9, abs=1e-9)
        for user in range(6):
            with_user = min((value for crowd, value in zip(crowds, values, strict=True) if user in crowd), default=np.inf)
            if np.isfinite(with_user):
                rise = max(found.margin[server, user], 0)
                assert with_user - values.min() == pytest.approx(rise, rel=1e-9, abs=1e-9)
        total += min(values.min(), 0)
    assert found.value == pytest.approx(total, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans())
def test_the_slope_is_a_subgradient(seed, tight):
    """The bound is concave: nowhere above its tangent."""
    assignment = random_assignment(seed, 7, 3, tight=tight)
    dual = dual_of(assignment)
    draw = np.random.default_rng(seed)
    point, other = draw.uniform(0, 0.5, (2, 7 + 3))
    found = dual.at(point)
    tangent = found.value + dual.slope(point, found) @ (other - point)
    assert dual.at(other).value <= tangent + 1e-9


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans())
def test_what_is_ruled_out_is_not_in_the_best_placement(seed, close):
    """From the best placement with one or two users moved: what is cheaper than that is kept."""
    assignment = random_assignment(seed, 6, 3)
    best = np.array(brute_force(assignment)[2])
    host = best.copy()
    draw = np.random.default_rng(seed)
    host[draw.integers(6, size=1 if close else 2)] = draw.integers(3)
    fixed = fixed_by(assignment, host, 50)
    hosting = np.bincount(best, minlength=3) > 0
    assert fixed.keep[np.arange(6), best].all()
    assert not (fixed.closed & hosting).any()
    assert not (fixed.opened & ~hosting).any()
    assert fixed.keep[np.arange(6), host].all()
    assert fixed.lower_bound <= cost(assignment, best)


def test_first_prices_make_open_servers_pay_for_themselves():
    assignment = random_assignment(5, 20, 4)
    host = local_search(assignment)
    dual = dual_of(assignment)
    prices = first_prices(dual, host)
    assert assignment.constant + prices[:20].sum() == pytest.approx(cost(assignment, host), rel=1e-12)


@pytest.mark.parametrize("name", ["n80-m5-s0", "n80-m10-s2", "n100-m5-s4", "n100-m10-s1", "n100-m10-s5"])
def test_frozen_instances_are_bounded_tightly(name):
    assignment = assignment_of(read(FOLDER / f"{name}.npz"))
    best = EXPECTED[name]["best_known"]
    assert 0.995 * best <= quick_bound(assignment) <= best
    assert 0.999 * best <= split_bound(assignment) <= best
