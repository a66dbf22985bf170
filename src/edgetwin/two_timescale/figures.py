"""What Beta-HAPPO learns, beside the rules and the bound, as a study with its bars judged; `ablation` asks what each of its parts is worth."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from edgetwin.evaluation.claims import Claim, at_most
from edgetwin.evaluation.frontiers import Excess, Place, excess, mean_excess
from edgetwin.evaluation.learning_curves import Level, aligned, curve, learning_curves
from edgetwin.evaluation.plots import INK, colour, empty, log_where_wide, say_it_as_it_is
from edgetwin.evaluation.statistics import Estimate, interquartile_mean, paired_difference, pooled, seed_mean
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen
from edgetwin.problem import Ratio
from edgetwin.two_timescale import ablation, migration_study
from edgetwin.two_timescale.jobs import BOUND_AT, CURVES, LEARNED, METRICS, shares
from edgetwin.two_timescale.study_jobs import (
    ENERGY,
    FAILURE,
    FRONTIER,
    frontier_jobs,
    percent,
    rule_name,
    rules_job,
    training_job,
)

SHOWN = ("beta-happo", "beta-happo-shared")
PAPER = "beta-happo-paper"
BARS = {"beta-happo": 25.0, "beta-happo-shared": 10.0}
"""Energy above the rule's at the same failures that is allowed, %."""
SLOTS = {"quick": 100_000, "full": 750_000}
SEEDS = {"quick": 1, "full": 5}
PAPER_SLOTS = {"quick": 10_000, "full": 750_000}
RULES = ("full-power+nearest", "inversion[snr=5]+nearest")
DEPLOYMENTS = ("nearest", "sticky", "static")
MINUTES_ALLOWED = 8.0
SLACK_REQUESTS, SLACK_ENERGY = 0.1, 1.0
"""What counts as not worse: at most so many % of all requests failing more, and so many % more energy."""
WHERE = "not in the paper"


def _jobs(scale: Scale) -> list[Job]:
    jobs = [rules_job("rules", RULES, shown="rules"), *frontier_jobs(DEPLOYMENTS)]
    for name in SHOWN:
        algorithm = f"{name}[anneal_slots={SLOTS[scale]}]"
        jobs += [training_job(name, algorithm, SLOTS[scale], seed, parts=True) for seed in range(SEEDS[scale])]
    return [*jobs, training_job(PAPER, f"{PAPER}[critics=reward]", PAPER_SLOTS[scale], 0, parts=False)]


def _frontier(results: Results, deployment: str) -> list[Place]:
    """The tuned rule at every failure ratio that it was tuned for."""
    found = [(target, chosen(results, target=target)[0]) for target in FRONTIER]
    each = [shares(value, rule_name(target, deployment)) for target, value in found]
    return [Place(share[FAILURE], share[ENERGY]) for share in each]


def _excesses(results: Results, name: str, deployment: str) -> list[Excess]:
    """By seed, a learned policy's energy above the rule's at the same failures."""
    frontier = _frontier(results, deployment)
    learned = [shares(value) for value in chosen(results, shown=name)]
    return [excess(Place(share[FAILURE], share[ENERGY]), frontier) for share in learned]


def _over_seeds(results: Results, name: str, metric: str) -> Estimate:
    each = [shares(value)[metric] for value in chosen(results, shown=name)]
    return seed_mean(np.array([share.numerator.sum() / share.denominator.sum() for share in each]))


