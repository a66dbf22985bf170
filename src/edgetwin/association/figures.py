"""Fig. 7 as a study: what placement costs while it is learned, by users and base stations.

The texts of Figs. 7 and 8 contradict each other on base stations, so what is true is computed under several prices of an open server.
"""

import math

import numpy as np
from matplotlib.figure import Figure

from edgetwin.association.study_jobs import (
    JOBS,
    LEARNED,
    PRINTED,
    RULES,
    SIZES,
    Size,
    above,
    combination,
    costs,
    log_combination,
    more,
    printed_job,
    rule_costs,
    rules_job,
    sampled,
    training_jobs,
)
from edgetwin.evaluation.claims import Claim, at_least, at_most
from edgetwin.evaluation.learning_curves import Level, curve, learning_curves
from edgetwin.evaluation.plots import colour, empty, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate, seed_mean
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen

LEVELS = ("nearest", "greedy", "optimum")
PRICES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Of an open server, s: ϕ of (25)."""
PRINTED_ON = {"quick": SIZES[:1], "full": SIZES}
PRICED_NETWORKS = {"quick": 8, "full": 64}
DEAR = 4.0
MUCH, SETTLED = 10.0, 2.0
"""What counts as much more, and as no change any more, %."""
FIRST = 0
READING = "reading of (25) in which all servers stay open"


def _fig7_jobs(scale: Scale) -> list[Job]:
    jobs = [job for size in SIZES for job in (*training_jobs(size, scale), rules_job(size, scale))]
    jobs += [printed_job(size, scale) for size in PRINTED_ON[scale]]
    return jobs + [
        Job(
            f"opening prices, {size}",
            f"{JOBS}:opening_prices",
            {"scenario": size.scenario, "set": {}, "shown": "prices", "prices": list(PRICES), "episodes": PRICED_NETWORKS[scale]},
        )
        for size in SIZES
    ]


def _prices(results: Results, size: Size, reading: str) -> np.ndarray:
    """J by network and price, (networks, prices)."""
    return np.array(chosen(results, scenario=size.scenario, shown="prices")[0][reading])


def _first(results: Results, size: Size, policy: str) -> np.ndarray:
    """A policy's cost in the first slot of each network, for what was learned the mean over seeds. Returns (networks,)."""
    if policy == LEARNED:
        return costs(results, size, policy)[:, :, FIRST].mean(axis=0)
    return rule_costs(results, size, policy)[:, FIRST]


def _shown(results: Results, size: Size) -> list[str]:
    """The algorithms that were trained on a size: at quick scale the printed one on the smallest alone."""
    return [name for name in (PRINTED, LEARNED) if chosen(results, scenario=size.scenario, shown=name)]


def _fig7_pictures(results: Results) -> dict[str, Figure]:
    found, levels = {}, {}
    for size in SIZES:
        found[size] = {
            name: [
                (value["curve"]["slots"], value["curve"]["cost"]) for value in chosen(results, scenario=size.scenario, shown=name)
            ]
            for name in _shown(results, size)
        }
        levels[size] = chosen(results, scenario=size.scenario, shown="rules")[0]["evaluated"]
    metric = "cost J per placement, s"
    meaning = "mean over seeds, with 95 % intervals where there are several; dashed: no training, on the same networks"
    figures = {
        f"training-n{size.users}-m{size.stations}": learning_curves(
            [curve(name, runs) for name, runs in found[size].items()],
            [Level(name, levels[size][name]) for name in LEVELS],
            metric,
            f"{size}; {meaning}",
        )
        for size in SIZES
    }
    every = [curve(str(size), found[size][LEARNED])._replace(hue=colour(number)) for number, size in enumerate(SIZES, 1)]
    optima = [Level(f"optimum, {size}", levels[size]["optimum"], colour(number)) for number, size in enumerate(SIZES, 1)]
    figures["training"] = learning_curves(every, optima, metric, f"{LEARNED}; {meaning}")
    figures["opening-price"] = _price_picture(results)
    return figures


