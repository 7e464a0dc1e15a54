"""Figures of small matrices with their values, windows on them, and images side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pellucid.report.figures.heat import DIVERGING, colour_scale
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    Plot,
    depth_colours,
    panels,
    picture_axes,
    show_image,
    style_axes,
)

PANEL_GAP, TITLE_HEIGHT = 0.12, 0.26  # inches: space between panels, height of a title
CHARACTER_WIDTH = 0.075  # average width in inches of a character of a name next to a bar
CELL_OPACITY = 0.35  # opacity of the colours behind numbers


def draw_numbers(plot: Axes, values: Any, title: str = "", limits: tuple[float, float] | None = None) -> None:
    """Write the values of a matrix (h, w) on coloured cells; NaN is an empty cell. limits: range of the colours."""
    matrix = np.asarray(values, dtype=np.float64)
    low, high = limits or (float(np.nanmin(matrix)), float(np.nanmax(matrix)))
    largest = max(abs(low), abs(high)) or 1.0
    # Without negative values, only the lighter half of the greys is used, on which numbers can be read.
    cmap, vmin, vmax = (DIVERGING, -largest, largest) if low < 0 else ("gray", -1.2 * largest, largest)
    plot.imshow(matrix, cmap=cmap, vmin=vmin, vmax=vmax, alpha=CELL_OPACITY, interpolation="none")
    font_size = min(SMALL + 1.0, 60 / matrix.shape[1])
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            plot.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=font_size, color=INK)
    plot.set_title(title, fontsize=SMALL, color=INK, pad=3)


def draw_window(plot: Axes, row: float, column: float, size: tuple[float, float], colour: str = ORANGE) -> None:
    """Draw the outline of a window of (height, width) cells whose upper left cell is (row, column)."""
    height, width = size
    plot.add_patch(
        Rectangle((column - 0.5, row - 0.5), width, height, fill=False, edgecolor=colour, linewidth=1.8, clip_on=False)
    )


def image_panels(pictures: Mapping[str, Any], columns: int = 3, maps: Sequence[str] = ()) -> Plot:
    """Draw images (H, W) with values 0..1 by name; maps: names of images of any values, drawn with 0 in white."""
    side = (FIGURE_WIDTH - PANEL_GAP * (columns + 1)) / columns
    shape = np.shape(next(iter(pictures.values())))
    figure, plots = panels(len(pictures), columns, side, side * shape[0] / shape[1], PANEL_GAP, TITLE_HEIGHT, top=0.05)
    for plot, (name, values) in zip(plots, pictures.items(), strict=True):
        picture = np.asarray(values)
        if name in maps:
            norm, colour_map = colour_scale(picture, signed=True)
            plot.imshow(picture, norm=norm, cmap=colour_map, interpolation="none")
        else:
            show_image(plot, np.clip(picture, 0, 1))
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    return figure


def sliding_window(patch: Any, output: Any, kernel: int, steps: Sequence[int]) -> Plot:
    """Draw a sliding window (kernel, kernel) on a patch at some steps, and below it the output up to each step."""
    patch, output = np.asarray(patch, dtype=np.float64), np.asarray(output, dtype=np.float64)
    n_steps, n_columns = len(steps), output.shape[1]
    side = (FIGURE_WIDTH - PANEL_GAP * (n_steps + 1)) / n_steps
    figure, plots = panels(2 * n_steps, n_steps, side, side, PANEL_GAP, TITLE_HEIGHT, top=0.05)
    limits = (float(output.min()), float(output.max()))
    for k, step in enumerate(steps):
        row, column = divmod(step - 1, n_columns)
        draw_numbers(plots[k], patch, f"step {step}")
        draw_window(plots[k], row, column, (kernel, kernel))
        output_so_far = np.where(np.arange(output.size).reshape(output.shape) < step, output, np.nan)
        draw_numbers(plots[n_steps + k], output_so_far, "output", limits)
        draw_window(plots[n_steps + k], row, column, (1, 1))
    return figure


def matrix_panels(matrices: Mapping[str, Any], windows: Mapping[str, tuple[int, int, int]] | None = None) -> Plot:
    """Draw matrices by name, with cells of equal size; windows: (row, column, side) of an outline in some of them."""
    total_columns = sum(np.shape(matrix)[1] for matrix in matrices.values())
    cell_side = min(0.42, (FIGURE_WIDTH - PANEL_GAP * (len(matrices) + 1)) / total_columns)
    max_height = max(np.shape(matrix)[0] for matrix in matrices.values()) * cell_side
    figure = Plot((FIGURE_WIDTH, max_height + TITLE_HEIGHT + 2 * PANEL_GAP))
    left = PANEL_GAP + (FIGURE_WIDTH - PANEL_GAP * (len(matrices) + 1) - total_columns * cell_side) / 2
    for name, matrix in matrices.items():
        height, width = (cell_side * size for size in np.shape(matrix))
        plot = picture_axes(figure, left, PANEL_GAP + max_height - height, width, height)
        draw_numbers(plot, matrix, name)
        if windows and name in windows:
            row, column, side = windows[name]
            draw_window(plot, row, column, (side, side))
        left += width + PANEL_GAP
    return figure


def cell_masks(masks: Mapping[str, Any]) -> Plot:
    """Draw masks (h, w) of 0 and 1 by name, such as the cells covered by a dilated kernel."""
    side = min(1.7, (FIGURE_WIDTH - PANEL_GAP * (len(masks) + 1)) / len(masks))
    figure, plots = panels(len(masks), len(masks), side, side, PANEL_GAP, TITLE_HEIGHT, top=0.05)
    for plot, (name, mask) in zip(plots, masks.items(), strict=True):
        plot.imshow(np.asarray(mask, dtype=np.float64), cmap="Oranges", vmin=0, vmax=1.4, interpolation="none")
        rows, columns = np.shape(mask)
        plot.set_xticks(np.arange(columns + 1) - 0.5, [""] * (columns + 1))
        plot.set_yticks(np.arange(rows + 1) - 0.5, [""] * (rows + 1))
        plot.tick_params(length=0)
        plot.grid(True, color=INK, alpha=0.25, linewidth=0.5)
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    return figure


def nested_windows(picture: Any, window_sizes: Mapping[str, tuple[int, int]]) -> Plot:
    """Draw windows of (height, width) pixels around the middle of an image (H, W), with their names on the right."""
    image_height, image_width = np.shape(picture)
    height = 3.4
    figure, (plot,) = panels(1, 1, height * image_width / image_height, height, PANEL_GAP, right=2.4)
    show_image(plot, np.asarray(picture))
    figure_size = figure.get_size_inches()
    for k, ((name, window_size), colour) in enumerate(
        zip(window_sizes.items(), depth_colours(len(window_sizes)), strict=True)
    ):
        draw_window(plot, (image_height - window_size[0]) / 2, (image_width - window_size[1]) / 2, window_size, colour)
        y = 1 - (PANEL_GAP + 0.28 * (k + 0.8)) / figure_size[1]
        figure.text(
            1 - 2.3 / figure_size[0], y, f"{name}: {window_size[0]} x {window_size[1]}", fontsize=TEXT, color=colour
        )
    return figure


def bar_panels(rows: Mapping[str, Sequence[float]], titles: Sequence[str], digits: Sequence[int] = ()) -> Plot:
    """Draw several values for each name as bars: a plot for each title, a row for each name.

    digits: decimal places for each title, by default 0.
    """
    names, height = list(rows), 0.26 * len(rows) + 0.6
    figure = Plot((FIGURE_WIDTH, height))
    left = max(1.0, CHARACTER_WIDTH * max(map(len, names)) + 0.1)
    plot_width = (FIGURE_WIDTH - left - 0.9 * len(titles)) / len(titles)
    for k, title in enumerate(titles):
        plot_left = (left + k * (plot_width + 0.9)) / FIGURE_WIDTH
        plot = figure.add_axes((plot_left, 0.1 / height, plot_width / FIGURE_WIDTH, (height - 0.5) / height))
        style_axes(plot)
        values = [row[k] for row in rows.values()]
        bar_artists = plot.barh(range(len(names)), values, color=BLUE, height=0.62)
        decimals = digits[k] if digits else 0
        plot.bar_label(
            bar_artists, [f"{value:,.{decimals}f}" for value in values], fontsize=SMALL, color=INK, padding=3
        )
        for bar, name, value in zip(bar_artists, names, values, strict=True):
            figure.marks.append((bar, f"{name}: {value:,.{decimals}f} {title}"))
        plot.set_yticks(range(len(names)), names if k == 0 else [""] * len(names))
        plot.invert_yaxis()
        plot.set_xticks([])
        plot.spines["bottom"].set_visible(False)
        plot.set_title(title, fontsize=TEXT, color=INK, loc="left")
    return figure


def convolution_rows(cases: Mapping[str, tuple[int, int, int, Sequence[int]]]) -> Plot:
    """Draw the windows of a one-dimensional convolution over a row of pixels, one below the other, for each case.

    cases: by name, the number of pixels, the number of padded pixels at each end, the width of a window, and the first
    pixel of each window.
    """
    longest = max(size + 2 * padding for size, padding, _, _ in cases.values())
    n_rows = max(len(starts) for *_, starts in cases.values()) + 1
    width = (FIGURE_WIDTH - PANEL_GAP * (len(cases) + 1)) / len(cases)
    figure, plots = panels(
        len(cases), len(cases), width, width * (n_rows + 0.4) / longest, PANEL_GAP, TITLE_HEIGHT, top=0.05
    )
    for plot, (name, (size, padding, kernel, starts)) in zip(plots, cases.items(), strict=True):
        for column in range(-padding, size + padding):
            pixel_colour = "white" if not 0 <= column < size else "#c9ced6"
            plot.add_patch(Rectangle((column, 0), 1, 0.8, facecolor=pixel_colour, edgecolor=INK, linewidth=0.6))
        for k, start in enumerate(starts):
            plot.add_patch(Rectangle((start, k + 1.15), kernel, 0.7, facecolor=ORANGE, alpha=0.75))
        margin = (longest - size) / 2
        plot.set_xlim(-margin - 0.1, size + margin + 0.1)
        plot.set_ylim(n_rows + 0.1, -0.1)
        plot.set_axis_off()
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    return figure
