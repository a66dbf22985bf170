"""Learning curves: seeds brought to the same slots, and names that stand apart at the lines they belong to."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Annotation

from edgetwin.evaluation.learning_curves import LABEL_GAP, Level, aligned, curve, learning_curves
from edgetwin.evaluation.plots import apart


def test_seeds_meet_on_the_slots_that_all_of_them_cover():
    slots, values = aligned([([0, 10, 20, 30], [0, 1, 2, 3]), ([5, 15, 25], [5, 15, 25])])
    assert slots.tolist() == [5, 10, 15, 20, 25]
    assert values.tolist() == [[0.5, 1, 1.5, 2, 2.5], [5, 10, 15, 20, 25]]


def test_points_without_a_value_are_left_out():
    slots, values = aligned([([0, 10, 20], [None, 1.0, 2.0]), ([0, 10, 20], [3.0, float("nan"), 5.0])])
    assert slots.tolist() == [10, 20]
    assert values.tolist() == [[1, 2], [4, 5]]


def test_runs_that_never_meet_are_refused():
    with pytest.raises(ValueError, match="no slots in common"):
        aligned([([0, 10], [1, 2]), ([20, 30], [1, 2])])
    for runs in ([], [([0], [None])]):
        with pytest.raises(ValueError, match="each run a value"):
            aligned(runs)


def test_a_curve_is_the_mean_with_its_interval():
    line = curve("a", [([0, 1], [1.0, 4.0]), ([0, 1], [3.0, 4.0])])
    assert line.mean.tolist() == [2, 4]
    half = 12.706204736 * np.sqrt(2) / np.sqrt(2)  # Student's t for one degree of freedom
    assert line.low == pytest.approx([2 - half, 4])
    assert line.high == pytest.approx([2 + half, 4])
    alone = curve("b", [([0, 1], [1.0, 4.0])])
    assert np.isnan(alone.low).all() and alone.mean.tolist() == [1, 4]


def drawn():
    slots = np.arange(0, 100_001, 10_000)
    runs = [(slots, 0.4 + 2 * np.exp(-slots / speed)) for speed in (2e4, 2.1e4)]
    levels = [Level(f"rule number {number}", value) for number, value in enumerate((0.395, 0.4, 0.41, 0.42, 2.4, 2.41))]
    return learning_curves([curve("SAC $x$", runs), curve("DQN", runs[:1])], levels, "cost [1]", "what it costs")


def test_names_do_not_overlap_and_stand_right_of_the_axes_inside_the_figure():
    figure = drawn()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    names = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [name.get_text() for name in names][-1] == "rule number 5"
    assert len(names) == 8
    boxes = [name.get_bbox_patch() or super(Annotation, name).get_window_extent() for name in names]
    for first, second in itertools.combinations(boxes, 2):
        assert first.y1 <= second.y0 or second.y1 <= first.y0
    for box in boxes:
        assert box.x0 > axes.get_window_extent().x1
        assert box.x1 <= figure.bbox.x1


def test_axes_say_what_they_show():
    axes = drawn().axes[0]
    assert axes.get_xlabel() == "training slots"
    assert axes.get_title(loc="left") == "cost [1]\nwhat it costs"
    low, high = axes.get_ylim()
    assert low < 0.395 and high > 2.41


def test_wide_spans_are_logarithmic_and_the_band_of_few_seeds_does_not_squeeze_the_lines():
    slots = np.arange(5)
    wide = learning_curves([curve("a", [(slots, [50.0, 20, 5, 2, 1]), (slots, [90.0, 21, 6, 1, 2])])], [], "energy [mJ]").axes[0]
    assert wide.get_yscale() == "log"
    assert 0.5 < wide.get_ylim()[0] < 1.5 and 70 < wide.get_ylim()[1] < 110
    flat = learning_curves([curve("a", [(slots, [3.0] * 5)])], [], "energy [mJ]").axes[0]
    assert flat.get_yscale() == "linear"


@given(st.lists(st.floats(-50, 450), min_size=1, max_size=20))
def test_labels_are_apart_in_bounds_and_in_order(levels):
    heights = apart(sorted(levels), LABEL_GAP, 0.0, 400.0)
    assert (np.diff(heights) >= LABEL_GAP - 1e-6).all()
    assert heights[0] >= -1e-6 and heights[-1] <= 400 + 1e-6


def test_labels_that_have_room_stay_where_they_belong_and_others_share_the_way():
    assert apart([10.0, 100.0, 300.0], 12, 0, 400).tolist() == [10, 100, 300]
    assert apart([200.0, 200.0, 350.0], 12, 0, 400).tolist() == [194, 206, 350]
