"""The parts of reading a detector's outputs as ONNX nodes; `nodes` is a pellucid.export.Nodes, values go by name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.ops.coding import LIMIT


def part(nodes: Any, y: str, begin: int, end: int) -> str:
    """Return the numbers from `begin` to before `end` of the last axis."""
    name = f"{begin}:{end}:{len(nodes.written)}"
    bounds = [nodes.whole(f"{name}/{what}", value) for what, value in (("begin", begin), ("end", end), ("axis", -1))]
    return nodes.inner("Slice", y, *bounds)


def decoded(nodes: Any, offsets: str, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> str:
    """Return the boxes (N, A, 4) at offsets (N, A, 4) from anchors (A, 4), as `pellucid.ops.coding.decode` does."""
    size = anchors[:, 2:] - anchors[:, :2]
    scaled = nodes.inner("Mul", offsets, nodes.constant("deviations", torch.tensor(deviations)))
    shift = nodes.inner("Mul", part(nodes, scaled, 0, 2), nodes.constant("anchor_size", size))
    centre = nodes.inner("Add", nodes.constant("anchor_centre", (anchors[:, :2] + anchors[:, 2:]) / 2), shift)
    return around(nodes, centre, grown(nodes, part(nodes, scaled, 2, 4), size))


def grown(nodes: Any, log_size: str, size: Tensor) -> str:
    """Return half of size (A, 2) times exp(log_size), at most exp(LIMIT): (N, A, 2)."""
    limited = nodes.inner("Min", log_size, nodes.number("limit", LIMIT))
    return nodes.inner("Mul", nodes.constant("half_size", size / 2), nodes.inner("Exp", limited))


def around(nodes: Any, centre: str, half: str) -> str:
    """Return the boxes around centres with halves of their sizes."""
    return nodes.inner("Concat", nodes.inner("Sub", centre, half), nodes.inner("Add", centre, half), axis=-1)
