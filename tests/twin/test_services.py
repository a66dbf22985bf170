"""Service twins: what is kept change by change is what is found anew from all device twins, to the last bit, whatever comes in which order."""

import math
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.errors import InputError
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.record import Twin
from edgetwin.twin.service_twins.aggregate import Least
from edgetwin.twin.service_twins.areas import definition_from
from edgetwin.twin.service_twins.grid import Box, Grid
from edgetwin.twin.service_twins.services import Change, Services, carried, change
from edgetwin.twin.silence import Forecast

KINDS = read_kinds()
ROAD = {"kind": "road-segment", "points_m": [[0, 0], [100, 0], [100, 50]], "width_m": 10, "of": ["vehicle"], "stale_after_s": 30}
CIRCLE = {
    "kind": "region",
    "centre_m": [50, 0],
    "radius_m": 40,
    "of": ["vehicle", "mobile-user"],
    "properties": ["speed_mps", "battery"],
}
BOX = {
    "kind": "region",
    "low_m": [-5, -5],
    "high_m": [60, 60],
    "of": ["mobile-user"],
    "properties": ["speed_mps"],
    "stale_after_s": 8,
}
DEFINITIONS = {"road": ROAD, "circle": CIRCLE, "box": BOX}


def services(definitions=DEFINITIONS):
    made = Services(KINDS)
    for name, fields in definitions.items():
        made.define(name, definition_from(fields, KINDS), 0.0)
    return made


def news(twin_id="a", x=10.0, y=0.0, speed=None, epoch=1, revision=1, measured_s=0.0, kind="vehicle", **more):
    reported = {"x_m": x, "y_m": y, **more} | ({} if speed is None else {"speed_mps": speed})
    return Change(twin_id, kind, "edge-1", epoch, revision, reported, measured_s)


def holds(fields, x, y):
    """Whether a point is in an area, by dense points along a road or by definition; None so near to the edge that this cannot tell."""
    if fields["kind"] == "region" and "radius_m" in fields:
        return math.dist(fields["centre_m"], (x, y)) <= fields["radius_m"]
    if fields["kind"] == "region":
        return all(low <= at <= high for low, at, high in zip(fields["low_m"], (x, y), fields["high_m"], strict=True))
    pairs = zip(fields["points_m"], fields["points_m"][1:], strict=False)
    nearest = min(
        math.hypot(a[0] + t / 500 * (b[0] - a[0]) - x, a[1] + t / 500 * (b[1] - a[1]) - y) for a, b in pairs for t in range(501)
    )
    return nearest <= fields["width_m"] / 2


def found_anew(fields, latest, now_s):
    """A service twin's state without movements and revision, from all device twins."""
    here = [
        one
        for one in latest.values()
        if one.kind in fields["of"]
        and holds(fields, one.reported["x_m"], one.reported["y_m"])
        and now_s - one.measured_s <= fields.get("stale_after_s", 60)
    ]

    def tally(name):
        values = [one.reported[name] for one in here if name in one.reported]
        mean = float(sum(map(Fraction, values), Fraction()) / len(values)) if values else None
        return {"count": len(values), "mean": mean, "least": min(values, default=None), "greatest": max(values, default=None)}

    state = {
        "count": len(here),
        "by_kind": {kind: n for kind in sorted(KINDS) if (n := sum(one.kind == kind for one in here))},
        "predicted": sum(one.predicted for one in here),
        "oldest_age_s": max((max(now_s - one.measured_s, 0.0) for one in here), default=None),
    }
    if fields["kind"] == "region":
        return state | {"properties": {name: tally(name) for name in fields["properties"]}}
    speed = tally("speed_mps")
    return state | {
        "mean_speed_mps": speed["mean"],
        "slowest_speed_mps": speed["least"],
        "density_per_km": len(here) / 0.15,
        "length_m": 150.0,
    }


def same(made, latest, now_s):
    for name, fields in DEFINITIONS.items():
        state = made.state(name, now_s)
        assert state["entered"] - state["left"] == state["count"]
        del state["revision"], state["entered"], state["left"]
        assert state == found_anew(fields, latest, now_s)


speeds = st.none() | st.floats(0, 100) | st.integers(0, 100) | st.sampled_from([1e-300, 0.1, 0.2, 0.3])
ground = st.integers(-10, 110)
changes = st.builds(
    news,
    st.sampled_from("abcdef"),
    ground,
    ground,
    speeds,
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(-40, 60).map(float),
    st.sampled_from(["vehicle", "mobile-user"]),
)
events = st.lists(
    changes | changes.map(lambda one: one._replace(predicted=True)) | st.sampled_from("abcdef") | st.floats(0, 20), max_size=60
)