def _price_picture(results: Results) -> Figure:
    figure, axes = empty(8.6, 4.4)
    for number, size in enumerate(SIZES, 1):
        for reading, style in (("optimum", "-"), ("all_open", ":")):
            mean = _prices(results, size, reading).mean(axis=0)
            told = f"{size}: {'optimum' if reading == 'optimum' else 'all servers open'}"
            axes.plot(PRICES, mean, style, color=colour(number), marker="o", markersize=3.5, label=told)
    axes.set_xlabel("price ϕ of an open server, s")
    axes.set_xlim(0, PRICES[-1])
    axes.set_title("cost J per placement, s", loc="left", fontsize=11)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    say_it_as_it_is(figure)
    return figure


def _fig7_tables(results: Results) -> list[Table]:
    rows: list[list[str | float | Estimate | None]] = []
    for size in SIZES:
        best = _first(results, size, "optimum")
        rows += [
            [str(size), rule, sampled(_first(results, size, rule)), above(_first(results, size, rule), best), None]
            for rule in RULES
        ]
        for name in _shown(results, size):
            each, values = costs(results, size, name)[:, :, FIRST], chosen(results, scenario=size.scenario, shown=name)
            mean = each.mean(axis=0)
            label = f"{name}, {len(each)} seed{'s' * (len(each) > 1)}"
            rows.append([str(size), label, sampled(mean), above(mean, best), float(values[0]["updates"])])
    told = "Cost J of placements on networks that no training has met; intervals over networks"
    first = Table("costs", told, ("network", "policy", "cost, s", "above the optimum, %", "updates"), rows)
    return [first, _prices_table(results)]


def _prices_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for reading in ("optimum", "all_open"):
        for at, price in enumerate(PRICES):
            each = {size: _prices(results, size, reading)[:, at] for size in SIZES}
            rows.append(
                [reading.replace("_", " "), price, *(sampled(each[size]) for size in SIZES), *_by_stations(each).values()]
            )
    for users in (80, 100):
        few, many = (_prices(results, Size(users, stations), "all_open")[:, 0] for stations in (5, 10))
        even = combination([(1 / 5, few), (-1 / 5, many)])
        rows.append([f"all open, N = {users}: no difference at ϕ =", even, *[None] * 6])
    columns = (
        "servers",
        "ϕ, s",
        *(f"J, {size}, s" for size in SIZES),
        "M = 10 above M = 5, N = 80, %",
        "M = 10 above M = 5, N = 100, %",
    )
    title = (
        "Cost J by the price of an open server: of the optimum, which closes servers, and with all servers open, users placed as if opening "
        "cost nothing; intervals over networks, which differ from size to size"
    )
    return Table("opening-price", title, columns, rows)


def _by_stations(each: dict[Size, np.ndarray]) -> dict[str, Estimate]:
    """What doubling the base stations does to a cost, %."""
    return {f"N = {users}": more(each[Size(users, 10)], each[Size(users, 5)]) for users in (80, 100)}


def _by_users(each: dict[Size, np.ndarray]) -> dict[str, Estimate]:
    """What 100 users in place of 80 do to a cost, %."""
    return {f"M = {stations}": more(each[Size(100, stations)], each[Size(80, stations)]) for stations in (5, 10)}


def named(name: str, found: dict[str, Estimate]) -> dict[str, Estimate]:
    return {f"{name}, {where}": estimate for where, estimate in found.items()}


def by_fewer_stations(each: dict[Size, np.ndarray]) -> dict[str, Estimate]:
    """What half the base stations do to a cost, %."""
    return {f"N = {users}": more(each[Size(users, 5)], each[Size(users, 10)]) for users in (80, 100)}


def users_over_stations(each: dict[Size, np.ndarray], by_percent: bool) -> Estimate:
    """How much more 20 users change a cost than 5 base stations do, s, each as a mean over the other; or per percent of change: the
    difference of the elasticities. Effects count without their sign."""
    users = {size: 0.5 if size.users == 100 else -0.5 for size in SIZES}
    stations = {size: 0.5 if size.stations == 10 else -0.5 for size in SIZES}
    combined = log_combination if by_percent else combination
    steps = (math.log(100 / 80), math.log(10 / 5)) if by_percent else (1.0, 1.0)
    effects = [
        {size: weight / step for size, weight in weights.items()} for weights, step in zip((users, stations), steps, strict=True)
    ]
    signs = [math.copysign(1, combined([(weights[size], each[size]) for size in SIZES]).mean) for weights in effects]
    return combined([(signs[0] * effects[0][size] - signs[1] * effects[1][size], each[size]) for size in SIZES])


