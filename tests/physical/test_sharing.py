"""CPUs and links, shared by score: nobody gets more than there is, and what is not asked for is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.physical import sharing

USERS, SERVERS = 6, 3
CPU_HZ = np.array([1e9, 10e9, 3e9])
share_of = jax.jit(sharing.proportional_share)
cpu_of = jax.jit(lambda score, host, competing: sharing.cpu_frequency(score, host, competing, jnp.array(CPU_HZ)))
link_of = jax.jit(lambda score, source, target, competing: sharing.link_rate(score, source, target, competing, 1e7, SERVERS))


def rows(values):
    return st.lists(values, min_size=USERS, max_size=USERS).map(np.array)


scores = rows(st.one_of(st.just(0.0), st.floats(0, 1, width=32, allow_subnormal=False)))
places = rows(st.integers(0, SERVERS - 1))
flags = rows(st.booleans())


@settings(max_examples=200, deadline=None)
@given(score=scores, resource=places, competing=flags)
def test_shares_are_proportions(score, resource, competing):
    share = np.asarray(share_of(score, resource, competing), float)
    assert (share >= 0).all() and (share <= 1).all()
    assert (share[~competing] == 0).all()
    for one in range(SERVERS):
        there = (resource == one) & competing
        total = score[there].sum()
        expected = score[there] / total if total > 0 else np.zeros(there.sum())
        assert np.allclose(share[there], expected, rtol=1e-5, atol=1e-6)
        assert share[resource == one].sum() <= 1 + 1e-6


def test_shares_by_hand():
    resource, everyone = np.array([0, 0, 1, 1, 1, 2]), np.ones(6, bool)
    assert share_of(np.full(6, 0.3), resource, everyone) == pytest.approx([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1])
    assert share_of(np.array([1, 3, 0, 0, 0, 0.5]), resource, everyone) == pytest.approx([1 / 4, 3 / 4, 0, 0, 0, 1])
    assert share_of(np.ones(6), resource, resource != 1) == pytest.approx([1 / 2, 1 / 2, 0, 0, 0, 1])


@settings(max_examples=50, deadline=None)
@given(score=rows(st.floats(0.0625, 1, width=32)), resource=places, competing=flags, octaves=st.integers(-6, 6))
def test_only_proportions_of_scores_matter(score, resource, competing, octaves):
    assert (share_of(score, resource, competing) == share_of(score * 2.0**octaves, resource, competing)).all()


@settings(max_examples=100, deadline=None)
@given(score=scores, host=places, competing=flags)
def test_a_server_never_gives_more_than_it_has(score, host, competing):
    hz = np.asarray(cpu_of(score, host, competing), float)
    for server in range(SERVERS):
        asked = score[(host == server) & competing].sum() > 0
        given_hz = hz[host == server].sum()
        assert given_hz <= CPU_HZ[server] * (1 + 1e-6)
        assert given_hz == pytest.approx(CPU_HZ[server] if asked else 0, rel=1e-5)
    assert (hz[~competing] == 0).all()


@settings(max_examples=100, deadline=None)
@given(score=scores, source=places, target=places, competing=flags)
def test_a_link_never_carries_more_than_it_can(score, source, target, competing):
    bps = np.asarray(link_of(score, source, target, competing), float)
    assert (np.isinf(bps) == (source == target)).all()
    for i in range(SERVERS):
        for j in range(SERVERS):
            on_it = (source == i) & (target == j)
            if i != j:
                asked = score[on_it & competing].sum() > 0
                assert bps[on_it].sum() == pytest.approx(1e7 if asked else 0, rel=1e-5)
                assert (bps[on_it & ~competing] == 0).all()


def test_there_is_a_link_for_each_ordered_pair():
    """Users 0 and 1 share 0 → 1; users 2 and 3 have 1 → 0 and 0 → 2 to themselves; user 4 needs none, user 5 is silent on 0 → 1."""
    source, target = np.array([0, 0, 1, 0, 2, 0]), np.array([1, 1, 0, 2, 2, 1])
    competing = np.array([True, True, True, True, True, False])
    bps = link_of(np.array([0.2, 0.6, 0.1, 0.1, 0.9, 0.9]), source, target, competing)
    assert bps == pytest.approx([2.5e6, 7.5e6, 1e7, 1e7, np.inf, 0])
