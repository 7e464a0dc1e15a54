"""Figures of many small images: feature maps, filters, mistakes, masks, key-points, and samples of a generator."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pellucid.base.errors import PellucidError
from pellucid.report.figures.heat import colour_bar, colour_scale
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    Plot,
    panels,
    pixels,
    show_image,
    truncate,
)

# Inches: space between images, width of the colour bar, height of the heading and of a name.
GAP, BAR_WIDTH, HEADING_HEIGHT, NAME_HEIGHT = 0.06, 0.8, 0.32, 0.16
MASK_OPACITY = 0.55  # opacity of the colours over an image
KEYPOINT_COLUMNS, LEGEND_COLUMNS = 4, 6  # images in a row of `worst_keypoints`, names in a row of a legend
GOLDEN_RATIO = 0.61803398875  # step of the hue from class to class, which keeps the hues of all classes apart


def sheet(
    maps: Any,
    title: str = "",
    names: Sequence[str] = (),
    signed: bool | None = None,
    max_maps: int = 64,
    columns: int | None = None,
    max_side: float = 1.3,
) -> Figure:
    """Draw the first `max_maps` of maps (n, H, W) in rows, with one colour bar.

    names: a name for each map, written above it. signed: whether 0 is the middle of the colour scale, by default if any
    value is negative. columns: maps per row. max_side: maximum width of a map, in inches.
    Raises PellucidError for an empty array or values that are not finite.
    """
    all_maps = np.asarray(maps, dtype=np.float64)
    if all_maps.ndim != 3 or not all_maps.size:
        raise PellucidError(f"sheet: maps have shape {all_maps.shape}; give at least one map (maps, H, W)")
    if not np.isfinite(all_maps).all():
        raise PellucidError("sheet: maps contain NaN or infinity; give finite values")
    drawn_maps = all_maps[:max_maps]
    n_columns = columns or min(len(drawn_maps), max(1, math.ceil(math.sqrt(2 * len(drawn_maps)))))
    side = min(max_side, (FIGURE_WIDTH - BAR_WIDTH - GAP * (n_columns + 1)) / n_columns)
    height = side * drawn_maps.shape[1] / drawn_maps.shape[2]
    heading = f"{title}, {max_maps} of {len(all_maps)}" if len(all_maps) > max_maps else title
    maps_width = n_columns * (side + GAP) + GAP
    right_margin = max(BAR_WIDTH, 0.085 * len(heading) + 2 * GAP - maps_width)
    row_height = (NAME_HEIGHT if names else 0.0) + height + GAP
    figure_width = maps_width + right_margin
    figure_height = HEADING_HEIGHT + math.ceil(len(drawn_maps) / n_columns) * row_height
    figure = Plot((figure_width, figure_height))
    figure.suppressComposite = True  # each map keeps its own pixels
    # One plot in inches for all maps: hundreds of plots would take most of the time of writing a page.
    plot = figure.add_axes((0, 0, 1, 1))
    plot.set_axis_off()
    signed = bool((drawn_maps < 0).any()) if signed is None else signed
    norm, colour_map = colour_scale(drawn_maps, signed)
    artists: list[AxesImage] = []
    for k, map_ in enumerate(drawn_maps):
        left = GAP + k % n_columns * (side + GAP)
        bottom = figure_height - HEADING_HEIGHT - (k // n_columns + 1) * row_height + GAP
        extent = (left, left + side, bottom, bottom + height)
        artists.append(
            plot.imshow(map_, norm=norm, cmap=colour_map, interpolation="none", extent=extent, aspect="auto")
        )
        plot.add_patch(Rectangle((left, bottom), side, height, fill=False, edgecolor=PALE, linewidth=0.5))
    for name, artist in zip(names, artists, strict=False):
        left, right_edge, _, top = artist.get_extent()
        plot.text(
            (left + right_edge) / 2, top + 2 / 72, name, fontsize=SMALL - 1.5, color=INK, ha="center", va="bottom"
        )
    plot.set(xlim=(0, figure_width), ylim=(0, figure_height))
    colour_bar(figure, artists[0], (maps_width + 0.04, GAP, 0.1, figure_height - HEADING_HEIGHT - GAP))
    figure.text(GAP / figure_width, 1 - 0.06 / figure_height, heading, fontsize=TEXT, color=INK, va="top")
    return figure


def filters(weight: Any, title: str = "", max_filters: int = 16) -> Figure:
    """Draw filters (filters, C, h, w): a row for each filter, a column for each input channel.

    max_filters: the maximum number for C > 1, of which at most the first 16 channels are drawn. For C = 1, the
    first 64 filters are drawn in a grid, for any `max_filters`.
    """
    weights = np.asarray(weight, dtype=np.float64)
    if weights.ndim != 4:
        raise PellucidError(f"filters have the shape (filters, C, h, w), not {weights.shape}")
    channels = weights.shape[1]
    if channels == 1:
        return sheet(weights[:, 0], title, signed=True, max_maps=64, max_side=0.7)
    n_channels = min(channels, 16)
    drawn_filters = weights[:max_filters, :n_channels].reshape(-1, *weights.shape[2:])
    channels_note = "" if n_channels == channels else f", {n_channels} of {channels} channels each"
    filters_note = "" if max_filters >= len(weights) else f", {max_filters} of {len(weights)} filters"
    return sheet(
        drawn_filters,
        f"{title}{filters_note}{channels_note}",
        signed=True,
        max_maps=len(drawn_filters),
        columns=n_channels,
        max_side=0.4,
    )


def worst_mistakes(
    images: Any, true: Sequence[str], predicted: Sequence[str], probability: Sequence[float]
) -> Figure | None:
    """Draw misclassified images, each with its true class, its predicted class and the probability.

    images: (n, C, H, W) with 1 or 3 channels and values 0..1; the other arguments have n entries. A probability outside
    0..1 is a score, which is written without per cent. None without images.
    """
    pictures = np.asarray(images, dtype=np.float64)
    if len(pictures) == 0:
        return None
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise PellucidError(f"worst_mistakes: images have shape {pictures.shape}; give (n, 1 or 3, H, W)")
    has_long_names = max(map(len, [*true, *predicted])) > 3  # names that need a line each
    figure, plots = _square_panels(
        len(pictures), columns=6 if has_long_names else 8, space_below=0.6 if has_long_names else 0.42
    )
    for plot, picture, true_name, predicted_name, score in zip(
        plots, pictures, true, predicted, probability, strict=True
    ):
        _show_picture(plot, np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1)
        lines = (
            [truncate(true_name, 15), f"→ {truncate(predicted_name, 15)}"]
            if has_long_names
            else [f"{true_name} → {predicted_name}"]
        )
        lines.append(_score_text(score))
        for line_index, line in enumerate(lines):
            plot.annotate(
                line, (0.5, 0), xycoords="axes fraction", xytext=(0, -3 - 12 * line_index), textcoords="offset points",
                ha="center", va="top", fontsize=SMALL, color=ORANGE if line is lines[-1] else INK,
            )  # fmt: skip
    return figure


def first_weights(weights: Any, max_filters: int = 64) -> Figure | None:
    """Draw the first `max_filters` filters as images: ochre is negative, blue positive, all on one scale.

    weights: (n, C, H, W). With C = 3, each filter is shown as a colour image with its own scale, in which grey is 0;
    for other C, only the first channel is shown. None without filters, for filters of fewer than four elements per
    channel, and for NaN and infinity.
    """
    all_filters = np.asarray(weights, dtype=np.float64)
    if all_filters.ndim != 4:
        raise PellucidError(f"first_weights: weights have shape {all_filters.shape}; give (filters, C, H, W)")
    if (
        all_filters.shape[0] == 0
        or all_filters.shape[2] * all_filters.shape[3] < 4
        or not np.isfinite(all_filters).all()
    ):
        return None
    drawn_filters = all_filters[:max_filters]
    columns = 12 if len(drawn_filters) > 40 else 10 if len(drawn_filters) > 16 else 8
    if all_filters.shape[1] != 3:
        return sheet(drawn_filters[:, 0], signed=True, columns=min(columns, len(drawn_filters)))
    figure, plots = _square_panels(len(drawn_filters), columns, space_below=0)
    for plot, weight in zip(plots, drawn_filters, strict=True):
        _show_picture(plot, 0.5 + 0.5 * weight / (float(np.abs(weight).max()) or 1.0))
    return figure


def palette(n_classes: int) -> NDArray[np.uint8]:
    """Return a colour for each class, (n_classes, 3): hues at steps of the golden ratio, in three brightnesses."""
    class_indices = np.arange(n_classes)
    hue, value = class_indices * GOLDEN_RATIO % 1, np.array([1.0, 0.75, 0.5])[class_indices % 3]
    hue_offsets = (hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6  # (n_classes, 3)
    saturated = np.clip(np.abs(hue_offsets - 3) - 1, 0, 1)
    return ((0.2 + 0.8 * saturated) * value[:, None] * 255).round().astype(np.uint8)


def mask_overlay(image: Any, mask: Any, n_classes: int) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 blended with the colours of its mask (H, W) where that is below `n_classes`."""
    mask = np.asarray(mask).astype(np.int64)
    colours = palette(n_classes)[np.minimum(mask, n_classes - 1)]
    blended = image * (1 - MASK_OPACITY) + colours * MASK_OPACITY
    return np.where((mask < n_classes)[..., None], blended, image).round().astype(np.uint8)


