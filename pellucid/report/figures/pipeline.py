"""Figures of the steps of a detector: score maps, and boxes on the image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.patches import Rectangle

from pellucid.report.figures.heat import bar, heat, scale
from pellucid.report.figures.objects import Marks, mark
from pellucid.report.figures.style import BLUE, GREEN, INK, ORANGE, PALE, SMALL, WIDE, Plot, panels

GAP, BAR, NAME = 0.08, 0.75, 0.24  # inches
LARGE = 5.2  # inches of the longer side of an image
COLOURS = {"box": ORANGE, "other": BLUE, "source": GREEN, "pale": PALE}


class Cell(NamedTuple):
    """A cell of one of several maps."""

    level: int
    row: int
    column: int


def score_maps(image: Any, maps: Sequence[Any], names: Sequence[str], cell: Cell, box: Any) -> Plot:
    """Draw an image (1 or 3, H, W) with a box, and maps (h, w) of the scores 0 to 1 of its cells, on one scale.

    cell: the cell to mark by a white square. names: names of the maps.
    """
    height, width = image.shape[1:]
    side = min((WIDE - BAR - GAP) / (len(maps) + 1) - GAP, LARGE / 2)
    tall = min(side * height / width, 2 * side)
    figure, plots = panels(len(maps) + 1, len(maps) + 1, side, tall, GAP, NAME, right=BAR)
    mark(plots[0], image, Marks(np.asarray(box)[None], [0], colours=[ORANGE]), 1)
    plots[0].set_title("input", fontsize=SMALL, color=INK, pad=3)
    norm, colours = scale(np.concatenate([np.asarray(one).ravel() for one in maps]), signed=False)
    for level, (plot, one, name) in enumerate(zip(plots[1:], maps, names, strict=True)):
        numbers = np.asarray(one, dtype=np.float64)
        shown = plot.imshow(numbers, norm=norm, cmap=colours, interpolation="none", aspect="auto")
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
        if level == cell.level:
            plot.add_patch(
                Rectangle((cell.column - 0.5, cell.row - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=1.5)
            )
        if level == len(maps) - 1:
            left = (len(maps) + 1) * (side + GAP) + 0.1
            bar(figure, shown, (left, GAP, 0.1, tall))
    return figure


def boxes_on(image: Any, groups: Sequence[tuple[str, Any, bool]], texts: Sequence[Sequence[str]] = ()) -> Plot:
    """Draw groups of boxes on an image (1 or 3, H, W), the last group on top.

    groups: (key in COLOURS, boxes (n, 4), whether they are dashed). texts: labels of the boxes of each group, or ().
    """
    by = LARGE / max(image.shape[1:])
    figure, (plot,) = panels(1, 1, image.shape[2] * by, image.shape[1] * by, 0.04)
    boxes = np.concatenate([np.asarray(some, dtype=np.float64).reshape(-1, 4) for _, some, _ in groups])
    rows = [(COLOURS[name], dashed) for name, some, dashed in groups for _ in range(len(some))]
    marks = Marks(
        boxes,
        np.zeros(len(boxes)),
        dashed=[dashed for _, dashed in rows],
        texts=[text for some in texts for text in some],
        colours=[colour for colour, _ in rows],
    )
    mark(plot, image, marks, 1)
    return figure


def attribution(image: Any, map_: Any, box: Any, title: str, signed: bool) -> Any:
    """Draw an image, the explanation (H, W) of a box, and both blended, each with the box."""
    figure = heat(image, map_, title, signed=signed)
    x0, y0, x1, y1 = (float(value) - 0.5 for value in box)  # imshow's pixel i covers [i - 0.5, i + 0.5)
    for plot in figure.axes[:3]:
        plot.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=ORANGE, linewidth=1.2))
    return figure
