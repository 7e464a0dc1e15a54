"""Curves over the epochs: loss, metrics, learning rate, and each layer's gradients and updates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.report.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PALE,
    CurveEnd,
    Plot,
    curve_axes,
    depth_colours,
    finite_or_nan,
    label_ends,
    set_log_scale,
    short_number,
)

Rows = Sequence[Mapping[str, Any]]
UPDATE_RATIO_GUIDE = 1e-3  # a rule of thumb: an update of a thousandth of the weight per step
MAX_LABELS = 12


def loss_curves(history: Rows, val_data: str = "validation") -> Figure | None:
    """Draw train_loss and val_loss by epoch, on a logarithmic axis if they span more than two decades.

    val_data: name of the data of val_loss. A ring marks its best value only for "validation", because test data must
    not be used for choices.
    """
    figure, plot = curve_axes("epoch", "loss")
    ends = [
        *draw_column(figure, history, "train_loss", "training", BLUE),
        *draw_column(
            figure, history, "val_loss", val_data, ORANGE, choose_best=min if val_data == "validation" else None
        ),
    ]
    if not ends:
        return None
    values = _finite_values(history, ("train_loss", "val_loss"))
    if values.min() > 0 and values.max() > 100 * values.min():
        set_log_scale(plot)
    elif values.min() >= 0:
        plot.set_ylim(0, max(float(values.max()) * 1.06, 1e-12))
    label_ends(plot, ends)
    return figure


def metric_curves(
    history: Rows,
    val_data: str = "validation",
    metric: str = "accuracy",
    label: str = "accuracy",
    unit: str = "%",
    is_error: bool = False,
) -> Figure | None:
    """Draw train_accuracy and val_accuracy, or another metric, by epoch; val_data: see `loss_curves`.

    unit: "%" for a fraction, which is drawn in per cent. is_error: whether smaller is better.
    """
    train_key, val_key = f"train_{metric}", f"val_{metric}"
    scale = 100 if unit == "%" else 1
    scaled_rows = [
        {**row, **{key: scale * finite_or_nan(row.get(key)) for key in (train_key, val_key)}} for row in history
    ]
    figure, plot = curve_axes("epoch", label, unit)
    choose_best = (min if is_error else max) if val_data == "validation" else None
    ends = [
        *draw_column(figure, scaled_rows, train_key, "training", BLUE, unit=f" {unit}"),
        *draw_column(figure, scaled_rows, val_key, val_data, ORANGE, choose_best=choose_best, unit=f" {unit}"),
    ]
    if not ends:
        return None
    values = _finite_values(scaled_rows, (train_key, val_key))
    low, high = float(values.min()), float(values.max())
    margin = max((high - low) * 0.08, 0.05)
    bottom = max(low - margin, 0) if low >= 0 else low - margin  # negative values, such as of r2, remain visible
    plot.set_ylim(bottom, min(high + margin, 100.2) if unit == "%" else high + margin)
    label_ends(plot, ends)
    return figure


def learning_rate_curve(history: Rows) -> Figure | None:
    """Draw lr by epoch, on a logarithmic axis if most rates are far below the highest."""
    figure, plot = curve_axes("epoch", "learning rate")
    ends = draw_column(figure, history, "lr", "lr", GREEN)
    if not ends:
        return None
    values = _finite_values(history, ("lr",))
    if values.min() > 0 and values.max() > 8 * np.median(values):
        set_log_scale(plot)
    else:
        plot.set_ylim(0, max(float(values.max()) * 1.1, 1e-12))
    label_ends(plot, ends)
    return figure


def score_curves(scores: Sequence[float], curves: Mapping[str, Sequence[float]], chosen_score: float) -> Figure | None:
    """Draw the curves by name over the minimum score of detections, and a dotted line at the chosen one.

    None if there are no scores.
    """
    if not scores:
        return None
    figure, plot = curve_axes("minimum score", "fraction")
    for (name, values), colour in zip(curves.items(), (BLUE, GREEN, ORANGE), strict=False):
        (line,) = plot.step(scores, values, color=colour, label=name, where="post")
        figure.lines_by_name.append((name, line))
    plot.axvline(chosen_score, color=PALE, linestyle=":")
    plot.set_xlim(0, 1)
    plot.set_ylim(0, 1.02)
    plot.legend(frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def history_curves(history: Rows) -> Figure:
    """Draw the losses by epoch, and below them each metric in the history, on training and validation data."""
    metrics = [column.removeprefix("train_") for column in history[-1] if column.startswith("train_")]
    figure = Plot((7.6, 3.1 * len(metrics)))
    for k, metric in enumerate(metrics):
        plot = figure.add_subplot(len(metrics), 1, k + 1)
        plot.set_xlabel("epoch")
        plot.set_ylabel(metric, parse_math=False)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        for prefix, data_name, colour in (("train", "training", BLUE), ("val", "validation", ORANGE)):
            if f"{prefix}_{metric}" in history[-1]:
                values = [finite_or_nan(row.get(f"{prefix}_{metric}")) for row in history]
                plot.plot([row["epoch"] for row in history], values, "o-", color=colour, markersize=3, label=data_name)
        plot.legend(frameon=False)
    figure.set_layout_engine("tight")
    return figure


def range_test_curve(
    rates: Sequence[float], losses: Sequence[float], suggested_rate: float, rate_of_lowest_loss: float
) -> Figure:
    """Draw the loss of a range test by learning rate, with marks at the suggested rate and at the lowest loss.

    Both are among `rates`.
    """
    figure, plot = curve_axes("learning rate", "loss")
    plot.set_xscale("log")
    plot.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    (line,) = plot.plot(rates, losses, color=BLUE, linewidth=1.7)
    figure.lines_by_name.append(("loss", line))
    labels: list[CurveEnd] = []
    for rate, text, colour in ((suggested_rate, "falls fastest", GREEN), (rate_of_lowest_loss, "lowest", ORANGE)):
        loss = losses[list(rates).index(rate)]
        plot.plot([rate], [loss], marker="o", markersize=6, color=colour)
        labels.append(CurveEnd(rate, loss, f"{text}: {rate:.2g}", colour))
    margin = max(losses) - min(losses) or 1.0
    y_top = min(max(losses), losses[0] + margin / 2)  # a diverging loss would flatten the rest of the curve
    plot.set_ylim(min(losses) - 0.05 * (y_top - min(losses) or 1.0), y_top + 0.1 * (y_top - min(losses) or 1.0))
    label_ends(plot, labels)
    return figure


def draw_column(
    figure: Plot,
    rows: Rows,
    key: str,
    name: str,
    colour: str,
    choose_best: Any = None,
    unit: str = "",
    is_dashed: bool = False,
) -> list[CurveEnd]:
    """Draw one column by epoch, and return its end for the label; [] without values.

    choose_best: min or max, which chooses the value with a ring; None for no ring.
    """
    plot = figure.axes[0]
    epochs = [finite_or_nan(row.get("epoch")) for row in rows]
    values = [finite_or_nan(row.get(key)) for row in rows]
    drawn_points = [(x, y) for x, y in zip(epochs, values, strict=True) if x == x and y == y]  # noqa: PLR0124 (NaN)
    if not drawn_points:
        return []
    # A value between two missing ones is visible only as a point.
    has_markers = len(drawn_points) < 15 or len(drawn_points) < len(values)
    (line,) = plot.plot(epochs, values, color=colour, linewidth=1.7, marker="o" if has_markers else None, markersize=3)
    if is_dashed:
        line.set(linestyle=(0, (4, 2)), linewidth=1.1)
    figure.lines_by_name.append((name, line))
    plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    max_points = max(np.size(drawn_line.get_xdata()) for _, drawn_line in figure.lines_by_name)
    if max_points == 1:
        plot.set_xlim(epochs[0] - 1, epochs[0] + 1)
    plot.set_autoscalex_on(max_points > 1)
    x, y = drawn_points[-1]
    text = f"{name} {short_number(y)}{unit}"
    if choose_best is not None and len(drawn_points) > 1:
        epoch, value = choose_best(drawn_points, key=lambda point: point[1])
        plot.plot([epoch], [value], marker="o", markersize=7, markerfacecolor="none", markeredgecolor=colour)
        text += f"\nbest {short_number(value)}{unit}, epoch {epoch:.0f}"
    return [CurveEnd(x, y, text, colour)]


def _finite_values(rows: Rows, keys: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the finite values of some columns, (n,)."""
    values = np.array([finite_or_nan(row.get(key)) for row in rows for key in keys])
    return values[np.isfinite(values)]


