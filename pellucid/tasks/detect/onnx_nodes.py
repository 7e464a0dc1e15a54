"""Functions that write the decoding of a detector's outputs as ONNX nodes, for the detectors of the library.

Each function adds nodes to `n`; its `str` arguments and its result are names of values. User-defined detectors have
a method `onnx` instead.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.detectors import SSD, YOLO1, YOLO3, Anchors, OneStage, SingleStage
from pellucid.detectors.ssd import DEVIATIONS
from pellucid.opening.onnx_nodes.node import Nodes
from pellucid.ops.coding import MAX_LOG_SIZE


def single_stage(detector: SingleStage, n: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write boxes from offsets, and Sigmoid of the logits."""
    boxes = write_decoded(n, write_slice(n, y, detector.classes, detector.classes + 4), anchors.boxes)
    return boxes, n.inner("Sigmoid", write_slice(n, y, 0, detector.classes))


def ssd(detector: SSD, n: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write boxes from offsets, and Softmax of the logits without background."""
    offsets = write_slice(n, y, detector.classes + 1, detector.classes + 5)
    probabilities = n.inner("Softmax", write_slice(n, y, 0, detector.classes + 1), axis=-1)
    return write_decoded(n, offsets, anchors.boxes, DEVIATIONS), write_slice(n, probabilities, 1, detector.classes + 1)


def yolo1(detector: YOLO1, n: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write the boxes of each cell, and the product of confidence and class scores."""
    low, high = n.number("low", 0.0), n.number("high", 1.0)
    shape = n.integers("boxes", 0, len(anchors.boxes), detector.boxes, 5)
    box_outputs = n.inner("Reshape", write_slice(n, y, 0, 5 * detector.boxes), shape)  # (N, A, B, 5)
    shift = n.inner("Mul", write_slice(n, box_outputs, 0, 2), n.number("stride", float(detector.stride)))
    centre = n.inner("Add", n.constant("corner", anchors.boxes[:, None, :2]), shift)
    sqrt_size = write_slice(n, box_outputs, 2, 4)
    image_size = anchors.boxes.new_tensor(anchors.image).flip(0)
    half = n.inner("Mul", n.inner("Mul", sqrt_size, sqrt_size), n.constant("half_image", image_size / 2))
    confidence = n.inner("Clip", write_slice(n, box_outputs, 4, 5), low, high)  # (N, A, B, 1)
    classes = n.inner(
        "Clip", write_slice(n, y, 5 * detector.boxes, detector.outputs_per_anchor), low, high
    )  # (N, A, C)
    scores = n.inner("Mul", confidence, n.inner("Unsqueeze", classes, n.integers("box_axis", 2)))
    flat_shapes = [n.integers(f"flat{count}", 0, -1, count) for count in (4, detector.classes)]
    return n.inner("Reshape", write_boxes(n, centre, half), flat_shapes[0]), n.inner("Reshape", scores, flat_shapes[1])


def yolo3(detector: YOLO3, n: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write boxes from positions in cells, and the product of the objectness and the class probabilities."""
    corner, size = detector.cells(anchors)
    offset = n.inner("Mul", n.inner("Sigmoid", write_slice(n, y, 0, 2)), n.constant("cell_size", size))
    centre = n.inner("Add", n.constant("cell_corner", corner), offset)
    half = write_half_size(n, write_slice(n, y, 2, 4), anchors.boxes[:, 2:] - anchors.boxes[:, :2])
    objectness, classes = (
        n.inner("Sigmoid", write_slice(n, y, *bounds)) for bounds in ((4, 5), (5, detector.outputs_per_anchor))
    )
    return write_boxes(n, centre, half), n.inner("Mul", objectness, classes)


DECODERS: dict[type[OneStage], Callable[[Any, Nodes, str, Anchors], tuple[str, str]]] = {
    SingleStage: single_stage,
    SSD: ssd,
    YOLO1: yolo1,
    YOLO3: yolo3,
}


def write_candidates(detector: OneStage, n: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write `OneStage.decode` for the outputs y (N, A, D); return the names of boxes (N, n, 4) and scores (N, n, C).

    The nodes are written by the function in DECODERS for the detector's class, or by its own method `onnx`. Raises
    PellucidError for a detector with neither.
    """
    kind = next(kind for kind in type(detector).__mro__ if kind in DECODERS or "onnx" in vars(kind))
    return DECODERS.get(kind, type(detector).onnx)(detector, n, y, anchors)


def write_slice(n: Nodes, y: str, begin: int, end: int) -> str:
    """Return the slice `begin` to `end` (excluded) along the last axis of y."""
    name = f"{begin}:{end}:{len(n.written)}"
    bounds = [n.integers(f"{name}/{bound}", value) for bound, value in (("begin", begin), ("end", end), ("axis", -1))]
    return n.inner("Slice", y, *bounds)


def write_decoded(n: Nodes, offsets: str, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> str:
    """Return boxes (N, A, 4) for offsets (N, A, 4) from anchors (A, 4), see `pellucid.ops.coding.decode`."""
    size = anchors[:, 2:] - anchors[:, :2]
    scaled = n.inner("Mul", offsets, n.constant("deviations", torch.tensor(deviations)))
    shift = n.inner("Mul", write_slice(n, scaled, 0, 2), n.constant("anchor_size", size))
    centre = n.inner("Add", n.constant("anchor_centre", (anchors[:, :2] + anchors[:, 2:]) / 2), shift)
    return write_boxes(n, centre, write_half_size(n, write_slice(n, scaled, 2, 4), size))


def write_half_size(n: Nodes, log_size: str, size: Tensor) -> str:
    """Return size / 2 * exp(min(log_size, MAX_LOG_SIZE)), (N, A, 2), for a size (A, 2)."""
    limited = n.inner("Min", log_size, n.number("limit", MAX_LOG_SIZE))
    return n.inner("Mul", n.constant("half_size", size / 2), n.inner("Exp", limited))


def write_boxes(n: Nodes, centre: str, half: str) -> str:
    """Return the boxes with these centres and half sizes."""
    return n.inner("Concat", n.inner("Sub", centre, half), n.inner("Add", centre, half), axis=-1)