def size_claims(everyone: dict[str, dict[Size, np.ndarray]], where: str) -> list[Claim]:
    """What both figures say of users and base stations. everyone: by policy and size its cost on networks of their own, (networks,)."""

    def measured(of):
        return {key: value for name, each in everyone.items() for key, value in named(name, of(each)).items()}

    users = {name: users_over_stations(each, by_percent=False) for name, each in everyone.items()}
    percent = {name: users_over_stations(each, by_percent=True) for name, each in everyone.items()}
    return [
        Claim(
            "The fewer base stations, the higher the cost", "Fig. 8's text", measured(by_fewer_stations), at_least(0.0), unit="%"
        ),
        Claim(
            "Users matter more than base stations: 20 users more change the cost by more than 5 base stations",
            where,
            users,
            at_least(0.0),
            unit="s",
        ),
        Claim(
            "The same by elasticities: a percent more users changes the cost by more than a percent more base stations",
            f"{where}, read per percent",
            percent,
            at_least(0.0),
            unit="% per %",
        ),
    ]


def _changes(results: Results) -> np.ndarray:
    """By training, how much the cost still changed in the last quarter, % of what it came to."""
    found = []
    for value in chosen(results, shown=LEARNED):
        slots, cost = np.array(value["curve"]["slots"]), np.array(value["curve"]["cost"])
        found.append(100 * abs(np.interp(0.75 * slots[-1], slots, cost) / cost[-1] - 1))
    return np.array(found)


def _fig7_claims(results: Results) -> list[Claim]:
    everyone = {name: {size: _first(results, size, name) for size in SIZES} for name in ("optimum", LEARNED)}
    users = {key: value for name, each in everyone.items() for key, value in named(name, _by_users(each)).items()}
    stations = {key: value for name, each in everyone.items() for key, value in named(name, _by_stations(each)).items()}
    dear = {size: _prices(results, size, "all_open")[:, PRICES.index(DEAR)] for size in SIZES}
    at_any = {
        key: value
        for at, price in enumerate(PRICES)
        for key, value in named(
            f"ϕ = {price:g} s", by_fewer_stations({size: _prices(results, size, "optimum")[:, at] for size in SIZES})
        ).items()
    }
    return [
        Claim(
            f"Training converges: the cost changes by at most {SETTLED:g} % in its last quarter",
            "Fig. 7",
            {f"{LEARNED}, mean of the trainings' changes": seed_mean(_changes(results))},
            at_most(SETTLED),
            unit="%",
        ),
        Claim(
            f"With M = 5, N = 100 costs much more than N = 80: at least {MUCH:g} %",
            "Fig. 7",
            {name: _by_users(each)["M = 5"] for name, each in everyone.items()},
            at_least(MUCH),
            unit="%",
        ),
        Claim("The cost increases with the number of users", "Fig. 7", users, at_least(0.0), unit="%"),
        Claim("The cost increases with the number of base stations", "Fig. 7's text", stations, at_least(0.0), unit="%"),
        *size_claims(everyone, "Fig. 7"),
        Claim(
            "Whatever an open server costs, fewer base stations cost more at the optimum",
            "Fig. 8's text",
            at_any,
            at_least(0.0),
            unit="%",
        ),
        Claim(
            f"Where all servers stay open and each costs {DEAR:g} s, more base stations cost more",
            f"Fig. 7's text, {READING}",
            _by_stations(dear),
            at_least(0.0),
            unit="%",
        ),
    ]


STUDIES = {
    "association/fig7": Study(
        "Cost while placement is learned",
        "Fig. 7",
        "Learning curves for four networks beside the optimum, greedy and nearest; whether base stations cost or save, by the price of one.",
        _fig7_jobs,
        _fig7_pictures,
        _fig7_tables,
        _fig7_claims,
        {"quick": 3, "full": 60},
    ),
}
