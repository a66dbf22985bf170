"""The study of transfer: what it counts and how it judges, on results that are made up; and that its jobs can be asked for."""

import numpy as np
import pytest

from edgetwin.association import transfer_study as study
from edgetwin.evaluation.study import Result
from edgetwin.registry import learner, problem
from edgetwin.scenario import scenario

TRANSFER = study.STUDIES["association/transfer"]


def arm(cost, norms=None):
    points = len(cost)
    return {
        "slots": [1600 * point for point in range(points)],
        "updates": [50 * point for point in range(points)],
        "cost": list(cost),
        "parameter_norm": [None, *(norms or [None] * (points - 1))],
        "seconds": [1.0] * points,
    }


def made_up(warm, scratch, printed_norms):
    """Two seeds, the second dearer by a hundredth everywhere but untrained."""
    values = [
        {
            "scratch": arm([40.0, *(cost * more for cost in scratch)]),
            "warm": arm([cost * more for cost in warm]),
            "experience": arm([cost * more for cost in warm]),
            "aggregate": arm([cost * more * 1.1 for cost in warm]),
            "pull": arm([cost * more for cost in warm], [3.0] * (len(warm) - 1)),
            "printed": arm([cost * more * 1.2 for cost in warm], printed_norms),
        }
        for more in (1.0, 1.01)
    ]
    results = {f"transfer, seed {seed}": Result({"shown": "arms"}, value, 1.0) for seed, value in enumerate(values)}
    levels = {"nearest": 30.0, "greedy": 25.0, "optimum": 19.0}
    return {**results, "rules": Result({"shown": "rules"}, {"evaluated": levels}, 1.0)}


def verdicts(results):
    return [claim.verdict for claim in TRANSFER.claims(results)]


@pytest.mark.parametrize(
    ("cost", "level", "iterations"),
    [
        ([10, 8, 6], 7, 75),
        ([10, 8, 6], 10, 0),
        ([10, 8, 6], 8, 50),
        ([10, 8, 6], 5, 100),
        ([10, 6, 9], 7, 37.5),
    ],
    ids=["between", "at once", "at an evaluation", "never", "the first time"],
)
def test_iterations_are_counted_to_the_first_time_on_straight_lines(cost, level, iterations):
    assert study.iterations_to([0, 50, 100], cost, level) == pytest.approx(iterations)


def test_shares_of_the_way_are_between_the_untrained_and_where_the_warm_start_ends():
    results = made_up([24, 20, 20, 20, 20, 20], [40, 40, 30, 24, 20.1], [1, 2, 3, 4, 5])
    end = 20 * 1.005
    assert study.levels(results) == pytest.approx({share: 40 - share * (40 - end) for share in (0.9, 0.95, 0.99)})
    level = 40 - 0.95 * (40 - end)
    warm = [study.iterations_to([0, 50], [24 * more, 20 * more], level) for more in (1, 1.01)]
    scratch = [study.iterations_to([200, 250], [24 * more, 20.1 * more], level) for more in (1, 1.01)]
    assert study.ratio(results, "warm", "scratch", 0.95).mean == pytest.approx(np.mean(warm) / np.mean(scratch))


def test_claims_follow_what_was_measured():
    quick = made_up([20.4, 20, 20, 20, 20, 20], [40, 40, 30, 24, 20.1], [1, 2, 3, 4, 5])
    assert verdicts(quick)[0] == "reproduced"
    assert verdicts(quick)[1] == "reproduced"
    assert verdicts(quick)[3] == "not reproduced", "the mean begins a tenth worse"
    assert verdicts(quick)[4] == "reproduced"
    assert verdicts(quick)[5:] == ["not reproduced", "not reproduced"]
    slow = made_up([39, 36, 33, 20, 20, 20], [38, 36, 20, 20, 20], [1, 1, 1, 1, 1])
    assert verdicts(slow)[0] == "not reproduced"
    assert verdicts(slow)[6] == "reproduced"
    assert len(TRANSFER.draw(quick)["transfer"].axes[0].lines) == 6 + 3
    (table,) = TRANSFER.tables(quick)
    assert [row[0] for row in table.rows][-3:] == ["nearest", "greedy", "optimum"]


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_region_is_a_scenario_and_another_one(scale):
    jobs = TRANSFER.jobs(scale)
    assert len(jobs) == study.SIZES[scale].seeds + 1
    settings = jobs[0].settings
    regions = [
        scenario(settings["scenario"], each) for each in (*(place["set"] for place in settings["way"]), settings["target"])
    ]
    assert len({region.model_dump_json() for region in regions}) == len(regions)
    assert learner(problem("placement").task(regions[-1]), settings["algo"]).settings.anneal_slots == settings["slots"]
    for job in jobs:
        job.load()
