"""The intermediate results of a detector for one picture, and explanations of one of its boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.data.detection import scale_objects
from pellucid.data.images import resized
from pellucid.detectors import Decision, Detector, Fate
from pellucid.explain import explain
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Detections
from pellucid.ops.nms import suppressors
from pellucid.rules import Epsilon, ZPlus
from pellucid.rules.composites import relevance
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.scorer import DetectorOutputs, Scorer, detector_outputs, scorer
from pellucid.training.device import CPU, on_device

SIDES = ("x0", "y0", "x1", "y1")
METHODS = ("saliency", "gradcam", "lrp")  # gradients, Grad-CAM and relevance
# methods with an option `layer`
LAYER_METHODS = ("gradcam", "gradcam_plus_plus", "layercam", "scorecam", "guided_gradcam")

# Relevance rules without biases; see `DetectorSteps.explain`.
WITHOUT_BIAS = relevance(ZPlus(bias=False), Epsilon(bias=False))


class SuppressedCandidate(NamedTuple):
    """A candidate that was removed by non-maximum suppression, with its score.

    candidate: its index. iou: of the candidate and the detection that removed it. suppressor: the index of that
    detection, -1 if it is not among the detections because their number is limited.
    """

    candidate: int
    score: float
    iou: float
    suppressor: int


@dataclass(frozen=True, eq=False)
class DetectorSteps:
    """The intermediate results of a detector for a picture; boxes are in pixels of `image`, the network's input size.

    image: (C, h, w) uint8, the resized picture. size: (H, W) of the original picture. outputs: see `DetectorOutputs`.
    decision: the detections, which are numbered from 1 by descending score, as by `pellucid detect`.
    """

    model: Model
    classes: Sequence[str]
    image: Tensor
    size: tuple[int, int]
    outputs: DetectorOutputs
    decision: Decision

    @property
    def detector(self) -> Detector:
        """The detector."""
        return cast(Detector, self.model.objective)

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of the network's input."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def detections(self) -> Detections:
        """The detections in pixels of the original picture."""
        return scale_objects(self.decision.detections, self.input_size, self.size)

    def index_of(self, box: int) -> int:
        """Return the index of detection number `box`; raises PellucidError if there is none."""
        n_detections = len(self.decision.selected_indices)
        if not 1 <= box <= n_detections:
            boxes_text = (
                f"boxes 1 to {n_detections}, from the highest score to the lowest" if n_detections else "no detections"
            )
            raise PellucidError(f"box {box}: the picture has {boxes_text}")
        return box - 1

    def detection_of(self, candidate: int, label: int) -> int:
        """Return the index of the detection of class `label` made from a candidate, -1 if there is none."""
        is_detection = (self.decision.selected_indices == candidate) & (self.decision.detections.labels == label)
        return int(is_detection.nonzero()[0, 0]) if bool(is_detection.any()) else -1

    @cached_property
    def suppressed(self) -> list[list[SuppressedCandidate]]:
        """The candidates that suppression removed, for each class, by descending score."""
        return [self._suppressed_of_class(label) for label in range(len(self.classes))]

    def _suppressed_of_class(self, label: int) -> list[SuppressedCandidate]:
        candidates, detections = self.outputs.candidates, self.decision.detections
        suppressed_indices = (self.decision.fates[:, label] == Fate.SUPPRESSED).nonzero()[:, 0]
        suppressed_indices = suppressed_indices[
            candidates.scores[suppressed_indices, label].argsort(descending=True, stable=True)
        ]
        detection_indices = (detections.labels == label).nonzero()[:, 0]
        boxes = torch.cat([detections.boxes[detection_indices], candidates.boxes[suppressed_indices]])
        n_detections = len(detection_indices)
        suppressor_indices = suppressors(boxes, torch.arange(n_detections), self.detector.nms_threshold)[n_detections:]
        overlap = box_iou(candidates.boxes[suppressed_indices], detections.boxes[detection_indices])
        return [
            SuppressedCandidate(
                candidate=candidate,
                score=score,
                iou=float(overlap[k, index]) if index >= 0 else 0.0,
                suppressor=int(detection_indices[index]) if index >= 0 else -1,
            )
            for k, (candidate, score, index) in enumerate(
                zip(
                    suppressed_indices.tolist(),
                    candidates.scores[suppressed_indices, label].tolist(),
                    suppressor_indices.tolist(),
                    strict=True,
                )
            )
        ]

    def scorer(self, box: int, explained_output: str | None = None) -> Scorer:
        """Return the network that computes one output of detection `box`: the logit of a class, or a coordinate.

        explained_output: see `class_and_side`.
        """
        label, side = self.class_and_side(box, explained_output)
        candidate = int(self.decision.selected_indices[self.index_of(box)])
        box_scorer = scorer(self.detector, self.model.params, self.outputs, candidate, label, side)
        return box_scorer._replace(params=on_device(box_scorer.params, self.model.device))

    def class_and_side(self, box: int, explained_output: str | None = None) -> tuple[int, int | None]:
        """Return the index of the class, and the index of the side of the box or None for the logit of the class.

        explained_output: the name of a class; or the name of a side in SIDES, for which the class of the box is
        returned; None for the class of the box. Raises PellucidError for any other name.
        """
        own_class = int(self.decision.detections.labels[self.index_of(box)])
        if explained_output is None:
            return own_class, None
        if explained_output in self.classes:
            return self.classes.index(explained_output), None
        if explained_output in SIDES:
            return own_class, SIDES.index(explained_output)
        hint = nearest(explained_output, [*self.classes, *SIDES]) or f"; it has {', '.join(self.classes):.80}"
        raise PellucidError(
            f"the model has no class {explained_output!r}{hint} (the sides of a box are {', '.join(SIDES)})"
        )

    def explain(self, box: int, explained_output: str | None = None, method: str = "lrp", **options: Any) -> Tensor:
        """Return an attribution map (h, w) for one output of detection `box`.

        explained_output: a class, whose logit is explained, by default the box's own class; or a side of the box, which
        is explained to first order. method, options: see pellucid.explain.explain. Grad-CAM uses the map of the neck
        from which the box is computed. Each position is weighted by its own gradient, since the gradients around one
        position cancel in the mean over the map. Relevance ("lrp") starts from the score, or for a side from the
        output. By default, biases receive relevance only where no input contributes; otherwise the biases of a
        backbone with folded normalization would receive nearly all of it. The attributions of the channels are summed;
        for saliency, the maximum over the channels is returned. Proposals are treated as constants.
        """
        box_scorer, (label, side) = self.scorer(box, explained_output), self.class_and_side(box, explained_output)
        if method in LAYER_METHODS:
            options = {"layer": box_scorer.path, **({"local": True} if method == "gradcam" else {}), **options}
        if method == "lrp":
            options = {"composite": WITHOUT_BIAS, **options}
        attributions = explain(box_scorer.net, box_scorer.params, self.x, method, 0, **options)[0]  # (C, h, w)
        if method == "lrp" and side is None:  # a logit may be negative, or 0 for a score of 1/2
            score = self.outputs.candidates.scores[self.decision.selected_indices[self.index_of(box)], label]
            attributions = attributions * (float(score) / self.output(box, explained_output))
        return (attributions.amax(0) if method == "saliency" else attributions.sum(0)).cpu()

    def output(self, box: int, explained_output: str | None = None) -> float:
        """Return the output that `explain` explains: a logit, or the part of a side that depends on the offsets."""
        box_scorer = self.scorer(box, explained_output)
        with torch.no_grad():
            return float(box_scorer.net.forward(box_scorer.params, self.x, Mode(keep=False))[0])

    @property
    def x(self) -> Tensor:
        """The network's input (1, C, h, w)."""
        return self.model.scaled(self.image[None])


def run_detector(model: Model, image: Tensor) -> DetectorSteps:
    """Run a detector on a picture (C, H, W) uint8, and return all intermediate results.

    Raises PellucidError for a model that is not a detector.
    """
    finder = ObjectFinder(model)
    input_image = resized(image, finder.input_size(image))
    with torch.no_grad():
        detector = cast(Detector, model.objective)
        outputs = on_device(detector_outputs(detector, model.params, model.scaled(input_image[None])), CPU)
        decision = detector.decide(outputs.candidates)
    return DetectorSteps(
        model=model,
        classes=finder.classes,
        image=input_image,
        size=(int(image.shape[1]), int(image.shape[2])),
        outputs=outputs,
        decision=decision,
    )
