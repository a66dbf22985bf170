"""Plans for an engineer's own files: by hand, against brute force and plain NumPy, with pins, regions, groups and limits."""

import csv
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import edgetwin as et
from edgetwin.association import place, plan_input, rules
from edgetwin.cli import main

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "place"
POLICIES = ("optimum", "local-search", "greedy", "nearest")


def written(path, text):
    path.write_text(text.replace(" ", ""))
    return path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def reference(site_file, user_file, host=None):
    """Rates, latencies and J from the files alone, with the constants of association/n100-m10 written out. host: a server's id for each user.

    Without a host, a function of one that returns (users over their limit, J).
    """
    sites, users = rows_of(site_file), rows_of(user_file)
    if "lat" in sites[0]:
        lat, lon = (np.array([float(row[name]) for row in sites]).mean() for name in ("lat", "lon"))
        metre = math.pi / 180 * 6_371_008.8
        for row in sites + users:
            row["x_m"] = (float(row["lon"]) - lon) * metre * math.cos(math.radians(lat))
            row["y_m"] = (float(row["lat"]) - lat) * metre
    place_of = {row["id"]: np.array([float(row["x_m"]), float(row["y_m"])]) for row in sites}
    cpu = {row["id"]: float(row["cpu_hz"] or 16e9) for row in sites}
    data = np.array([float(row["data_mbit"]) * 1e6 for row in users])
    update = np.array([float(row["update_mbit"]) * 1e6 for row in users])
    limit = np.array([float(row["latency_limit_s"]) for row in users])
    away = np.array([[math.dist(place_of[s], (float(row["x_m"]), float(row["y_m"]))) for s in place_of] for row in users])
    home = [list(place_of)[index] for index in away.argmin(axis=1)]
    loss = 128.1 + 37.6 * np.log10(np.maximum(away.min(axis=1), 10) / 1e3)
    rate = 20e6 * np.log2(1 + 0.2 * 10 ** (-loss / 10) / (3.9810717055349695e-21 * 20e6))
    bits = data + 10 * update

    def outcome(host):
        wire = np.array([math.dist(place_of[a], place_of[b]) for a, b in zip(home, host, strict=True)])
        total = {s: sum(np.sqrt(200 * b) for b, h in zip(bits, host, strict=True) if h == s) for s in host}
        share = np.array([cpu[h] * np.sqrt(200 * b) / total[h] for h, b in zip(host, bits, strict=True)])
        latency, system = (amount / rate + 2e-10 * amount * wire + 200 * amount / share for amount in (update, bits))
        return home, latency, system.mean() + len(set(host)) + (0.2 * data / rate).mean()

    def judged(host):
        _, latency, cost = outcome(host)
        return int((latency > limit * (1 + 1e-9)).sum()), cost

    return judged if host is None else outcome(host)


def test_a_plan_by_hand(tmp_path):
    """Two servers 1 km apart. Two users stand at one, 1000 m from it a third, nearer to it than to the other. All have 10 Mbit and updates of 1 Mbit,
    so B = 20 Mbit. 1 km of air: SNR .2·10^−12.81/(10^−20.4·2·10^7) = .3889. The wire takes .2 s/Mbit: too much for a second server to pay."""
    sites = written(tmp_path / "sites.csv", "id,x_m,y_m,cpu_hz,capacity\na,0,0,20e9,3\nb,1000,0,20e9,3\n")
    users = written(
        tmp_path / "users.csv",
        "id,x_m,y_m,data_mbit,update_mbit,latency_limit_s\nu,0,10,10,1,1\nv,0,-10,10,1,1\nw,-1000,0,10,1,0.1\n",
    )
    plan = et.place(sites, users)
    assert [plan.method, plan.host.tolist(), plan.home.tolist()] == ["optimum", [0, 0, 0], [0, 0, 0]]
    noise = 3.9810717055349695e-21 * 20e6
    far = 20e6 * math.log2(1 + 0.2 * 10**-12.81 / noise)
    near = 20e6 * math.log2(1 + 0.2 * 10 ** (-(128.1 - 75.2) / 10) / noise)
    assert far / 20e6 == pytest.approx(math.log2(1.3889), rel=1e-3)
    compute = 3 * 1e6 * 200 / 20e9
    expected = [1e6 / near + compute, 1e6 / near + compute, 1e6 / far + compute]
    assert plan.outcome.interaction_s == pytest.approx(expected, rel=1e-12)
    energy = 0.2 * 10e6 * (2 / near + 1 / far) / 3
    assert plan.outcome.cost == pytest.approx(20 * sum(expected) / 3 + 1 + energy, rel=1e-12)
    assert plan.lower_bound <= plan.outcome.cost <= plan.lower_bound * 1.001
    (late,) = [row for row in plan.to_json()["users"] if not row["ok"]]
    assert late["id"] == "w"
    assert late["reason"].startswith(f"air alone: {1e6 / far:.3g} s of 0.1 s")
    assert plan.to_json()["totals"]["fewest_over_limit"] == 1
    assert plan.to_json()["servers"][0] == {
        "id": "a",
        "open": True,
        "twins": 3,
        "capacity": 3,
        "cpu_hz": 20e9,
        "load": pytest.approx(3 * 200e6 / 20e9),
        "cpu_per_twin_hz": pytest.approx(20e9 / 3),
    }


