"""Handwritten digits: pictures of any size converted to the layout of the training data."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError

MIN_CONTRAST = 0.04  # fraction of the range from black to white, below which the picture is blank
MIN_INK = 0.2  # fraction of the strongest ink; weaker pixels (paper, noise) do not extend the bounding box
MAX_NOISE = 0.2  # fraction of the strongest ink; at most this much is subtracted from all deviations as noise


@dataclass(frozen=True)
class DigitLayout:
    """The layout of digits in a data set: a square of `side` pixels with the ink of one digit.

    ink_side: the longer side of the ink, in pixels. by_mass: whether the ink's centre of mass is at the centre of the
    square; otherwise, its bounding box is centred.
    """

    side: int
    ink_side: int
    by_mass: bool


# mnist: LeCun, Cortes, Burges, web page of the data set. digits: Alpaydin, Kaynak 1998; the ink fills the square.
LAYOUTS = {"mnist": DigitLayout(28, 20, by_mass=True), "digits": DigitLayout(8, 8, by_mass=False)}


def lay_out(picture: Tensor, layout: DigitLayout, name: str = "picture") -> Tensor:
    """Convert a grey picture (1, H, W), uint8 or 0..1, to (1, side, side) with ink 1 on a background of 0.

    Dark ink on a light background and light ink on a dark one give the same result: the brightness of the background is
    measured at the border. The ink is cropped to its bounding box, scaled with antialiasing, and centred.
    Raises PellucidError, which names the picture, if it contains no ink.
    """
    return lay_out_with_surroundings(picture, layout, name)[0]


def lay_out_with_surroundings(picture: Tensor, layout: DigitLayout, name: str = "picture") -> tuple[Tensor, Tensor]:
    """Return the result of `lay_out`, and the same square with the surroundings of the ink, each (1, side, side).

    The second square also contains the surroundings of the ink's bounding box, and pixels that deviate from the
    background in the other direction, such as light pixels next to dark ink. The picture is padded with its border
    pixels. For a digit on a plain background the two squares are nearly equal; for a part of a photograph or for noise,
    the second square contains more.
    """
    deviation = _deviation(picture, name)  # (H, W)
    ink_everywhere = deviation.clamp(min=0)
    rows = torch.nonzero((ink_everywhere >= MIN_INK).any(1)).flatten()
    columns = torch.nonzero((ink_everywhere >= MIN_INK).any(0)).flatten()
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    ink = ink_everywhere[box]
    scale = layout.ink_side / max(ink.shape)
    ink_size = tuple(max(1, round(length * scale)) for length in ink.shape)
    max_ink = ink.new_ones(())
    if ink_size != ink.shape:
        resized = _resize(ink, ink_size)
        max_ink = resized.max()
        ink = resized / max_ink  # shrinking a large picture fades its thin strokes
    corner = _top_left(ink, layout)
    ink_position = tuple(slice(edge, edge + length) for edge, length in zip(corner, ink_size, strict=True))
    square = torch.zeros(layout.side, layout.side)
    square[ink_position] = ink
    magnitude = deviation.abs().clamp_(max=1)
    magnitude[magnitude < MIN_INK] = 0
    # The window of the picture that is resized to the square. It may extend beyond the picture, whose border pixels are
    # then repeated: their indices are those of the nearest pixel.
    window_starts = (round(edges.start - offset / scale) for edges, offset in zip(box, corner, strict=True))
    window_rows, window_columns = (
        torch.arange(start, start + round(layout.side / scale)).clamp_(0, length - 1)
        for start, length in zip(window_starts, magnitude.shape, strict=True)
    )
    surroundings = _resize(magnitude[window_rows][:, window_columns], (layout.side, layout.side))
    surroundings[ink_position] = (_resize(magnitude[box], ink_size) / max_ink).clamp_(max=1)
    return square[None], surroundings[None]


def _deviation(picture: Tensor, name: str) -> Tensor:
    """Return each pixel's deviation from the background (H, W), minus the noise: positive for ink, with maximum 1."""
    grey = picture[0].to(torch.float32) / (255 if picture.dtype == torch.uint8 else 1)
    low, high = float(grey.min()), float(grey.max())
    if high - low < MIN_CONTRAST:
        raise PellucidError(f"{name} is blank: all of it has the same brightness; give a picture of a digit")
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(border.median())
    ink = background - grey if background > (low + high) / 2 else grey - background
    noise = (border - background).abs()
    # 90 % of the border pixels deviate by no more than this.
    quantile = float(noise.kthvalue(max(1, round(0.9 * len(noise)))).values)
    noise_floor = min(quantile, MAX_NOISE * float(ink.max()))
    return ink.sign() * (ink.abs() - noise_floor).clamp_(min=0) / (ink.max() - noise_floor)


def _resize(ink: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.nn.functional.interpolate(ink[None, None], size, mode="bilinear", antialias=True)[0, 0]


def _top_left(ink: Tensor, layout: DigitLayout) -> tuple[int, int]:
    """Return the top and left edge of the ink in the square; they are limited so that all ink is inside the square."""
    edges: list[int] = []
    for axis, length in enumerate(ink.shape):
        edge = (layout.side - length) // 2
        if layout.by_mass:
            weights = ink.sum(1 - axis)  # (length,)
            centre = float((weights * torch.arange(length)).sum() / weights.sum())
            edge = round(layout.side / 2 - centre)  # in MNIST the centre of mass is at pixel 14 of 0..27
        edges.append(min(max(edge, 0), layout.side - length))
    return edges[0], edges[1]
