"""Handwritten digits: pictures of any size laid out as the training data."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError

LEAST_CONTRAST = 0.04  # of the range black..white; below it the picture is blank
FAINTEST_INK = 0.2  # of the strongest ink; what is fainter (paper, noise) does not widen the bounding box
MOST_NOISE = 0.2  # of the strongest ink; a border that varies more contains ink


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

    Dark ink on a light ground and light ink on a dark one give the same result: the border shows the ground's
    brightness. The ink is cropped to its bounding box, scaled with antialiasing, and centred.
    Raises PellucidError, which names the picture, when it shows no ink.
    """
    return lay_out_both(picture, form, name)[0]


def lay_out_both(picture: Tensor, form: Form, name: str = "picture") -> tuple[Tensor, Tensor]:
    """Return what `lay_out` does, and the same square with all that the picture shows there instead of ink alone.

    That is the surroundings of the box and what deviates from the ground to the other side, light beside dark ink;
    beyond its edges the picture goes on as it is there. Of a digit on plain ground it is the same digit, of a part of a
    photograph or of noise, more of it.
    """
    signed = _deviation(picture, name)  # (H, W)
    whole = signed.clamp(min=0)
    rows = torch.nonzero((whole >= FAINTEST_INK).any(1)).flatten()
    columns = torch.nonzero((whole >= FAINTEST_INK).any(0)).flatten()
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    ink = whole[box]
    scale = form.box / max(ink.shape)
    size = tuple(max(1, round(length * scale)) for length in ink.shape)
    strongest = ink.new_ones(())
    if size != ink.shape:
        resized = _resize(ink, size)
        strongest = resized.max()
        ink = resized / strongest  # thin strokes of a large picture fade when they shrink
    corner = _place(ink, form)
    place = tuple(slice(edge, edge + length) for edge, length in zip(corner, size, strict=True))
    square = torch.zeros(form.side, form.side)
    square[place] = ink
    shown = signed.abs().clamp_(max=1)
    shown[shown < FAINTEST_INK] = 0
    starts = (round(edges.start - at / scale) for edges, at in zip(box, corner, strict=True))
    rows, columns = (
        torch.arange(start, start + round(form.side / scale)).clamp_(0, length - 1)
        for start, length in zip(starts, shown.shape, strict=True)
    )
    around = _resize(shown[rows][:, columns], (form.side, form.side))
    around[place] = (_resize(shown[box], size) / strongest).clamp_(max=1)
    return square[None], around[None]


def find_ink(picture: Tensor, name: str = "picture") -> Tensor:
    """Return how much ink each pixel of a grey picture (1, H, W) holds, 0..1, as (H, W).

    The variation of the border is the noise of paper and camera, which is not ink.
    """
    return _deviation(picture, name).clamp_(min=0)


def _deviation(picture: Tensor, name: str) -> Tensor:
    """Return by how much more than noise each pixel deviates from the ground (H, W): the ink to 1, else below 0."""
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
    return ink.sign() * (ink.abs() - floor).clamp_(min=0) / (ink.max() - floor)


def _resize(ink: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.nn.functional.interpolate(ink[None, None], size, mode="bilinear", antialias=True)[0, 0]


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
