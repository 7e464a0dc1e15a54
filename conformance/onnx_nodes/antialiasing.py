"""Resizing to a smaller image of which every pixel shows, where ONNX and Upsample part at the image's edge."""

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from conformance.onnx_nodes.operator import forward
from pellucid.layers import Pad2d, Upsample


def resize_edge_padded(image: Tensor, size: Sequence[int], scales: Sequence[float], kind: str) -> Tensor:
    """Resize by Upsample with the rows and columns at the edge repeated beyond it, put there by Pad2d.

    As many are put as the kernel reaches, 2 / s, and no part of a new row, so that the middle of the result is the
    image's.
    """
    padding, cropped = zip(*(_edge_sizes(scale) for scale in scales), strict=True)
    padded, _ = forward(Pad2d((padding[1], padding[1], padding[0], padding[0]), "replicate"), image)
    y, _ = forward(Upsample((scales[0], scales[1]), kind=kind, antialias=True), padded)
    return y[:, :, cropped[0] : cropped[0] + size[0], cropped[1] : cropped[1] + size[1]]


def _edge_sizes(scale: float) -> tuple[int, int]:
    """Return how many rows to put on one side, and how many new ones they become."""
    ratio = Fraction(scale).limit_denominator(1000)  # 3/5 for the 0.6 that float32 holds
    n_periods = math.ceil(2 / min(scale, 1) / ratio.denominator)
    return n_periods * ratio.denominator, n_periods * ratio.numerator