def _policies_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    found = chosen(results, shown="rules")[0]

    def over_bound(failed: float, energy: float) -> float:
        return energy / float(np.interp(failed, BOUND_AT, found["bound"]))

    rules = {name: shares(found, name) for name in RULES}
    rules |= {
        rule_name(at, where): shares(chosen(results, target=at)[0], rule_name(at, where))
        for at in (0.05, 0.1)
        for where in DEPLOYMENTS
    }
    for name, share in rules.items():
        told = {metric: pooled(*share[metric]) for metric in METRICS}
        rows.append([name, *_told(told), over_bound(told[FAILURE].mean, told[ENERGY].mean), None])
    for name in (*SHOWN, PAPER):
        values = chosen(results, shown=name)
        over = {metric: _over_seeds(results, name, metric) for metric in METRICS}
        seconds = float(np.median([value["seconds"] for value in values]))
        label = f"{name}, {len(values)} seed{'s' * (len(values) > 1)}"
        rows.append([label, *_told(over), over_bound(over[FAILURE].mean, over[ENERGY].mean), seconds])
    columns = (
        "policy",
        "failed requests",
        "energy, mJ per user and slot",
        "worst user, failures per slot",
        "users over ε",
        "migrations per frame",
        "over the bound, times",
        "training, s",
    )
    title = "Learned policies and rules on the same networks; intervals over seeds for what was learned, over networks for rules"
    return Table("policies", title, columns, rows)


def _told(estimates: dict[str, Estimate]) -> list[Estimate]:
    return [estimates[metric] for metric in (FAILURE, ENERGY, "failure_worst_user", "users_over_epsilon", "migrations_per_frame")]


def _excess_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for name in SHOWN:
        values = chosen(results, shown=name)
        by_rule = [_excesses(results, name, deployment) for deployment in DEPLOYMENTS]
        for seed, value in enumerate(values):
            share = shares(value)
            cells = [percent(each[seed].estimate) for each in by_rule]
            rows.append([f"{name}, seed {seed}", pooled(*share[FAILURE]), pooled(*share[ENERGY]), *cells, value["seconds"]])
        over = [_over_seeds(results, name, metric) for metric in (FAILURE, ENERGY)]
        seeds = [np.array([each.value for each in excesses]) for excesses in by_rule]
        rows.append([f"{name}, mean over seeds", *over, *(percent(seed_mean(each)) for each in seeds), None])
        rows.append([f"{name}, interquartile mean", None, None, *(percent(interquartile_mean(each)) for each in seeds), None])
        networks = [percent(mean_excess(each).estimate) for each in by_rule]
        rows.append([f"{name}, mean, interval over networks", None, None, *networks, None])
    columns = (
        "policy",
        "failed requests",
        "energy, mJ per user and slot",
        *(f"energy above distance-rule+{deployment}, %" for deployment in DEPLOYMENTS),
        "training, s",
    )
    least = min(place.x.numerator.sum() / place.x.denominator.sum() for place in _frontier(results, "nearest"))
    title = (
        "Energy compared with the tuned rule at the same share of failed requests, between whose points the logarithm of energy is interpolated; "
        f"what fails less than the rule ever does (with nearest {100 * least:.3g} %) is compared with the rule where it fails least, "
        "to the rule's advantage; a seed's interval is over networks, paired"
    )
    return Table("excess", title, columns, rows)


def _frontier_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for target in FRONTIER:
        value = chosen(results, target=target)[0]
        params = value["params"][rule_name(target, "nearest")]
        places = [shares(value, rule_name(target, deployment)) for deployment in DEPLOYMENTS]
        cells = [pooled(*share[metric]) for share in places for metric in (FAILURE, ENERGY)]
        rows.append([f"{100 * target:g} %", *(params[knob] for knob in ("a", "t0", "x")), *cells])
    columns = (
        "tuned for",
        "a",
        "t0, s",
        "x",
        *(f"{what}, {where}" for where in DEPLOYMENTS for what in ("failed requests", "energy, mJ")),
    )
    return Table("frontier", "The distance rule, tuned on other episodes for each share of failed requests", columns, rows)


PARTS = {
    "shares: learned, not equal": ("equal shares", "shares"),
    "deployment: learned, not nearest": ("nearest", "deployment"),
    "deployment: learned, not sticky": ("sticky", "deployment"),
}


