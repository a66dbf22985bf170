"""Faults to order: none changes nothing, each comes as often as asked, the same seed does the same."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.errors import InputError
from edgetwin.twin.devices import faults
from edgetwin.twin.devices.faults import Faults, arrivals, corrupted, parse_faults
from edgetwin.twin.kinds import checker, read_kinds
from edgetwin.twin.messages import Bad, Update, line_of, parse

COUNT = 20_000
UPDATE = Update("car-1", 5, 7, 1.7e9, {"x_m": 1.5, "y_m": -2.25, "speed_mps": 3.0})


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def within(count: int, rate: float, total: int) -> bool:
    """Whether a count is that of a binomial draw, to five standard deviations."""
    return abs(count - rate * total) <= 5 * (total * rate * (1 - rate)) ** 0.5


lines = st.lists(st.binary(min_size=2, max_size=60), max_size=30)


@given(lines, st.integers(0, 99))
def test_without_faults_all_is_as_it_was(sent, seed):
    none = Faults()
    assert arrivals(none, draw(seed), sent) == list(enumerate(sent))
    assert not faults.delays(none, draw(seed), 9).any()
    assert not faults.silences(none, draw(seed), 9).any()
    assert not np.any(faults.reboots(none, draw(seed), 9))
    assert not np.any(faults.clocks(none, draw(seed), 9))


@given(lines, st.integers(0, 99), st.tuples(*[st.sampled_from([0.0, 0.3, 1.0])] * 3))
def test_the_seed_decides_what_arrives_and_order_is_kept(sent, seed, rates):
    wrong = Faults(*rates[:2], corrupt=rates[2])
    found = arrivals(wrong, draw(seed), sent)
    assert found == arrivals(wrong, draw(seed), sent)
    places = [place for place, _ in found]
    assert places == sorted(places)
    assert all(places.count(place) <= 2 for place in places)
    if not wrong.corrupt:
        assert all(line == sent[place] for place, line in found)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_each_fault_comes_as_often_as_asked(rate):
    sent = [b"%d" % (10 + number) for number in range(COUNT)]
    assert within(COUNT - len(arrivals(Faults(loss=rate), draw(), sent)), rate, COUNT)
    assert within(len(arrivals(Faults(duplicate=rate), draw(), sent)) - COUNT, rate, COUNT)
    changed = [line for place, line in arrivals(Faults(corrupt=rate), draw(), sent) if line != sent[place]]
    assert within(len(changed), rate, COUNT)
    assert within(np.count_nonzero(faults.delays(Faults(reorder=rate), draw(), COUNT)), rate, COUNT)
    assert within(np.count_nonzero(faults.silences(Faults(silence=rate), draw(), COUNT)), rate, COUNT)
    assert within(np.count_nonzero(faults.clocks(Faults(skew=rate), draw(), COUNT)[0]), rate, COUNT)
    starts, loses = faults.reboots(Faults(reboot=rate), draw(), COUNT)
    assert within(starts.sum(), rate, COUNT)
    assert within(loses.sum(), rate * faults.REBOOT_LOSES, COUNT)
    assert not (loses & ~starts).any()


def test_faults_stay_within_their_bounds():
    all_ = Faults(*[1.0] * len(Faults._fields))
    assert set(faults.delays(all_, draw(), COUNT)) == set(range(1, faults.DELAY_MAX_SLOTS + 1))
    silences = faults.silences(all_, draw(), COUNT)
    assert (silences.min(), silences.max()) == faults.SILENCE_SLOTS
    offset_s, drift = faults.clocks(all_, draw(), COUNT)
    assert 59 < np.abs(offset_s).max() <= 60
    assert 99e-6 < np.abs(drift).max() <= 100e-6


@given(st.binary(min_size=2, max_size=200), st.integers(0, 999))
@settings(max_examples=300)
def test_a_damaged_line_differs_and_stays_one_line(line, seed):
    line = line.replace(b"\n", b"{").replace(b"\r", b"{")
    damaged = corrupted(draw(seed), line)
    assert damaged != line
    assert 1 <= len(damaged) <= len(line)
    assert b"\n" not in damaged
    assert b"\r" not in damaged
    if len(damaged) == len(line):
        assert sum((a ^ b).bit_count() for a, b in zip(line, damaged, strict=True)) <= 8


@given(st.integers(0, 10_000))
def test_no_damaged_message_is_taken_for_a_good_one(seed):
    with pytest.raises(Bad):
        parse(corrupted(draw(seed), line_of(UPDATE)))


def test_spoiled_messages_are_bad_in_just_the_way_they_say():
    check, generator = checker(read_kinds()["vehicle"]), draw()
    found = {}
    for _ in range(200):
        how, line = faults.spoiled(generator, UPDATE)
        with pytest.raises(Bad) as bad:
            check(parse(line), UPDATE.time_s)
        assert bad.value.reason == how
        found[how] = json.loads(line)
    assert set(found) == set(faults.BAD)
    assert all((one["device"], one["boot_id"], one["seq"]) == UPDATE[:3] for one in found.values())
    assert UPDATE.state == {"x_m": 1.5, "y_m": -2.25, "speed_mps": 3.0}


def test_faults_are_told_in_words():
    assert parse_faults([]) == Faults()
    assert parse_faults(["loss=0.01", "reboot=1"]) == Faults(loss=0.01, reboot=1.0)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("los=0.1", r"--fault los=0.1: there are loss, .*did you mean loss"),
        ("loss", "--fault loss: write it as loss=0.01"),
        ("loss=often", "--fault loss=often: write it"),
        ("loss=1.5", "a probability, from 0 to 1"),
        ("loss=nan", "a probability, from 0 to 1"),
    ],
)
def test_faults_without_sense_are_refused(word, said):
    with pytest.raises(InputError, match=said):
        parse_faults([word])
