"""The fleet that `emulate` moves: as each scenario says, at any time, the same for the same seed."""

import os

import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.scenario import scenario
from edgetwin.twin.devices.fleet import Fleet, slot_s

needs_data = pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="reads data sets: EDGETWIN_DATA is not set")
MODELLED = ["two-timescale/physical", "association/n100-m10", "network-sync/a"]
RECORDED = [pytest.param(name, marks=needs_data) for name in ("melbourne", "network-sync/tracks", "sf-taxis")]


@pytest.mark.parametrize("name", MODELLED + RECORDED)
def test_a_fleet_moves_as_its_speed_and_heading_say(name):
    chosen = scenario(name)
    fleet = Fleet(chosen, 40, seed=5)
    step_s = slot_s(chosen) / 4
    motions = [fleet.at(n * step_s) for n in range(40)]
    moved = 0.0
    for before, after in zip(motions, motions[1:], strict=False):
        assert before.position_m.shape == (40, 2)
        heading = np.stack([np.cos(before.heading_rad), np.sin(before.heading_rad)], axis=1)
        expected = before.position_m + step_s * before.speed_mps[:, None] * heading
        assert after.position_m == pytest.approx(expected, abs=1e-6)
        moved += np.abs(after.position_m - before.position_m).sum()
    assert moved > 1


@pytest.mark.parametrize("name", ["two-timescale/physical", "association/n100-m10"])
def test_who_has_walls_stays_within(name):
    chosen = scenario(name)
    fleet = Fleet(chosen, 300, seed=0)
    places = np.concatenate([fleet.at(n * slot_s(chosen)).position_m for n in range(300)])
    assert places.min() >= 0
    assert places.max() <= chosen.area.width_m
    assert np.ptp(places, axis=0) == pytest.approx(chosen.area.width_m, rel=0.1)


def test_random_walks_take_whole_steps_along_the_axes():
    chosen = scenario("network-sync/a")
    fleet = Fleet(chosen, 50, seed=1)
    places = np.stack([fleet.at(float(n) * slot_s(chosen)).position_m for n in range(60)])
    steps = np.abs(np.diff(places, axis=0)) / chosen.users.step_m
    assert np.isclose(steps, steps.round(), atol=1e-3).all()
    assert set(np.unique(steps.round().sum(axis=2))) == {0.0, 1.0}


def test_a_persistent_walk_turns_more_rarely():
    def turns(mobility):
        fleet = Fleet(
            scenario("network-sync/a", {"users.mobility": mobility, "users.dominant_probability": [0.2, 0.2]}), 100, seed=2
        )
        places = np.stack([fleet.at(float(n) * fleet.slot_s).position_m for n in range(100)])
        steps = np.diff(places, axis=0).round()
        return (steps[1:] != steps[:-1]).any(axis=2).mean()

    assert turns("random-walk") == pytest.approx(0.8, abs=0.03)
    assert turns("persistent-walk") == pytest.approx(0.2 * 0.8, abs=0.03)


def test_the_seed_decides():
    chosen = scenario("two-timescale/physical")
    first, again, other = (Fleet(chosen, 10, seed).at(3.21).position_m for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@needs_data
def test_more_taxis_than_the_day_has_are_refused():
    with pytest.raises(InputError, match=r"users.count = 537: the day has 536 taxis"):
        Fleet(scenario("sf-taxis"), 537, seed=0)