def _differences(results: Results, name: str, instead: str) -> tuple[Estimate, Estimate]:
    """What a policy's own decisions change against a rule's in their place: failed requests in percentage points, energy in %.

    Means over seeds with intervals over networks, paired: requests are the same whatever is done, so seeds are pooled network by network.
    """
    values = chosen(results, shown=name)

    def over_seeds(policy: str, metric: str) -> Ratio:
        each = [shares(value, policy)[metric] for value in values]
        return Ratio(np.sum([share.numerator for share in each], axis=0), np.sum([share.denominator for share in each], axis=0))

    failed, energy = (paired_difference(over_seeds(LEARNED, metric), over_seeds(instead, metric)) for metric in (FAILURE, ENERGY))
    beside = over_seeds(instead, ENERGY)
    return percent(failed), percent(energy, float(beside.denominator.sum() / beside.numerator.sum()))


def _parts_table(results: Results) -> Table:
    rows: list[list[str | float | Estimate | None]] = []
    for name in SHOWN:
        for label, (instead, _) in PARTS.items():
            alone = [shares(value, instead)[FAILURE] for value in chosen(results, shown=name)]
            by_seed = np.array([share.numerator.sum() / share.denominator.sum() for share in alone])
            own = [shares(value)[FAILURE] for value in chosen(results, shown=name)]
            seeds = seed_mean(np.array([share.numerator.sum() / share.denominator.sum() for share in own]) - by_seed)
            rows.append([name, label, *_differences(results, name, instead), percent(seeds)])
    columns = ("policy", "part", "failed requests, percentage points", "energy, %", "failed requests, interval over seeds")
    title = "What each learned part changes against a rule in its place, on the same networks (below 0: better); paired intervals over networks"
    return Table("parts", title, columns, rows)


def _tables(results: Results) -> list[Table]:
    paper = chosen(results, shown=PAPER)[0]
    first = [paper["curve"][metric][0] for metric in (FAILURE, ENERGY)]
    last = [paper["curve"][metric][-1] for metric in (FAILURE, ENERGY)]
    rows = [
        ["before training", *first, None, None],
        ["after training", *last, float(paper["updates"]), paper["seconds"]],
        *[
            [
                name,
                *(pooled(*shares(chosen(results, shown="rules")[0], name)[metric]) for metric in (FAILURE, ENERGY)),
                None,
                None,
            ]
            for name in RULES
        ],
    ]
    columns = ("policy", "failed requests", "energy, mJ per user and slot", "updates", "training, s")
    title = (
        f"{PAPER}, Table I with a critic per reward, to its end: every loss and parameter stayed finite, else training stops; "
        "before and after on the evaluations' networks, rules on the comparison's"
    )
    return [
        _policies_table(results),
        _excess_table(results),
        _parts_table(results),
        Table("paper", title, columns, rows),
        _frontier_table(results),
    ]


def _pictures(results: Results) -> dict[str, Figure]:
    figures = {"plane": _plane(results, (*SHOWN, PAPER), RULES), "plane-near": _plane(results, SHOWN, ())}
    told = {ENERGY: "energy, mJ per user and slot", FAILURE: "failed requests per request"}
    for metric in CURVES:
        found = {
            name: [(value["curve"]["slots"], value["curve"][metric]) for value in chosen(results, shown=name)]
            for name in (*SHOWN, PAPER)
        }
        levels = [
            Level(label, pooled(*shares(value, name)[metric]).mean)
            for label, name, value in [
                ("distance-rule+nearest, 5 %", rule_name(0.05, "nearest"), chosen(results, target=0.05)[0]),
                *((name, name, chosen(results, shown="rules")[0]) for name in RULES),
            ]
        ]
        meaning = "on networks of the evaluation; thin: seeds, thick: their mean with its 95 % interval; dashed: rules, on the comparison's networks"
        figure = learning_curves([curve(name, runs) for name, runs in found.items()], levels, told[metric], meaning)
        for number, runs in enumerate(found.values(), 1):
            slots, values = aligned(runs)
            figure.axes[0].plot(slots, values.T, color=colour(number), linewidth=0.6, alpha=0.6)
        figures[f"learning-{'energy' if metric == ENERGY else 'failures'}"] = figure
    return figures


