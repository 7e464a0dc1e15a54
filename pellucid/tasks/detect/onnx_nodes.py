"""Functions that write the decoding of a detector's outputs as ONNX nodes, for the detectors of the library.

Each function adds nodes to `nodes`; its `str` arguments and its result are names of values. User-defined detectors have
a method `onnx` instead.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.detectors import SSD, YOLO1, YOLO3, Anchors, OneStageDetector, SingleStage
from pellucid.detectors.ssd import DEVIATIONS
from pellucid.opening.onnx_nodes.node import Nodes
from pellucid.ops.coding import MAX_LOG_SIZE


def single_stage(detector: SingleStage, nodes: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write boxes from offsets, and Sigmoid of the logits."""
    boxes = write_decoded(nodes, write_slice(nodes, y, detector.classes, detector.classes + 4), anchors.boxes)
    return boxes, nodes.inner("Sigmoid", write_slice(nodes, y, 0, detector.classes))


def ssd(detector: SSD, nodes: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write boxes from offsets, and Softmax of the logits without background."""
    offsets = write_slice(nodes, y, detector.classes + 1, detector.classes + 5)
    probabilities = nodes.inner("Softmax", write_slice(nodes, y, 0, detector.classes + 1), axis=-1)
    return write_decoded(nodes, offsets, anchors.boxes, DEVIATIONS), write_slice(
        nodes, probabilities, 1, detector.classes + 1
    )


def yolo1(detector: YOLO1, nodes: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write the boxes of each cell, and the product of confidence and class scores."""
    low, high = nodes.number("low", 0.0), nodes.number("high", 1.0)
    shape = nodes.integers("boxes", 0, len(anchors.boxes), detector.boxes, 5)
    box_outputs = nodes.inner("Reshape", write_slice(nodes, y, 0, 5 * detector.boxes), shape)  # (N, A, B, 5)
    shift = nodes.inner("Mul", write_slice(nodes, box_outputs, 0, 2), nodes.number("stride", float(detector.stride)))
    centre = nodes.inner("Add", nodes.constant("corner", anchors.boxes[:, None, :2]), shift)
    sqrt_size = write_slice(nodes, box_outputs, 2, 4)
    image_size = anchors.boxes.new_tensor(anchors.image_size).flip(0)
    half_size = nodes.inner(
        "Mul", nodes.inner("Mul", sqrt_size, sqrt_size), nodes.constant("half_image", image_size / 2)
    )
    confidence = nodes.inner("Clip", write_slice(nodes, box_outputs, 4, 5), low, high)  # (N, A, B, 1)
    classes = nodes.inner(
        "Clip", write_slice(nodes, y, 5 * detector.boxes, detector.outputs_per_anchor), low, high
    )  # (N, A, C)
    scores = nodes.inner("Mul", confidence, nodes.inner("Unsqueeze", classes, nodes.integers("box_axis", 2)))
    flat_shapes = [nodes.integers(f"flat{count}", 0, -1, count) for count in (4, detector.classes)]
    return nodes.inner("Reshape", write_boxes(nodes, centre, half_size), flat_shapes[0]), nodes.inner(
        "Reshape", scores, flat_shapes[1]
    )


def yolo3(detector: YOLO3, nodes: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write boxes from positions in cells, and the product of the objectness and the class probabilities."""
    corner, size = detector.cells(anchors)
    offset = nodes.inner("Mul", nodes.inner("Sigmoid", write_slice(nodes, y, 0, 2)), nodes.constant("cell_size", size))
    centre = nodes.inner("Add", nodes.constant("cell_corner", corner), offset)
    half_size = write_half_size(nodes, write_slice(nodes, y, 2, 4), anchors.boxes[:, 2:] - anchors.boxes[:, :2])
    objectness, classes = (
        nodes.inner("Sigmoid", write_slice(nodes, y, *bounds)) for bounds in ((4, 5), (5, detector.outputs_per_anchor))
    )
    return write_boxes(nodes, centre, half_size), nodes.inner("Mul", objectness, classes)


DECODERS: dict[type[OneStageDetector], Callable[[Any, Nodes, str, Anchors], tuple[str, str]]] = {
    SingleStage: single_stage,
    SSD: ssd,
    YOLO1: yolo1,
    YOLO3: yolo3,
}


def write_candidates(detector: OneStageDetector, nodes: Nodes, y: str, anchors: Anchors) -> tuple[str, str]:
    """Write `decode` of a detector for the outputs y (N, A, D); return the names of boxes (N, n, 4), scores (N, n, C).

    The nodes are written by the function in DECODERS for the detector's class, or by its own method `onnx`. Raises
    PellucidError for a detector with neither.
    """
    kind = next(kind for kind in type(detector).__mro__ if kind in DECODERS or "onnx" in vars(kind))
    return DECODERS.get(kind, type(detector).onnx)(detector, nodes, y, anchors)


def write_slice(nodes: Nodes, y: str, begin: int, end: int) -> str:
    """Return the slice `begin` to `end` (excluded) along the last axis of y."""
    name = f"{begin}:{end}:{len(nodes.written)}"
    bounds = [
        nodes.integers(f"{name}/{bound_name}", value)
        for bound_name, value in (("begin", begin), ("end", end), ("axis", -1))
    ]
    return nodes.inner("Slice", y, *bounds)


def write_decoded(
    nodes: Nodes, offsets: str, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> str:
    """Return boxes (N, A, 4) for offsets (N, A, 4) from anchors (A, 4), see `pellucid.ops.coding.decode`."""
    size = anchors[:, 2:] - anchors[:, :2]
    scaled = nodes.inner("Mul", offsets, nodes.constant("deviations", torch.tensor(deviations)))
    shift = nodes.inner("Mul", write_slice(nodes, scaled, 0, 2), nodes.constant("anchor_size", size))
    centre = nodes.inner("Add", nodes.constant("anchor_centre", (anchors[:, :2] + anchors[:, 2:]) / 2), shift)
    return write_boxes(nodes, centre, write_half_size(nodes, write_slice(nodes, scaled, 2, 4), size))


def write_half_size(nodes: Nodes, log_size: str, size: Tensor) -> str:
    """Return size / 2 * exp(min(log_size, MAX_LOG_SIZE)), (N, A, 2), for a size (A, 2)."""
    limited_log_size = nodes.inner("Min", log_size, nodes.number("limit", MAX_LOG_SIZE))
    return nodes.inner("Mul", nodes.constant("half_size", size / 2), nodes.inner("Exp", limited_log_size))


def write_boxes(nodes: Nodes, centre: str, half_size: str) -> str:
    """Return the boxes with these centres and half sizes."""
    return nodes.inner("Concat", nodes.inner("Sub", centre, half_size), nodes.inner("Add", centre, half_size), axis=-1)
