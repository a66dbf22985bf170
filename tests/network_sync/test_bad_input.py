"""Every mistake gives one line that names what is wrong and what is allowed, and exit status 2."""

import os
import re

import pytest

import edgetwin
from edgetwin.cli import main
from edgetwin.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOAL = {"users.mobility": "goal-tracks", "network_sync.forecaster": "last"}
PARTIAL = {"network_sync.refresh": "partial", "network_sync.packet_users": 3}
ROW = [0.2] * 5

SETTINGS = {
    "no resource block": ({"network_sync.rb_count": 0}, r"network_sync\.rb_count = 0: must be .* 1"),
    "no slot": ({"network_sync.slots": 0}, r"network_sync\.slots = 0: must be .* 1"),
    "one state of history": ({"network_sync.history_slots": 1}, r"network_sync\.history_slots = 1: must be .* 2"),
    "weight above 1": ({"network_sync.rate_weight": 1.2}, r"network_sync\.rate_weight = 1\.2: must be less than or equal to 1"),
    "no power": ({"network_sync.tx_power_w": 0}, r"network_sync\.tx_power_w = 0: must be greater than 0"),
    "interference upside down": (
        {"network_sync.interference_w": [0.1, 0.01]},
        r"network_sync\.interference_w.*must not be above",
    ),
    "no such forecaster": ({"network_sync.forecaster": "oracle"}, r"network_sync\.forecaster = .*oracle.*drift"),
    "no such key": ({"network_sync.rbs": 6}, r"network_sync\.rbs"),
    "moves do not sum to one": (
        {"users.count": 2, "users.move_probability": [ROW, [0.1] * 5]},
        r"users\.move_probability.*user 1.*sum to 0\.5: must sum to 1",
    ),
    "a row of moves short": (
        {"users.count": 3, "users.move_probability": [ROW, ROW]},
        r"users\.move_probability = 2 rows: must have one for each of users\.count = 3",
    ),
    "four moves": ({"users.count": 1, "users.move_probability": [[0.25] * 4]}, r"users\.move_probability"),
    "short tracks": ({**GOAL, "users.track_duration_min_s": 34}, r"track_duration_min_s = 34: must be at least 35, the time of"),
    "packet_users where all are sent": (
        {"network_sync.packet_users": 3},
        r'network_sync\.packet_users = 3: goes with network_sync\.refresh = "partial"',
    ),
    "partial without packet_users": ({"network_sync.refresh": "partial"}, r"network_sync\.packet_users = None: goes with"),
    "more in a packet than users": ({**PARTIAL, "users.count": 2}, r"packet_users = 3: must not exceed users\.count = 2"),
    "movement of another problem": (
        {"users.mobility": "gauss-markov"},
        r'users\.mobility = "gauss-markov": with \[network_sync\]',
    ),
    "two base stations": ({"sites.count": 2}, r"sites\.count = 2: must be 1 with \[network_sync\]"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=list(SETTINGS))
def test_scenarios(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        edgetwin.scenario("network-sync/a", settings)
    assert "\n" not in str(caught.value)


def test_a_walk_where_another_problem_cannot_have_one():
    with pytest.raises(InputError, match=r'users\.mobility = "random-walk": with \[two_timescale\] must be gauss-markov'):
        edgetwin.scenario("two-timescale/physical", {"users.mobility": "random-walk"})


def test_a_two_timescale_network_needs_its_servers(tmp_path):
    file = tmp_path / "bare.toml"
    section = edgetwin.scenario("two-timescale/physical").two_timescale.model_dump()
    lines = [
        f"{key} = {str(value).replace('(', '[').replace(')', ']')!s}"
        for key, value in section.items()
        if not isinstance(value, str)
    ]
    lines += [f'{key} = "{value}"' for key, value in section.items() if isinstance(value, str)]
    sites = '[area]\nwidth_m = 100\n[sites]\ncount = 1\nlayout = "lloyd"\n[users]\ncount = 2\nmobility = "gauss-markov"\n'
    file.write_text(sites + "[two_timescale]\n" + "\n".join(lines))
    with pytest.raises(InputError, match=r"\[servers\] = none: \[two_timescale\] needs this section"):
        edgetwin.scenario(file)


def test_tasks_on_scenarios_of_other_problems():
    with pytest.raises(InputError, match=r"melbourne has no section \[network_sync\]"):
        edgetwin.task("network-sync", "melbourne")
    with pytest.raises(InputError, match="two_timescale"):
        edgetwin.task("two-timescale", "network-sync/a")


def test_a_deadline_that_no_block_can_meet():
    """Without fading the fastest link is known: D/c = .1/log2(1 + (1/800)/.00501) = .3105 s."""
    with pytest.raises(
        InputError, match=r"network_sync\.deadline_s = 0\.31: no resource block can meet it.* takes 0\.31"
    ) as caught:
        edgetwin.task("network-sync", edgetwin.scenario("network-sync/a", {"network_sync.deadline_s": 0.31}))
    assert "\n" not in str(caught.value)
    edgetwin.task("network-sync", edgetwin.scenario("network-sync/a", {"network_sync.deadline_s": 0.312}))
    edgetwin.task("network-sync", edgetwin.scenario("network-sync/a", {"network_sync.deadline_s": 0.1, **PARTIAL}))
    faded = {"network_sync.deadline_s": 0.31, "network_sync.fading": "rayleigh-user"}
    edgetwin.task("network-sync", edgetwin.scenario("network-sync/a", faded))


@pytest.mark.skipif("EDGETWIN_DATA" not in os.environ, reason="needs the GOAL tracks")
def test_the_printed_forecaster_needs_users_with_an_identity():
    with pytest.raises(InputError, match=r'network_sync\.forecaster = "gru-printed": needs users with an identity') as caught:
        edgetwin.task("network-sync", edgetwin.scenario("network-sync/tracks", {"network_sync.forecaster": "gru-printed"}))
    assert "\n" not in str(caught.value)


COMMANDS = {
    "no resource block": (["--set", "network_sync.rb_count=0"], r"network_sync\.rb_count = 0"),
    "deadline": (["--set", "network_sync.deadline_s=0.01"], r"network_sync\.deadline_s = 0\.01: no resource block can meet it"),
    "unknown knob": (["--policy", "periodic[q=3]"], r"'periodic' has no knob 'q': its knobs are k"),
    "period of 0": (["--policy", "periodic[k=0]"], r"k = 0: must be a whole number, at least 1"),
    "period of 2.5": (["--policy", "periodic[k=2.5]"], r"k = 2\.5: must be a whole number, at least 1"),
    "probability of 2": (["--policy", "random[p=2]"], r"p = 2: must lie between 0 and 1"),
    "error below 0": (["--policy", "error-threshold[s=-1]"], r"s = -1: must be at least 0"),
    "a rule without knobs": (["--policy", "never[k=1]"], r"'never' has no knob 'k': it has none"),
    "not a number": (["--policy", "periodic[k=often]"], r"k = often: must be a number"),
    "nan": (["--policy", "periodic[k=nan]"], r"k = nan: must be a finite number"),
    "misspelt": (["--policy", "indx"], r"did you mean index"),
    "optimum of partial packets": (
        ["--set", "network_sync.refresh=partial", "network_sync.packet_users=3", "--policy", "offline-optimum"],
        r'"offline-optimum": is known for network_sync\.refresh = "all" only',
    ),
    "programme of partial packets": (
        ["--set", "network_sync.refresh=partial", "network_sync.packet_users=3", "--policy", "causal"],
        r'"causal": needs network_sync\.refresh = "all"',
    ),
}


@pytest.mark.parametrize(("arguments", "message"), COMMANDS.values(), ids=list(COMMANDS))
def test_commands(capsys, arguments, message):
    rule = [] if "--policy" in arguments else ["--policy", "never"]
    status = main(["compare", "network-sync", *arguments, *rule])
    out, error = capsys.readouterr()
    assert (status, out) == (2, "")
    assert error.startswith("edgetwin: ") and error.count("\n") == 1
    assert re.search(message, error), error