def small_case(folder, seed, users=5):
    """A random small network with a pin, regions, a group kept apart and limits that cannot all be kept."""
    draw = np.random.default_rng(seed)
    lines = ["id,x_m,y_m,cpu_hz,capacity,server,region"]
    for number, region in enumerate(("north", "north", "south", "")):
        x, y = draw.uniform(0, 1500, 2)
        lines.append(f"s{number},{x:.1f},{y:.1f},{draw.uniform(3, 9):.2f}e9,{draw.integers(2, 5)},{number != 3},{region}")
    sites = written(folder / "sites.csv", "\n".join(lines) + "\n")
    lines = ["id,x_m,y_m,data_mbit,update_mbit,latency_limit_s,pin,region,apart"]
    for number in range(users):
        x, y = draw.uniform(-300, 1800, 2)
        amounts = f"{draw.uniform(8, 40):.2f},{draw.uniform(1, 4):.2f},{draw.uniform(0.1, 0.8):.2f}"
        rule = ["s2,,g", ",north,g", ",south;north,", ",,h", ",,h"][number % 5]
        lines.append(f"u{number},{x:.1f},{y:.1f},{amounts},{rule}")
    return sites, written(folder / "users.csv", "\n".join(lines) + "\n")


def placements(sites, users):
    """All hosts that keep capacities, pins, regions and groups, from the files alone."""
    servers = [row for row in rows_of(sites) if row["server"] == "True"]
    people = rows_of(users)
    fits = [
        [
            server["id"]
            for server in servers
            if row["pin"] in ("", server["id"]) and (not row["region"] or server["region"] in row["region"].split(";"))
        ]
        for row in people
    ]
    for host in product(*fits):
        room = all(host.count(server["id"]) <= int(server["capacity"]) for server in servers)
        kept = [(row["apart"], server) for row, server in zip(people, host, strict=True) if row["apart"]]
        if room and len(kept) == len(set(kept)):
            yield host