def worst_masks(
    images: Any, true: Any, predicted: Any, scores: Sequence[float], classes: Sequence[str]
) -> Figure | None:
    """Draw images next to their true and predicted class masks, with a legend; None without images.

    images: (n, H, W, 3) uint8. true, predicted: class indices (n, H, W). scores: each image's mean IoU.
    """
    if not len(images):
        return None
    height, width = images[0].shape[:2]
    side, legend_height = FIGURE_WIDTH / 3 - 0.06, 0.24 * -(-len(classes) // LEGEND_COLUMNS) + 0.1
    figure, plots = panels(
        3 * len(images), 3, side, side * height / width, 0.06, name_height=0.22, left=0.03, foot=legend_height
    )
    tiles: list[tuple[Any, str]] = []
    for image, true_mask, prediction, score in zip(images, true, predicted, scores, strict=True):
        masks = (mask_overlay(image, mask, len(classes)) for mask in (true_mask, prediction))
        tiles += zip((image, *masks), ("image", "true", f"predicted: {score:.2f}"), strict=True)
    for plot, (picture, title) in zip(plots, tiles, strict=True):
        plot.imshow(picture, interpolation="nearest")
        plot.set_axis_off()
        plot.set_title(title, fontsize=SMALL, color=INK, pad=3)
    for k, (name, colour) in enumerate(zip(classes, palette(len(classes)) / 255, strict=True)):
        y = (legend_height - 0.16 - 0.24 * (k // LEGEND_COLUMNS)) / figure.get_figheight()
        figure.text(
            (k % LEGEND_COLUMNS) / LEGEND_COLUMNS + 0.02, y, f"■ {name:.16}", color=tuple(colour), fontsize=SMALL
        )
    return figure


def titled_pictures(images: Sequence[Any], titles: Sequence[str]) -> Figure:
    """Draw images (H, W, 3) uint8, of any sizes, in two columns with a title above each."""
    side = FIGURE_WIDTH / 2 - 0.06
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    figure, plots = panels(len(images), 2, side, side * tallest, 0.06, name_height=0.22, left=0.03)
    for plot, image, title in zip(plots, images, titles, strict=True):
        _show_picture(plot, np.moveaxis(image, -1, 0))
        plot.set_axis_off()
        plot.set_title(truncate(title, 24), fontsize=SMALL, color=INK, pad=3)
    return figure


def worst_keypoints(images: Any, true: Any, predicted: Any, errors: Sequence[float]) -> Figure | None:
    """Draw images with the true and the predicted key-points of their object, connected by lines; None without images.

    images: (n, H, W, 3) uint8. true: x, y and visibility (n, K, 3). predicted: predictions (n, K, 2 or more columns).
    errors: each image's normalised mean error.
    """
    if not len(images):
        return None
    height, width = images[0].shape[:2]
    side = FIGURE_WIDTH / KEYPOINT_COLUMNS - 0.06
    figure, plots = panels(
        len(images), KEYPOINT_COLUMNS, side, side * height / width, 0.06, name_height=0.22, left=0.03, foot=0.3
    )
    for plot, image, true_points, points, error in zip(plots, images, true, predicted, errors, strict=True):
        plot.imshow(image, interpolation="antialiased", extent=(0, width, height, 0))
        is_visible = true_points[:, 2] > 0
        for true_point, point in zip(true_points[is_visible], points[is_visible], strict=True):
            plot.plot([true_point[0], point[0]], [true_point[1], point[1]], color="white", linewidth=0.7)
        plot.scatter(true_points[is_visible, 0], true_points[is_visible, 1], s=5, c=BLUE, linewidths=0)
        plot.scatter(points[is_visible, 0], points[is_visible, 1], s=5, c=ORANGE, linewidths=0)
        plot.set_axis_off()
        plot.set_title(f"{100 * error:.1f} %", fontsize=SMALL, color=INK, pad=3)
    for x, legend_text, colour in ((0.02, "● true", BLUE), (0.14, "● predicted", ORANGE)):
        figure.text(x, 0.08 / figure.get_figheight(), legend_text, color=colour, fontsize=SMALL)
    return figure


def _square_panels(n_panels: int, columns: int, space_below: float) -> tuple[Figure, list[Axes]]:
    """Return `n_panels` square plots in rows, with `space_below` inches under each."""
    gap = 0.07
    side = (FIGURE_WIDTH - gap * (columns + 1)) / columns
    return panels(n_panels, columns, side, side, gap, below=space_below, top=gap)


def _show_picture(plot: Axes, picture: Any, **colours: Any) -> None:
    channels, height, width = picture.shape
    image = picture[0] if channels == 1 else np.moveaxis(picture, 0, -1)  # (H, W) or (H, W, 3)
    # Small images are not interpolated: each pixel is a sharp square at any size.
    plot.imshow(image, interpolation="none" if max(height, width) <= 64 else "antialiased", **colours)


def _score_text(score: float) -> str:
    if not math.isfinite(score):
        return "no number"
    return f"{100 * score:.0f} %" if 0 <= score <= 1 else f"{score:.2f}"


ROW_GAP, NAMES_WIDTH = 0.06, 1.25  # inches: space between rows, width of their names
MAX_SIDE = 0.6  # inches: maximum width of an image
BORDER = 1  # pixels between images
BACKGROUND = 1.0  # value of the pixels between images: white


def montage(images: Any, columns: int) -> NDArray[np.float64]:
    """Return images (n, 1 or 3, H, W) with values 0..1 as one image (1 or 3, H', W'), in rows of `columns`."""
    tiles = np.asarray(images, dtype=np.float64)
    n, channels, height, width = tiles.shape
    rows = -(-n // columns)
    sheet_image = np.full(
        (channels, rows * (height + BORDER) - BORDER, columns * (width + BORDER) - BORDER), BACKGROUND
    )
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        top, left = row * (height + BORDER), column * (width + BORDER)
        sheet_image[:, top : top + height, left : left + width] = tile
    return sheet_image


def sample_sheet(images: Any, columns: int = 16) -> Plot:
    """Draw images (n, 1 or 3, H, W) with values 0..1 in rows of `columns`."""
    picture = montage(images, min(columns, len(images)))
    _, pixel_height, pixel_width = picture.shape
    width = min(FIGURE_WIDTH - 2 * ROW_GAP, MAX_SIDE * min(columns, len(images)))
    figure, (plot,) = panels(1, 1, width, width * pixel_height / pixel_width, ROW_GAP, top=ROW_GAP)
    show_image(plot, pixels(picture))
    return figure


def image_rows(rows: Mapping[str, Any], columns: int = 10) -> Plot:
    """Draw a row for each name: the first `columns` images of (n, 1 or 3, H, W), with values 0..1."""
    strips = {name: montage(np.asarray(images)[:columns], columns) for name, images in rows.items()}
    _, pixel_height, pixel_width = next(iter(strips.values())).shape
    width = min(FIGURE_WIDTH - NAMES_WIDTH - 2 * ROW_GAP, MAX_SIDE * columns)
    figure, plots = panels(
        len(strips), 1, width, width * pixel_height / pixel_width, ROW_GAP, top=ROW_GAP, left=NAMES_WIDTH
    )
    for plot, (name, strip) in zip(plots, strips.items(), strict=True):
        show_image(plot, pixels(strip))
        plot.annotate(
            name, (0, 0.5), xycoords="axes fraction", xytext=(-5, 0), textcoords="offset points", ha="right",
            va="center", fontsize=SMALL, color=INK,
        )  # fmt: skip
    return figure
