"""The intermediate results of detectors for one image, and networks that compute one output of one candidate box.

Such an output is the score of a class, or a coordinate of the box.
Letters in shapes: C classes, K anchors of a cell, D outputs of an anchor, A anchors of all maps, B boxes of an anchor
(more than one in YOLO v1), P proposals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential
from pellucid.detectors import (
    SSD,
    YOLO1,
    YOLO3,
    Anchors,
    Candidates,
    Detector,
    FastRCNN,
    OneStageDetector,
    ProposalDetector,
    SingleStage,
)
from pellucid.detectors.base import join_maps
from pellucid.detectors.regions import DEVIATIONS, indexed_regions
from pellucid.detectors.two_stage import TwoStage, refined_candidates
from pellucid.layers import Concat, Dense, Flatten
from pellucid.layers.base import Layer, Mode, Params
from pellucid.ops.coding import MAX_LOG_SIZE, decode_gradient


class DetectorOutputs(NamedTuple):
    """The intermediate results of a detector for one image.

    maps: (1, K D, H', W') each, the outputs for the anchors. anchors: None if a search finds the proposals.
    outputs_per_anchor: D. scores: (A B, C), or (A, 1) for a first stage, which only scores whether there is an object.
    proposals: (P, 4), the input of a second stage. head_outputs: (P, C + 1 + 4), the outputs of its head: scores of the
    classes and the background, and offsets of the box. Both are None for a single-stage detector. candidates: the boxes
    before the score threshold and non-maximum suppression.
    """

    maps: tuple[Tensor, ...]
    anchors: Anchors | None
    outputs_per_anchor: int
    scores: Tensor
    proposals: Tensor | None
    head_outputs: Tensor | None
    candidates: Candidates

    @property
    def anchor_counts(self) -> list[int]:
        """The number of anchors of each map."""
        return [map_.shape[2] * map_.shape[3] * (map_.shape[1] // self.outputs_per_anchor) for map_ in self.maps]

    def cell(self, anchor: int) -> tuple[int, int, int]:
        """Return the index of the map, the row and the column of the cell of an anchor."""
        level = 0
        for count in self.anchor_counts[:-1]:
            if anchor < count:
                break
            anchor, level = anchor - count, level + 1
        _, channels, _, width = self.maps[level].shape
        cell = anchor // (channels // self.outputs_per_anchor)
        return level, cell // width, cell % width

    def score_maps(self, label: int) -> list[Tensor]:
        """Return for each map the highest score of a class in each cell (H', W'); for a first stage, of an object."""
        class_scores = self.scores[:, min(label, self.scores.shape[1] - 1)]
        boxes_per_anchor = len(class_scores) // sum(self.anchor_counts)  # boxes of an anchor: YOLO v1 has several
        parts = class_scores.split([count * boxes_per_anchor for count in self.anchor_counts])
        return [part.view(*map_.shape[2:], -1).amax(2) for part, map_ in zip(parts, self.maps, strict=True)]


@singledispatch
def detector_outputs(detector: Detector, params: Params, image: Tensor) -> DetectorOutputs:
    """Return the intermediate results for one image (1, C, H, W), from the networks' outputs to the candidates.

    Raises PellucidError for a class of detectors for which no function is registered by `detector_outputs.register`.
    """
    raise PellucidError(
        f"{type(detector).__name__} has no intermediate results; register a function by detector_outputs.register"
    )


@detector_outputs.register
def _(detector: OneStageDetector, params: Params, image: Tensor) -> DetectorOutputs:
    maps, _ = detector.forward(params, image, Mode(keep=False))
    anchors = detector.anchors_at(maps, image)
    _, scores = detector.decode(join_maps(maps, detector.outputs_per_anchor)[0], anchors)
    (candidates,) = detector.candidates_of(maps, image)
    return DetectorOutputs(
        maps=maps,
        anchors=anchors,
        outputs_per_anchor=detector.outputs_per_anchor,
        scores=scores,
        proposals=None,
        head_outputs=None,
        candidates=candidates,
    )


@detector_outputs.register
def _(detector: FastRCNN, params: Params, image: Tensor) -> DetectorOutputs:
    (proposals,), outputs, (candidates,) = detector.classify(params, image)
    return DetectorOutputs(
        maps=(),
        anchors=None,
        outputs_per_anchor=0,
        scores=outputs.new_zeros(0, 1),
        proposals=proposals,
        head_outputs=outputs,
        candidates=candidates,
    )


@detector_outputs.register
def _(detector: ProposalDetector, params: Params, image: Tensor) -> DetectorOutputs:
    maps, _ = detector.features(params, image, Mode(keep=False))
    y = detector.rpn.forward(params["rpn"], maps, Mode(keep=False))[0]
    first_stage, anchors, outputs = detector.first_stage(y, image)
    _, scores = first_stage.decode(outputs[0], anchors)
    ((proposals, indices),) = detector.propose(outputs, first_stage, anchors)
    head = detector.outputs(params, "", maps[0], indexed_regions([proposals]))
    (candidates,) = refined_candidates(head, [proposals], [indices], anchors.image_size)
    return DetectorOutputs(
        maps=tuple(y),
        anchors=anchors,
        outputs_per_anchor=first_stage.outputs_per_anchor,
        scores=scores,
        proposals=proposals,
        head_outputs=head,
        candidates=candidates,
    )


class Scorer(NamedTuple):
    """A network (N, C, H, W) -> (N, 1), its parameters, and the path of the map from which a candidate is computed."""

    net: Layer
    params: Params
    path: str


@singledispatch
def scorer(
    detector: Detector, params: Params, outputs: DetectorOutputs, candidate: int, label: int, side: int | None = None
) -> Scorer:
    """Return a network whose output is the logit of a class for a candidate, or a coordinate of its box.

    outputs: the intermediate results for an image. candidate: the index of a candidate. label: a class index. side:
    None for the logit, 0 to 3 for the coordinate x0, y0, x1 or y1. The network computes the output for any image, at
    the position of the candidate. A coordinate is linearized at the image of `outputs`, without its constant term. If a
    score is the product of two probabilities, as in YOLO v3, the output is the sum of their logits. In YOLO v1, the two
    factors have no logits; the output is their product, linearized in the same way. Raises PellucidError for a class of
    detectors for which no function is registered by `scorer.register`.
    """
    raise PellucidError(f"{type(detector).__name__} has no network for a score; register a function by scorer.register")


@scorer.register
def _(
    detector: OneStageDetector,
    params: Params,
    outputs: DetectorOutputs,
    candidate: int,
    label: int,
    side: int | None = None,
) -> Scorer:
    # The networks in sequence, followed by the sum of their outputs times the derivatives (slopes) of the score: this
    # sum has the same gradient as the score.
    assert outputs.anchors is not None
    dy = slopes(
        detector, join_maps(outputs.maps, detector.outputs_per_anchor)[0], outputs.anchors, candidate, label, side
    )
    dy_by_map = zip(dy.split(outputs.anchor_counts), outputs.maps, strict=True)
    weights = torch.cat(
        [map_dy.reshape(*map_.shape[2:], map_.shape[1]).permute(2, 0, 1).flatten() for map_dy, map_ in dy_by_map]
    )
    map_names = tuple(f"map{k}" for k in range(1, len(outputs.maps) + 1))
    nodes: dict[str, tuple[Any, ...]] = {f"flat{k}": (Flatten(), name) for k, name in enumerate(map_names, 1)}
    flattened = tuple(nodes)
    if len(flattened) > 1:
        nodes["all"] = (Concat(), *flattened)
        flattened = ("all",)
    nodes["sum"] = (Dense(1, bias=False), *flattened)
    net = Sequential(**detector.nets, read=Graph(nodes, ("sum",), map_names))
    graph_params: Params = {name: {} for name in nodes} | {"sum": {"weight": weights[None]}}
    level, _, _ = outputs.cell(int(outputs.candidates.anchors[candidate]))
    return Scorer(net, {**params, "read": graph_params}, map_path(detector.nets, level))


@scorer.register
def _(
    detector: TwoStage, params: Params, outputs: DetectorOutputs, candidate: int, label: int, side: int | None = None
) -> Scorer:
    # The backbone, the neck, and the head for the candidate's proposal, followed by the sum of the head's outputs times
    # the derivatives (slopes) of the score. The proposal is a constant, as in training.
    assert outputs.proposals is not None
    assert outputs.head_outputs is not None
    region = outputs.proposals[candidate]
    dy = output_slopes(outputs.head_outputs[candidate], region, label, side, DEVIATIONS)
    nets = {name: detector.nets[name] for name in ("backbone", "neck")}
    neck = [*nets.values()][-1]
    count = len(neck.outputs) if isinstance(neck, Graph) else 1
    map_names = tuple(f"map{k}" for k in range(1, count + 1))
    x0, y0, x1, y1 = region.tolist()
    nodes: dict[str, tuple[Any, ...]] = {
        "region": (OneRegion((x0, y0, x1, y1)), map_names[0]),
        "align": (detector.nets["align"], map_names[0], "region"),
        "head": (detector.nets["head"], "align"),
        "sum": (Dense(1, bias=False), "head"),
    }
    box_params: Params = {"region": {}, "align": {}, "head": params["head"], "sum": {"weight": dy[None]}}
    net = Sequential(**nets, box=Graph(nodes, ("sum",), map_names))
    return Scorer(
        net, {**{name: params[name] for name in nets}, "box": box_params}, map_path(nets, 0, is_neck_last=True)
    )


def map_path(nets: Mapping[str, Layer], level: int, is_neck_last: bool = False) -> str:
    """Return the path of map `level` of the neck.

    is_neck_last: whether the neck is the last of the networks; otherwise it is the last but one.
    """
    name = [*nets][-1 if is_neck_last or len(nets) == 1 else -2]
    net = nets[name]
    return f"{name}.{net.outputs[level if level < len(net.outputs) else 0]}" if isinstance(net, Graph) else name


@singledispatch
def slopes(
    detector: OneStageDetector, y: Tensor, anchors: Anchors, candidate: int, label: int, side: int | None
) -> Tensor:
    """Return the derivative (A, D) of the output of `scorer` with respect to the detector's outputs y (A, D).

    Raises PellucidError for a class of detectors for which no function is registered by `slopes.register`.
    """
    raise PellucidError(f"{type(detector).__name__} has no network for a score; register a function by slopes.register")


@slopes.register
def _(detector: SingleStage, y: Tensor, anchors: Anchors, candidate: int, label: int, side: int | None) -> Tensor:
    dy = torch.zeros_like(y)
    dy[candidate] = output_slopes(y[candidate], anchors.boxes[candidate], label, side)
    return dy


@slopes.register
def _(detector: SSD, y: Tensor, anchors: Anchors, candidate: int, label: int, side: int | None) -> Tensor:
    dy = torch.zeros_like(y)
    dy[candidate] = output_slopes(y[candidate], anchors.boxes[candidate], label + 1, side, DEVIATIONS)
    return dy


@slopes.register
def _(detector: YOLO3, y: Tensor, anchors: Anchors, candidate: int, label: int, side: int | None) -> Tensor:
    dy = torch.zeros_like(y)
    if side is None:  # the logits of the object and of the class
        dy[candidate, 4] = dy[candidate, 5 + label] = 1
        return dy
    axis, sign = side % 2, -1 if side < 2 else 1
    position = y[candidate, axis].sigmoid()
    dy[candidate, axis] = detector.cells(anchors)[1][candidate, 0] * position * (1 - position)
    log_size = y[candidate, 2 + axis]
    length = anchors.boxes[candidate, 2 + axis] - anchors.boxes[candidate, axis]
    if log_size <= MAX_LOG_SIZE:
        dy[candidate, 2 + axis] = sign * length * log_size.exp() / 2
    return dy


@slopes.register
def _(detector: YOLO1, y: Tensor, anchors: Anchors, candidate: int, label: int, side: int | None) -> Tensor:
    dy, (cell, box) = torch.zeros_like(y), divmod(candidate, detector.boxes)
    first_column, column = 5 * box, 5 * detector.boxes + label
    if side is None:  # the product of confidence and class score
        dy[cell, first_column + 4], dy[cell, column] = y[cell, column], y[cell, first_column + 4]
        return dy
    axis, sign = side % 2, -1 if side < 2 else 1
    dy[cell, first_column + axis] = detector.stride
    dy[cell, first_column + 2 + axis] = sign * y[cell, first_column + 2 + axis] * anchors.image_size[1 - axis]
    return dy


def output_slopes(
    y: Tensor, box: Tensor, column: int, side: int | None, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Return the derivative of an output, or of a side of the decoded box, with respect to the outputs y (D,).

    The last four outputs are the offsets from the anchor or proposal `box` (4,). column: the index of the output. side:
    None for the derivative of the output, 0 to 3 for that of x0, y0, x1 or y1. deviations: the standard deviations by
    which the offsets (dx, dy, dw, dh) are divided in training.
    """
    dy = torch.zeros_like(y)
    if side is None:
        dy[column] = 1
        return dy
    dbox = torch.zeros_like(box)
    dbox[side] = 1
    dy[-4:] = decode_gradient(dbox[None], y[None, -4:], box[None], deviations)[0]
    return dy


class OneRegionCache(NamedTuple):
    """Cache of OneRegion: its input, which has the shape of the gradient."""

    x: Tensor


@dataclass(frozen=True)
class OneRegion(Layer):
    """Output the same region for each image, as an input of RoIAlign.

    x: (N, C, H, W). y: (N, 5), the image index and the box of each region. box: x0, y0, x1, y1.
    """

    box: Sequence[float]

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Return no parameters and the shape of a region."""
        return {}, (5,)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, OneRegionCache]:
        """Return the region once for each image, with the index of the image."""
        index = torch.arange(len(x), device=x.device, dtype=x.dtype)[:, None]
        return torch.cat([index, x.new_tensor(self.box).expand(len(x), 4)], 1), OneRegionCache(x)

    def backward(self, params: Params, cache: OneRegionCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return zeros: the region does not depend on x."""
        return torch.zeros_like(cache.x), {}
