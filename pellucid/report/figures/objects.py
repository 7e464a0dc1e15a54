"""Objects drawn over their image: boxes, masks and key-points, and sheets of several images.

Also the figures of detections: precision-recall curves, score maps, boxes by outcome or by step, and attributions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pellucid.report.figures.heat import colour_bar, colour_scale, heat
from pellucid.report.figures.pictures import palette
from pellucid.report.figures.plane import class_colour
from pellucid.report.figures.series import colours
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    GREEN,
    INK,
    ORANGE,
    PALE,
    SMALL,
    CurveEnd,
    Plot,
    curve_axes,
    label_ends,
    panels,
    pixels,
    truncate,
)

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


def draw_marks(plot: Axes, image: Any, marks: Marks, n_classes: int) -> None:
    """Draw an image (1 or 3, H, W) with values 0..1 and its marks; n_classes: number of classes.

    Each object with a mask has its own colour, regardless of its class.
    """
    picture = pixels(image)
    height, width = picture.shape[:2]
    colours = list(marks.colours) or [class_colour(int(label), n_classes) for label in marks.labels]
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


def _write_label(plot: Axes, corner: tuple[float, float], is_below: bool, height: int, text: str, colour: Any) -> None:
    """Write a label above or below a corner of a box; at the image's upper or lower border, inside the box."""
    x, y = max(corner[0], 0.0), min(max(corner[1], 0.0), float(height))
    has_space = y < (1 - LABEL_MARGIN) * height if is_below else y > LABEL_MARGIN * height
    plot.text(x, y, text, fontsize=SMALL - 2, color="white", va="top" if is_below == has_space else "bottom", zorder=4,
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


GAP, BAR_WIDTH, MAP_NAME_HEIGHT = (
    0.08,
    0.75,
    0.24,
)  # inches: space between plots, width of the colour bar, height of a name
STEP_SIDE = 5.2  # inches of the longer side of an image with the boxes of a step
OUTCOME_SIDE = 5.6  # inches of the longer side of an image with its hits and errors
MAX_UNRESAMPLED = 700  # pixels of the longer side up to which images are not resampled
OUTCOME_COLOURS = {"right": GREEN, "false alarm": ORANGE, "missed": BLUE, "not counted": PALE}
OUTCOMES_BY_KIND = {"hit": "right", "missed": "missed", "ignored": "not counted"}  # all others are false alarms
GROUP_COLOURS = {"box": ORANGE, "other": BLUE, "source": GREEN, "pale": PALE}


def precision_recall(curves: Mapping[str, Any], recalls: Any) -> Plot | None:
    """Draw the precision of each class at `recalls`, up to its largest recall; None without classes."""
    if not curves:
        return None
    figure, plot = curve_axes("recall", "precision")
    ends = []
    for (name, precisions), colour in zip(curves.items(), colours(len(curves)), strict=True):
        precision = np.asarray(precisions, dtype=np.float64)
        n_reached = max(int((precision > 0).sum()), 1)
        reached_recalls = np.asarray(recalls)[:n_reached]
        (line,) = plot.plot(reached_recalls, precision[:n_reached], color=colour, linewidth=1.7)
        figure.lines_by_name.append((name, line))
        text = f"{name}, AP {precision.mean():.2f}"
        ends.append(CurveEnd(float(reached_recalls[-1]), float(precision[n_reached - 1]), text, to_hex(colour)))
    plot.set(xlim=(-0.02, 1.02), ylim=(0, 1.03))
    label_ends(plot, ends)
    return figure


def draw_detections(image: Any, boxes: Any, kinds: Sequence[str], texts: Sequence[str]) -> Plot:
    """Draw boxes on an image (1 or 3, H, W) with values 0..1: green hits, orange false alarms, blue dashed misses.

    boxes: (n, 4) in pixels. kinds: "hit", "missed", "ignored", or a kind of error, for each. texts: a label for each.
    """
    outcomes = [OUTCOMES_BY_KIND.get(kind, "false alarm") for kind in kinds]
    order = sorted(range(len(outcomes)), key=lambda k: outcomes[k] != "right")  # others are drawn over hits
    box_styles = [(OUTCOME_COLOURS[outcomes[k]], outcomes[k] == "missed") for k in order]
    figure, plot = _draw_marked_image(
        image, np.asarray(boxes)[order], box_styles, [texts[k] for k in order], OUTCOME_SIDE, 0.3
    )
    if max(image.shape[1:]) <= MAX_UNRESAMPLED:
        plot.images[0].set_interpolation("none")  # the page contains the original pixels
    x = 0.06
    for outcome, colour in OUTCOME_COLOURS.items():
        if outcome in outcomes:
            symbol = "□" if outcome == "missed" else "■"
            position = x / figure.get_figwidth(), 0.1 / figure.get_figheight()
            figure.text(*position, f"{symbol} {outcome}", color=colour, fontsize=SMALL)
            x += 1.15  # inches to the next entry of the legend
    return figure


def draw_box_groups(image: Any, groups: Sequence[tuple[str, Any, bool]], texts: Sequence[Sequence[str]] = ()) -> Plot:
    """Draw groups of boxes on an image (1 or 3, H, W), the last group on top.

    groups: (key in GROUP_COLOURS, boxes (n, 4), whether they are dashed). texts: labels of each group's boxes, or ().
    """
    boxes = np.concatenate([np.asarray(group, dtype=np.float64).reshape(-1, 4) for _, group, _ in groups])
    box_styles = [
        (GROUP_COLOURS[colour_key], dashed) for colour_key, group, dashed in groups for _ in range(len(group))
    ]
    figure, _ = _draw_marked_image(image, boxes, box_styles, [text for labels in texts for text in labels], STEP_SIDE)
    return figure


def _draw_marked_image(
    image: Any, boxes: Any, box_styles: Sequence[tuple[str, bool]], texts: Sequence[str], side: float, foot: float = 0.0
) -> tuple[Plot, Axes]:
    """Draw boxes on an image whose longer side has `side` inches; box_styles: colour of each, whether it is dashed."""
    scale = side / max(image.shape[1:])
    figure, (plot,) = panels(1, 1, image.shape[2] * scale, image.shape[1] * scale, 0.04, foot=foot)
    dashes, colours = [dashed for _, dashed in box_styles], [colour for colour, _ in box_styles]
    draw_marks(plot, image, Marks(boxes, np.zeros(len(box_styles)), dashed=dashes, texts=texts, colours=colours), 1)
    return figure, plot


class Cell(NamedTuple):
    """A cell of one of several maps; level: index of the map."""

    level: int
    row: int
    column: int


def score_maps(image: Any, maps: Sequence[Any], names: Sequence[str], cell: Cell, box: Any) -> Plot:
    """Draw an image (1 or 3, H, W) with a box, and maps (h, w) of the scores 0 to 1 of its cells, on one scale.

    cell: the cell to mark by a white square. names: names of the maps.
    """
    height, width = image.shape[1:]
    side = min((FIGURE_WIDTH - BAR_WIDTH - GAP) / (len(maps) + 1) - GAP, STEP_SIDE / 2)
    plot_height = min(side * height / width, 2 * side)
    figure, plots = panels(len(maps) + 1, len(maps) + 1, side, plot_height, GAP, MAP_NAME_HEIGHT, right=BAR_WIDTH)
    draw_marks(plots[0], image, Marks(np.asarray(box)[None], [0], colours=[ORANGE]), 1)
    plots[0].set_title("input", fontsize=SMALL, color=INK, pad=3)
    norm, colour_map = colour_scale(np.concatenate([np.asarray(scores).ravel() for scores in maps]), signed=False)
    for level, (plot, scores, name) in enumerate(zip(plots[1:], maps, names, strict=True)):
        map_image = plot.imshow(
            np.asarray(scores, dtype=np.float64), norm=norm, cmap=colour_map, interpolation="none", aspect="auto"
        )
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
        if level == cell.level:
            plot.add_patch(
                Rectangle((cell.column - 0.5, cell.row - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=1.5)
            )
        if level == len(maps) - 1:
            bar_left = (len(maps) + 1) * (side + GAP) + 0.1
            colour_bar(figure, map_image, (bar_left, GAP, 0.1, plot_height))
    return figure


def attribution(image: Any, map_: Any, box: Any, title: str, signed: bool) -> Figure:
    """Draw an image, the explanation (H, W) of a box, and both blended, each with the box."""
    figure = heat(image, map_, title, signed=signed)
    x0, y0, x1, y1 = (float(value) - 0.5 for value in box)  # imshow's pixel i covers [i - 0.5, i + 0.5)
    for plot in figure.axes[:3]:
        plot.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=ORANGE, linewidth=1.2))
    return figure
