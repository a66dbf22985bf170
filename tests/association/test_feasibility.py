"""Whether any placement exists, against all of them; and what the message says where none does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from association.placements import brute_force, random_assignment
from edgetwin.association.assignment import Assignment, Names, broken_rule, check
from edgetwin.association.feasibility import any_host, infeasible, require_feasible, short_of_room
from edgetwin.association.local_search import local_search
from edgetwin.association.optimum import optimum
from edgetwin.errors import InputError

NAMES = Names([f"u{number}" for number in range(9)], ["north", "south", "west"])


def plain(users, capacity, forbidden=(), apart=()):
    """Users whom nothing distinguishes. forbidden: pairs."""
    allowed = np.ones((users, len(capacity)), bool)
    for pair in forbidden:
        allowed[pair] = False
    return Assignment(
        0.0,
        np.ones(allowed.shape),
        np.ones(users),
        np.ones(len(capacity)),
        np.ones(len(capacity)),
        np.array(capacity),
        allowed,
        tuple(np.array(group) for group in apart),
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans(), st.booleans(), st.booleans())
def test_says_so_exactly_where_no_placement_exists(seed, users, tight, pins, apart):
    assignment = random_assignment(seed, users, 3, tight=tight, pins=pins, apart=apart)
    why = infeasible(assignment)
    assert (why is None) == (brute_force(assignment) is not None)
    host = any_host(assignment)
    assert (why is None) == (host is not None)
    if host is not None:
        assert broken_rule(assignment, host) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_a_crowd_short_of_room_is_one(seed):
    assignment = random_assignment(seed, 8, 4, tight=True, pins=True)
    crowded = short_of_room(assignment.allowed, assignment.capacity)
    if crowded is None:
        assert any_host(assignment._replace(apart=())) is not None
        return
    crowd, where = crowded
    assert len(crowd) > assignment.capacity[where].sum()
    assert not np.delete(assignment.allowed[crowd], where, axis=1).any()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (plain(6, [2, 2, 1]), "6 users and room for 5 twins on 3 servers: add servers, or raise capacities by 1 in total"),
        (plain(3, [3, 3, 3], [(1, slice(None))]), "user u1: no server is allowed to it: loosen its pin or region"),
        (
            plain(4, [3, 2, 3], [(user, [0, 2]) for user in (0, 1, 3)]),
            "server south: 3 users may live nowhere else (u0, u1, u3) and it has room for 2: raise its capacity to 3, or move 1 of the pins",
        ),
        (
            plain(8, [3, 2, 9], [(user, 2) for user in range(6)]),
            "users u0, u1, u2, u3, u4 and 1 more (6) may only live on servers north, south, which have room for 5: raise their capacities by "
            "1 in total, or allow more servers",
        ),
        (
            plain(5, [5, 5, 5], apart=[(0, 1, 2, 4)]),
            "users u0, u1, u2, u4 are to be kept apart, and only 3 servers with room are allowed to these 4: shorten the group or allow more "
            "servers",
        ),
        (
            plain(3, [5, 5, 0], apart=[(0, 1), (1, 2), (0, 2)]),
            "users u0, u1 cannot be kept apart with these capacities, pins and regions: shorten that group, or give its users more servers",
        ),
        (
            plain(4, [5, 5, 0], apart=[(0, 1), (1, 2), (0, 2), (0, 3), (1, 3), (2, 3)]),
            "the 6 anti-affinity groups cannot all be kept with these capacities, pins and regions: shorten groups, or allow more servers",
        ),
    ],
)
def test_messages_name_what_is_wrong_and_what_to_change(assignment, message):
    assert infeasible(assignment, NAMES) == message
    for refused in (lambda: require_feasible(assignment, NAMES), lambda: local_search(assignment), lambda: optimum(assignment)):
        with pytest.raises(InputError):
            refused()


def test_a_broken_rule_is_named():
    with pytest.raises(InputError, match="user u2 may not live on server south"):
        check(plain(3, [3, 3, 3], [(2, 1)]), np.array([0, 0, 1]), NAMES)
    with pytest.raises(InputError, match="server west hosts 2 twins and has room for 1"):
        check(plain(3, [3, 3, 1]), np.array([2, 0, 2]), NAMES)
    with pytest.raises(InputError, match="users 0, 2 are to be kept apart and share server 1"):
        check(plain(4, [3, 3, 3], apart=[(0, 2, 3)]), np.array([1, 1, 1, 0]))
    check(plain(4, [3, 3, 3], apart=[(0, 2, 3)]), np.array([1, 1, 0, -1]))
