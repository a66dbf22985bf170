"""The local search: its deltas against recomputed costs, the rules it keeps, and how near it comes to the optimum."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from association.placements import brute_force, random_assignment
from edgetwin.association.assignment import broken_rule, cost, late
from edgetwin.association.local_search import best_open_set, complete, local_search
from edgetwin.association.stack import Stack, costs_of, exchanges
from edgetwin.errors import InputError

seeds = st.integers(0, 10**6)
limits = st.none() | st.floats(0.3, 3)


def hosts(assignment, seed, number):
    """Random placements that keep the rules."""
    users, servers = assignment.linear.shape
    drawn = np.random.default_rng(seed).integers(0, servers, (20 * number, users))
    return [host for host in drawn if broken_rule(assignment, host) is None][:number]


def worth(costs, host):
    """The search's value of a placement, from its definition."""
    problem = costs.problem
    load = np.bincount(host, problem.load, len(problem.compute))[host]
    value = cost(problem, host) - problem.constant
    if costs.limit is not None:
        over = load - costs.limit[host, np.arange(len(host))]
        value += costs.late_price * (over > 0).sum()
        if costs.excess_price:
            value += costs.excess_price * np.maximum(over, 0).sum()
    return value


@settings(max_examples=60, deadline=None)
@given(seeds, limits, st.booleans(), st.booleans(), st.booleans())
def test_every_shift_and_swap_changes_the_value_by_what_was_said(seed, limit, tight, apart, lenient):
    assignment = random_assignment(seed, 7, 3, tight=tight, apart=apart, pins=seed % 3 == 0, limits=limit)
    costs = costs_of(assignment, lenient=lenient)
    for host in hosts(assignment, seed, 3):
        before = worth(costs, host)
        stack = Stack(costs, host[None].copy(), np.ones((1, 3), bool))
        assert stack.value()[0] == pytest.approx(before, rel=1e-9)
        swaps = exchanges(costs, host, stack.load[0])
        empty = np.bincount(host, minlength=3) == 0
        alone = np.bincount(host, minlength=3)[host] == 1
        for user in range(7):
            for server in range(3):
                after = host.copy()
                after[user] = server
                said = stack.join[0, server, user] - stack.stay[0, user]
                if server == host[user] or broken_rule(assignment, after) is not None:
                    assert said == np.inf
                else:
                    opening = assignment.open_cost[server] * empty[server] - assignment.open_cost[host[user]] * alone[user]
                    assert said + opening == pytest.approx(worth(costs, after) - before, abs=1e-9 * (1 + before))
            for other in range(7):
                after = host.copy()
                after[[user, other]] = host[[other, user]]
                if host[user] == host[other] or broken_rule(assignment, after) is not None:
                    assert swaps[user, other] == np.inf
                else:
                    assert swaps[user, other] == pytest.approx(worth(costs, after) - before, abs=1e-9 * (1 + before))


@settings(max_examples=30, deadline=None)
@given(seeds, limits, st.booleans())
def test_a_stack_stays_true_to_its_hosts_while_users_move(seed, limit, apart):
    assignment = random_assignment(seed, 9, 4, apart=apart, limits=limit)
    costs = costs_of(assignment)
    start = np.stack([local_search(assignment), np.full(9, -1)])
    stack = Stack(costs, start, np.ones((2, 4), bool))
    stack.shift(30)
    fresh = Stack(costs, stack.host.copy(), stack.open)
    for name in ("count", "load", "join", "stay"):
        np.testing.assert_allclose(getattr(stack, name), getattr(fresh, name), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seeds, limits, st.booleans(), st.booleans(), st.booleans())
def test_keeps_all_rules_and_is_never_below_the_optimum(seed, limit, tight, pins, apart):
    assignment = random_assignment(seed, 6, 3, tight=tight, pins=pins, apart=apart, limits=limit)
    best = brute_force(assignment)
    if best is None:
        with pytest.raises(InputError):
            local_search(assignment)
        return
    host = local_search(assignment)
    assert broken_rule(assignment, host) is None
    assert (late(assignment, host).sum(), cost(assignment, host)) >= (best[0], best[1] * (1 - 1e-9))
    assert (local_search(assignment) == host).all()


@settings(max_examples=20, deadline=None)
@given(seeds, limits)
def test_never_leaves_a_start_for_a_worse_placement(seed, limit):
    assignment = random_assignment(seed, 15, 4, limits=limit)
    for start in hosts(assignment, seed, 2):
        found = local_search(assignment, start)
        before, after = (worth(costs_of(assignment), host) for host in (start, found))
        assert after <= before * (1 + 1e-12)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_users_without_a_server_get_one_and_those_with_one_may_stay(seed):
    assignment = random_assignment(seed, 8, 3, tight=True)
    (host,) = hosts(assignment, seed, 1) or [None]
    assume(host is not None)
    part = host.copy()
    part[[1, 4]] = -1
    assert broken_rule(assignment, complete(costs_of(assignment), part)) is None
    assert broken_rule(assignment, local_search(assignment, part)) is None


def test_a_start_that_breaks_a_rule_is_refused():
    assignment = random_assignment(0, 4, 2)._replace(capacity=np.array([2, 4]))
    with pytest.raises(InputError, match="server 0 hosts 3 twins and has room for 2"):
        local_search(assignment, np.array([0, 0, 0, 1]))


def test_open_sets_that_house_not_everyone_are_not_taken():
    assignment = random_assignment(0, 5, 3)._replace(capacity=np.array([2, 2, 3]))
    costs = costs_of(assignment)
    host = np.array([0, 0, 1, 1, 2])
    opens = np.array([[True, True, False], [True, False, True]])
    found, value = best_open_set(costs, host, opens)
    assert set(found) == {0, 2}
    assert value == pytest.approx(worth(costs, found))
    assert best_open_set(costs, host, opens[:1]) is None


def test_closes_servers_that_do_not_pay_where_they_are_many():
    users, servers = 60, 60
    assignment = random_assignment(4, users, servers)._replace(
        linear=np.zeros((users, servers)), open_cost=np.full(servers, 5.0), compute=np.full(servers, 1e-9)
    )
    assert len(np.unique(local_search(assignment))) == 1
