"""Figures of logic circuits and of neurons with weighted edges."""

import numpy as np
from matplotlib.patches import Circle

from pellucid.report.figures.circuit import circuit, neurons
from pellucid.report.figures.style import png


def test_a_circuit_shows_labels_values_and_wires():
    positions = {"a": (0, 0), "b": (0, 1), "gate": (1, 0)}
    labels, values = {"a": "a", "b": "b", "gate": "AND"}, {"a": "0 1", "b": "1 1", "gate": "0 1"}
    figure = circuit(positions, labels, values, [("a", "gate"), ("b", "gate")])
    (plot,) = figure.axes
    assert [text.get_text() for text in plot.texts] == ["a", "0 1", "b", "1 1", "AND", "0 1"]
    assert [len(line.get_xdata()) for line in plot.lines] == [3, 3]
    ends = [line.get_ydata()[-1] for line in plot.lines]
    assert ends[0] == 0 < ends[1]  # the second wire ends above the first
    assert png(figure).startswith(b"\x89PNG")


def test_widths_of_edges_are_proportional_to_gradients():
    gradients = [np.array([[1.0, -2.0]]), np.array([[0.0], [0.5]])]
    figure = neurons([["x", "y"], ["a"], ["p", "q"]], gradients, ("in", "hidden", "out"))
    plot = figure.axes[0]
    widths = [line.get_linewidth() for line in plot.lines][1::2]
    assert widths == [3, 5, 1, 2]  # 1 + 4 |g| / 2
    assert sum(isinstance(patch, Circle) for patch in plot.patches) == 5
    assert {"in", "hidden", "out", "x", "y", "a", "p", "q"} == {text.get_text() for text in plot.texts}
    assert png(figure).startswith(b"\x89PNG")
