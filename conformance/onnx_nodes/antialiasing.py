"""Resizing to a smaller image of which every pixel shows, where ONNX and Upsample part at the image's edge."""

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from conformance.onnx_nodes.operator import forward
from pellucid.layers import Pad2d, Upsample


def continued(image: Tensor, after: Sequence[int], scales: Sequence[float], kind: str) -> Tensor:
    """Resize by Upsample with the rows and columns at the edge repeated beyond it, put there by Pad2d.

    As many are put as the kernel reaches, 2 / s, and no part of a new row, so that the middle of the result is the
    image's.
    """
    old, new = zip(*(_beyond(scale) for scale in scales), strict=True)
    padded, _ = forward(Pad2d((old[1], old[1], old[0], old[0]), "replicate"), image)
    y, _ = forward(Upsample((scales[0], scales[1]), kind=kind, antialias=True), padded)
    return y[:, :, new[0] : new[0] + after[0], new[1] : new[1] + after[1]]


def _beyond(scale: float) -> tuple[int, int]:
    """Return how many rows to put on one side, and how many new ones they become."""
    ratio = Fraction(scale).limit_denominator(1000)  # 3/5 for the 0.6 that float32 holds
    times = math.ceil(2 / min(scale, 1) / ratio.denominator)
    return times * ratio.denominator, times * ratio.numerator