def gradient_norm_curves(layer_rows: Rows) -> Figure | None:
    """Draw grad_norm of every weight by epoch, coloured from the first layer to the last.

    layer_rows: the rows of layers.csv, one for each trained tensor and epoch; see `pellucid.run.history.History`.
    """
    return _curves_by_path(layer_rows, "grad_norm", "gradient norm")


def update_ratio_curves(layer_rows: Rows) -> Figure | None:
    """Draw update_ratio of every weight by epoch, with a guide at one thousandth.

    layer_rows: see `gradient_norm_curves`.
    """
    return _curves_by_path(layer_rows, "update_ratio", "update / weight (rms)", UPDATE_RATIO_GUIDE)


def _curves_by_path(layer_rows: Rows, key: str, ylabel: str, guide: float | None = None) -> Figure | None:
    """Draw a column by epoch, with a curve for each weight and a line at `guide`; None without positive values."""
    paths = list(dict.fromkeys(str(row["path"]) for row in layer_rows))
    weights = [path for path in paths if path.rsplit(".", 1)[-1] == "weight"]
    paths = weights or paths  # without biases, unless there are no weights
    series = {
        path: [
            (finite_or_nan(row.get("epoch")), finite_or_nan(row.get(key))) for row in layer_rows if row["path"] == path
        ]
        for path in paths
    }
    series = {path: points for path, points in series.items() if any(y > 0 for _, y in points)}
    if not series:
        return None
    figure, plot = curve_axes("epoch", ylabel)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    n_curves, n_labels = len(series), min(len(series), MAX_LABELS)
    labelled_indices = {round(k * (n_curves - 1) / max(n_labels - 1, 1)) for k in range(n_labels)}  # evenly spaced
    ends = []
    for k, ((path, points), colour) in enumerate(zip(series.items(), depth_colours(n_curves), strict=True)):
        xs, ys = zip(*((x, y if y > 0 else float("nan")) for x, y in points), strict=True)
        (line,) = plot.plot(xs, ys, color=colour, linewidth=1.4, marker="o" if len(xs) < 15 else None, markersize=2.5)
        figure.lines_by_name.append((path.removesuffix(".weight"), line))
        if k in labelled_indices:
            x, y = [(x, y) for x, y in points if y > 0][-1]
            ends.append(CurveEnd(x, y, _shorten(path), colour))
    if guide is not None:
        plot.axhline(guide, color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    set_log_scale(plot)
    if guide is not None:
        ends.append(CurveEnd(plot.get_xlim()[1], guide, "1e-3, a common guide", PALE))
    label_ends(plot, ends)
    return figure


def _shorten(path: str, max_length: int = 19) -> str:
    """Return the last names of a path that fit into `max_length` characters."""
    path = path.removesuffix(".weight")
    if len(path) <= max_length:
        return path
    path_end = path[-max_length + 1 :]
    return f"…{path_end[path_end.find('.') + 1 :]}"
