"""Drawings of circuits of gates and of networks of neurons, with their values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch

from pellucid.report.figures.heat import colour_bar, colour_scale
from pellucid.report.figures.style import BLUE, FIGURE_WIDTH, GREEN, INK, PALE, SMALL, TEXT, Plot

Position = tuple[float, float]
ROW_HEIGHT = 0.85  # inches between two rows of a circuit
HALF_WIDTH = 0.29  # half of the width of a box, as a fraction of the distance between two columns


def circuit(
    positions: Mapping[str, Position],
    labels: Mapping[str, str],
    values: Mapping[str, str],
    wires: Sequence[tuple[str, str]],
) -> Plot:
    """Draw boxes at their positions (column, row), each with a label and its value below, and wires from left to right.

    A wire (from, to) enters the box above the middle if it comes from above, and below if it comes from below.
    """
    last_column, last_row = (max(position[axis] for position in positions.values()) for axis in (0, 1))
    # A column is 1.9 times as wide as a row is high.
    figure = Plot((1.9 * ROW_HEIGHT * (last_column + 1), ROW_HEIGHT * (last_row + 1)))
    plot = figure.add_axes((0, 0, 1, 1))
    plot.set_axis_off()
    plot.set_xlim(-0.5, last_column + 0.5)
    plot.set_ylim(last_row + 0.5, -0.5)
    for start, end in wires:
        (x0, y0), (x1, y1) = positions[start], positions[end]
        entry_y = y1 + (0.0 if y0 == y1 else 0.12 * np.sign(y0 - y1))
        bend_x = x1 - 0.4
        plot.plot(
            [x0 + HALF_WIDTH, bend_x, x1 - HALF_WIDTH], [y0, entry_y, entry_y], color=PALE, linewidth=1.2, zorder=1
        )
    outputs = {end for _, end in wires} - {start for start, _ in wires}  # boxes without outgoing wires
    for name, (x, y) in positions.items():
        colour = GREEN if name in outputs else BLUE
        shape = FancyBboxPatch(
            (x - HALF_WIDTH, y - 0.24), 2 * HALF_WIDTH, 0.48, "round,pad=0,rounding_size=0.06",
            facecolor="white", edgecolor=colour, linewidth=1.3, zorder=2, mutation_aspect=1.9,
        )  # fmt: skip
        plot.add_patch(shape)
        plot.text(x, y - 0.08, labels[name], ha="center", va="center", color=INK, fontsize=TEXT, zorder=3)
        plot.text(x, y + 0.12, values[name], ha="center", va="center", color=colour, fontsize=TEXT, zorder=3)
    return figure


def neurons(layers: Sequence[Sequence[str]], gradients: Sequence[Any], layer_names: Sequence[str]) -> Plot:
    """Draw layers of neurons with texts, connected by lines; the colour shows the gradient of each weight.

    layers: the texts of each layer's neurons. gradients: (units, inputs) for each pair of adjacent layers. layer_names:
    written above the layers.
    """
    tallest = max(map(len, layers))
    figure = Plot((FIGURE_WIDTH, 1.15 * tallest + 0.5))
    plot = figure.add_axes((0, 0, 0.88, 1))
    plot.set_axis_off()
    plot.set_aspect("equal")
    norm, colour_map = colour_scale(np.concatenate([np.ravel(gradient) for gradient in gradients]), signed=True)
    positions = [[(2.1 * k, row - (len(layer) - 1) / 2) for row in range(len(layer))] for k, layer in enumerate(layers)]
    for inputs, outputs, gradient in zip(positions, positions[1:], gradients, strict=False):
        for i, (x1, y1) in enumerate(outputs):
            for j, (x0, y0) in enumerate(inputs):
                value = float(gradient[i][j])
                width = 1 + 4 * abs(value) / norm.vmax if norm.vmax else 1
                plot.plot([x0, x1], [y0, y1], color=PALE, linewidth=width + 1, zorder=1)
                plot.plot([x0, x1], [y0, y1], color=colour_map(norm(value)), linewidth=width, zorder=1)
    for layer, texts, name in zip(positions, layers, layer_names, strict=True):
        plot.text(layer[0][0], -tallest / 2 - 0.12, name, ha="center", va="center", color=INK, fontsize=TEXT)
        for (x, y), text in zip(layer, texts, strict=True):
            _neuron(plot, x, y, text)
    plot.set_xlim(-0.6, positions[-1][0][0] + 0.6)
    plot.set_ylim(tallest / 2, -tallest / 2 - 0.3)
    from matplotlib.cm import ScalarMappable

    width, height = figure.get_size_inches()
    colour_bar(figure, ScalarMappable(norm, colour_map), (0.89 * width, 0.2 * height, 0.1, 0.55 * height))
    figure.text(0.89, 0.8, "∂C/∂w", color=INK, fontsize=TEXT)
    return figure


def _neuron(plot: Axes, x: float, y: float, text: str) -> None:
    plot.add_patch(Circle((x, y), 0.42, facecolor="white", edgecolor=BLUE, linewidth=1.3, zorder=2))
    plot.text(x, y, text, ha="center", va="center", color=INK, fontsize=SMALL, zorder=3)