@settings(deadline=None, max_examples=150)
@given(events)
def test_what_is_kept_is_what_is_found_anew_to_the_last_bit(happened):
    made, latest, now_s = services(), {}, 0.0
    for event in happened:
        if isinstance(event, float):
            now_s += event
            same(made, latest, now_s)
        elif isinstance(event, str):
            made.remove(event)
            latest.pop(event, None)
        else:
            made.take([event], now_s)
            before = latest.get(event.twin_id)
            order, known = (event.epoch, event.revision), (before.epoch, before.revision) if before else (0, 0)
            if order > known or order == known and event.predicted:
                latest[event.twin_id] = event
    same(made, latest, now_s)
    again = Services(KINDS)
    again.resynchronise(latest.values(), now_s)
    for name, fields in DEFINITIONS.items():
        again.define(name, definition_from(fields, KINDS), now_s)
    same(again, latest, now_s)


@settings(deadline=None, max_examples=100)
@given(st.lists(changes, max_size=30, unique_by=lambda one: (one.twin_id, one.epoch, one.revision)), st.randoms())
def test_news_in_any_order_and_twice_comes_to_the_same(happened, draw):
    one, other = services(), services()
    one.take(sorted(happened, key=lambda news: (news.epoch, news.revision)), 0.0)
    twice = happened * 2
    draw.shuffle(twice)
    other.take(twice, 0.0)
    for name in DEFINITIONS:
        ours, theirs = one.state(name, 60.0), other.state(name, 60.0)
        assert all(ours[key] == theirs[key] for key in ours if key not in ("revision", "entered", "left"))


def test_the_worked_example_of_a_road():
    made = services({"road": ROAD})
    made.take([news("a", 10, 4, 10.0), news("b", 104, 20, 20.0), news("c", 10, 5.1, 5.0), news("d", kind="mobile-user")], 2.0)
    assert made.state("road", 2.0) == {
        "revision": 2,
        "count": 2,
        "by_kind": {"vehicle": 2},
        "predicted": 0,
        "oldest_age_s": 2.0,
        "entered": 2,
        "left": 0,
        "mean_speed_mps": 15.0,
        "slowest_speed_mps": 10.0,
        "density_per_km": 2 / 0.15,
        "length_m": 150.0,
    }
    made.take([news("a", 10, 6, 10.0, revision=2)], 3.0)
    state = made.state("road", 3.0)
    assert (state["count"], state["entered"], state["left"], state["mean_speed_mps"]) == (1, 2, 1, 20.0)


def test_sums_of_great_and_small_come_back_to_nothing():
    made = services({"road": ROAD})
    for number, speed in enumerate([1e12, 1e-300, 0.1, 1e12, 3e-5]):
        made.take([news(str(number), speed=speed)], 0.0)
    for number in (0, 3, 1, 4):
        made.remove(str(number))
    assert made.state("road", 0.0)["mean_speed_mps"] == 0.1


def test_a_twin_that_migrated_counts_once_and_its_former_host_no_more():
    made = services({"road": ROAD})
    made.take([news(speed=3.0, revision=7)], 0.0)
    made.take([news(speed=4.0, revision=7, epoch=2)._replace(host="edge-2")], 0.0)
    made.take([news(speed=9.0, revision=8)], 0.0)
    state = made.state("road", 0.0)
    assert (state["count"], state["mean_speed_mps"], state["entered"]) == (1, 4.0, 1)


def test_too_old_is_not_present_and_fresh_news_brings_it_back():
    made = services({"road": ROAD})
    made.take([news(measured_s=0.0), news("late", measured_s=-31.0)], 0.0)
    assert made.state("road", 30.0)["count"] == 1
    assert made.state("road", 30.5)["count"] == 0
    made.take([news(measured_s=31.0, revision=2)], 31.0)
    state = made.state("road", 31.0)
    assert (state["count"], state["entered"], state["left"]) == (1, 2, 1)


def test_who_comes_back_after_it_was_too_old_has_left_and_entered():
    made = services({"road": ROAD})
    made.take([news(measured_s=0.0)], 0.0)
    made.take([news(measured_s=40.0, revision=2)], 40.0)
    state = made.state("road", 40.0)
    assert (state["count"], state["entered"], state["left"]) == (1, 2, 1)


def test_a_road_ends_round():
    made = services({"road": ROAD})
    made.take([news("on", 103, 54), news("off", 104, 54), news("outside of the bend", 104, -4), news("inside", 95, 5)], 0.0)
    assert made.state("road", 0.0)["count"] == 2


