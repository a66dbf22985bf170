"""What each part of `beta-happo` is worth: one after another is taken back to what the paper prints, or to something simpler, and all else kept."""

import numpy as np

from edgetwin.evaluation.claims import Claim, at_least
from edgetwin.evaluation.statistics import Estimate, paired_difference, pooled, seed_difference, seed_mean
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen
from edgetwin.problem import Ratio
from edgetwin.two_timescale.jobs import shares
from edgetwin.two_timescale.study_jobs import ENERGY, FAILURE, PRICE_MJ, cost, frontier_jobs, rule_name, training_job

DEFAULT = "beta-happo"
TAKEN_BACK = {
    "distribution=softplus": "the Beta by its mode and concentration",
    "distribution=gaussian": "the Beta, for a clipped Gaussian",
    "power=log": "the power as a target signal-to-noise ratio, for a logarithmic scale",
    "power=linear": "the power as a target signal-to-noise ratio, for a linear scale",
    "features=raw": "what is computed from the observation",
    "rewards=global": "each action's own difference, for one cost of the whole network",
    "rewards=printed": "each action's own difference, for (28) and (26) as printed",
    "per_user=false,rewards=global": "looking at users one by one, and each action's own difference",
    "discount=0.9": "no discounting of the future by users and stations, for γ = 0.9",
    "sequential=false": "the sequential update, for all at once",
    "masked=false": "leaving out what cannot matter",
    "centre_horizon_frames=0": "the price of a move for the centre",
}
"""Knobs, and what setting them takes away."""
SLOTS = {"quick": 50_000, "full": 150_000}
SEEDS = {"quick": 1, "full": 3}
TARGETS = (0.04, 0.045, 0.05, 0.055, 0.06)


def _jobs(scale: Scale) -> list[Job]:
    jobs = frontier_jobs(("nearest",), TARGETS)
    for knobs in ("", *TAKEN_BACK):
        algorithm = f"{DEFAULT}[{','.join(filter(None, (f'anneal_slots={SLOTS[scale]}', knobs)))}]"
        jobs += [training_job(_name(knobs), algorithm, SLOTS[scale], seed, parts=False) for seed in range(SEEDS[scale])]
    return jobs


def _name(knobs: str) -> str:
    return f"{DEFAULT}[{knobs}]" if knobs else DEFAULT


def _ratios(results: Results, knobs: str, what: str) -> list[Ratio]:
    """By seed, a metric's share on every network."""
    each = [shares(value) for value in chosen(results, shown=_name(knobs))]
    return [cost(share) if what == "cost" else share[what] for share in each]


def _mean(results: Results, knobs: str, what: str) -> Estimate:
    """Over seeds, or over networks where there is only one."""
    ratios = _ratios(results, knobs, what)
    return pooled(*ratios[0]) if len(ratios) == 1 else seed_mean(_means(ratios))


def _more(results: Results, knobs: str) -> Estimate:
    """The cost above that of `beta-happo`, paired by seed, or by network where there is only one seed."""
    without, default = (_ratios(results, name, "cost") for name in (knobs, ""))
    if len(default) == 1:
        return paired_difference(without[0], default[0])
    return seed_difference(_means(without), _means(default))


def _means(ratios: list[Ratio]) -> np.ndarray:
    """(seeds,)"""
    return np.array([ratio.numerator.sum() / ratio.denominator.sum() for ratio in ratios])


def _tables(results: Results) -> list[Table]:
    rows: list[list[str | float | Estimate | None]] = []
    for target in TARGETS:
        name = rule_name(target, "nearest")
        share = shares(chosen(results, target=target)[0], name)
        rows.append([name, None, *(pooled(*ratio) for ratio in (share[FAILURE], share[ENERGY], cost(share))), None])
    for knobs in ("", *TAKEN_BACK):
        found = [_mean(results, knobs, what) for what in (FAILURE, ENERGY, "cost")]
        rows.append([_name(knobs), TAKEN_BACK.get(knobs, "nothing"), *found, _more(results, knobs) if knobs else None])
    columns = ("policy", "without", "failed requests", "energy, mJ", "cost, mJ", "cost above beta-happo's")
    runs = chosen(results, shown=DEFAULT)
    seeds, slots = len(runs), runs[0]["curve"]["slots"][-1]
    title = (
        f"One part taken away at a time, {slots:,} slots, {seeds} seed{'s' * (seeds > 1)}; cost: energy plus {PRICE_MJ:g} mJ per failed request, "
        f"per user and slot; intervals over {'seeds, for rules over ' if seeds > 1 else ''}networks"
    )
    return [Table("ablation", title, columns, rows)]


def _claims(results: Results) -> list[Claim]:
    return [
        Claim(
            f"It matters: without {without} ({knobs}) the cost is higher",
            "not in the paper",
            {"cost above beta-happo's": _more(results, knobs)},
            at_least(0.0),
            unit="mJ",
        )
        for knobs, without in TAKEN_BACK.items()
    ]


STUDIES = {
    "ablation": Study(
        "What each part of Beta-HAPPO's fitting is worth",
        "beyond the paper",
        "One deviation from the paper taken back at a time: failures, energy, and the cost that is optimised.",
        _jobs,
        tables=_tables,
        claims=_claims,
        minutes={"quick": 25, "full": 100},
    ),
}
