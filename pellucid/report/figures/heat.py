"""Figures of explanations: maps over images, maps of several methods, and occlusion by position."""

from collections.abc import Collection, Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pellucid.base.errors import PellucidError
from pellucid.ops.colour import NEGATIVE_RGB, POSITIVE_RGB, STRENGTH_RGB, lab_to_rgb, rgb_to_lab
from pellucid.report.figures.style import INK, SMALL, TEXT, Plot, panels, picture_axes, pixels, show_image

N_HALF_COLOURS = 129  # colours from either end of a colour map to its middle, inclusive
PAPER_RGB = (246, 246, 246)  # of 0 in the diverging colour map
IMAGE_WIDTH = 1.9  # inches of the width of an image
# Inches: space between images, width of the colour bar, height of the headings and of a line of text.
GAP, BAR_WIDTH, HEADING_HEIGHT, LINE_HEIGHT = 0.15, 0.85, 0.35, 0.17
MIN_OPACITY, MAX_OPACITY = 0.25, 0.85  # of the map in the overlay: at 0, and at the largest magnitude
MAX_CLASSES = 8  # in a legend
MAX_LINE_LENGTH = 130  # characters of a line of text below the images


def _colour_map_through(colours: Sequence[tuple[int, int, int]], name: str) -> Colormap:
    """Return the colour map through three colours (sRGB, 0 to 255), linear in CIELAB."""
    stops = torch.tensor(colours, dtype=torch.float64).T / 255
    low, middle, high = rgb_to_lab(stops[..., None])[..., 0].T.numpy()
    fractions = np.linspace(0, 1, N_HALF_COLOURS)[:, None]
    lab = np.concatenate([low + (middle - low) * fractions, (middle + (high - middle) * fractions)[1:]])
    rgb = lab_to_rgb(torch.from_numpy(lab.T)[..., None]).clamp(0, 1)  # (3, levels, 1)
    return ListedColormap(rgb[..., 0].T.tolist(), name)


DIVERGING = _colour_map_through((NEGATIVE_RGB, PAPER_RGB, POSITIVE_RGB), "ochre_white_blue")  # ends of equal lightness
SEQUENTIAL = _colour_map_through(STRENGTH_RGB, "green")
CLASS_COLOURS: Colormap = colormaps["viridis"]


