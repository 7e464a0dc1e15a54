"""Antialiased resizing by Upsample that treats the edge of the image as ONNX does."""

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from conformance.onnx_nodes.operator import forward
from pellucid.layers import Pad2d, Upsample


def resize_edge_padded(image: Tensor, size: Sequence[int], scales: Sequence[float], kind: str) -> Tensor:
    """Return the image (N, C, H, W) resized by Upsample after Pad2d has repeated its outer rows and columns.

    The padding is at least the reach of the kernel, 2 / s pixels for a scale s < 1. It becomes a whole number of rows
    and columns of the result, which are then cropped.
    """
    padding, cropped = zip(*(_edge_sizes(scale) for scale in scales), strict=True)
    padded, _ = forward(Pad2d((padding[1], padding[1], padding[0], padding[0]), "replicate"), image)
    y, _ = forward(Upsample((scales[0], scales[1]), kind=kind, antialias=True), padded)
    return y[:, :, cropped[0] : cropped[0] + size[0], cropped[1] : cropped[1] + size[1]]


def _edge_sizes(scale: float) -> tuple[int, int]:
    """Return the number of rows to add on each side, and the number of output rows that they become."""
    ratio = Fraction(scale).limit_denominator(1000)  # 3/5 for 0.6 in float32
    n_periods = math.ceil(2 / min(scale, 1) / ratio.denominator)
    return n_periods * ratio.denominator, n_periods * ratio.numerator
