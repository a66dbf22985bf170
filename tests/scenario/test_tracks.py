"""Tracks: arrays to interpolate in, how tracks are cut, facts about the GOAL tracks, and the faults of a track file."""

import os

import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.scenario import schema, tracks

AREA = schema.Area(width_m=1000, centre_lat_deg=-37.8136, centre_lon_deg=144.9631)
real_data = pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="EDGETWIN_DATA is not set")


def users(**limits):
    return schema.Users(count=1, mobility="goal-tracks", **limits)


def read(tmp_path, text, **limits):
    (tmp_path / "tracks.csv").write_text(text)
    return tracks.csv_tracks(tmp_path / "tracks.csv", users(**limits), AREA)


def rows(name, times_s, x_m, y_m=500.0):
    return "".join(f"{name},{time_s},{x},{y_m}\n" for time_s, x in zip(times_s, x_m, strict=True))


def check_arrays(found):
    """What a consumer that interpolates relies on."""
    fixes = np.isfinite(found.time_s)
    assert (found.time_s[:, 0] == 0).all() and (np.diff(np.where(fixes, found.time_s, 1e18)) >= 0).all()
    assert all((np.diff(time_s[known]) > 0).all() for time_s, known in zip(found.time_s, fixes, strict=True))
    assert (np.where(fixes, found.time_s, 0).max(axis=1) == found.duration_s).all()
    assert np.isfinite(found.xy_m).all()
    last = fixes.sum(axis=1) - 1
    for track in range(len(found.ids)):
        assert np.allclose(found.xy_m[track, : last[track] + 1].mean(axis=0), 0, atol=1e-6)
        assert (found.xy_m[track, last[track] :] == found.xy_m[track, last[track]]).all()


def test_own_tracks_keep_their_shape_times_and_place(tmp_path):
    text = rows("b", [100, 120, 140, 160], [10, 20, 30, 40]) + rows("a", [0, 30, 60], [900, 900, 600])
    found = read(tmp_path, "id,time_s,x_m,y_m\n" + text)
    check_arrays(found)
    assert found.ids == ("b", "a")
    assert found.time_s.tolist() == [[0, 20, 40, 60], [0, 30, 60, np.inf]]
    assert found.duration_s.tolist() == [60, 60]
    assert found.place_m.tolist() == [[25, 500], [800, 500]]
    assert (found.xy_m + found.place_m[:, None])[:, :, 0].tolist() == [[10, 20, 30, 40], [900, 900, 600, 600]]


def test_rows_of_different_tracks_may_mingle(tmp_path):
    apart = rows("a", [0, 30, 60], [1, 2, 3]) + rows("b", [0, 30, 60], [7, 8, 9])
    mingled = "".join(
        first + second for first, second in zip(apart.splitlines(True)[:3], apart.splitlines(True)[3:], strict=True)
    )
    one, other = (read(tmp_path, "id,time_s,x_m,y_m\n" + text) for text in (apart, mingled))
    assert one.ids == other.ids and all(np.array_equal(mine, theirs) for mine, theirs in zip(one[1:], other[1:], strict=True))


def test_a_gap_splits_a_track_and_short_pieces_go(tmp_path):
    times_s = [0, 30, 60, 90.5, 100, 200, 230, 260]
    found = read(tmp_path, "id,time_s,x_m,y_m\n" + rows("a", times_s, range(8)))
    check_arrays(found)
    assert found.ids == ("a.1", "a.3") and found.duration_s.tolist() == [60, 60]
    whole = read(tmp_path, "id,time_s,x_m,y_m\n" + rows("a", times_s, range(8)), track_gap_max_s=100)
    assert whole.ids == ("a",) and whole.duration_s.tolist() == [260]


