"""Feature maps by what they answer to: nine deconvolutions, and the nine patches that they are of, side by side."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.explain.top_patches import TopPatches
from pellucid.report.figures.style import INK, SMALL, picture_axes

ACROSS, COLUMNS = 3, 4  # patches in a row, maps in a row
SIDE, GAP, NAME = 0.86, 0.12, 0.2  # inches of a square of patches; between maps; for a map's name
WHITE = 0.99
GROUND = 0.5  # grey of what lies beyond the image, and of a reconstruction's 0


def patch_sheet(found: Sequence[TopPatches], images: Tensor) -> Figure:
    """Draw each map's reconstructions on the left and patches on the right, the strongest first.

    images: (N, 1 or 3, H, W) of values 0..1, as the data set has them. Each reconstruction has its own scale, with 0 in
    mid-grey, as in the paper, and the strongest hundredth cut off. Source: Zeiler and Fergus 2014, figure 2.
    """
    rows = math.ceil(len(found) / COLUMNS)
    across = min(COLUMNS, len(found))
    size = (across * (2 * SIDE + 0.04 + GAP) + GAP, rows * (SIDE + NAME + GAP) + GAP)
    figure = Figure(size)
    for k, one in enumerate(found):
        row, column = divmod(k, COLUMNS)
        left = GAP + column * (2 * SIDE + 0.04 + GAP)
        bottom = size[1] - (row + 1) * (SIDE + NAME + GAP)
        for shift, tile in enumerate(tiles(one, images)):
            plot = picture_axes(figure, left + shift * (SIDE + 0.04), bottom, SIDE, SIDE)
            plot.imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="none")
            if shift == 0:
                words = f"{one.map}: {float(one.value[0]):.3g}"
                plot.set_title(words, fontsize=SMALL - 1, color=INK, pad=2, loc="left")
    return figure


def tiles(one: TopPatches, images: Tensor) -> tuple[Any, Any]:
    """Return the squares of reconstructions and of patches, (S, S) or (S, S, 3), values 0..1."""
    corners = one.corners.tolist()
    height = max(bottom - top for top, _, bottom, _ in corners)
    width = max(right - left for _, left, _, right in corners)
    shape = (ACROSS * (height + 1) - 1, ACROSS * (width + 1) - 1)
    squares = [np.full((images.shape[1], *shape), 1.0) for _ in range(2)]
    for k, (top, left, bottom, right) in enumerate(corners):
        down = (k // ACROSS) * (height + 1)
        along = (k % ACROSS) * (width + 1)
        reconstruction = one.deconvolution[k].double().cpu().numpy()
        reach = scale_of(reconstruction[:, top:bottom, left:right])
        picture = images[one.images[k]].double().cpu().numpy()
        for square, source in zip(squares, (GROUND + GROUND * reconstruction / reach, picture), strict=True):
            square[:, down : down + height, along : along + width] = GROUND
            # What the image's edge cut off stays empty, on the side where it was cut.
            y = down + (height - (bottom - top) if top == 0 else 0)
            x = along + (width - (right - left) if left == 0 else 0)
            square[:, y : y + bottom - top, x : x + right - left] = source[:, top:bottom, left:right]
    return _shown(squares[0]), _shown(squares[1])


def scale_of(reconstruction: Any) -> float:
    """Return what stands for white: above all but a hundredth of the magnitudes, which would leave the rest grey."""
    magnitudes = np.abs(reconstruction)
    return float(np.quantile(magnitudes, WHITE) or magnitudes.max() or 1.0)


def _shown(square: Any) -> Any:
    clipped = np.clip(square, 0, 1)
    return clipped[0] if len(clipped) == 1 else np.moveaxis(clipped, 0, -1)
