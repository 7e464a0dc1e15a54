"""Single-stage detectors as ONNX files, including the selection of detections from the candidates."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.detectors import Anchors, Candidates, OneStageDetector
from pellucid.detectors.base import MAX_CANDIDATES, MAX_DETECTIONS
from pellucid.export.metadata import training_size
from pellucid.export.onnx_file import BATCH_AXIS, graph_bytes, network_nodes
from pellucid.export.parity import TOLERANCE, Parity, ParityError, compare, random_inputs, stored_tensor
from pellucid.layers import Identity
from pellucid.layers.base import Params
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.network.traced import GraphTrace, GraphValue, TracedLayer, trace
from pellucid.opening.onnx_nodes import Nodes
from pellucid.opening.onnx_nodes.proto import import_optional, run_file
from pellucid.ops.image_objects import Detections
from pellucid.tasks.detect.onnx_nodes import write_candidates

DETECTIONS_AXIS = "detections"
OutputShapes = tuple[tuple[str, str, tuple[Any, ...]], ...]  # name, type and shape of outputs
OUTPUTS: OutputShapes = (
    ("boxes", "FLOAT", (BATCH_AXIS, DETECTIONS_AXIS, 4)),
    ("scores", "FLOAT", (BATCH_AXIS, DETECTIONS_AXIS)),
    ("labels", "INT64", (BATCH_AXIS, DETECTIONS_AXIS)),
    ("count", "INT64", (BATCH_AXIS,)),
)


def detector_bytes(model: Model, size: tuple[int, int] | None, metadata: Mapping[str, str]) -> tuple[bytes, Parity]:
    """Return a single-stage detector as the bytes of an ONNX file, and the difference of its candidates from the model.

    size: (H, W) of the images, by default the size in training, or a square with the longest side in training. The
    input of the file is "input", float32 images from 0 to 1 (N, C, H, W) for any N. Its outputs are the detections of
    each image by descending score: "boxes" (N, d, 4), "scores" (N, d), "labels" (N, d) and "count" (N,), the number of
    detections of each image; d is the largest count. Entries after an image's detections are 0, for labels -1.
    Raises PellucidError for a two-stage detector, and ParityError if the outputs of the file differ from the model's.
    """
    outputs_text = "the detections of predict: boxes, scores (probabilities), labels and their count"
    metadata = {**metadata, "outputs": json.dumps(outputs_text)}
    onnx, detector = import_optional("onnx"), model.objective
    if not isinstance(detector, OneStageDetector):
        raise PellucidError(
            f"{type(detector).__name__} selects regions between its networks, which cannot be written as ONNX; export "
            "a single-stage detector"
        )
    params = map_tree(stored_tensor, model.params)
    height, width = training_size(model) if size is None else size
    graph = trace(Sequential(**detector.nets), params, (model.nominal_shape[0], height, width))
    sizes = [(value.shape[1], value.shape[2]) for value in graph.outputs]
    # for one size, so that anchors are constants and the padding of each convolution is known
    anchors = Anchors(detector.anchors(sizes).float(), sizes, (height, width))
    nodes, constants = network_nodes(replace(graph, outputs=()), model.stats)
    selection = Nodes(
        TracedLayer("detections", "detections", Identity(), {}, graph.outputs, GraphValue("detections", (None,)))
    )
    candidates = _write_clipped_candidates(selection, graph, detector, anchors)
    _write_decision(selection, candidates, detector)

    def file_bytes(outputs: OutputShapes) -> bytes:
        types = {"FLOAT": onnx.TensorProto.FLOAT, "INT64": onnx.TensorProto.INT64}
        inputs = [(value.name, types["FLOAT"], (BATCH_AXIS, *value.shape)) for value in graph.inputs]
        typed_outputs = [(name, types[kind], shape) for name, kind, shape in outputs]
        return graph_bytes(
            onnx, [*nodes, *selection.written], constants | selection.constants, inputs, typed_outputs, metadata
        )

    candidate_outputs: OutputShapes = tuple((name, "FLOAT", (BATCH_AXIS, "candidates", None)) for name in candidates)
    (x,) = random_inputs(graph)
    boxes, scores, *file_outputs = run_file(file_bytes((*candidate_outputs, *OUTPUTS)), {"input": x})
    images = x if model.stats is None else model.stats.apply(x)
    expected = _candidates_in(torch.float32, detector, model.params, images)
    parity = compare(expected, [boxes, scores])
    rounding = 0.0
    if parity.difference > TOLERANCE:  # as of many normalizations in sequence
        rounding = compare(_candidates_in(torch.float64, detector, model.params, images), expected).difference
    parity.require("the ONNX file", rounding=rounding)
    _check_decision(detector, boxes, scores, file_outputs, (height, width))
    return file_bytes(OUTPUTS), parity


def _candidates_in(dtype: torch.dtype, detector: OneStageDetector, params: Params, images: Tensor) -> list[Tensor]:
    """Return the boxes (N, A, 4) and the scores (N, A, C) that a detector computes in a precision."""
    cast_params = map_tree(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, params)
    with torch.inference_mode():
        candidates = detector.candidates(cast_params, images.to(dtype))
    return [torch.stack([image.boxes for image in candidates]), torch.stack([image.scores for image in candidates])]


def _write_clipped_candidates(
    nodes: Nodes, graph: GraphTrace, detector: OneStageDetector, anchors: Anchors
) -> tuple[str, str]:
    """Write the boxes (N, A, 4), clipped to the image, and the scores (N, A, C); return their names."""
    map_rows: list[str] = []
    row_shape = nodes.integers("joined", 0, -1, detector.outputs_per_anchor)
    for value in graph.outputs:
        channels_last = nodes.inner("Transpose", value.name, perm=[0, 2, 3, 1])  # (N, H', W', K D)
        map_rows.append(nodes.inner("Reshape", channels_last, row_shape))
    y = nodes.inner("Concat", *map_rows, axis=1)
    boxes, scores = write_candidates(detector, nodes, y, anchors)
    height, width = anchors.image_size
    image_corner = nodes.constant("image", torch.tensor([width, height, width, height]).float())
    return nodes.inner("Min", nodes.inner("Max", boxes, nodes.number("border", 0.0)), image_corner), scores


def _write_decision(nodes: Nodes, candidates: tuple[str, str], detector: OneStageDetector) -> None:
    """Write `Detector.decide` for each image of a batch; boxes that are not selected or have no area get score -1."""
    boxes, scores = candidates
    classes = nodes.integers("classes", detector.classes)
    # (N, A, 2) each
    max_corners = nodes.inner(
        "Slice", boxes, nodes.integers("from2", 2), nodes.integers("to4", 4), nodes.integers("last", 2)
    )
    min_corners = nodes.inner(
        "Slice", boxes, nodes.integers("first", 0), nodes.integers("to2", 2), nodes.integers("last", 2)
    )
    shorter_sides = nodes.inner(
        "ReduceMin", nodes.inner("Sub", max_corners, min_corners), nodes.integers("last", 2), keepdims=1
    )
    scores = nodes.inner(
        "Where", nodes.inner("Greater", shorter_sides, nodes.number("zero", 0.0)), scores, nodes.number("nothing", -1.0)
    )
    # (N, A C), pairs of candidate and class
    flat_scores = nodes.inner("Reshape", scores, nodes.integers("pairs", 0, -1))
    no_scores = nodes.inner("Expand", nodes.number("nothing", -1.0), nodes.inner("Shape", flat_scores))
    by_class_shape = nodes.integers("by_class", 0, -1, detector.classes)

    values, indices = _write_top_k(nodes, flat_scores, MAX_CANDIDATES)
    top_scores = nodes.inner(
        "Reshape", nodes.inner("ScatterElements", no_scores, indices, values, axis=1), by_class_shape
    )
    class_scores = nodes.inner("Transpose", top_scores, perm=[0, 2, 1])  # (N, C, A)
    # ONNX selects scores above its threshold; `decide` also selects scores equal to it.
    score_limit = float(np.nextafter(np.float32(detector.score_threshold), np.float32(-1)))
    limit, iou = nodes.integers("most", MAX_CANDIDATES), nodes.number("iou", detector.nms_threshold)
    # (M, 3)
    selected_indices = nodes.inner(
        "NonMaxSuppression", boxes, class_scores, limit, iou, nodes.number("score", score_limit)
    )

    no_selected_scores = nodes.inner("Expand", nodes.number("empty", -1.0), nodes.inner("Shape", class_scores))
    selected_scores = nodes.inner(
        "ScatterND", no_selected_scores, selected_indices, nodes.inner("GatherND", class_scores, selected_indices)
    )
    selected_scores = nodes.inner(
        "Reshape", nodes.inner("Transpose", selected_scores, perm=[0, 2, 1]), nodes.integers("pairs", 0, -1)
    )
    values, indices = _write_top_k(nodes, selected_scores, MAX_DETECTIONS)  # (N, k)
    is_detection = nodes.inner("GreaterOrEqual", values, nodes.number("zero", 0.0))
    # 7: INT64
    counts = nodes.inner("ReduceSum", nodes.inner("Cast", is_detection, to=7), nodes.integers("row", 1), keepdims=0)
    max_count = nodes.inner("Reshape", nodes.inner("ReduceMax", counts, keepdims=0), nodes.integers("one", 1))
    bounds = nodes.integers("first", 0), max_count, nodes.integers("axis", 1)
    # (N, d) each
    values, indices, is_detection = (nodes.inner("Slice", name, *bounds) for name in (values, indices, is_detection))

    # (N, d, 1)
    anchor_indices = nodes.inner("Unsqueeze", nodes.inner("Div", indices, classes), nodes.integers("last", 2))
    selected_boxes = nodes.inner("GatherND", boxes, anchor_indices, batch_dims=1)
    box_mask = nodes.inner("Unsqueeze", is_detection, nodes.integers("last", 2))
    for name, (condition, value, padding) in {
        "boxes": (box_mask, selected_boxes, nodes.number("zero", 0.0)),
        "scores": (is_detection, values, nodes.number("zero", 0.0)),
        "labels": (is_detection, nodes.inner("Mod", indices, classes), nodes.integers("none", -1)),
    }.items():
        nodes.output("Where", name, condition, value, padding)
    nodes.output("Identity", "count", counts)


def _write_top_k(nodes: Nodes, values: str, k: int) -> tuple[str, str]:
    """Write TopK: the largest values of each row, at most `k`, in descending order; return values and indices."""
    length = nodes.inner("Shape", values, start=1, end=2)
    values, indices = nodes.inners("TopK", 2, values, nodes.inner("Min", length, nodes.integers(f"most{k}", k)), axis=1)
    return values, indices


def _check_decision(
    detector: OneStageDetector, boxes: Tensor, scores: Tensor, file_outputs: list[Tensor], size: tuple[int, int]
) -> None:
    """Raise ParityError unless the file selects the same detections as `decide` does from the file's candidates.

    file_outputs: the outputs of the file, named by OUTPUTS.
    """
    for k, (image_boxes, image_scores) in enumerate(zip(boxes, scores, strict=True)):
        expected_detections = detector.decide(
            Candidates(image_boxes, image_scores, torch.arange(len(image_boxes)), size)
        ).detections
        n_selected = int(file_outputs[3][k])
        actual_detections = Detections(*(file_output[k, :n_selected] for file_output in file_outputs[:3]))
        if len(expected_detections) != n_selected or not all(
            torch.equal(getattr(expected_detections, name), getattr(actual_detections, name))
            for name in ("boxes", "scores", "labels")
        ):
            raise ParityError(
                f"the ONNX file would select other detections than the model for a random image ({n_selected}, the "
                f"model {len(expected_detections)}), so it is not written; this is a fault in pellucid"
            )
