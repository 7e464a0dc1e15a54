"""Figures of named curves, histories and densities."""

import numpy as np
import pytest

from pellucid.report.figures.series import colours, curves, densities, histories, plots_in_rows
from pellucid.report.figures.style import png

HISTORY_ROWS = [{"epoch": k, "train_loss": 1 / k, "val_accuracy": 1 - 1 / k} for k in (1, 2, 3)]


def test_curves_share_their_x_values_and_have_labels_at_their_ends():
    figure = curves({"one": [1, 2, 3], "two": [3.0, 2.0, 9.0]}, "x", "y", [10, 100, 1000], log_x=True)
    (plot,) = figure.axes
    assert [line.get_xdata().tolist() for line in plot.lines] == [[10, 100, 1000]] * 2
    assert [label.get_text() for label in plot.get_xticklabels()] == ["10", "100", "1,000"]
    ends = {text.get_text(): text.xy for text in plot.texts}
    assert ends == {"one": (1000, 3), "two": (1000, 9)}
    assert png(figure).startswith(b"\x89PNG")
    high, low = (figure.axes[0].texts[k].get_position()[1] for k in (1, 0))
    assert high > low  # labels are placed by the final limits of the axes


def test_histories_show_a_plot_for_each_column_and_accuracies_in_per_cent():
    figure = histories(
        {"first": HISTORY_ROWS, "second": HISTORY_ROWS[:2]}, ("train_loss", "val_accuracy"), log=["train_loss"]
    )
    left, right = figure.axes
    assert left.get_yscale() == "log"
    assert [len(line.get_xdata()) for line in right.lines] == [3, 2]
    assert right.lines[0].get_ydata() == pytest.approx([0, 50, 100 * 2 / 3])


def test_densities_have_area_1():
    figure = densities({"a": np.linspace(-0.9, 0.9, 500)}, "x", (-1, 1), bins=10)
    (polygon,) = figure.axes[0].patches
    x, y = polygon.get_xy().T
    assert abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2 == pytest.approx(1)


def test_plots_in_rows_have_titles_and_the_given_height_per_row():
    figure, plots = plots_in_rows(["a", "b", "c"], 2, 2.0)
    assert [plot.get_title() for plot in plots] == ["a", "b", "c"]
    assert figure.get_size_inches()[1] == 4
    assert len(set(colours(10))) == 10
