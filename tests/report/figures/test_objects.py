"""Figures of detections: positions of boxes, labels and precision-recall curves."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from pellucid.report.figures.objects import draw_detections, precision_recall
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, PALE


def test_boxes_have_their_coordinates_and_the_colour_of_their_kind() -> None:
    boxes = [(3, 0, 9, 4), (1, 2, 5, 8), (0, 5, 4, 10), (6, 5, 9, 9)]
    figure = draw_detections(
        np.full((1, 10, 12), 0.5), boxes, ["duplicate", "hit", "missed", "ignored"], ["2", "1", "4", "3"]
    )
    (plot,) = figure.axes
    rectangles = [patch for patch in plot.patches if isinstance(patch, Rectangle)]
    colour_by_bounds = {
        (p.get_x(), p.get_y(), p.get_width(), p.get_height()): to_hex(p.get_edgecolor()) for p in rectangles
    }
    assert colour_by_bounds == {(1, 2, 4, 6): GREEN, (3, 0, 6, 4): ORANGE, (0, 5, 4, 5): BLUE, (6, 5, 3, 4): PALE}
    assert [text.get_text() for text in plot.texts] == ["1", "2", "4", "3"]  # hits are drawn first
    assert [text.get_text() for text in figure.texts] == ["■ right", "■ false alarm", "□ missed", "■ not counted"]


@pytest.mark.parametrize(("kind", "y0", "y1", "y_and_alignment"), [
    ("hit", 5, 9, (5, "bottom")), ("hit", 0, 4, (0, "top")), ("missed", 5, 8, (8, "top")),
    ("missed", 5, 10, (10, "bottom")),
])  # fmt: skip
def test_labels_stay_inside_the_picture(kind: str, y0: int, y1: int, y_and_alignment: tuple[int, str]) -> None:
    (text,) = draw_detections(np.zeros((3, 10, 10)), [(1, y0, 5, y1)], [kind], ["1"]).axes[0].texts
    assert (text.get_position()[1], text.get_va()) == y_and_alignment


def test_legend_lists_only_drawn_kinds() -> None:
    figure = draw_detections(np.zeros((3, 4, 4)), [(0, 0, 2, 2)], ["hit"], ["1"])
    assert [text.get_text() for text in figure.texts] == ["■ right"]


def test_precision_recall_curves_end_at_the_highest_recall() -> None:
    recalls = np.linspace(0, 1, 101)
    figure = precision_recall({"cell": np.where(recalls <= 0.5, 0.8, 0.0), "none": np.zeros(101)}, recalls)
    assert figure is not None
    (name, line), (_, line_of_none) = figure.lines_by_name
    assert name == "cell"
    assert line.get_xdata()[-1] == pytest.approx(0.5)  # type: ignore[index]
    assert len(line_of_none.get_xdata()) == 1  # type: ignore[arg-type]
    assert "cell, AP 0.40" in [text.get_text() for text in figure.axes[0].texts]
    assert precision_recall({}, recalls) is None
