"""What the playground shows of a network for images: an image for each neuron, and a sheet of those for testing."""

import torch
from torch import Tensor

from pellucid.studio.play.problems import MAX_COORDINATE, PICTURE_SIDE

SHEET = 10  # images along each side of the sheet
OUTSIDE = 2 * MAX_COORDINATE  # coordinate of an image that is not on the sheet


def neuron_images(weight: Tensor, x: Tensor, outputs: list[Tensor]) -> Tensor:
    """Return an image (64,) for each neuron, layer by layer: (neurons, 64).

    weight: (n, 64), of the first layer, whose neurons show their weights. x: images (N, 1, 8, 8). outputs: (N, n) of
    each further layer, whose neurons show the image with their largest output.
    """
    return torch.cat([weight, *(x.flatten(1)[values.argmax(0)] for values in outputs)])


def sheet(x: Tensor, is_right: Tensor) -> Tensor:
    """Return the first images of x (N, 1, 8, 8) side by side, row by row: (80, 80); wrongly read ones are negative."""
    signed = x * torch.where(is_right, 1, -1)[:, None, None, None]
    places = torch.zeros(SHEET * SHEET, PICTURE_SIDE, PICTURE_SIDE, dtype=x.dtype)
    shown = signed[: len(places), 0]
    places[: len(shown)] = shown
    rows = places.view(SHEET, SHEET, PICTURE_SIDE, PICTURE_SIDE).transpose(1, 2)
    return rows.reshape(SHEET * PICTURE_SIDE, SHEET * PICTURE_SIDE)


def sheet_points(count: int, train: int) -> Tensor:
    """Return where images lie in the plane that shows the sheet (count, 2); the first `train` are not shown."""
    numbers = torch.arange(count - train)
    cells = torch.stack([numbers % SHEET, SHEET - 1 - numbers // SHEET], 1)
    points = torch.full((count, 2), OUTSIDE, dtype=torch.float64)
    shown = (cells + 0.5) * (2 * MAX_COORDINATE / SHEET) - MAX_COORDINATE
    points[train:] = torch.where(numbers[:, None] < SHEET * SHEET, shown.double(), OUTSIDE)
    return points
