"""Figures that compare runs: their contents, and None where there are no values."""

import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.report.figures.classes import confusion_matrix, reliability_diagram
from pellucid.report.figures.compared import Dot, accuracy_by_time, ranking
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, png


def plot_texts(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [text.get_text() for plot in figure.axes for text in plot.texts]


def ink_fraction(figure: Figure | None) -> float:
    """Return the share of the PNG's pixels that are not white."""
    assert figure is not None
    return float((np.asarray(Image.open(io.BytesIO(png(figure))).convert("L")) < 250).mean())


def bar_ranges(figure: Figure | None, colour: str) -> dict[int, tuple[float, float]]:
    """Return bottom and top of the upper plot's bars of a colour, by the bar's centre in per cent."""
    assert figure is not None
    result: dict[int, tuple[float, float]] = {}
    for bar in figure.axes[0].patches:
        low, height = bar.get_y(), bar.get_height()  # type: ignore[attr-defined]
        if to_hex(bar.get_facecolor()) == colour and height > 0:
            result[round(bar.get_x() + bar.get_width() / 2)] = (round(low, 6), round(low + height, 6))  # type: ignore[attr-defined]
    return result


def test_overconfidence_is_orange_and_underconfidence_is_green() -> None:
    # Ten bins: 4 images with confidence 0.15 and accuracy 0.30; 6 images with confidence 0.95 and accuracy 0.50.
    count, confidence, accuracy = np.zeros(10), np.zeros(10), np.zeros(10)
    count[[1, 9]], confidence[[1, 9]], accuracy[[1, 9]] = (4, 6), (0.15, 0.95), (0.30, 0.50)
    figure = reliability_diagram(count, confidence, accuracy, 0.33)
    assert bar_ranges(figure, BLUE) == {15: (0, 15), 95: (0, 50)}
    assert bar_ranges(figure, GREEN) == {15: (15, 30)}
    assert bar_ranges(figure, ORANGE) == {95: (50, 95)}
    assert plot_texts(figure) == ["ECE 33.0 %"]
    assert figure is not None
    histogram = figure.axes[1]
    assert [round(bar.get_height()) for bar in histogram.patches] == [0, 40, *[0] * 7, 60]  # type: ignore[attr-defined]
    assert ink_fraction(figure) > 0.05


def test_no_reliability_diagram_without_predictions() -> None:
    assert reliability_diagram([0, 0], [0.0, 0.0], [0.0, 0.0], 0.0) is None
    with pytest.raises(PellucidError, match="give one of each for every bin"):
        reliability_diagram([1, 2], [0.5], [0.5], 0.0)


def test_a_normalised_confusion_matrix_writes_per_cent_of_the_true_class() -> None:
    figure = confusion_matrix([[3, 1], [0, 400]], ["cat", "dog"], normalised=True)
    assert figure is not None
    assert {(text.get_position(), text.get_text()) for text in figure.axes[0].texts} == {
        ((0, 0), "75"), ((1, 0), "25"), ((1, 1), "100"),
    }  # fmt: skip
    rare = confusion_matrix([[999, 1], [0, 0]], ["cat", "dog"], normalised=True)
    assert plot_texts(rare) == ["100", "<1"]  # a count above 0 is never written as 0


def test_a_ranking_shows_values_ranges_and_labels() -> None:
    dots = [Dot("scratch", 88.0, 87.0, 89.0, "88 %"), Dot("fine-tuned", 99.0, 99.0, 99.0, "99 %")]
    figure = ranking("Accuracy", dots, [BLUE, ORANGE])
    assert figure is not None
    plot = figure.axes[0]
    assert [list(np.asarray(line.get_xdata(), dtype=float)) for line in plot.lines] == [[87, 89], [88], [99, 99], [99]]
    assert [line.get_color() for line in plot.lines] == [BLUE, BLUE, ORANGE, ORANGE]
    assert plot_texts(figure) == ["88 %", "99 %"]
    assert [label.get_text() for label in plot.get_yticklabels()] == ["scratch", "fine-tuned"]
    assert figure.texts[0].get_text() == "Accuracy"
    low, high = plot.get_xlim()
    assert low < 87
    assert high > 99
    assert ink_fraction(figure) > 0.005


def test_times_are_drawn_on_a_logarithmic_axis_and_nan_is_omitted() -> None:
    figure = ranking("Time", [Dot("a", 1.0, 1.0, 1.0, "1 s"), Dot("b", 0.0, 0.0, 0.0, "none"),
                              Dot("c", 500.0, 400.0, 600.0, "500 s")], logarithmic=True)  # fmt: skip
    assert figure is not None
    assert figure.axes[0].get_xscale() == "log"
    assert plot_texts(figure) == ["1 s", "500 s"]
    assert len(figure.axes[0].get_yticklabels()) == 3
    assert ranking("Nothing", [Dot("a", math.nan, math.nan, math.nan, "")]) is None
    assert ink_fraction(ranking("One", [Dot("a", 5.0, 5.0, 5.0, "5")])) > 0.005


def test_accuracy_is_drawn_over_the_cumulative_seconds() -> None:
    slow = [{"seconds": 10.0, "val_accuracy": 0.5}, {"seconds": 20.0, "val_accuracy": 0.75}]
    quick = [{"seconds": 1.0, "val_accuracy": 0.6}, {"seconds": 1.0, "val_accuracy": None}]
    figure = accuracy_by_time(["slow", "quick"], [slow, quick], "test")
    assert figure is not None
    plot = figure.axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in plot.lines]
    assert lines[:2] == [([10, 30], [50, 75]), ([1], [60])]
    assert set(plot_texts(figure)) == {"slow\n75.0 %", "quick\n60.0 %"}
    assert plot.get_ylabel() == "test accuracy (%)"
    assert plot.get_xscale() == "log"
    assert ink_fraction(figure) > 0.005


def test_no_accuracy_by_time_without_times() -> None:
    assert accuracy_by_time([], []) is None
    assert accuracy_by_time(["a"], [[{"seconds": None, "val_accuracy": 0.5}]]) is None
