"""Verdicts follow from intervals by the stated rules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.evaluation.claims import Claim, at_least, at_most, equals, gain_of, within
from edgetwin.evaluation.statistics import Estimate

YES, PARTLY, NO, UNKNOWN = "reproduced", "partly", "not reproduced", "cannot be judged"


def claim(rule, **measured):
    return Claim("it is so", "Fig. 1", {name: Estimate(sum(ends) / 2, ends) for name, ends in measured.items()}, rule)


CASES = [
    (equals(10.0), (9.0, 12.0), YES),
    (equals(10.0), (10.5, 12.0), NO),
    (equals(10.0), (8.0, 9.9), NO),
    (equals(10.0), (-20.0, 30.0), UNKNOWN),
    (equals(-10.0), (-12.0, -9.0), YES),
    (at_least(1.0), (1.0, 2.0), YES),
    (at_least(1.0), (0.0, 0.9), NO),
    (at_least(1.0), (0.9, 1.1), UNKNOWN),
    (at_most(1.0), (0.0, 1.0), YES),
    (at_most(1.0), (1.1, 2.0), NO),
    (at_most(1.0), (0.9, 1.1), UNKNOWN),
    (within(-0.1, 0.1), (-0.05, 0.1), YES),
    (within(-0.1, 0.1), (0.2, 0.3), NO),
    (within(-0.1, 0.1), (-0.3, -0.2), NO),
    (within(-0.1, 0.1), (0.0, 0.2), UNKNOWN),
    (gain_of(10.31), (5.0, 12.0), YES),
    (gain_of(10.31), (11.0, 12.0), YES),
    (gain_of(10.31), (5.0, 10.0), PARTLY),
    (gain_of(10.31), (-1.0, 2.0), NO),
    (gain_of(10.31), (-3.0, -2.0), NO),
    (gain_of(10.31), (-1.0, 12.0), UNKNOWN),
]


@pytest.mark.parametrize(("rule", "ends", "verdict"), CASES, ids=lambda value: getattr(value, "text", str(value)))
def test_rules(rule, ends, verdict):
    judged = claim(rule, it=ends)
    assert judged.verdict == verdict
    assert judged.to_json()["rule"] == rule.text
    assert judged.judgement.reason


finite = st.floats(-1e6, 1e6)


@given(finite, st.tuples(finite, finite).map(sorted))
def test_at_least_and_at_most_are_each_other_turned_round(number, ends):
    low, high = ends
    assert claim(at_least(number), it=(low, high)).verdict == claim(at_most(-number), it=(-high, -low)).verdict


@pytest.mark.parametrize("rule", [equals(1.0), at_least(1.0), at_most(1.0), within(0.0, 2.0), gain_of(1.0)])
@pytest.mark.parametrize(
    "estimate", [Estimate(1.0, None), Estimate(math.nan, (math.nan, math.nan)), Estimate(1.0, (math.nan, 2.0))]
)
def test_what_has_no_interval_cannot_be_judged(rule, estimate):
    judged = Claim("it is so", "Fig. 1", {"it": estimate}, rule)
    assert judged.verdict == UNKNOWN
    assert judged.to_json()["measured"]["it"]["ci95"] is None


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ((2.0, 3.0), (2.0, 3.0), YES),
        ((2.0, 3.0), (0.0, 0.5), PARTLY),
        ((2.0, 3.0), (0.5, 3.0), PARTLY),
        ((0.0, 0.5), (0.5, 3.0), UNKNOWN),
        ((0.0, 0.5), (0.0, 0.5), NO),
        ((0.5, 3.0), (0.5, 3.0), UNKNOWN),
    ],
)
def test_a_claim_about_several_things(first, second, verdict):
    judged = claim(at_least(1.0), sac=first, dqn=second)
    assert judged.verdict == verdict
    assert judged.judgement.reason.startswith("sac: ")
    assert "; dqn: " in judged.judgement.reason


def test_a_claim_needs_a_measurement_and_a_gain_is_positive():
    with pytest.raises(ValueError, match="nothing was measured"):
        claim(at_least(1.0))
    with pytest.raises(ValueError, match="turn the difference round"):
        gain_of(-3.0)


def test_a_verdict_cannot_be_typed_in():
    with pytest.raises(TypeError):
        Claim("it is so", "Fig. 1", {"it": Estimate(1.0, None)}, at_least(0.0), verdict=YES)
    with pytest.raises(AttributeError):
        claim(at_least(1.0), it=(0.0, 2.0)).verdict = YES
