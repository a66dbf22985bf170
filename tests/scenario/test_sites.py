"""Sites: even layouts, the choice of real ones, the projection, and the faults of a site file."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.errors import InputError
from edgetwin.scenario import schema, sites

MELBOURNE = schema.Area(width_m=1000, centre_lat_deg=-37.8136, centre_lon_deg=144.9631)
real_data = pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="EDGETWIN_DATA is not set")


def mean_squared_distance(xy_m, width_m=1000.0):
    """From the middles of 25 m cells to the nearest site, m²."""
    middle = (np.arange(40) + 0.5) * width_m / 40
    points = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 1, 2)
    return ((points - xy_m) ** 2).sum(axis=2).min(axis=1).mean()


def test_five_sites_stand_where_the_frozen_instances_have_them():
    frozen = [[778.18, 221.82], [221.82, 221.82], [778.18, 778.18], [495.71, 504.29], [218.71, 781.29]]
    assert sites.lloyd(5, 1000.0).tolist() == frozen
    assert np.allclose(sites.lloyd(5, 500.0), np.array(frozen) / 2)


@pytest.mark.parametrize("count", [*range(1, 13), 30])
def test_a_lloyd_layout_has_each_site_amid_the_points_nearest_to_it(count):
    xy_m = sites.lloyd(count, 1000.0)
    assert xy_m.shape == (count, 2) and sites.within(xy_m, 1000.0).all()
    middle = (np.arange(200) + 0.5) * 5
    points = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
    nearest = ((points[:, None] - xy_m) ** 2).sum(axis=2).argmin(axis=1)
    means = np.array([points[nearest == site].mean(axis=0) for site in range(count)])
    assert np.hypot(*(means - xy_m).T).max() < 15
    assert np.array_equal(xy_m, sites.lloyd(count, 1000.0))


@real_data
@pytest.mark.parametrize("count", range(3, 9))
def test_layouts_equal_the_frozen_instances(count):
    frozen = json.loads((Path(os.environ["EDGETWIN_DATA"]) / "instances" / "two-timescale" / "sites.json").read_text())
    assert sites.lloyd(count, 1000.0).tolist() == frozen["sites_xy_m"][str(count)]


def test_known_layouts_of_one_and_two_sites():
    assert sites.lloyd(1, 1000.0).tolist() == [[500, 500]]
    assert mean_squared_distance(sites.lloyd(2, 1000.0)) == pytest.approx(1e6 * (1 / 12 + 1 / 48), rel=1e-3)


@pytest.mark.parametrize("seed", range(12))
def test_the_chosen_sites_are_the_best_of_all_choices(seed):
    rng = np.random.default_rng(seed)
    xy_m = rng.random((9, 2)) * 1000
    for count in range(1, 10):
        chosen = sites.best_spread(xy_m, count, 1000.0)
        best = min(mean_squared_distance(xy_m[list(choice)]) for choice in itertools.combinations(range(9), count))
        assert mean_squared_distance(xy_m[chosen]) == pytest.approx(best)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.data())
def test_no_swap_and_no_random_choice_beats_the_chosen_sites(seed, total, data):
    count = data.draw(st.integers(1, total))
    rng = np.random.default_rng(seed)
    xy_m = rng.random((total, 2)) * 1000
    chosen = sites.best_spread(xy_m, count, 1000.0)
    assert len(set(chosen)) == count and (np.diff(chosen) > 0).all()
    value = mean_squared_distance(xy_m[chosen]) * (1 - 1e-6)
    assert value <= mean_squared_distance(xy_m[rng.choice(total, count, replace=False)])
    leaves, enters = rng.choice(chosen), rng.integers(total)
    assert value <= mean_squared_distance(xy_m[[*(site for site in chosen if site != leaves), enters]])


def test_ties_go_to_the_lower_index():
    corners = np.array([[0, 0], [1000, 0], [0, 1000], [1000, 1000], [0, 0]], dtype=float)
    assert sites.best_spread(corners, 1, 1000.0).tolist() == [0]
    assert sites.best_spread(corners, 4, 1000.0).tolist() == [0, 1, 2, 3]


@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_projection_and_its_inverse_agree(centre_lat_deg, centre_lon_deg, x_m, y_m):
    centre = (centre_lat_deg, centre_lon_deg, 1000.0)
    lat_deg, lon_deg = sites.unproject(x_m, y_m, *centre)
    assert abs(lat_deg) <= 90 and abs(lon_deg) <= 180
    assert np.allclose(sites.project(lat_deg, lon_deg, *centre), (x_m, y_m), atol=1e-5)


def test_the_centre_is_the_middle_and_a_degree_of_latitude_is_111_km():
    assert np.allclose(sites.project(-37.8136, 144.9631, -37.8136, 144.9631, 1000.0), 500)
    x_m, y_m = sites.project(1.0, 0.0, 0.0, 0.0, 0.0)
    assert x_m == 0 and y_m == pytest.approx(111_195, abs=1)


def read(tmp_path, text, area=MELBOURNE):
    (tmp_path / "sites.csv").write_text(text)
    return sites.read_sites(tmp_path / "sites.csv", area)


def test_a_site_file_is_read_whole(tmp_path):
    found = read(tmp_path, "\ufeffid, x_m, y_m, server, cpu_hz, capacity\na,1,2,true,1e9,3\n\nb,3.5,4,No,,\n")
    assert found.ids == ("a", "b")
    assert found.xy_m.tolist() == [[1, 2], [3.5, 4]]
    assert found.server.tolist() == [True, False]
    assert found.cpu_hz[0] == 1e9 and np.isnan(found.cpu_hz[1])


def test_latitude_and_longitude_are_projected(tmp_path):
    assert np.allclose(read(tmp_path, "id,lat,lon\na,-37.8136,144.9631\n").xy_m, 500)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["sites.csv", "empty"]),
        ("id,x_m,y_m\n", ["sites.csv", "empty"]),
        ("id,x_m,y_m,colour\na,1,2,red\n", ["line 1", "colour", "capacity"]),
        ("id,x_m,y_m,servers\na,1,2,1\n", ["line 1", "did you mean server?"]),
        ("id,x_m,x_m\na,1,2\n", ["line 1", "x_m", "twice"]),
        ("x_m,y_m\n1,2\n", ["line 1", "column id is missing"]),
        ("id,x_m\na,1\n", ["line 1", "lat,lon or x_m,y_m"]),
        ("id,x_m,y_m,lat,lon\na,1,2,3,4\n", ["line 1", "either lat,lon or x_m,y_m"]),
        ("id;x_m;y_m\na;1;2\n", ["line 1", "id;x_m;y_m", "id,lat"]),
        ("id,x_m,y_m\na,1,2\nb,1\n", ["line 3", "2 values for 3 columns"]),
        ("id,x_m,y_m\na,1,2\n,1,2\n", ["line 3", 'id = ""', "must not be empty"]),
        ("id,x_m,y_m\na,1,2\nb,1,2\na,3,4\n", ["line 4", 'id = "a"', "line 2"]),
        ("id,x_m,y_m\na,1,2\n\nb,nan,2\n", ["line 4", 'x_m = "nan"', "finite number"]),
        ("id,x_m,y_m\na,1,east\n", ["line 2", 'y_m = "east"', "finite number"]),
        ("id,x_m,y_m\na,1,\n", ["line 2", 'y_m = ""', "finite number"]),
        ("id,lat,lon\na,-97.8,144.9\n", ["line 2", 'lat = "-97.8"', "-90 to 90"]),
        ("id,lat,lon\na,-37.8,444.9\n", ["line 2", 'lon = "444.9"', "-180 to 180"]),
        ("id,lat,lon\na,-37.8,144.9\nb,144.9631,-37.8136\n", ["line 3", "swapped"]),
        ("id,x_m,y_m,server\na,1,2,maybe\n", ["line 2", 'server = "maybe"', "true or false"]),
        ("id,x_m,y_m,cpu_hz\na,1,2,0\n", ["line 2", 'cpu_hz = "0"', "finite number"]),
        ("id,x_m,y_m,capacity\na,1,2,2.5\n", ["line 2", 'capacity = "2.5"', "whole number"]),
    ],
)
def test_a_faulty_site_file_is_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in ["sites.csv", *words]), message


def test_swapped_coordinates_are_seen_where_both_are_latitudes(tmp_path):
    paris = schema.Area(width_m=1000, centre_lat_deg=48.8566, centre_lon_deg=2.3522)
    with pytest.raises(InputError, match="swapped"):
        read(tmp_path, "id,lat,lon\na,2.3522,48.8566\n", paris)


def test_a_site_outside_is_not_called_swapped_where_latitude_and_longitude_are_alike(tmp_path):
    diagonal = schema.Area(width_m=1000, centre_lat_deg=45, centre_lon_deg=45)
    assert read(tmp_path, "id,lat,lon\na,45.006,45.001\n", diagonal).xy_m[0, 1] > 1000


def test_latitude_and_longitude_need_a_centre(tmp_path):
    with pytest.raises(InputError, match=r"area\.centre_lat_deg"):
        read(tmp_path, "id,lat,lon\na,-37.8,144.9\n", schema.Area(width_m=1000))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        sites.read_sites(tmp_path / "none.csv", MELBOURNE)
    (tmp_path / "binary.csv").write_bytes(b"id,x_m,y_m\n\xff\xfe,1,2\n")
    with pytest.raises(InputError, match="UTF-8"):
        sites.read_sites(tmp_path / "binary.csv", MELBOURNE)


def test_sites_outside_the_square_are_left_out(tmp_path):
    (tmp_path / "sites.csv").write_text("id,x_m,y_m\nfar,-1,5\na,0,0\nb,1000,1000\nup,5,1001\n")
    file = str(tmp_path / "sites.csv")
    assert sites.candidates(schema.Sites(count=2, layout="file", file=file), MELBOURNE).ids == ("a", "b")
    with pytest.raises(InputError, match=r"sites\.count = 3: only 2 of the 4 sites in .*sites\.csv"):
        sites.candidates(schema.Sites(count=3, layout="file", file=file), MELBOURNE)


@real_data
def test_the_optus_sites_of_melbourne():
    found = sites.optus_sites(MELBOURNE)
    assert len(found.ids) == 125 and "10003026" in found.ids
    apart_m = np.hypot(*(found.xy_m[:, None] - found.xy_m).T)
    np.fill_diagonal(apart_m, np.inf)
    assert np.median(apart_m.min(axis=0)) == pytest.approx(43, abs=1)
    assert sites.within(found.xy_m, 1000.0).sum() == 58