def chosen(plan):
    return [plan.request.sites.ids[site] for site in plan.servers[plan.host]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limits", ["hard", "soft", "off"])
def test_the_plan_is_the_best_that_keeps_the_rules(tmp_path, seed, limits):
    sites, users = small_case(tmp_path, seed)
    judged = {host: reference(sites, users)(host) for host in placements(sites, users)}
    least = {
        "hard": min(judged.values()),
        "off": min(judged.values(), key=lambda value: value[1]),
        "soft": min(((late, cost + late / 5) for late, cost in judged.values()), key=lambda value: value[1]),
    }[limits]
    plan = et.place(sites, users, limits=limits)
    host = tuple(chosen(plan))
    assert host in judged
    late, cost = judged[host]
    assert plan.outcome.cost == pytest.approx(cost + (late / 5 if limits == "soft" else 0), rel=1e-9)
    assert plan.outcome.cost == pytest.approx(least[1], rel=1e-3)
    assert plan.lower_bound <= least[1] * (1 + 1e-9)
    assert plan.fewest_over_limit <= min(judged.values())[0]
    if limits == "hard":
        assert late == least[0] == plan.fewest_over_limit
        assert plan.method == "optimum"


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_keeps_pins_regions_and_groups_and_stays_above_the_bound(tmp_path, policy):
    for seed in range(6, 10):
        sites, users = small_case(tmp_path, seed)
        judged = {host: reference(sites, users)(host) for host in placements(sites, users)}
        plan = et.place(sites, users, policy=policy)
        assert tuple(chosen(plan)) in judged
        assert plan.outcome.cost >= plan.lower_bound * (1 - 1e-9)
        assert plan.lower_bound <= min(judged.values())[1] * (1 + 1e-9)
        assert plan.outcome.violations.sum() >= plan.fewest_over_limit


@pytest.mark.parametrize("policy", ["greedy", "nearest"])
def test_rules_are_those_of_the_task_where_nothing_constrains_them(policy):
    on = et.scenario("association/n100-m10")
    request = plan_input.read(EXAMPLE / "sites.csv", EXAMPLE / "users.csv", None, on, "off")
    people = len(request.users.ids)
    request = request._replace(
        users=request.users._replace(pin=("",) * people, regions=((),) * people, apart=("",) * people),
        sites=request.sites._replace(capacity=np.full(len(request.sites.ids), 10)),
    )
    plan = place.plan(request, policy)
    assert plan.host.tolist() == {"greedy": rules.greedy, "nearest": rules.nearest}[policy](plan.instance).tolist()
    assert plan.host.tolist() != {"nearest": rules.greedy, "greedy": rules.nearest}[policy](plan.instance).tolist()


def test_a_rule_that_runs_into_a_wall_says_so_and_the_search_does_not(tmp_path):
    sites = written(tmp_path / "s.csv", "id,x_m,y_m,capacity,region\na,0,0,1,n\nb,10,0,1,m\nc,20,0,1,o\n")
    users = written(tmp_path / "u.csv", "id,x_m,y_m,region\nu,0,1,n;m\nv,0,2,m;o\nw,0,3,n;m\n")
    with pytest.raises(et.InputError, match="policy nearest: the users before w took all room .*: use local-search"):
        et.place(sites, users, policy="nearest")
    assert chosen(et.place(sites, users, policy="local-search"))[1] == "c"


def test_json_and_files_agree_with_the_csv_files_recomputed(capsys, tmp_path):
    out = tmp_path / "plan"
    files = [str(EXAMPLE / name) for name in ("sites.csv", "users.csv")]
    assert main(["place", *files, "--candidates", str(EXAMPLE / "candidates.csv"), "--out", str(out), "--json"]) == 0
    told, error = capsys.readouterr()
    plan = json.loads(told)
    assert error == ""
    assert json.loads((out / "plan.json").read_text()) == plan
    host = [row["server"] for row in plan["users"]]
    home, latency, cost = reference(*files, host)
    users, servers = rows_of(out / "users.csv"), rows_of(out / "servers.csv")
    assert list(users[0])[:7] == ["id", "home", "server", "latency_s", "limit_s", "ok", "reason"]
    assert [row["home"] for row in users] == home
    assert [float(row["latency_s"]) for row in users] == pytest.approx(latency, rel=1e-9)
    assert [float(row["air_s"]) + float(row["wire_s"]) + float(row["compute_s"]) for row in users] == pytest.approx(latency)
    late = [row["id"] for row, taken in zip(users, latency, strict=True) if taken > float(row["limit_s"])]
    assert late == [row["id"] for row in users if row["ok"] == "false"] == [row["id"] for row in users if row["reason"]]
    totals = plan["totals"]
    assert totals["cost"] == pytest.approx(cost, rel=1e-9)
    assert [totals["over_limit"], totals["open_servers"]] == [len(late), len(set(host))]
    assert totals["worst_latency_s"] == pytest.approx(latency.max())
    assert totals["mean_latency_s"] == pytest.approx(latency.mean())
    assert totals["gap"] == pytest.approx(cost / totals["lower_bound"] - 1)
    for row in servers:
        mine = [user for user in users if user["server"] == row["id"]]
        assert [int(row["twins"]), row["open"]] == [len(mine), "true" if mine else "false"]
        assert len(mine) <= int(row["capacity"])
        if mine:
            assert sum(float(user["cpu_hz"]) for user in mine) == pytest.approx(float(row["cpu_hz"]))


def test_what_files_leave_out_is_assumed_and_told(tmp_path):
    sites = written(tmp_path / "s.csv", "id,x_m,y_m,cpu_hz\na,0,0,\nb,900,0,12e9\n")
    users = written(tmp_path / "u.csv", "id,x_m,y_m,data_mbit\nu,0,10,\nv,10,5,12\n")
    plan = et.place(sites, users, on=et.scenario("association/n100-m10", {"association.capacity": 7}))
    numbers = plan.instance
    assert numbers.data_bits.tolist() == [24e6, 12e6]
    assert numbers.update_bits == pytest.approx([2.4e6, 1.2e6])
    assert numbers.limit_s.tolist() == [1.5, 1.5]
    assert [numbers.cpu_hz.tolist(), numbers.capacity.tolist()] == [[16e9, 12e9], [7, 7]]
    told = plan.to_json()["assumptions"]
    for column, words in {
        "cpu_hz": "1.6e10, mean of association.cpu_hz",
        "capacity": "7, association.capacity",
        "data_mbit": "24, mean of",
        "update_mbit": "0.1 of data_mbit",
        "latency_limit_s": "1.5, mean of",
        "server": "every site",
    }.items():
        assert sum(note.startswith(f"{column}: {words}") for note in told) == 1, told


def test_degrees_and_metres_give_the_same_plan(tmp_path):
    """Anywhere on earth, with two sites on each side of the date line."""
    metres = et.place(*small_case(tmp_path, 3))
    for lat, lon in ((50.0, 8.0), (-17.8, 179.9981), (64.1, -21.9)):
        files = []
        for name in ("sites", "users"):
            rows = rows_of(tmp_path / f"{name}.csv")
            for row in rows:
                y, x = float(row.pop("y_m")), float(row.pop("x_m"))
                east = lon + math.degrees(x / 6_371_008.8) / math.cos(math.radians(lat))
                row |= {"lat": lat + math.degrees(y / 6_371_008.8), "lon": (east + 180) % 360 - 180}
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            files.append(written(tmp_path / f"{name}-round.csv", "\n".join(lines) + "\n"))
        found = et.place(*files)
        assert chosen(found) == chosen(metres)
        assert found.outcome.cost == pytest.approx(metres.outcome.cost, rel=1e-3)


def test_what_is_searched_or_hurried_is_bounded():
    files = EXAMPLE / "sites.csv", EXAMPLE / "users.csv"
    best = et.place(*files)
    searched = et.place(*files, policy="local-search")
    assert (best.method, searched.method) == ("optimum", "local-search")
    assert searched.lower_bound <= best.outcome.cost
    assert searched.gap is not None and 1e-3 < searched.gap < 0.05
    hurried = et.place(*files, seconds=1e-3)
    assert hurried.advice.tried < hurried.advice.possible
    assert hurried.lower_bound <= best.outcome.cost
    assert hurried.outcome.cost >= hurried.lower_bound


def test_a_reason_names_what_alone_exceeds_the_limit_and_what_an_empty_server_would_take(tmp_path):
    """An update of 1 Mbit takes .105 s over 1 km of air (9.48 Mbit/s), .00212 s over 10 m (472 Mbit/s), 1 s over 5 km of wire, and on 10 GHz
    .02 s alone, .38 s with 18 others."""
    sites = written(tmp_path / "s.csv", "id,x_m,y_m,cpu_hz\na,0,0,10e9\nb,5000,0,10e9\n")
    crowd = "".join(f"x{number},0,10,10,1,9,a\n" for number in range(17))
    users = written(
        tmp_path / "u.csv",
        "id,x_m,y_m,data_mbit,update_mbit,latency_limit_s,pin\n"
        + crowd
        + "u,0,1000,10,1,0.1,a\nv,0,10,10,1,0.5,b\nw,0,10,10,1,0.3,a\n",
    )
    plan = et.place(sites, users, policy="local-search")
    reasons = {row["id"]: row["reason"] for row in plan.to_json()["users"] if not row["ok"]}
    assert reasons == {
        "u": "air alone: 0.105 s of 0.1 s; only a nearer site, less data per update or a longer limit helps",
        "v": "wires: air 0.00212 + wires 1 + computing 0.02 s of 0.5 s; even alone on b it would take 1.02 s",
        "w": "computing: air 0.00212 + wires 0 + computing 0.38 s of 0.3 s; alone on a it would take 0.0221 s",
    }
    assert plan.to_json()["totals"]["fewest_over_limit"] == 2


def test_users_of_a_site_may_share_its_bandwidth(tmp_path):
    sites = written(tmp_path / "s.csv", "id,x_m,y_m\na,0,0\nb,9000,0\n")
    users = written(tmp_path / "u.csv", "id,x_m,y_m\nu,1000,0\nv,0,1000\nw,8000,0\n")
    rates = et.place(
        sites, users, on=et.scenario("association/n100-m10", {"association.bandwidth_use": "shared"})
    ).instance.rate_bps
    noise = 3.9810717055349695e-21
    half, whole = (width * math.log2(1 + 0.2 * 10**-12.81 / (noise * width)) for width in (10e6, 20e6))
    assert rates == pytest.approx([half, half, whole], rel=1e-9)
