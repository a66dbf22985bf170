"""The contract kit on the task in every reading, and on every policy."""

import os

import pytest

import edgetwin
from edgetwin.registry import problem
from network_sync.walks import make

SMALL = {"slots": 6, "users__count": 4, "rb_count": 3}
VARIANTS = {
    "a": {},
    "b": {"name": "b"},
    "paper": {"name": "paper", "forecaster": "drift"},
    "persistent walk, reflected": {"users__mobility": "persistent-walk", "users__boundary": "reflect"},
    "fading by user": {"fading": "rayleigh-user"},
    "fading by user and block": {"fading": "rayleigh-rb"},
    "partial": {"refresh": "partial", "packet_users": 3},
    "partial, observation of errors": {"refresh": "partial", "packet_users": 2, "observation": "error"},
    "its own history": {"packet": "state", "forecaster": "linear"},
    "observation of errors": {"observation": "error"},
    "static interference": {"interference": "static"},
    "tracks": {"name": "tracks", "forecaster": "linear"},
}


def failed(clauses):
    return [clause for clause in clauses if not clause.passed]


def variant(name):
    if name == "tracks" and "EDGETWIN_DATA" not in os.environ:
        pytest.skip("needs the GOAL tracks")
    return make(**{**SMALL, **VARIANTS[name]})


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_the_task_passes_every_clause(name):
    assert failed(edgetwin.check(variant(name))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", problem("network-sync").policies)
def test_every_policy_passes_every_clause(name):
    assert failed(edgetwin.check(edgetwin.policy(variant("a"), name))) == []


@pytest.mark.slow
@pytest.mark.parametrize("reading", [each for each in VARIANTS if each != "a"])
def test_the_index_passes_every_clause_in_every_reading(reading):
    assert failed(edgetwin.check(edgetwin.policy(variant(reading), "index"))) == []


def test_rules_know_what_they_observe_or_else_the_state():
    for observation, information in (("compact", "observation"), ("error", "state"), ("paper", "state")):
        task = make(observation=observation, **SMALL)
        assert edgetwin.policy(task, "index").information == information
        assert edgetwin.policy(task, "offline-optimum").information == "trace"
