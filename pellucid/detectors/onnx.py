"""ONNX nodes that decode a detector's outputs.

Each function adds nodes to `nodes`, a pellucid.export.Nodes; its `str` arguments and its result are names of values.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.ops.coding import MAX_LOG_SIZE


def part(nodes: Any, y: str, begin: int, end: int) -> str:
    """Return the slice from `begin` to `end`, excluded, along the last axis of y."""
    name = f"{begin}:{end}:{len(nodes.written)}"
    bounds = [nodes.whole(f"{name}/{bound}", value) for bound, value in (("begin", begin), ("end", end), ("axis", -1))]
    return nodes.inner("Slice", y, *bounds)


def decoded(nodes: Any, offsets: str, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> str:
    """Return boxes (N, A, 4) for offsets (N, A, 4) from anchors (A, 4), see `pellucid.ops.coding.decode`."""
    size = anchors[:, 2:] - anchors[:, :2]
    scaled = nodes.inner("Mul", offsets, nodes.constant("deviations", torch.tensor(deviations)))
    shift = nodes.inner("Mul", part(nodes, scaled, 0, 2), nodes.constant("anchor_size", size))
    centre = nodes.inner("Add", nodes.constant("anchor_centre", (anchors[:, :2] + anchors[:, 2:]) / 2), shift)
    return around(nodes, centre, grown(nodes, part(nodes, scaled, 2, 4), size))


def grown(nodes: Any, log_size: str, size: Tensor) -> str:
    """Return size / 2 * exp(min(log_size, MAX_LOG_SIZE)), (N, A, 2), for a size (A, 2)."""
    limited = nodes.inner("Min", log_size, nodes.number("limit", MAX_LOG_SIZE))
    return nodes.inner("Mul", nodes.constant("half_size", size / 2), nodes.inner("Exp", limited))


def around(nodes: Any, centre: str, half: str) -> str:
    """Return the boxes with these centres and half sizes."""
    return nodes.inner("Concat", nodes.inner("Sub", centre, half), nodes.inner("Add", centre, half), axis=-1)