def test_the_revision_counts_changes_of_members_and_of_nothing_else():
    made = services({"road": ROAD})
    revisions = []
    for one in (
        news(),
        news(),
        news(revision=2, speed=1.0),
        news("b", 500, 500),
        news("b", 500, 501, revision=2),
        news(revision=1),
    ):
        made.take([one], 0.0)
        revisions.append(made.state("road", 0.0)["revision"])
    assert revisions == [1, 1, 2, 2, 2, 2]
    made.define("another", definition_from(ROAD, KINDS), 0.0)
    made.take([news(revision=2, speed=1.0)._replace(predicted=True)] * 2, 0.0)
    assert made.state("road", 0.0)["revision"] == 3
    assert made.state("road", 99.0)["revision"] == 4


def test_nothing_of_an_erased_twin_stays():
    made = services()
    made.take([news("gone-7", speed=3.0), news("gone-7", 20, 1, 2.0, revision=2)], 0.0)
    made.remove("gone-7")
    assert all(made.state(name, 0.0)["count"] == 0 for name in DEFINITIONS)
    made.define("late", definition_from(ROAD, KINDS), 0.0)
    assert made.state("late", 0.0)["count"] == 0
    assert made._latest == made._belongs == {}


def test_a_list_of_all_twins_puts_right_what_was_missed():
    made = services({"road": ROAD})
    made.take([news("stays", speed=1.0), news("erased", speed=5.0, revision=57), news("anew", speed=7.0, revision=57)], 0.0)
    made.resynchronise([news("stays", speed=2.0, revision=9), news("anew", speed=4.0, revision=1), news("new", speed=6.0)], 0.0)
    state = made.state("road", 0.0)
    assert (state["count"], state["mean_speed_mps"]) == (3, 4.0)
    made.take([news("anew", speed=10.0, revision=2)], 0.0)
    assert made.state("road", 0.0)["mean_speed_mps"] == 6.0


def test_a_silent_twin_counts_where_it_is_forecast_until_it_speaks():
    made = services({"road": ROAD})
    twin = Twin("a", "vehicle", revision=3, reported={"x_m": -30.0, "y_m": 0.0, "speed_mps": 8.0}, measured_s=0.0)
    made.take([change(twin, "edge-1")], 0.0)
    assert made.state("road", 5.0)["count"] == 0
    made.take([change(twin, "edge-1", Forecast({"x_m": 50.0, "y_m": 0.0}, "drift", 10.0, 3.0))], 10.0)
    state = made.state("road", 10.0)
    assert (state["count"], state["predicted"], state["mean_speed_mps"], state["oldest_age_s"]) == (1, 1, 8.0, 10.0)
    made.take([change(twin, "edge-1")], 10.0)
    assert made.state("road", 10.0)["predicted"] == 1, "news that is known already does not undo a forecast"
    made.take([change(twin._replace(revision=4, measured_s=11.0, reported={"x_m": 20.0, "y_m": 0.0}), "edge-1")], 11.0)
    assert (made.state("road", 11.0)["count"], made.state("road", 11.0)["predicted"]) == (1, 0)


def test_silent_twins_are_carried_on_as_long_as_a_service_counts_them():
    made = services({"road": ROAD})
    assert (made.reach_s, Services(KINDS).reach_s) == (30.0, 0.0)
    there = {"x_m": 50.0, "y_m": 0.0}
    twins = [
        Twin(f"car-{age}", "vehicle", revision=1, reported=there, measured_s=100.0 - age, received_s=100.0 - age)
        for age in (1, 9, 31)
    ]
    news_ = carried(twins, "edge-1", KINDS, 100.0, made.reach_s)
    assert [(one.twin_id, one.predicted, one.reported) for one in news_] == [("car-9", True, there)]
    made.take([change(twin, "edge-1") for twin in twins] + news_, 100.0)
    assert (made.state("road", 100.0)["count"], made.state("road", 100.0)["predicted"]) == (2, 1)


