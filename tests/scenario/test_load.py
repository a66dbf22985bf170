"""Scenarios: what is built in, what a file may say, and that every mistake is answered in one line that helps."""

from importlib import import_module

import pytest

from edgetwin.errors import InputError

sc = import_module("edgetwin.scenario")


def refusal(call, *args):
    """The one line with which a call refuses its input."""
    with pytest.raises(InputError) as caught:
        call(*args)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def leaves(scenario):
    """Every dotted key of a loaded scenario's sections, defaults included."""
    sections = {key: value for key, value in scenario.model_dump().items() if isinstance(value, dict) and key != "sources"}
    return {f"{section}.{field}" for section, values in sections.items() for field in values}


@pytest.mark.parametrize("name", sc.names())
def test_every_value_of_a_preset_has_a_source_and_no_source_is_idle(name):
    scenario = sc.scenario(name)
    assert set(scenario.sources) == leaves(scenario)
    assert all(scenario.sources.values())
    assert scenario.name == name


def test_presets_are_found_and_differ():
    assert {"melbourne", "two-timescale/physical", "two-timescale/paper-literal"} <= set(sc.names())
    assert len({sc.digest(sc.scenario(name)) for name in sc.names()}) == len(sc.names())


def test_table_one_of_the_two_timescale_paper():
    scenario = sc.scenario("two-timescale/physical")
    radio = scenario.two_timescale
    assert (scenario.users.count, scenario.sites.count, scenario.area.width_m) == (30, 5, 1000)
    assert (radio.bandwidth_hz, radio.tx_power_max_w, radio.noise_power_w, radio.reference_gain) == (10e6, 0.5, 1e-9, 1e-3)
    assert (radio.slot_s, radio.frame_slots, radio.frames) == (0.05, 100, 50)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("users.count", 0, ["users.count = 0", "at least 1 user"]),
        ("users.count", 2.5, ["users.count = 2.5", "whole number"]),
        ("users.count", "20", ['users.count = "20"', "must be a number"]),
        ("users.count", True, ["users.count = true", "must be a number"]),
        ("users.cuont", 5, ["users.cuont = 5", "users.count"]),
        ("usrs.count", 5, ["usrs.count = 5", "users.count"]),
        ("users.shoe_size", 5, ["users.shoe_size = 5", "count, mobility"]),
        ("bandwidth_hz", 5, ["bandwidth_hz = 5", "two_timescale.bandwidth_hz"]),
        ("two_timescale.bandwidth_mhz", 10, ["two_timescale.bandwidth_mhz = 10", "two_timescale.bandwidth_hz"]),
        ("two_timescale.bandwidth_hz", -1e6, ["two_timescale.bandwidth_hz = -1000000.0", "greater than 0"]),
        ("two_timescale.bandwidth_hz", float("nan"), ["two_timescale.bandwidth_hz = NaN", "must be"]),
        ("two_timescale.noise_power_w", float("inf"), ["two_timescale.noise_power_w = Infinity", "finite"]),
        ("two_timescale.latency_limit_s", 0.06, ["two_timescale.latency_limit_s = 0.06", "two_timescale.slot_s = 0.05"]),
        ("two_timescale.migration_slots", 100, ["two_timescale.migration_slots = 100", "two_timescale.frame_slots = 100"]),
        ("two_timescale.data_bits", [25e3, 15e3], ["two_timescale.data_bits = [25000.0, 15000.0]", "must not be above"]),
        ("two_timescale.data_bits", [15e3], ["two_timescale.data_bits = [15000.0]", "two numbers"]),
        ("two_timescale.data_bits", 15e3, ["two_timescale.data_bits = 15000.0", "two numbers"]),
        ("two_timescale.request_probability", 1.2, ["two_timescale.request_probability = 1.2", "equal to 1"]),
        ("two_timescale.interference", "none", ['two_timescale.interference = "none"', "'physical' or 'literal'"]),
        ("servers.count", "every", ['servers.count = "every"', "whole number", '"all"']),
        ("servers.count", 6, ["servers.count = 6", "sites.count = 5"]),
        ("area.centre_lat_deg", 144.96, ["area.centre_lat_deg = 144.96", "90"]),
        ("sites.layout", "file", ['sites.layout = "file"', "sites.file"]),
        ("users.file", "tracks.csv", ['users.file = "tracks.csv"', 'users.mobility = "file"']),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(key, value, words):
    message = refusal(sc.scenario, "two-timescale/physical", {key: value})
    assert all(word in message for word in words), message
    assert refusal(sc.replace, sc.scenario("two-timescale/physical"), {key: value}) == message


