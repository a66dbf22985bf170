"""Names, knobs and joins: what is found, and what is said where it is not."""

import pytest

import toys
from edgetwin import registry
from edgetwin.errors import InputError


@pytest.fixture(scope="module")
def crew():
    return toys.TwoSpeeds()


def crew_policy(crew, name):
    return registry.policy(crew, name, toys.TWO_SPEEDS.policies)


def test_a_join_decides_for_every_class_once(crew):
    policy = crew_policy(crew, "flat-out + busy[above=0.25]")
    assert policy.name == "flat-out + busy[above=0.25]"
    assert policy.params["above"].value == 0.25
    assert not policy.params["above"].tuned
    assert policy.information == "observation"


def test_a_join_knows_what_its_best_informed_part_knows():
    def seer(task):
        return toys.Policy(name="", task=task, act=None, controls=("boss",), information="trace", runs_on="host")

    policy = registry.policy(toys.TwoSpeeds(), "flat-out+seer", {**toys.TWO_SPEEDS.policies, "seer": seer})
    assert (policy.information, policy.runs_on) == ("trace", "host")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flat-ot+busy", "did you mean flat-out"),
        ("flat-out", "nobody decides for boss"),
        ("flat-out+busy+busy", "more than one part decides for boss"),
        ("flat-out+busy[abov=1]", "no knob 'abov': its knobs are above (did you mean above?)"),
        ("flat-out[x=1]+busy", "it has none"),
        ("flat-out+busy[above=high]", "must be a number"),
        ("flat-out+busy[above=nan]", "must be a finite number"),
        ("flat-out+busy[above]", "write above=VALUE"),
        ("flat-out+busy[above=1", "write a name, or name[knob=value"),
        ("", "write a name"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused_in_one_line(crew, name, said):
    with pytest.raises(InputError) as refused:
        crew_policy(crew, name)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_exponent_in_a_knob_is_not_a_join(crew):
    assert crew_policy(crew, "flat-out+busy[above=1e+0]").params["above"].value == 1.0


def test_a_knob_needs_no_type_but_a_value():
    factories = {**toys.TWO_SPEEDS.policies, "lazy": lambda task, *, above=0.5: toys.busy(task, above=above), "strict": _strict}
    assert registry.policy(toys.TwoSpeeds(), "flat-out+lazy[above=0.7]", factories).params["above"].value == 0.7
    with pytest.raises(InputError, match=r"needs above: write strict\[above=VALUE\]"):
        registry.policy(toys.TwoSpeeds(), "flat-out+strict", factories)


def _strict(task, *, above: float):
    return toys.busy(task, above=above)


def test_knobs_of_the_same_name_are_told_apart():
    def eager(task, *, above: float = 0.0):
        return toys.flat_out(task)

    policy = registry.policy(toys.TwoSpeeds(), "eager[above=1]+busy[above=2]", {**toys.TWO_SPEEDS.policies, "eager": eager})
    assert {key: param.value for key, param in policy.params.items()} == {"eager.above": 1.0, "busy.above": 2.0}


def test_problems_are_found_by_name_and_by_module():
    assert "two-timescale" in registry.problems()
    assert registry.problem("two-timescale").scenario == "two-timescale/physical"
    assert registry.problem("toys:TRACK") is toys.TRACK
    with pytest.raises(InputError, match="did you mean two-timescale"):
        registry.problem("two-timescales")
    with pytest.raises(InputError, match="cannot be loaded"):
        registry.problem("no_such_module:PROBLEM")


class _Point:
    def __init__(self, name, target):
        self.name, self.target = name, target

    def load(self):
        return self.target


def test_third_parties_register_through_entry_points(monkeypatch):
    installed = {
        "edgetwin.problems": [_Point("toy-track", toys.TRACK)],
        "edgetwin.policies": [_Point("toy-track/half", lambda task: toys.follow(task, gain=0.5)), _Point("toy-assign/x", None)],
    }
    monkeypatch.setattr(registry, "entry_points", lambda group: installed[group])
    assert "toy-track" in registry.problems()
    task = registry.problem("toy-track").task(None)
    assert set(registry.factories(task)) == {"follow", "foresee", "half"}
    assert registry.policy(task, "half").name == "half"
