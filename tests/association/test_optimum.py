"""The optimum against all placements of small problems, with every kind of rule; and that what is proven of it holds."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from association.placements import brute_force, random_assignment
from edgetwin.association import optimum as module
from edgetwin.association.assignment import broken_rule, cost, late
from edgetwin.association.bounds import Fixed
from edgetwin.association.local_search import local_search
from edgetwin.association.optimum import optimum, split_bound
from edgetwin.association.programme import cover, largest_loads, programme, solve
from edgetwin.association.quiet import without_stray_lines
from edgetwin.errors import InputError

problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "users": st.integers(1, 6),
        "servers": st.integers(1, 3),
        "tight": st.booleans(),
        "pins": st.booleans(),
        "apart": st.booleans(),
        "limits": st.none() | st.floats(0.3, 4),
    }
)


@settings(max_examples=60, deadline=None)
@given(problems)
@example({"seed": 1, "users": 7, "servers": 3, "tight": True, "pins": False, "apart": True, "limits": None})
@example({"seed": 2, "users": 7, "servers": 3, "tight": False, "pins": False, "apart": False, "limits": 1.5})
def test_equals_brute_force(problem):
    assignment = random_assignment(**problem)
    best = brute_force(assignment)
    if best is None:
        with pytest.raises(InputError):
            optimum(assignment)
        return
    fewest, least, _ = best
    found = optimum(assignment, gap=0)
    assert broken_rule(assignment, found.host) is None
    assert found.cost == cost(assignment, found.host) == pytest.approx(least, rel=1e-9)
    assert len(found.relaxed) == found.fewest_relaxed == fewest
    assert found.relaxed.tolist() == np.flatnonzero(late(assignment, found.host)).tolist()
    assert found.lower_bound <= least * (1 + 1e-9)
    assert found.cost <= found.lower_bound * (1 + 2e-7)
    split = split_bound(assignment)
    assert split <= brute_force(assignment._replace(load_limit=None))[1] * (1 + 1e-7)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 3))
def test_is_the_same_whatever_users_and_servers_are_called(seed, limits):
    assignment = random_assignment(seed, 7, 3, limits=limits)
    draw = np.random.default_rng(seed)
    user, server = draw.permutation(7), draw.permutation(3)
    renamed = assignment._replace(
        linear=assignment.linear[user][:, server],
        load=assignment.load[user],
        compute=assignment.compute[server],
        open_cost=assignment.open_cost[server],
        capacity=assignment.capacity[server],
        allowed=assignment.allowed[user][:, server],
        load_limit=assignment.load_limit[user][:, server],
    )
    one, other = optimum(assignment, gap=0), optimum(renamed, gap=0)
    assert one.cost == pytest.approx(other.cost, rel=1e-6)
    assert len(one.relaxed) == len(other.relaxed) == one.fewest_relaxed == other.fewest_relaxed


def test_relaxes_those_who_cannot_be_in_time_and_no_others():
    assignment = random_assignment(3, 10, 3)
    limit = np.full((10, 3), np.inf)
    limit[[2, 5]] = -np.inf
    found = optimum(assignment._replace(load_limit=limit), gap=0)
    assert found.relaxed.tolist() == [2, 5] and found.fewest_relaxed == 2
    assert found.cost == pytest.approx(optimum(assignment, gap=0).cost, rel=1e-9)


def test_a_load_that_equals_its_limit_is_in_time():
    assignment = random_assignment(3, 5, 1)
    full = np.full((5, 1), assignment.load.sum())
    assert len(optimum(assignment._replace(load_limit=full)).relaxed) == 0
    assert len(optimum(assignment._replace(load_limit=full * (1 - 1e-6))).relaxed) == 5


def test_stops_when_the_time_is_up_with_what_is_proven_so_far():
    assignment = random_assignment(0, 60, 12)
    told = []
    found = optimum(assignment, gap=0, time_limit_s=1e-3, progress=lambda bound, cost: told.append((bound, cost)))
    assert broken_rule(assignment, found.host) is None
    assert found.lower_bound < found.cost
    exact = optimum(assignment, gap=1e-4, progress=lambda bound, cost: told.append((bound, cost)))
    assert found.lower_bound <= exact.cost <= found.cost
    bounds, costs = np.array(told).T
    assert (np.diff(bounds) >= 0).all() and (np.diff(costs) <= 0).all() and (bounds <= costs).all()


def test_pairs_ruled_out_are_in_no_better_placement():
    """Without fixing, HiGHS finds the same."""
    for seed in range(5):
        assignment = random_assignment(seed, 14, 4)
        found = optimum(assignment, gap=0)
        nothing = np.zeros(4, bool)
        made = programme(assignment, Fixed(-np.inf, assignment.allowed, nothing, nothing), typical_cost=1.0)
        extra = [module._first_cuts(made, found.host)]
        for _ in range(10):
            solution = solve(made, extra, whole=True, gap=1e-9, time_limit_s=60)
            assert solution.bound <= found.cost * (1 + 1e-7)
            server = np.arange(4)
            extra.append(module.tangents(made.columns, server, solution.load))
            if solution.bound >= found.cost * (1 - 1e-6):
                break
        assert solution.bound == pytest.approx(found.cost, rel=1e-6)


def test_covers_rule_out_one_crowd_at_one_server():
    assignment = random_assignment(0, 3, 2, limits=1.0)
    nothing = np.zeros(2, bool)
    columns = programme(assignment, Fixed(-np.inf, assignment.allowed, nothing, nothing), 1.0, 3).columns
    row = cover(columns, np.array([0, 2]), 1, 2)
    x, v = np.zeros((3, 2)), np.zeros(3)
    x[[0, 1, 2], [1, 0, 1]] = 1
    used = (row.A[:, : x.size].sum(axis=1), row.ub)
    assert used == (2, 1)
    point = np.zeros(columns.total)
    point[: x.size] = x[columns.user, columns.server]
    assert row.A @ point > row.ub
    v[2] = 1
    point[columns.relaxed] = v
    assert row.A @ point <= row.ub


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 3), st.booleans())
def test_no_load_exceeds_what_its_late_users_allow(seed, limits, tight):
    assignment = random_assignment(seed, 8, 3, limits=limits, tight=tight)
    for host in np.random.default_rng(seed).integers(0, 3, (60, 8)):
        if broken_rule(assignment, host) is None:
            most = largest_loads(assignment, int(late(assignment, host).sum()))
            assert (np.bincount(host, assignment.load, 3) <= most * (1 + 1e-12)).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 3))
def test_limits_never_make_it_cheaper(seed, limits):
    assignment = random_assignment(seed, 7, 3, limits=limits)
    free = optimum(assignment._replace(load_limit=None), gap=0)
    found = optimum(assignment, gap=0)
    assert found.cost >= free.cost * (1 - 1e-9)
    assume(len(found.relaxed))
    assert late(assignment, local_search(assignment)).sum() >= found.fewest_relaxed


def test_stray_lines_are_dropped_and_others_pass(capfd):
    import os

    with without_stray_lines():
        os.write(1, b"one\nHighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();\ntwo\n")
    assert capfd.readouterr().out == "one\ntwo\n"
