"""Networks: which sites and servers a scenario comes to, and what its content digest notices."""

import os
from importlib import import_module

import numpy as np
import pytest

from edgetwin.errors import InputError
from edgetwin.scenario.network import content_digest
from edgetwin.scenario.sites import best_spread, lloyd

sc = import_module("edgetwin.scenario")

real_data = pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="EDGETWIN_DATA is not set")
SITES = "id,x_m,y_m,server,cpu_hz\na,250,250,1,2e9\nb,750,250,0,\nc,250,750,1,\nd,750,750,0,\nout,2000,0,1,\n"


@pytest.fixture
def load(tmp_path):
    """A function that makes a scenario whose sites are in a file with the given text."""

    def load(text, **settings):
        (tmp_path / "sites.csv").write_text(text)
        own = {"sites.layout": "file", "sites.file": str(tmp_path / "sites.csv")}
        return sc.scenario("two-timescale/physical", own | {key.replace("__", "."): value for key, value in settings.items()})

    return load


def test_the_paper_s_network():
    network = sc.network(sc.scenario("two-timescale/physical"))
    assert network.site_ids == ("site-0", "site-1", "site-2", "site-3", "site-4")
    assert np.array_equal(network.sites_xy_m, lloyd(5, 1000.0))
    assert network.server_sites.tolist() == [0, 1, 2, 3, 4]
    assert network.cpu_hz.tolist() == [10e9] * 5
    assert network.width_m == 1000 and network.tracks is None


def test_fewer_servers_than_sites_are_spread_best():
    network = sc.network(sc.scenario("two-timescale/physical", {"sites.count": 8, "servers.count": 3}))
    assert network.server_sites.tolist() == best_spread(lloyd(8, 1000.0), 3, 1000.0).tolist()
    assert network.cpu_hz.shape == (3,)


def test_a_site_file_names_servers_and_their_cpu(load):
    network = sc.network(load(SITES, sites__count=4))
    assert network.site_ids == ("a", "b", "c", "d")
    assert network.server_sites.tolist() == [0, 2]
    assert network.cpu_hz.tolist() == [2e9, 10e9]
    assert sc.network(load(SITES, sites__count=4, servers__count=2)).server_sites.tolist() == [0, 2]


def test_a_server_count_that_contradicts_the_file_is_refused(load):
    with pytest.raises(InputError, match=r"servers\.count = 3: column server of .*sites\.csv names 2 of the 4 sites"):
        sc.network(load(SITES, sites__count=4, servers__count=3))


def test_a_file_without_a_server_is_refused(load):
    with pytest.raises(InputError, match="at least 1"):
        sc.network(load("id,x_m,y_m,server\na,1,1,no\n", sites__count=1))


def test_of_many_sites_the_best_spread_are_taken_in_file_order(load):
    rng = np.random.default_rng(3)
    xy_m = np.round(rng.random((40, 2)) * 1000, 3)
    text = "id,x_m,y_m\n" + "".join(f"s{index},{x},{y}\n" for index, (x, y) in enumerate(xy_m))
    network = sc.network(load(text, sites__count=6))
    chosen = best_spread(xy_m, 6, 1000.0)
    assert network.site_ids == tuple(f"s{index}" for index in chosen)
    assert np.array_equal(network.sites_xy_m, xy_m[chosen])
    assert sc.network(load(text, sites__count=40)).site_ids == tuple(f"s{index}" for index in range(40))


def test_the_content_digest_notices_contents_but_not_names(load):
    digest = content_digest(sc.network(load(SITES, sites__count=4)))
    assert content_digest(sc.network(load(SITES.replace("a,", "z,"), sites__count=4))) == digest
    assert content_digest(sc.network(load(SITES.replace("2e9", "3e9"), sites__count=4))) != digest
    assert content_digest(sc.network(load(SITES.replace("750", "751"), sites__count=4))) != digest


def test_own_tracks_come_with_their_place(load, tmp_path):
    (tmp_path / "tracks.csv").write_text("id,time_s,x_m,y_m\na,0,1,2\na,30,3,4\na,60,5,6\n")
    own = {"users.mobility": "file", "users.file": str(tmp_path / "tracks.csv")}
    network = sc.network(sc.scenario("two-timescale/physical", own))
    assert network.tracks.place_m.tolist() == [[3, 4]]
    assert content_digest(network) != content_digest(sc.network(sc.scenario("two-timescale/physical")))


@real_data
def test_melbourne():
    network = sc.network(sc.scenario("melbourne"))
    assert len(network.site_ids) == 8 and len(network.server_sites) == 5
    assert ((network.sites_xy_m >= 0) & (network.sites_xy_m <= 1000)).all()
    assert len(network.tracks.ids) == 814 and network.tracks.place_m is None
    assert content_digest(network) == content_digest(sc.network(sc.scenario("melbourne")))
