"""Every mistake in an engineer's files is one line with what is wrong and what to change, status 2, and nothing is written."""

import pytest

from edgetwin.cli import main

SITES = "id,lat,lon,server,capacity,region\na,50.00,8.00,yes,2,n\nb,50.01,8.01,yes,2,s\nc,50.02,8.00,no,,s\n"
USERS = "id,lat,lon,data_mbit,pin,region,apart\nu,50.001,8.001,20,,,\nv,50.011,8.011,20,,,\n"


def sites(*rows, header="id,lat,lon,server,capacity,region"):
    return "\n".join([header, *rows]) + "\n"


def users(*rows, header="id,lat,lon,data_mbit,pin,region,apart"):
    return "\n".join([header, *rows]) + "\n"


FIVE = users(*(f"u{n},50,8,20,,," for n in range(5)))
MISTAKES = {
    "more users than room": (SITES, FIVE, "5 users and room for 4 twins on 2 servers", "raise capacities by 1"),
    "site twice": (sites("a,50,8,yes,2,", "a,50,8.1,yes,2,"), USERS, 'sites.csv, line 3: id = "a"', "line 2 has it too"),
    "user twice": (SITES, USERS + "u,50,8,20,,,\n", 'users.csv, line 4: id = "u"', "line 2 has it too"),
    "a swapped user": (
        SITES,
        USERS + "w,8.0,50.0,20,,,\n",
        'users.csv, line 4: lat = "8.0": with lon = "50.0" looks swapped',
        "",
    ),
    "a swapped site": (
        SITES + "d,8.0,50.0,yes,2,\n",
        USERS,
        'sites.csv, line 5: lat = "8.0": with lon = "50.0" looks swapped',
        "",
    ),
    "the first site swapped": (
        sites("c,8,49.9,yes,2,", "a,50,8,yes,2,", "b,50,8.01,yes,2,"),
        USERS,
        'sites.csv, line 2: lat = "8": with lon = "49.9" looks swapped',
        "",
    ),
    "one of two sites swapped": (
        sites("a,50,8,yes,2,", "b,8.01,50.01,yes,2,"),
        USERS,
        "sites.csv, line 3: lat",
        "looks swapped",
    ),
    "latitude beyond the pole, swapped": (
        sites("a,144.96,-37.81,yes,2,", "b,-37.81,144.97,yes,2,"),
        USERS,
        "sites.csv, line 2: lat",
        "looks swapped",
    ),
    "latitude beyond the pole": (SITES, USERS + "w,95,8,20,,,\n", 'users.csv, line 4: lat = "95"', "looks swapped"),
    "latitude and longitude beyond": (SITES, USERS + "w,95,181,20,,,\n", 'users.csv, line 4: lat = "95"', "from -90 to 90"),
    "far away": (
        SITES,
        USERS + "w,52,8,20,,,\n",
        'users.csv, line 4: lat = "52"',
        "km from the middle of the sites: must be within 100",
    ),
    "all users or all sites swapped": (
        SITES,
        users("u,8,50,20,,,", "v,8.1,50,20,,,"),
        "users.csv, line 2: lat",
        "so do all 2 rows",
    ),
    "metres far away": (
        "id,x_m,y_m\na,0,0\nb,500,0\n",
        "id,x_m,y_m\nu,0,900000\n",
        'users.csv, line 2: x_m = "0": with y_m = "900000" is 900 km',
        "within 100 km",
    ),
    "degrees and metres": (SITES, "id,x_m,y_m\nu,0,0\n", "users.csv, line 1: has x_m,y_m, but", "sites.csv has lat,lon"),
    "no position": (SITES, "id\nu\n", "users.csv, line 1", "needs either lat,lon or x_m,y_m"),
    "empty sites": ("", USERS, "sites.csv: is empty", "names the columns"),
    "no user": (SITES, users(), "users.csv: is empty", "at least one row"),
    "unknown column": (SITES, "id,lat,lon,data\nu,50,8,1\n", "users.csv, line 1: unknown column 'data'", "data_mbit"),
    "a column of sites misspelt": ("id,lat,lon,servers\na,50,8,yes\n", USERS, "unknown column 'servers'", "did you mean server?"),
    "unknown server": (SITES, USERS + "w,50,8,20,bb,,\n", 'users.csv, line 4: pin = "bb": is no server', "did you mean b?"),
    "pinned to a site without server": (
        SITES,
        USERS + "w,50,8,20,c,,\n",
        'line 4: pin = "c"',
        "that site has no server: pin to one that has",
    ),
    "pins beyond the capacity": (
        SITES,
        users("u,50,8,20,a,,", "v,50,8,20,a,,", "w,50,8,20,a,,"),
        "server a: 3 users may live nowhere else (u, v, w) and it has room for 2",
        "raise its capacity to 3",
    ),
    "pinned outside its region": (
        SITES,
        USERS + "w,50,8,20,a,s,\n",
        'line 4: pin = "a": is in region n',
        "change its pin or its region",
    ),
    "unknown region": (
        SITES,
        USERS + "w,50,8,20,,n;west,\n",
        "line 4: region = \"n;west\": no site is in 'west'",
        "there are n, s",
    ),
    "sites without regions": ("id,lat,lon\na,50,8\n", USERS + "w,50,8,20,,n,\n", "no site has a region", "add the column region"),
    "a group larger than the servers": (
        SITES,
        users(*(f"u{n},50,8,20,,,g" for n in range(3))),
        "users u0, u1, u2 are to be kept apart, and only 2 servers",
        "shorten the group",
    ),
    "a group pinned together": (
        SITES,
        users("u,50,8,20,a,,g", "v,50,8,20,a,,g"),
        "users u, v are to be kept apart",
        "shorten the group or allow more servers",
    ),
    "no server": (sites("a,50,8,no,2,"), USERS, "sites.csv: no site has a server", "set server = true"),
    "negative data": (SITES, USERS + "w,50,8,-3,,,\n", 'users.csv, line 4: data_mbit = "-3"', "from 1e-06"),
    "no data": (SITES, USERS + "w,50,8,0,,,\n", 'users.csv, line 4: data_mbit = "0"', "from 1e-06"),
    "not a number": (SITES, USERS + "w,50,8,nan,,,\n", 'users.csv, line 4: data_mbit = "nan"', "finite number"),
    "infinite position": (SITES, USERS + "w,inf,8,1,,,\n", 'users.csv, line 4: lat = "inf"', "finite number"),
    "negative limit": (SITES, "id,lat,lon,latency_limit_s\nu,50,8,-1\n", 'latency_limit_s = "-1"', "from 1e-06"),
    "half a twin": (sites("a,50,8,yes,1.5,"), USERS, 'sites.csv, line 2: capacity = "1.5"', "whole number"),
    "negative capacity": (sites("a,50,8,yes,-1,"), USERS, 'sites.csv, line 2: capacity = "-1"', "from 1"),
    "a server that is neither": (sites("a,50,8,perhaps,1,"), USERS, 'server = "perhaps"', "true or false"),
    "values and columns differ": (SITES, USERS + "w,50,8\n", "users.csv, line 4: 3 values for 7 columns", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(capsys, tmp_path, mistake):
    site_text, user_text, *said = MISTAKES[mistake]
    (tmp_path / "sites.csv").write_text(site_text)
    (tmp_path / "users.csv").write_text(user_text)
    status = main(["place", str(tmp_path / "sites.csv"), str(tmp_path / "users.csv"), "--out", str(tmp_path / "new" / "plan")])
    out, error = capsys.readouterr()
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert all(words in error for words in said), error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sites.csv", "users.csv"]


OPTIONS = {
    "unknown policy": (["--policy", "optimal"], "optimal"),
    "unknown limits": (["--limits", "firm"], "firm"),
    "no time": (["--seconds", "0"], "seconds = 0: must be above 0"),
    "time that is none": (["--seconds", "nan"], "seconds = nan: must be above 0"),
    "a scenario without the section": (["--scenario", "network-sync/a"], "no section [association]"),
    "other shares": (["--set", "association.compute_share=equal"], 'compute_share = "equal": must be "square-root"'),
    "latency for nothing": (["--set", "association.latency_weight=0"], "latency_weight = 0: must be above 0"),
    "unknown setting": (["--set", "association.capacty=3"], "did you mean association.capacity?"),
    "no candidates": (["--candidates", "nowhere.csv"], "nowhere.csv: cannot be read"),
    "unknown option": (["--candidate", "x"], "--candidate"),
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "sites.csv").write_text(SITES)
    (tmp_path / "users.csv").write_text(USERS)
    return [str(tmp_path / "sites.csv"), str(tmp_path / "users.csv")]


@pytest.mark.parametrize("mistake", OPTIONS)
def test_a_wrong_option_is_one_line(capsys, files, mistake):
    arguments, said = OPTIONS[mistake]
    assert main(["place", *files, *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert said in error


def test_a_candidate_that_is_a_site_is_refused(capsys, files, tmp_path):
    (tmp_path / "more.csv").write_text("id,lat,lon\nd,50,8.005\nb,50,8.006\n")
    assert main(["place", *files, "--candidates", str(tmp_path / "more.csv")]) == 2
    assert 'more.csv, line 3: id = "b": must be unique, but' in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(capsys, files, tmp_path):
    folder = tmp_path / "plan"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert main(["place", *files, "--out", str(folder)]) == 2
    assert "holds other files (notes.txt): name a new folder" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert main(["place", *files, "--out", str(folder / "notes.txt")]) == 2
    assert "is a file: name a folder" in capsys.readouterr().err
    (folder / "notes.txt").unlink()
    for _ in range(2):
        assert main(["place", *files, "--out", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == {"plan.json", "users.csv", "servers.csv", "map.svg", "map.png"}