def _plane(results: Results, learned: Sequence[str], rules: Sequence[str]) -> Figure:
    """Failures and energy: the tuned rule with every deployment, the bound, every seed of what was learned, and other rules."""
    figure, axes = empty(8.6, 5.2)
    found = chosen(results, shown="rules")[0]
    farthest = []
    for style, deployment in zip(("-", "--", ":"), DEPLOYMENTS, strict=True):
        x, y = _middles(_frontier(results, deployment))
        order = np.argsort(x)
        axes.plot(x[order], y[order], style, color=INK, linewidth=1.2, marker=".", label=f"distance-rule+{deployment}, tuned")
    shown = {name: [shares(value) for value in chosen(results, shown=name)] for name in learned}
    shown |= {name: [shares(found, name)] for name in rules}
    for number, (name, each) in enumerate(shown.items(), 1):
        x, y = _middles([Place(share[FAILURE], share[ENERGY]) for share in each])
        axes.plot(x, y, "osD^v"[number - 1], color=colour(number), markersize=6, linestyle="", label=name)
        farthest.append(x.max())
    right = min(1.25 * max(farthest), float(BOUND_AT[-1]))
    kept = right >= BOUND_AT
    axes.plot(BOUND_AT[kept], np.array(found["bound"])[kept], color=INK, linewidth=1.8, label="proven lower bound")
    points = np.concatenate([np.asarray(line.get_xydata(), dtype=float) for line in axes.lines])
    seen = points[points[:, 0] <= right, 1]
    log_where_wide(axes, list(seen))
    axes.set_xlim(0, right)
    axes.set_ylim(seen.min() / 1.2, seen.max() * 1.2)
    axes.set_xlabel("failed requests per request")
    axes.set_title("energy, mJ per user and slot", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    say_it_as_it_is(figure)
    return figure


def _middles(places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
    x, y = ([ratio.numerator.sum() / ratio.denominator.sum() for ratio in ratios] for ratios in zip(*places, strict=True))
    return np.array(x), np.array(y)


def _claims(results: Results) -> list[Claim]:
    claims = []
    for name, bar in BARS.items():
        for deployment in ("nearest", "sticky"):
            each = _excesses(results, name, deployment)
            seeds = {"over seeds": percent(seed_mean(np.array([one.value for one in each])))} if len(each) > 1 else {}
            measured = {**seeds, "over networks": percent(mean_excess(each).estimate)}
            says = f"{name} needs at most {bar:g} % more energy than the tuned distance-rule+{deployment} that fails as often"
            claims.append(Claim(says, WHERE, measured, at_most(bar), unit="%"))
    failed = {"over seeds": percent(_over_seeds(results, "beta-happo-shared", FAILURE))}
    claims.append(Claim("beta-happo-shared fails at most 5 % of the requests", WHERE, failed, at_most(5.0), unit="%"))
    for instead, part in list(PARTS.values())[:2]:
        found = {name: _differences(results, name, instead) for name in SHOWN}
        for place, slack, what, unit in (
            (0, SLACK_REQUESTS, "requests fail", "percentage points"),
            (1, SLACK_ENERGY, "energy is spent", "%"),
        ):
            says = f"Learned {part} are not worse than {instead}: at most {slack:g} {unit} more {what}".replace(
                "deployment are", "deployment is"
            )
            claims.append(Claim(says, WHERE, {name: each[place] for name, each in found.items()}, at_most(slack), unit=unit))
    minutes = {name: seed_mean(np.array([value["seconds"] for value in chosen(results, shown=name)]) / 60) for name in SHOWN}
    says = f"A training takes at most {MINUTES_ALLOWED:g} minutes, with compilation and evaluations"
    return [*claims, Claim(says, WHERE, minutes, at_most(MINUTES_ALLOWED), unit="minutes")]


STUDIES = {
    "learned": Study(
        "What Beta-HAPPO learns",
        "beyond the paper",
        "Learned policies against rules and the bound: energy at equal failures, which learned part helps, learning curves, Table I as printed.",
        _jobs,
        _pictures,
        _tables,
        _claims,
        {"quick": 20, "full": 150},
    ),
    **ablation.STUDIES,
    **migration_study.STUDIES,
}