def test_settings_change_values_sources_and_digest_but_not_the_original():
    base = sc.scenario("two-timescale/physical")
    changed = sc.replace(base, {"users.count": 20})
    assert (base.users.count, changed.users.count, changed.sources["users.count"]) == (30, 20, "set by the user")
    assert sc.digest(changed) == sc.digest(sc.scenario("two-timescale/physical", {"users.count": 20})) != sc.digest(base)


def test_the_digest_ignores_words_about_the_scenario():
    base = sc.scenario("two-timescale/physical")
    assert sc.digest(base) == sc.digest(base.model_copy(update={"name": "x", "notes": ("y",), "sources": {}}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("users.count=20", ("users.count", 20)),
        (" users.count = 20 ", ("users.count", 20)),
        ("two_timescale.data_bits=[1e3, 2e3]", ("two_timescale.data_bits", [1e3, 2e3])),
        ("servers.count=all", ("servers.count", "all")),
        ("sites.file=a=b.csv", ("sites.file", "a=b.csv")),
    ],
)
def test_settings_are_read_from_text(text, expected):
    assert sc.parse_setting(text) == expected


@pytest.mark.parametrize("text", ["users.count", "=3", ""])
def test_a_setting_without_key_or_value_is_refused(text):
    assert "key=value" in refusal(sc.parse_setting, text)


def test_an_unknown_scenario_names_those_there_are():
    message = refusal(sc.scenario, "melborne")
    assert "did you mean melbourne?" in message and "two-timescale/physical" in message


def test_a_file_extends_a_preset_and_says_so(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "melbourne"\n[users]\ncount = 12\n[sources]\n"users.count" = "our fleet"\n')
    scenario = sc.scenario(tmp_path / "mine.toml")
    assert (scenario.name, scenario.users.count, scenario.sites.count) == ("mine", 12, 8)
    assert scenario.sources["users.count"] == "our fleet"
    assert set(scenario.sources) == leaves(scenario)


def test_files_and_parents_are_found_from_the_file_that_names_them(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "base.toml").write_text('extends = "melbourne"\n[sites]\nlayout = "file"\nfile = "sites.csv"\n')
    (tmp_path / "below" / "mine.toml").write_text('extends = "../base.toml"\n[users]\nmobility = "file"\nfile = "tracks.csv"\n')
    monkeypatch.chdir(tmp_path)
    for name in ("below/mine.toml", tmp_path / "below" / "mine.toml"):
        scenario = sc.scenario(name)
        assert (tmp_path / scenario.sites.file).resolve() == (tmp_path / "sites.csv").resolve()
        assert (tmp_path / scenario.users.file).resolve() == (tmp_path / "below" / "tracks.csv").resolve()


def test_a_file_on_its_own_needs_no_parent_and_names_its_defaults(tmp_path):
    (tmp_path / "own.toml").write_text(
        '\ufeff[area]\nwidth_m = 500\n[sites]\ncount = 2\nlayout = "lloyd"\n[users]\ncount = 3\nmobility = "gauss-markov"\n'
        '[servers]\ncount = "all"\ncpu_hz = 1e9\n[backhaul]\nlink_rate_bps = 1e6\n',
        encoding="utf-8",
    )
    scenario = sc.scenario(tmp_path / "own.toml")
    assert scenario.two_timescale is None
    assert (scenario.sources["users.count"], scenario.sources["users.speed_memory"]) == ("file own.toml", "default")
    assert set(scenario.sources) == leaves(scenario)
    assert "[two_timescale]" in refusal(sc.replace, scenario, {"two_timescale.frames": 3})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["area, sites, users: missing", "extends"]),
        ("x = ", ["not valid TOML"]),
        ('extends = "mine.toml"', ["extends itself"]),
        ('extends = "melborne"', ["melborne", "did you mean melbourne?"]),
        ("extends = 3", ["extends = 3"]),
        ('extends = "melbourne"\nusers = 3', ["users = 3", "section"]),
        ('extends = "melbourne"\nsources = 3', ["sources = 3", "section"]),
        ('extends = "melbourne"\n[user]\ncount = 3', ["user = ", "did you mean users?"]),
        ('extends = "melbourne"\n"a\\nb" = 3', ["a b = 3", "not a setting"]),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    message = refusal(sc.scenario, "mine.toml")
    assert all(word in message for word in words), message


def test_a_missing_file_is_refused(tmp_path):
    assert "cannot be read" in refusal(sc.scenario, tmp_path / "none.toml")