def test_a_track_that_spans_too_much_is_left_out(tmp_path):
    text = "id,time_s,x_m,y_m\n" + rows("far", [0, 30, 60], [0, 300, 600]) + rows("near", [0, 30, 60], [0, 200, 400])
    assert read(tmp_path, text, track_span_max_m=500).ids == ("near",)
    assert read(tmp_path, text, track_span_max_m=600).ids == ("far", "near")
    with pytest.raises(InputError, match=r"none both"):
        read(tmp_path, text, track_span_max_m=100)


def test_a_track_outside_the_square_is_left_out(tmp_path):
    text = "id,time_s,x_m,y_m\n" + rows("out", [0, 30, 60], [1100, 1200, 1300]) + rows("in", [0, 30, 60], [900, 950, 1010])
    assert read(tmp_path, text).ids == ("in",)
    with pytest.raises(InputError, match=r"tracks\.csv: none of its 1 tracks .* area\.width_m = 1000"):
        read(tmp_path, "id,time_s,x_m,y_m\n" + rows("out", [0, 30, 60], [1100, 1200, 1300]))


def test_latitude_and_longitude_are_projected(tmp_path):
    found = read(tmp_path, "id,time_s,lat,lon\n" + "".join(f"a,{time_s},-37.8136,144.9631\n" for time_s in (0, 30, 60)))
    assert np.allclose(found.place_m, 500) and np.allclose(found.xy_m, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("id,time_s,x_m,y_m\n", ["empty"]),
        ("id,x_m,y_m\na,1,2\n", ["line 1", "column time_s is missing"]),
        ("id,time_s,x_m,y_m,speed\na,0,1,2,3\n", ["line 1", "'speed'", "allowed"]),
        ("id,time_s,x_m,y_m\na,0,1,2\na,noon,1,2\n", ["line 3", 'time_s = "noon"', "finite number"]),
        ("id,time_s,x_m,y_m\na,0,1,2\na,5,1,nan\n", ["line 3", 'y_m = "nan"', "finite number"]),
        ("id,time_s,x_m,y_m\na,0,1,2\na,5,inf,2\n", ["line 3", 'x_m = "inf"', "finite number"]),
        ("id,time_s,x_m,y_m\na,0,1,2\nb,9,1,2\na,5,1,2\na,4,1,2\n", ["line 5", 'time_s = "4"', "later than", "line 4"]),
        ("id,time_s,x_m,y_m\na,0,1,2\na,0,1,2\n", ["line 3", 'time_s = "0"', "later than", "line 2"]),
        ("id,time_s,x_m,y_m\na,0,1,2\na,5,1,2\n", ["of 1 pieces", "users.track_duration_min_s = 60"]),
    ],
)
def test_a_faulty_track_file_is_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in ["tracks.csv", *words]), message


@real_data
def test_the_goal_tracks_in_pieces():
    found = tracks.goal_tracks(users(track_span_max_m=1e6))
    check_arrays(found)
    assert len(found.ids) == 932 and found.place_m is None
    assert len({name.partition(".")[0] for name in found.ids}) == 805
    fixes = np.isfinite(found.time_s)
    gap_s = np.diff(np.where(fixes, found.time_s, np.nan))
    speed_mps = np.hypot(*np.moveaxis(np.diff(found.xy_m, axis=1), 2, 0)) / gap_s
    assert np.nanmax(gap_s) <= 30 and np.nanmin(gap_s) > 0
    assert np.nanmax(speed_mps) == pytest.approx(54.26, abs=0.01)
    assert len(tracks.goal_tracks(users(track_span_max_m=1e6, track_duration_min_s=180)).ids) == 798


@real_data
def test_the_goal_tracks_that_fit_the_melbourne_square():
    found = tracks.goal_tracks(users())
    assert len(found.ids) == 814
    assert np.ptp(found.xy_m, axis=1).max() <= 1000 and found.duration_s.min() >= 60
    assert found.ids == tracks.goal_tracks(users()).ids


@real_data
def test_goal_tracks_under_impossible_limits_are_refused():
    with pytest.raises(InputError, match=r"goal/trajectories\.zip: no track to use: of 1075 pieces"):
        tracks.goal_tracks(users(track_duration_min_s=1e5))
