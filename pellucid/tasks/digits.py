"""Handwritten digits: any picture of one becomes the input that a network was trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError

LEAST_CONTRAST = 0.04  # of the range black..white; below it there is nothing to see
FAINTEST_INK = 0.2  # of the strongest ink; what is fainter (paper, noise) does not widen the bounding box
MOST_NOISE = 0.2  # of the strongest ink; a border that varies more has ink in it


@dataclass(frozen=True)
class Form:
    """How a data set lays a digit out: in a square of `side` pixels, the longer side of its ink `box` pixels long.

    `by_mass` puts the ink's centre of mass at the centre of the square, otherwise the centre of its box.
    """

    side: int
    box: int
    by_mass: bool


# MNIST: LeCun, Cortes, Burges, the data set's page. digits: Alpaydin, Kaynak 1998, the ink fills the square.
FORMS = {"mnist": Form(28, 20, by_mass=True), "digits": Form(8, 8, by_mass=False)}


def lay_out(picture: Tensor, form: Form, name: str = "picture") -> Tensor:
    """Turn a grey picture (1, H, W), uint8 or 0..1, into (1, side, side) with ink 1 on ground 0.

    Dark ink on a light ground and light ink on a dark one give the same: the border tells the ground's
    brightness. The ink is cropped to its bounding box, scaled with antialiasing, and centred.
    Raises PellucidError, which names the picture, when it shows no ink.
    """
    ink = find_ink(picture, name)  # (H, W)
    rows = torch.nonzero((ink >= FAINTEST_INK).any(1)).flatten()
    columns = torch.nonzero((ink >= FAINTEST_INK).any(0)).flatten()
    ink = ink[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    height, width = ink.shape
    scale = form.box / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size != (height, width):
        resized = torch.nn.functional.interpolate(ink[None, None], size, mode="bilinear", antialias=True)
        ink = resized[0, 0] / resized.max()  # thin strokes of a large picture fade when they shrink
    top, left = _place(ink, form)
    square = torch.zeros(1, form.side, form.side)
    square[0, top : top + size[0], left : left + size[1]] = ink
    return square


def find_ink(picture: Tensor, name: str = "picture") -> Tensor:
    """Return how much ink each pixel of a grey picture (1, H, W) holds, 0..1, as (H, W).

    How much the border varies tells the noise of paper and camera, which is no ink.
    """
    grey = picture[0].to(torch.float32) / (255 if picture.dtype == torch.uint8 else 1)
    low, high = float(grey.min()), float(grey.max())
    if high - low < LEAST_CONTRAST:
        raise PellucidError(f"{name} is blank, all of it is of one brightness; give a picture of a digit")
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = float(border.median())
    ink = ground - grey if ground > (low + high) / 2 else grey - ground
    noise = (border - ground).abs()
    ninth = float(noise.kthvalue(max(1, round(0.9 * len(noise)))).values)  # nine of ten vary by no more
    floor = min(ninth, MOST_NOISE * float(ink.max()))
    return (ink - floor).clamp_(min=0) / (ink.max() - floor)


def _place(ink: Tensor, form: Form) -> tuple[int, int]:
    """Return the top and left edge of the ink in the square; the whole of it stays inside."""
    edges: list[int] = []
    for axis, length in enumerate(ink.shape):
        edge = (form.side - length) // 2
        if form.by_mass:
            weights = ink.sum(1 - axis)  # (length,)
            centre = float((weights * torch.arange(length)).sum() / weights.sum())
            edge = round(form.side / 2 - centre)  # MNIST calls pixel 14 the centre of 0..27
        edges.append(min(max(edge, 0), form.side - length))
    return edges[0], edges[1]
