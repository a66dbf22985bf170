"""What each part of `beta-happo` is worth: one after another is taken back to what the paper prints, or to something simpler, and all else kept."""

import numpy as np

from edgetwin.evaluation.claims import Claim, at_least
from edgetwin.evaluation.statistics import Estimate, pooled, seed_difference, seed_mean
from edgetwin.evaluation.study import Job, Results, Scale, Study, Table, chosen
from edgetwin.problem import Ratio
from edgetwin.two_timescale.agents import Fitting
from edgetwin.two_timescale.jobs import shares
from edgetwin.two_timescale.study_jobs import ENERGY, FAILURE, frontier_jobs, rule_name, training_job

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
PRICE_MJ = Fitting().failure_price_mj


def _jobs(scale: Scale) -> list[Job]:
    jobs = frontier_jobs(("nearest",), TARGETS)
    for knobs in ("", *TAKEN_BACK):
        algorithm = f"{DEFAULT}[{','.join(filter(None, (f'anneal_slots={SLOTS[scale]}', knobs)))}]"
        jobs += [training_job(_name(knobs), algorithm, SLOTS[scale], seed, parts=False) for seed in range(SEEDS[scale])]
    return jobs


def _name(knobs: str) -> str:
    return f"{DEFAULT}[{knobs}]" if knobs else DEFAULT


def cost(share: dict[str, Ratio]) -> Ratio:
    """Energy plus the price of failures, mJ per user and slot: what `beta-happo` is trained to make small."""
    energy, failed = share[ENERGY], share["failure_per_slot"]
    return Ratio(energy.numerator + PRICE_MJ * failed.numerator, energy.denominator)


def _by_seed(results: Results, knobs: str, what: str) -> np.ndarray:
    """(seeds,)"""
    each = [shares(value) for value in chosen(results, shown=_name(knobs))]
    ratios = [cost(share) if what == "cost" else share[what] for share in each]
    return np.array([ratio.numerator.sum() / ratio.denominator.sum() for ratio in ratios])


def _tables(results: Results) -> list[Table]:
    default = _by_seed(results, "", "cost")
    rows: list[list[str | float | Estimate | None]] = []
    for target in TARGETS:
        name = rule_name(target, "nearest")
        share = shares(chosen(results, target=target)[0], name)
        rows.append([name, None, *(pooled(*ratio) for ratio in (share[FAILURE], share[ENERGY], cost(share))), None])
    for knobs in ("", *TAKEN_BACK):
        found = {what: _by_seed(results, knobs, what) for what in (FAILURE, ENERGY, "cost")}
        more = seed_difference(found["cost"], default) if knobs else None
        rows.append([_name(knobs), TAKEN_BACK.get(knobs, "nothing"), *map(seed_mean, found.values()), more])
    columns = ("policy", "without", "failed requests", "energy, mJ", "cost, mJ", "cost above beta-happo's")
    seeds, slots = len(default), chosen(results, shown=DEFAULT)[0]["curve"]["slots"][-1]
    title = (
        f"One part taken away at a time, {slots:,} slots, {seeds} seed{'s' * (seeds > 1)}; cost: energy plus {PRICE_MJ:g} mJ per failed request, "
        "per user and slot; intervals over seeds, for rules over networks"
    )
    return [Table("ablation", title, columns, rows)]


def _claims(results: Results) -> list[Claim]:
    default = _by_seed(results, "", "cost")
    return [
        Claim(
            f"It matters: without {without} ({knobs}) the cost is higher",
            "not in the paper",
            {"cost above beta-happo's": seed_difference(_by_seed(results, knobs, "cost"), default)},
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
