"""A scenario's network as arrays: which sites there are, which of them have a server, and the tracks its users may follow."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError
from edgetwin.scenario import schema, taxis
from edgetwin.scenario.schema import Scenario
from edgetwin.scenario.sites import Candidates, best_spread, candidates
from edgetwin.scenario.tracks import Tracks, csv_tracks, goal_tracks


class Network(NamedTuple):
    """Sites in the order of their file: `site_ids` (sites,), `sites_xy_m` (sites, 2). Servers in the order of their sites:
    `server_sites` (servers,) site indices, ascending, `cpu_hz` and `capacity` (servers,), NaN where not given. `tracks` is None where
    users move by a model; `visits` (minutes, users) is the site of each taxi, -1 without a fix, where users are taxis."""

    width_m: float
    site_ids: tuple[str, ...]
    sites_xy_m: NDArray[np.float64]
    server_sites: NDArray[np.int64]
    cpu_hz: NDArray[np.float64]
    tracks: Tracks | None
    capacity: NDArray[np.float64]
    visits: NDArray[np.int64] | None = None


def network(scenario: Scenario) -> Network:
    """The network that a scenario describes, read from its files and data sets. Raises InputError where they do not fit it."""
    width_m = scenario.area.width_m
    found = candidates(scenario.sites, scenario.area)
    if scenario.sites.count == len(found.ids):
        site = np.arange(len(found.ids))
    else:
        site = best_spread(found.xy_m, scenario.sites.count, width_m)
    servers = np.arange(0) if scenario.servers is None else _server_sites(scenario.servers, scenario, found, site)
    cpu_hz = np.full(len(servers), np.nan if scenario.servers is None else scenario.servers.cpu_hz)
    if found.cpu_hz is not None:
        own_hz = found.cpu_hz[site[servers]]
        cpu_hz = np.where(np.isnan(own_hz), cpu_hz, own_hz)
    capacity = np.full(len(servers), np.nan) if found.capacity is None else found.capacity[site[servers]]
    ids = tuple(found.ids[index] for index in site)
    visits = taxis.of_users(scenario.users, scenario.sites).tower if scenario.users.mobility == "sf-taxis" else None
    return Network(width_m, ids, found.xy_m[site], servers, cpu_hz, _tracks(scenario), capacity, visits)


def _server_sites(
    servers_section: schema.Servers, scenario: Scenario, found: Candidates, site: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Which of the chosen sites have a server, (servers,) ascending: as their file says, else `servers.count`, spread best."""
    count = servers_section.count
    if found.server is not None:
        servers = np.flatnonzero(found.server[site])
        if not len(servers):
            raise InputError(f"{scenario.sites.file}: column server: none of the {len(site)} sites used has one: at least 1 must")
        if count not in ("all", len(servers)):
            raise InputError(
                f"servers.count = {count}: column server of {scenario.sites.file} names {len(servers)} of the {len(site)} sites: "
                f'set servers.count = "all" to take those'
            )
        return servers
    if count == "all":
        return np.arange(len(site))
    return best_spread(found.xy_m[site], count, scenario.area.width_m)


def _tracks(scenario: Scenario) -> Tracks | None:
    if scenario.users.file is not None:
        return csv_tracks(Path(scenario.users.file), scenario.users, scenario.area)
    return goal_tracks(scenario.users) if scenario.users.mobility == "goal-tracks" else None


def content_digest(network: Network) -> str:
    """SHA-256 over the network's arrays, so over what its files hold; not over names of sites and tracks, which decide nothing.

    Arrays are rounded to 1e-6 (1 µm, 1 µs) first, so that machines whose cosines differ in the last digit agree.
    """
    arrays: list[NDArray[Any] | None] = [np.array(network.width_m), network.sites_xy_m, network.server_sites, network.cpu_hz]
    if network.tracks is not None:
        arrays += [network.tracks.time_s, network.tracks.xy_m, network.tracks.duration_s, network.tracks.place_m]
    digest = hashlib.sha256()
    if network.visits is not None:
        arrays.append(network.visits)
    if np.isfinite(network.capacity).any():
        arrays.append(np.nan_to_num(network.capacity))
    for array in arrays:
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update((np.round(array, 6) + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()
