"""Objects drawn over their image: boxes, masks and key-points, and sheets of several images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pellucid.report.figures.pictures import palette
from pellucid.report.figures.regions import class_colour
from pellucid.report.figures.style import INK, SMALL, Plot, panels, pixels, truncate

SHEET_WIDTH, MAX_COLUMNS = 7.0, 2  # width of a sheet in inches, images per row
IMAGE_GAP, NAME_HEIGHT = 0.08, 0.2  # inches: space between images, height of a name above an image
MASK_OPACITY = 0.4  # opacity of a mask
MAX_NAMES = 48  # names of classes in a legend
LABEL_MARGIN = 0.04  # fraction of an image's height; nearer to its border, labels are written inside the box


@dataclass(frozen=True)
class Marks:
    """The objects to draw over one image.

    boxes: (n, 4) in pixels, x0, y0, x1, y1. labels: class indices (n,). masks: (n, H, W) bool, or None. keypoints:
    (n, K, 3) with the visibility 0 (not drawn), 1 (hidden, an empty circle) or 2, or None. dashed: (n,) bool, whether
    to draw a dashed box, for crowds, or None. texts: a label for each box, written at its upper left corner, or at the
    lower left corner for dashed boxes; () for none. colours: colours of the boxes, by default the colours of the
    classes.
    """

    boxes: Any
    labels: Any
    masks: Any = None
    keypoints: Any = None
    dashed: Any = None
    texts: Sequence[str] = ()
    colours: Sequence[Any] = ()


def draw_marks(plot: Axes, image: Any, marks: Marks, classes: int) -> None:
    """Draw an image (1 or 3, H, W) with values 0..1 and its marks; classes: number of classes.

    Each object with a mask has its own colour, regardless of its class.
    """
    picture = pixels(image)
    height, width = picture.shape[:2]
    colours = list(marks.colours) or [class_colour(int(label), classes) for label in marks.labels]
    if marks.masks is not None:
        picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
        colours = [tuple(colour / 255) for colour in palette(max(len(colours), 1))]
        picture = np.array(picture)
        for mask, colour in zip(np.asarray(marks.masks), colours, strict=False):
            picture[mask] = picture[mask] * (1 - MASK_OPACITY) + np.asarray(colour) * MASK_OPACITY
    plot.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    dashed = np.zeros(len(colours), bool) if marks.dashed is None else np.asarray(marks.dashed)
    for k, ((x0, y0, x1, y1), colour) in enumerate(zip(np.asarray(marks.boxes).tolist(), colours, strict=False)):
        line_style = (0, (3, 2)) if dashed[k] else "solid"
        plot.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.3, linestyle=line_style)
        )
        if k < len(marks.texts):
            _write_label(plot, (x0, y1) if dashed[k] else (x0, y0), bool(dashed[k]), height, marks.texts[k], colour)
    if marks.keypoints is not None:
        for points, colour in zip(np.asarray(marks.keypoints), colours, strict=False):
            for visibility, fill_colour in ((1, "none"), (2, colour)):
                drawn_points = points[points[:, 2] == visibility]
                plot.scatter(
                    drawn_points[:, 0],
                    drawn_points[:, 1],
                    s=9,
                    facecolors=fill_colour,
                    edgecolors="white",
                    linewidths=0.4,
                    zorder=3,
                )
    plot.set_xlim(0, width)
    plot.set_ylim(height, 0)


def _write_label(plot: Axes, corner: tuple[float, float], below: bool, height: int, text: str, colour: Any) -> None:
    """Write a label above or below a corner of a box; at the image's upper or lower border, inside the box."""
    x, y = max(corner[0], 0.0), min(max(corner[1], 0.0), float(height))
    has_space = y < (1 - LABEL_MARGIN) * height if below else y > LABEL_MARGIN * height
    plot.text(x, y, text, fontsize=SMALL - 2, color="white", va="top" if below == has_space else "bottom", zorder=4,
              clip_on=True, bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8, "alpha": 0.85})  # fmt: skip


def sheet_of_objects(
    images: Sequence[Any], marks: Sequence[Marks], names: Sequence[str], classes: Sequence[str]
) -> Plot:
    """Draw several images (1 or 3, H, W), with values 0..1, their marks and names, and a legend of the classes."""
    columns = min(MAX_COLUMNS, len(images))
    side = (SHEET_WIDTH - IMAGE_GAP * (columns + 1)) / columns
    row_height = side * float(np.median([image.shape[1] / image.shape[2] for image in images]))
    names_per_row, legend_names = 8, [*classes[:MAX_NAMES]] if all(objects.masks is None for objects in marks) else []
    if legend_names and len(classes) > MAX_NAMES:
        legend_names[-1] = f"{len(classes) - MAX_NAMES + 1:,} more"
    foot = 0.24 * -(-len(legend_names) // names_per_row) + 0.1
    figure, plots = panels(len(images), columns, side, row_height, IMAGE_GAP, NAME_HEIGHT, foot=foot)
    for plot, image, objects, name in zip(plots, images, marks, names, strict=True):
        draw_marks(plot, image, objects, len(classes))
        for spine in plot.spines.values():
            spine.set_visible(False)
        plot.set_title(truncate(name, 40), fontsize=SMALL, color=INK, pad=3)
    for k, name in enumerate(legend_names):
        y = (foot - 0.18 - 0.24 * (k // names_per_row)) / figure.get_figheight()
        colour = class_colour(k, len(classes))
        figure.text(
            (k % names_per_row) / names_per_row + 0.01, y, f"■ {truncate(name, 18)}", color=colour, fontsize=SMALL
        )
    return figure