def test_a_service_that_is_forgotten_or_defined_anew():
    made = services()
    made.take([news(speed=1.0)], 0.0)
    made.forget("circle")
    made.forget("never was")
    with pytest.raises(KeyError):
        made.state("circle", 0.0)
    made.define("road", definition_from({**ROAD, "points_m": [[0, 200], [100, 200]]}, KINDS), 0.0)
    assert made.state("road", 0.0)["count"] == 0
    made.take([news(y=200.0, revision=2)], 0.0)
    made.define("circle", definition_from({**CIRCLE, "centre_m": [0, 200]}, KINDS), 0.0)
    assert (made.state("road", 0.0)["count"], made.state("circle", 0.0)["count"]) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "kind = None: an object whose kind is one of road-segment, region"),
        ({"kind": "lake"}, "kind = 'lake'"),
        ({**ROAD, "points_m": [[0, 0]]}, "points_m"),
        ({**ROAD, "points_m": [[1, 1], [1, 1]]}, "points_m are all the same"),
        ({**ROAD, "points_m": [[0, 0], [1, math.nan]]}, "points_m.1.1 = nan"),
        ({**ROAD, "width_m": 0}, "width_m = 0"),
        ({**ROAD, "width": 4}, "width: there are kind, points_m, width_m, of, stale_after_s (did you mean width_m?)"),
        ({**ROAD, "of": ["vehicel"]}, "(did you mean vehicle?)"),
        ({**ROAD, "of": ["weather-station"]}, "has no position: mobile-user, vehicle have"),
        ({**ROAD, "of": []}, "of = []"),
        ({key: value for key, value in ROAD.items() if key != "width_m"}, "width_m: Field required"),
        ({**CIRCLE, "low_m": [0, 0]}, "centre_m and radius_m, or low_m and high_m"),
        ({**BOX, "high_m": [60, -5]}, "is not below high_m"),
        ({**BOX, "properties": ["serving_site"]}, "properties: 'serving_site' is no number of mobile-user: "),
        ({**BOX, "properties": ["speed_mps", "speed_mps"]}, "named twice"),
        ({**BOX, "stale_after_s": math.inf}, "stale_after_s = inf"),
    ],
)
def test_bad_definitions_are_refused_in_one_line(fields, said):
    with pytest.raises(InputError) as refused:
        definition_from(fields, KINDS)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


boxes = st.tuples(ground, ground, st.sampled_from([0, 0.5, 3, 17, 1000]), st.sampled_from([0, 0.5, 3, 17])).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(boxes, max_size=20), st.lists(st.integers(0, 19)), ground, ground)
def test_the_grid_finds_what_a_look_at_every_box_finds(placed, dropped, x, y):
    grid = Grid()
    there = dict(enumerate(placed))
    for number, box in there.items():
        grid.put(box, number)
    for number in dropped:
        if number in there:
            grid.drop(there.pop(number), number)
    assert sorted(grid.at(x, y)) == [n for n, b in there.items() if b.x_low <= x <= b.x_high and b.y_low <= y <= b.y_high]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 5), st.booleans()), max_size=200))
def test_the_least_is_the_least_of_what_is_there(happened):
    least, values = Least(), {}
    for key, value, look in happened:
        if value is None:
            least.drop(key)
            values.pop(key, None)
        else:
            least.put(key, value)
            values[key] = value
        if look:
            top = least.top()
            assert (top and top[0]) == min(values.values(), default=None)
    assert len(least._heap) <= 64 + 4 * 4 + 1


def test_what_falls_for_ever_does_not_fill_memory():
    least = Least()
    for value in range(10_000):
        least.put("a", -value)
        assert least.top() == (-value, "a")
    assert len(least._heap) < 100


def busy_road(number):
    x, y = number % 10 * 200, number // 10 * 200
    return {**ROAD, "points_m": [[x, y], [x + 180, y], [x + 180, y + 180]], "width_m": 20, "stale_after_s": 1e6}


def cost_s(roads, twins=2000):
    """Of one change, with so many roads."""
    made = Services(KINDS)
    for number in range(roads):
        made.define(f"road-{number}", definition_from(busy_road(number), KINDS), 0.0)
    batches = [
        [news(f"car-{n}", (n * 37 + 15 * r) % 2000, n * 53 % 2000 // 200 * 200 + 3, n % 30, revision=r) for n in range(twins)]
        for r in range(1, 6)
    ]
    made.take(batches[0], 0.0)
    spent = []
    for batch in batches[1:]:
        begun = time.perf_counter()
        made.take(batch, 0.0)
        spent.append(time.perf_counter() - begun)
    return min(spent) / twins


def test_a_change_costs_the_services_near_and_not_how_many_there_are():
    hundred = cost_s(100)
    assert hundred < 100e-6, "a few times what it takes on a machine with nothing else to do"
    far = [{**busy_road(number), "points_m": [[1e5 + number, 0], [1e5, 180 + number]]} for number in range(400)]
    more = Services(KINDS)
    for number, fields in enumerate(far):
        more.define(str(number), definition_from(fields, KINDS), 0.0)
    assert not list(more._grid.at(100, 0))
