"""Figures of detections: where boxes, labels and curves are."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from pellucid.report.figures.detections import Mark, marked, precision_recall
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, PALE


def test_boxes_are_drawn_where_they_are_and_coloured_by_kind() -> None:
    marks = [
        Mark((1, 2, 5, 8), "hit", "1"), Mark((3, 0, 9, 4), "duplicate", "2"), Mark((0, 5, 4, 10), "missed", "1"),
        Mark((6, 5, 9, 9), "ignored", "3"),
    ]  # fmt: skip
    figure = marked(np.full((1, 10, 12), 0.5), marks)
    (plot,) = figure.axes
    boxes = [patch for patch in plot.patches if isinstance(patch, Rectangle)]
    drawn = {(p.get_x(), p.get_y(), p.get_width(), p.get_height()): to_hex(p.get_edgecolor()) for p in boxes}
    assert drawn == {(1, 2, 4, 6): GREEN, (3, 0, 6, 4): ORANGE, (0, 5, 4, 5): BLUE, (6, 5, 3, 4): PALE}
    assert sorted(text.get_text() for text in plot.texts) == ["1", "1", "2", "3"]
    assert [text.get_text() for text in figure.texts] == ["■ right", "■ false alarm", "□ missed", "■ not counted"]
    assert (plot.get_xlim(), plot.get_ylim()) == ((0, 12), (10, 0))
    assert plot.images[0].get_extent() == [0, 12, 10, 0]  # pixel 0 covers 0 to 1


def test_only_what_is_drawn_is_in_the_legend() -> None:
    figure = marked(np.zeros((3, 4, 4)), [Mark((0, 0, 2, 2), "hit", "1")])
    assert [text.get_text() for text in figure.texts] == ["■ right"]


def test_curves_end_at_the_recall_that_is_reached() -> None:
    recalls = np.linspace(0, 1, 101)
    figure = precision_recall({"cell": np.where(recalls <= 0.5, 0.8, 0.0), "none": np.zeros(101)}, recalls)
    assert figure is not None
    (name, line), (_, other) = figure.lines_by_name
    assert name == "cell"
    assert line.get_xdata()[-1] == pytest.approx(0.5)  # type: ignore[index]
    assert len(other.get_xdata()) == 1  # type: ignore[arg-type]
    assert "cell, AP 0.40" in [text.get_text() for text in figure.axes[0].texts]
    assert precision_recall({}, recalls) is None
