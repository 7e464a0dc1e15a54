"""Figures of regression: fits through points, coefficients, learning curves, and early stopping."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from pellucid.report.figures.series import colours, curves, name_axes, plots_in_rows
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    CurveEnd,
    Plot,
    depth_colours,
    label_ends,
    light_grid,
    single_plot,
    style_axes,
    truncate,
)

MAX_BARS = 40
MAX_LABELS = 12  # labelled curves
LEFT_MARGIN, GAP, FIGURE_HEIGHT = 0.75, 0.2, 3.3  # inches: left margin, space between plots, height of the figure


def coefficients(names: Sequence[str], values: Any, title: str = "coefficient") -> Figure:
    """Draw coefficients (n,), or their norms over classes for (classes, n), as bars, the largest first.

    Positive coefficients are blue, negative ones orange; only the MAX_BARS largest are drawn.
    """
    array = np.asarray(values, dtype=np.float64)
    magnitudes = np.linalg.norm(array, axis=0) if array.ndim == 2 and len(array) > 1 else array.reshape(-1)
    order: list[int] = np.argsort(-np.abs(magnitudes), kind="stable")[:MAX_BARS].tolist()
    left_margin = 0.4 + 0.075 * max(len(truncate(names[k], 24)) for k in order)
    height = 0.22 * len(order)
    figure, plot = single_plot(left_margin + 5.4, height + 0.75, (left_margin, 0.55, 0.4, 0.2))
    light_grid(plot)
    positions = np.arange(len(order))
    colours = [BLUE if magnitudes[k] >= 0 else ORANGE for k in order]
    bars = plot.barh(positions, magnitudes[order], color=colours, height=0.7)
    figure.marks += [(bar, f"{names[k]}: {magnitudes[k]:.4g}") for bar, k in zip(bars, order, strict=True)]
    plot.axvline(0, color=PALE, linewidth=0.8)
    plot.set_yticks(positions, [truncate(names[k], 24) for k in order], fontsize=SMALL)
    plot.set_ylim(len(order) - 0.4, -0.6)
    n_omitted = len(magnitudes) - len(order)
    note = f", the largest {len(order)} of {len(magnitudes)}" if n_omitted else ""
    label = "norm of the coefficients over the classes" if array.ndim == 2 and len(array) > 1 else title
    plot.set_xlabel(label + note, color=INK, fontsize=TEXT)
    return figure


def coefficient_paths(names: Sequence[str], alphas: Any, coefficients: Mapping[str, Any]) -> Figure:
    """Draw the coefficients (fits, n) of each model, by title, over the ascending strengths alphas (fits,).

    There is a plot for each model, all with the same scales. Labels name the MAX_LABELS coefficients of the last model
    with the largest magnitudes at the smallest alpha.
    """
    strengths = np.asarray(alphas, dtype=np.float64)
    values = {title: np.asarray(paths, dtype=np.float64) for title, paths in coefficients.items()}
    last_paths = [*values.values()][-1]
    order: list[int] = np.argsort(-np.abs(last_paths[0]), kind="stable").tolist()
    short_names = [truncate(name, 22) for name in names]
    right_margin = 0.35 + 0.075 * max(len(short_names[k]) for k in order[:MAX_LABELS])
    plot_width = (FIGURE_WIDTH - LEFT_MARGIN - right_margin - GAP * (len(values) - 1)) / len(values)
    figure, ends = Plot((FIGURE_WIDTH, FIGURE_HEIGHT)), list[CurveEnd]()
    for index, (title, paths) in enumerate(values.items()):
        plot_bounds = (
            (LEFT_MARGIN + index * (plot_width + GAP)) / FIGURE_WIDTH,
            0.55 / FIGURE_HEIGHT,
            plot_width / FIGURE_WIDTH,
            (FIGURE_HEIGHT - 0.9) / FIGURE_HEIGHT,
        )
        first_plot = figure.axes[0] if index else None
        plot = figure.add_axes(plot_bounds, sharex=first_plot, sharey=first_plot)
        style_axes(plot)
        light_grid(plot)
        for k, colour in zip(order, depth_colours(len(order)), strict=True):
            (line,) = plot.plot(strengths, paths[:, k], color=colour, linewidth=1.5)
            if len(values) == 1:
                figure.lines_by_name.append((names[k], line))
            if paths is last_paths and len(ends) < MAX_LABELS:
                ends.append(CurveEnd(strengths[0], paths[0, k], short_names[k], colour))
        plot.axhline(0, color=PALE, linewidth=0.8)
        plot.set_title(title, color=INK, fontsize=TEXT)
        plot.set_xlabel("alpha", color=INK, fontsize=TEXT)
        plot.tick_params(labelleft=not index)
    first_axes = figure.axes[0]
    first_axes.set_ylabel("coefficient", color=INK, fontsize=TEXT)
    if (strengths > 0).all():
        first_axes.set_xscale("log")
        first_axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        first_axes.xaxis.set_minor_formatter(NullFormatter())
    if len(strengths) > 1:
        first_axes.set_xlim(strengths[-1], strengths[0])  # from the strongest penalty to the weakest
    label_ends(figure.axes[-1], ends)
    return figure


MIN_ERROR, MAX_ERROR = 0.1, 10.0  # limits of the error axis in learning curves


def fitted_lines(
    x: Any, y: Any, minimum: Any, stochastic: Any, distances: Mapping[str, Sequence[tuple[int, float]]]
) -> Plot:
    """Draw points with two lines, and the distances from the minimum by the number of passes over the data.

    minimum, stochastic: (intercept, slope) of the minimum of the loss and of stochastic gradient descent. distances:
    (passes, distance) pairs, by the name of the method.
    """
    figure, (plot, distance_plot) = plots_in_rows(("points and lines", "distance from the minimum"), 2, 3.2)
    plot.scatter(x, y, s=10, color=PALE)
    line_x = np.array([min(x), max(x)])
    plot.plot(line_x, minimum[0] + minimum[1] * line_x, color=BLUE, linewidth=2.4, label="minimum")
    plot.plot(
        line_x, stochastic[0] + stochastic[1] * line_x, color=ORANGE, linewidth=1.4, linestyle="--", label="stochastic"
    )
    plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    name_axes(plot, "x", "y")
    for (name, values), colour in zip(distances.items(), (BLUE, ORANGE), strict=True):
        distance_plot.loglog(*zip(*values, strict=True), color=colour, marker="o", markersize=3, label=name)
    distance_plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    distance_plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    distance_plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    name_axes(distance_plot, "passes over the data", "")
    return figure


def fitted_curves(x: Any, y: Any, curve_x: Any, predictions: Mapping[str, Any]) -> Plot:
    """Draw points, and a plot with the curve of each model by name, cut off a little beyond the points."""
    figure, plots = plots_in_rows(list(predictions), len(predictions), 2.3)
    margin = 0.1 * (max(y) - min(y))
    for k, (plot, values) in enumerate(zip(plots, predictions.values(), strict=True)):
        plot.scatter(x, y, s=4, color=PALE)
        plot.plot(curve_x, values, color=ORANGE, linewidth=1.4)
        plot.set_ylim(min(y) - margin, max(y) + margin)
        name_axes(plot, "x", "" if k else "y")
    return figure


def learning_curves(
    training_counts: Sequence[int], errors_by_model: Mapping[str, Mapping[str, Sequence[float]]]
) -> Plot:
    """Draw errors by the number of training examples: a plot for each model, on a logarithmic axis up to MAX_ERROR."""
    figure, plots = plots_in_rows(list(errors_by_model), len(errors_by_model), 2.5)
    for k, (plot, errors) in enumerate(zip(plots, errors_by_model.values(), strict=True)):
        for (name, values), colour in zip(errors.items(), (BLUE, ORANGE), strict=True):
            plot.plot(training_counts, values, color=colour, marker="o", markersize=3, label=name)
            if min(values) > MAX_ERROR:
                note = f"{name}: above {MAX_ERROR:g}"
                plot.text(0.5, 0.93, note, transform=plot.transAxes, ha="center", color=colour, fontsize=SMALL)
        plot.set_yscale("log")
        plot.set_yticks([MIN_ERROR, 0.2, 0.5, 1, 2, 5, MAX_ERROR])
        plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        plot.yaxis.set_minor_formatter(NullFormatter())
        plot.set_ylim(MIN_ERROR, MAX_ERROR)
        name_axes(plot, "training points", "" if k else "root mean squared error")
    plots[0].legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    return figure


def early_stopping(errors: Mapping[str, Sequence[float]], best_index: int) -> Plot:
    """Draw errors by epoch on a logarithmic axis, with a line at the index of the best epoch."""
    figure = curves(errors, "epoch", "half the mean squared error", log=True)
    plot = figure.axes[0]
    plot.axvline(best_index + 1, color=PALE, linewidth=1, linestyle="--")
    plot.plot([best_index + 1], [errors["validation"][best_index]], marker="o", color=colours(2)[1])
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def predicted_values(true: Any, predicted: Any, labels: Sequence[str]) -> Plot:
    """Draw predicted against true values, and the residuals, in one row of plots for each quantity.

    true, predicted: (N, D). labels: of the quantities, with their units.
    """
    titles = [title for label in labels for title in (label, "predicted - true")]
    figure, plots = plots_in_rows(titles, 2, 3.0)
    for k, label in enumerate(labels):
        x, y = np.asarray(true)[:, k], np.asarray(predicted)[:, k]
        diagonal_ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        plots[2 * k].plot(diagonal_ends, diagonal_ends, color=PALE, linewidth=1, linestyle="--")
        plots[2 * k].scatter(x, y, s=8, color=BLUE, alpha=0.6, linewidths=0)
        name_axes(plots[2 * k], f"true {label}", f"predicted {label}")
        plots[2 * k + 1].axhline(0, color=PALE, linewidth=1, linestyle="--")
        plots[2 * k + 1].scatter(x, y - x, s=8, color=ORANGE, alpha=0.6, linewidths=0)
        name_axes(plots[2 * k + 1], f"true {label}", "residual")
    return figure
