"""The intermediate results of detectors for one image.

Letters in shapes: C classes, K anchors of a cell, D outputs of an anchor, A anchors of all maps, B boxes of an anchor
(more than one in YOLO v1), P proposals.
"""

from functools import singledispatch
from typing import NamedTuple

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.detectors import Anchors, Candidates, Detector, FastRCNN, OneStage, ProposalDetector
from pellucid.detectors.base import join_maps
from pellucid.detectors.regions import indexed_regions
from pellucid.detectors.two_stage import refined_candidates
from pellucid.layers.base import Mode, Params


class Walk(NamedTuple):
    """The intermediate results of a detector for one image.

    maps: (1, K D, H', W') each, the outputs for the anchors. anchors: None if a search finds the proposals.
    outputs_per_anchor: D. scores: (A B, C), or (A, 1) for a first stage, which only scores whether there is an object.
    proposals: (P, 4), the input of a second stage. outputs: (P, C + 1 + 4), the outputs of its head: scores of the
    classes and the background, and offsets of the box. Both are None for a single-stage detector. candidates: the boxes
    before the score threshold and non-maximum suppression.
    """

    maps: tuple[Tensor, ...]
    anchors: Anchors | None
    outputs_per_anchor: int
    scores: Tensor
    proposals: Tensor | None
    outputs: Tensor | None
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
        column = self.scores[:, min(label, self.scores.shape[1] - 1)]
        boxes = len(column) // sum(self.anchor_counts)  # boxes of an anchor: YOLO v1 has several
        parts = column.split([count * boxes for count in self.anchor_counts])
        return [part.view(*map_.shape[2:], -1).amax(2) for part, map_ in zip(parts, self.maps, strict=True)]


@singledispatch
def walk(detector: Detector, params: Params, image: Tensor) -> Walk:
    """Return the intermediate results for one image (1, C, H, W), from the networks' outputs to the candidates.

    Raises PellucidError for a class of detectors for which no function is registered by `walk.register`.
    """
    raise PellucidError(f"{type(detector).__name__} has no intermediate results; register a function by walk.register")


@walk.register
def _(detector: OneStage, params: Params, image: Tensor) -> Walk:
    maps, _ = detector.forward(params, image, Mode(keep=False))
    anchors = detector.anchors_at(maps, image)
    _, scores = detector.decode(join_maps(maps, detector.outputs_per_anchor)[0], anchors)
    (candidates,) = detector.candidates_of(maps, image)
    return Walk(maps, anchors, detector.outputs_per_anchor, scores, None, None, candidates)


@walk.register
def _(detector: FastRCNN, params: Params, image: Tensor) -> Walk:
    (proposals,), outputs, (candidates,) = detector.classify(params, image)
    return Walk((), None, 0, outputs.new_zeros(0, 1), proposals, outputs, candidates)


@walk.register
def _(detector: ProposalDetector, params: Params, image: Tensor) -> Walk:
    maps, _ = detector.features(params, image, Mode(keep=False))
    y = detector.rpn.forward(params["rpn"], maps, Mode(keep=False))[0]
    first_stage, anchors, outputs = detector.first_stage(y, image)
    _, scores = first_stage.decode(outputs[0], anchors)
    ((proposals, indices),) = detector.propose(outputs, first_stage, anchors)
    head = detector.outputs(params, "", maps[0], indexed_regions([proposals]))
    (candidates,) = refined_candidates(head, [proposals], [indices], anchors.image)
    return Walk(tuple(y), anchors, first_stage.outputs_per_anchor, scores, proposals, head, candidates)