def colour_scale(values: Any, signed: bool) -> tuple[Normalize, Colormap]:
    """Return the colour scale of values: with 0 in the middle if `signed`, else from the minimum, or 0 if lower.

    The range of the scale is positive, even for constant values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if signed:
        limit = float(np.abs(numbers).max()) or 1.0
        return Normalize(-limit, limit), DIVERGING
    low, high = min(float(numbers.min()), 0.0), float(numbers.max())  # magnitudes begin at 0
    return Normalize(low, high if high > low else low + 1.0), SEQUENTIAL


def heat(
    image: Any, map_: Any, title: str = "", notes: tuple[str, ...] = (), signed: bool | None = None, outline: Any = None
) -> Figure:
    """Draw an image (1 or 3, H, W) with values 0..1, a map (H, W) of any values, and the map blended with the image.

    signed: whether 0 is the middle of the colour scale, by default if the map has negative values. notes: lines of text
    below, such as the tests of the explanation. outline: a mask (H, W) whose borders are drawn. Raises PellucidError
    for other shapes and for values that are not finite.
    """
    image_shape, map_values = tuple(np.shape(image)), np.asarray(map_, dtype=np.float64)
    if len(image_shape) != 3 or image_shape[0] not in (1, 3):
        raise PellucidError(f"an image to draw has the shape (1 or 3, H, W), not {image_shape}")
    if map_values.ndim != 2 or not map_values.size or not np.isfinite(map_values).all():
        raise PellucidError(f"a map to draw has finite values (H, W), not {map_values.shape} with NaN or infinity")
    picture = pixels(image)
    norm, colour_map = colour_scale(map_values, bool((map_values < 0).any()) if signed is None else signed)
    height = IMAGE_WIDTH * map_values.shape[0] / map_values.shape[1]
    lines = [line for text in notes for line in wrap(text, MAX_LINE_LENGTH)]
    notes_height = LINE_HEIGHT * len(lines) + (0.1 if lines else 0.0)
    size = (3 * IMAGE_WIDTH + 4 * GAP + BAR_WIDTH, HEADING_HEIGHT + height + GAP + notes_height)
    figure = Figure(size)
    plots = [
        picture_axes(  # the colour bar is before the third image
            figure, GAP + k * (IMAGE_WIDTH + GAP) + BAR_WIDTH * (k == 2), GAP + notes_height, IMAGE_WIDTH, height
        )
        for k in range(3)
    ]
    show_image(plots[0], picture)
    map_image = plots[1].imshow(map_values, norm=norm, cmap=colour_map, interpolation="none")
    show_image(plots[2], overlay(picture, map_values, norm, colour_map))
    for plot, panel_title in zip(plots, ("image", title or "map", "both"), strict=True):
        plot.set_title(panel_title, fontsize=TEXT, color=INK, pad=4)
        if outline is not None:
            draw_outline(plot, outline)
    colour_bar(figure, map_image, (2 * (IMAGE_WIDTH + GAP) + 0.06, GAP + notes_height, 0.1, height))
    for k, line in enumerate(reversed(lines)):
        figure.text(GAP / size[0], (0.1 + LINE_HEIGHT * k) / size[1], line, fontsize=SMALL, color=INK, va="bottom")
    return figure


def draw_outline(plot: Axes, mask: Any) -> None:
    """Draw the outline of a mask (H, W) in black with white edges, which are visible on any image."""
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])  # pixels with a border on their left
    vertical = [((x - 0.5, y - 0.5), (x - 0.5, y + 0.5)) for y, x in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    horizontal = [((x - 0.5, y - 0.5), (x + 0.5, y - 0.5)) for y, x in zip(rows, columns, strict=True)]
    for colour, width in (("white", 1.8), ("black", 0.8)):
        plot.add_collection(
            LineCollection(vertical + horizontal, colors=colour, linewidths=width, capstyle="projecting")
        )


def overlay(picture: Any, map_values: Any, norm: Normalize, colour_map: Any) -> Any:
    """Return the map blended with the grey image, (H, W, 3), with an opacity that increases with the magnitude.

    A map of another size than the image is resized by repeating its values.
    """
    height, width = picture.shape[:2]
    rows, columns = (
        np.arange(image_size) * map_size // image_size
        for image_size, map_size in zip((height, width), map_values.shape, strict=True)
    )
    resized = map_values[rows][:, columns]
    grey = picture.mean(-1, keepdims=True) if picture.ndim == 3 else picture[..., None]
    relative_magnitude = np.abs(resized) / (np.abs(map_values).max() or 1.0)
    opacity = (MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * relative_magnitude)[..., None]
    return (1 - opacity) * grey + opacity * colour_map(norm(resized))[..., :3]


def colour_bar(figure: Figure, image: ScalarMappable, bounds: tuple[float, float, float, float]) -> None:
    """Draw the colour bar of `image` at (left, bottom, width, height) in inches, with values at its ends and middle."""
    figure_width, figure_height = figure.get_size_inches()
    left, bottom, width, height = bounds
    bar_height = min(height, 2.2)
    bar_axes = figure.add_axes(
        (
            left / figure_width,
            (bottom + (height - bar_height) / 2) / figure_height,
            width / figure_width,
            bar_height / figure_height,
        )
    )
    low, top = image.get_clim()
    middle = 0.0 if low < 0 < top else (low + top) / 2
    figure.colorbar(image, cax=bar_axes, ticks=[low, middle, top], format=lambda value, _: f"{value:.3g}")
    bar_axes.tick_params(labelsize=SMALL - 1, colors=INK, length=2, pad=2)
    bar_axes.spines["outline"].set_linewidth(0.4)


def overview(image: Any, maps: Mapping[str, Any], title: str, magnitudes: Collection[str]) -> Figure:
    """Draw an image (1 or 3, H, W) and the maps (H, W) of several methods, each on its own scale.

    The colour scales have 0 in the middle, except for the methods in `magnitudes`; there are no colour bars.
    """
    picture = pixels(image)
    side, gap = 1.55, 0.12
    height = side * picture.shape[0] / picture.shape[1]
    figure, plots = panels(len(maps) + 1, 4, side, height, gap, name_height=0.22, top=0.4)
    show_image(plots[0], picture)
    plots[0].set_title("image", fontsize=SMALL, color=INK, pad=3)
    for plot, (name, map_values) in zip(plots[1:], maps.items(), strict=True):
        norm, colour_map = colour_scale(map_values, name not in magnitudes)
        plot.imshow(np.asarray(map_values, dtype=np.float64), norm=norm, cmap=colour_map, interpolation="none")
        plot.set_title(f"{name} ±" if colour_map is DIVERGING else name, fontsize=SMALL, color=INK, pad=3)
    figure_width, figure_height = figure.get_size_inches()
    figure.text(gap / figure_width, 1 - 0.08 / figure_height, title, fontsize=TEXT, color=INK, va="top")
    return figure


def occlusion_maps(score: Any, predicted: Any, classes: Sequence[str], title: str = "score") -> Figure:
    """Draw scores (h, w) and predicted classes (h, w) side by side, with a cell for each occluded square.

    The legend contains the most frequent classes; other classes are grey.
    Source: Zeiler and Fergus 2014, figure 7 d, e.
    """
    scores, labels = np.asarray(score, dtype=np.float64), np.asarray(predicted)
    height = IMAGE_WIDTH * scores.shape[0] / scores.shape[1]
    figure = Figure((2 * IMAGE_WIDTH + 3 * GAP + BAR_WIDTH + 1.2, HEADING_HEIGHT + height + GAP))
    plots = [picture_axes(figure, left, GAP, IMAGE_WIDTH, height) for left in (GAP, 2 * GAP + IMAGE_WIDTH + BAR_WIDTH)]
    norm, _ = colour_scale(scores, signed=False)
    image = plots[0].imshow(scores, norm=norm, cmap=SEQUENTIAL, interpolation="none")
    colour_bar(figure, image, (IMAGE_WIDTH + GAP + 0.06, GAP, 0.1, height))
    present_labels, counts = np.unique(labels, return_counts=True)
    frequent_labels = sorted(present_labels[np.argsort(-counts, kind="stable")][:MAX_CLASSES].tolist())
    colours = [CLASS_COLOURS(k / max(len(frequent_labels) - 1, 1)) for k in range(len(frequent_labels))] + [
        (0.6, 0.6, 0.6, 1.0)
    ]
    index_by_label = {label: k for k, label in enumerate(frequent_labels)}
    indices = np.vectorize(lambda label: index_by_label.get(label, len(frequent_labels)), otypes=[int])(labels)
    plots[1].imshow(
        indices, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(frequent_labels) + 0.5, interpolation="none"
    )
    names = [classes[label] for label in frequent_labels] + (
        ["others"] if len(frequent_labels) < len(present_labels) else []
    )
    plots[1].legend(
        handles=[Patch(color=colours[k], label=name) for k, name in enumerate(names)], loc="upper left",
        bbox_to_anchor=(1.01, 1.02), fontsize=SMALL, frameon=False, labelcolor=INK,
    )  # fmt: skip
    for plot, panel_title in zip(plots, (title, "predicted class"), strict=True):
        plot.set_title(panel_title, fontsize=TEXT, color=INK, pad=4)
    return figure


def matrix(values: Any, rows: Sequence[str], columns: Sequence[str], title: str = "") -> Figure:
    """Draw a matrix (rows, columns) as coloured cells with their values; 0 is the middle of the colour scale."""
    cell_values = np.asarray(values, dtype=np.float64)
    norm, colour_map = colour_scale(cell_values, signed=True)
    left, cell_size, label_height = 0.3 + 0.075 * max(map(len, rows)), (0.6, 0.32), 0.3
    width, height = cell_size[0] * len(columns), cell_size[1] * len(rows)
    figure = Plot((left + width + BAR_WIDTH, height + 2 * label_height + 0.1))
    plot = picture_axes(figure, left, 0.1, width, height)
    image = plot.imshow(cell_values, norm=norm, cmap=colour_map, interpolation="none", aspect="auto")
    for (row, column), number in np.ndenumerate(cell_values):
        is_dark = abs(norm(number) - 0.5) > 0.3
        text_colour = "white" if is_dark else INK
        plot.text(column, row, f"{number:.2g}", ha="center", va="center", fontsize=SMALL - 1, color=text_colour)
    plot.set_yticks(range(len(rows)), rows, fontsize=SMALL)
    plot.set_xticks(range(len(columns)), columns, fontsize=SMALL)
    plot.tick_params(length=0, labeltop=True, labelbottom=False)
    plot.set_title(title, fontsize=TEXT, color=INK, pad=4)
    colour_bar(figure, image, (left + width + 0.1, 0.1, 0.1, height))
    return figure
