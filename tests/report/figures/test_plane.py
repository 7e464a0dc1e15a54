"""Figures of functions of two variables."""

import numpy as np
import pytest

from pellucid.report.figures.plane import contours, grid_values, half_planes, labelled_points, paths
from pellucid.report.figures.series import legend_above, plots_in_rows
from pellucid.report.figures.style import png

LIMITS = (-1.0, 3.0, 0.0, 2.0)


def test_a_grid_has_the_value_of_the_function_at_each_point():
    x, y, values = grid_values(lambda points: 10 * points[:, 0] + points[:, 1], LIMITS)
    assert (x[0], x[-1], y[0], y[-1]) == LIMITS
    assert values == pytest.approx(10 * x[None, :] + y[:, None])


def test_half_planes_contain_the_points_above_the_threshold():
    _, (plot,) = plots_in_rows(["x"], 1)
    half_planes(plot, lambda points: points[:, 0], LIMITS, threshold=1.0)
    (cells,) = plot.collections[:1]
    above = np.asarray(cells.get_array()).reshape(121, 121)
    assert not above[:, 0].any()
    assert above[:, -1].all()
    assert (*plot.get_xlim(), *plot.get_ylim()) == LIMITS
    boundary = plot.collections[1].get_paths()[0].vertices
    assert boundary[:, 0] == pytest.approx(1.0)


def test_points_and_paths_have_labels():
    figure, (plot,) = plots_in_rows(["paths"], 1)
    contours(plot, lambda points: (points**2).sum(1), LIMITS, [0.5, 1.0])
    labelled_points(plot, [(0, 0), (1, 1)], [0, 1])
    paths(plot, {"first": np.array([[0.0, 0], [1, 1]]), "beyond": np.array([[0.0, 0], [50, 50]])})
    assert [text.get_text() for text in plot.texts] == ["0", "1"]
    legend_above(plot)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "beyond"]
    assert (*plot.get_xlim(), *plot.get_ylim()) == pytest.approx(LIMITS)  # paths outside do not change the limits
    assert png(figure).startswith(b"\x89PNG")
