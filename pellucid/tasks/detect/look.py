"""What is shown of a detector for a picture: feature maps, scores, anchors, candidates and boxes, as layers."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.data.detection import scale_objects
from pellucid.data.images import resized
from pellucid.detectors import Decision, Detector, Fate
from pellucid.detectors.base import Candidates
from pellucid.detectors.faster import ProposalDetector
from pellucid.fuse.inference import inference
from pellucid.layers.base import Cache, Mode, Params
from pellucid.objective import InferenceNetwork
from pellucid.ops.image_objects import Detections
from pellucid.task.look import (
    NO_VALUES,
    BoxLayer,
    ClassLayer,
    Hint,
    Look,
    LookControl,
    MapLayer,
    PictureLayer,
    PointLayer,
    Shown,
)
from pellucid.task.score_to_explain import Area, ScoreToExplain
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.labelled import LabelledObjects
from pellucid.tasks.detect.predictor import class_counts
from pellucid.tasks.detect.scorer import DetectorOutputs, detector_outputs
from pellucid.tasks.detect.stages import FEATURE_NETS
from pellucid.tasks.detect.thresholds import score_of
from pellucid.training.device import CPU, on_device

NO_OBJECT = 255  # in the layer of outlines, which is left out for more classes
PROPOSALS, REFINED, ANCHORS = "proposals", "proposals of the boxes", "anchors of the boxes"
BEFORE, REMOVED = "before suppression", "removed by suppression"
ABOUT = {
    PROPOSALS: "where the network expects an object of any class",
    REFINED: "the proposal from which each box was moved and scaled",
    ANCHORS: "the fixed box from which each box was moved and scaled",
    BEFORE: "all boxes with a score above the threshold",
    REMOVED: "boxes that overlap one with a higher score",
}


@dataclass(frozen=True, eq=False)
class _RecordingNetwork(InferenceNetwork):
    """A network in its inference form, which keeps its latest output in `outputs_by_net` under its name."""

    name: str
    outputs_by_net: dict[str, Any]

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network."""
        self.outputs_by_net[self.name] = super().forward(params, x, mode)[0]
        return self.outputs_by_net[self.name], None


class DetectorLook(Look):
    """The way from a picture to boxes: the networks run once for a picture, the decision for each change."""

    @cached_property
    def finder(self) -> ObjectFinder:
        """Resizes pictures as for predictions."""
        return ObjectFinder(self.model)

    @cached_property
    def _outputs_by_net(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _detector(self) -> Detector:
        detector = cast(Detector, self.model.objective)
        params = self.model.params
        nets = {
            name: _RecordingNetwork(net, inference(net, params[name]), name, self._outputs_by_net)
            for name, net in detector.nets.items()
        }
        return detector.with_nets(nets)

    @property
    def controls(self) -> Sequence[LookControl]:
        """The thresholds of the decision."""
        return (
            LookControl("score", "Score from", score_of(self.model)),
            LookControl("iou", "IoU of suppression", self._detector.nms_threshold),
        )

    def see(self, picture: Tensor) -> None:
        """Compute the candidates."""
        self.read(picture)
        self.outputs = self._run(self.image)
        features = next(self._outputs_by_net[name] for name in reversed(FEATURE_NETS) if name in self._outputs_by_net)
        self.features: tuple[Tensor, ...] = features if isinstance(features, tuple) else (features,)

    def candidates(self, image: Tensor) -> Candidates:
        """Return the candidates of another picture, as the predictor reads it."""
        return self._run(image).candidates

    def labelled(self, data: str | None) -> LabelledObjects:
        """Return pictures with annotated objects."""
        return LabelledObjects(self, data)

    def _run(self, image: Tensor) -> DetectorOutputs:
        """Return the intermediate results for a picture; the outputs of the networks are in `_outputs_by_net`."""
        input_image = resized(image, self.finder.input_size(image))
        self.model.outputs_for_picture((self.model.nominal_shape[0], *input_image.shape[1:]))
        with torch.inference_mode():
            return on_device(
                detector_outputs(self._detector, self.model.params, self.model.scaled(input_image[None])), CPU
            )

    def decide(self, candidates: Candidates, values: Mapping[str, float]) -> Decision:
        """Return the detections among candidates, at the thresholds of the controls."""
        detector = replace(
            self._detector, score_threshold=self.value(values, "score"), nms_threshold=self.value(values, "iou")
        )
        return detector.decide(candidates)

    def shown(self, values: Mapping[str, float] = NO_VALUES, hints: Sequence[Hint] = ()) -> Shown:
        """Return the layers from feature maps to boxes."""
        with torch.inference_mode():
            decision = self.decide(self.outputs.candidates, values)
            detections = self._in_picture(self._completed(decision.detections))
        layers = [*self._maps(), *self._boxes_before(decision)]
        classes = tuple(self.finder.classes)
        if detections.masks is not None and len(classes) <= NO_OBJECT:
            layers.append(ClassLayer("outlines", True, self._outlines(detections), NO_OBJECT))
        layers.append(BoxLayer("boxes", True, detections.boxes, detections.scores, detections.labels))
        if detections.keypoints is not None:
            layers.append(PointLayer("points", True, detections.keypoints.reshape(-1, 3)))
        line = class_counts(detections, classes)
        scores = self.outputs.candidates.scores
        if not len(detections) and scores.numel():
            line += f" (the best scores {math.floor(100 * float(scores.max())) / 100:.2f})"  # never up to the threshold
        return Shown(line, layers, classes=classes)

    def _maps(self) -> list[PictureLayer]:
        layers: list[PictureLayer] = []
        for map_ in self.features:
            size_text = f"{map_.shape[2]} x {map_.shape[3]}"
            layers.append(
                MapLayer(f"{size_text}, mean of {map_.shape[1]}", values=map_[0].abs().mean(0), group="Features")
            )
        if not self.outputs.maps:
            return layers
        label_count = self.outputs.scores.shape[1]
        for label in range(label_count):
            name = "object" if self.outputs.proposals is not None else self.finder.classes[label]
            for map_ in self.outputs.score_maps(label):
                size_text = f"{map_.shape[0]} x {map_.shape[1]}"
                layers.append(MapLayer(f"{name}, {size_text}", values=map_, group="Scores of cells"))
        return layers

    def _boxes_before(self, decision: Decision) -> list[PictureLayer]:
        """Return the layers of boxes before the detections."""
        outputs = self.outputs
        selected_indices = decision.selected_indices
        labels = decision.detections.labels
        scores = decision.detections.scores
        layers: list[PictureLayer] = []
        if outputs.proposals is not None:
            layers.append(self._box_layer(PROPOSALS, outputs.proposals))
            layers.append(self._box_layer(REFINED, outputs.proposals[selected_indices], scores, labels))
        elif outputs.anchors is not None:
            anchors = outputs.anchors.boxes[outputs.candidates.anchors[selected_indices]]
            layers.append(self._box_layer(ANCHORS, anchors, scores, labels))
        is_suppressed = decision.fates == Fate.SUPPRESSED
        is_counted = is_suppressed | (decision.fates == Fate.DETECTED) | (decision.fates == Fate.OVER_LIMIT)
        for name, is_listed in ((BEFORE, is_counted), (REMOVED, is_suppressed)):
            pairs = is_listed.nonzero()
            pair_scores = outputs.candidates.scores[pairs[:, 0], pairs[:, 1]]
            order = pair_scores.argsort(descending=True, stable=True)
            boxes = outputs.candidates.boxes[pairs[order, 0]]
            layers.append(self._box_layer(name, boxes, pair_scores[order], pairs[order, 1]))
        return layers

    def _box_layer(
        self, name: str, boxes: Tensor, scores: Tensor | None = None, labels: Tensor | None = None
    ) -> BoxLayer:
        height, width = self.outputs.candidates.size
        assert self.picture is not None
        factors = torch.tensor([self.picture.shape[2] / width, self.picture.shape[1] / height]).repeat(2)
        return BoxLayer(name, False, boxes * factors, scores, labels, about=ABOUT[name])

    def _completed(self, detections: Detections) -> Detections:
        """Return the detections with the masks or key-points of a detector that predicts them."""
        if not isinstance(self._detector, ProposalDetector):
            return detections
        (completed,) = self._detector.complete(
            self.model.params, self.features[0], [detections], self.outputs.candidates.size
        )
        return completed.to("cpu")

    def _in_picture(self, detections: Detections) -> Detections:
        """Return detections in pixels of the network's input in pixels of the picture."""
        assert self.picture is not None
        return scale_objects(detections, self.outputs.candidates.size, (self.picture.shape[1], self.picture.shape[2]))

    def _outlines(self, detections: Detections) -> Tensor:
        """Return the class of each pixel that belongs to a detection, and NO_OBJECT elsewhere."""
        assert detections.masks is not None
        mask = torch.full(detections.masks.shape[1:], NO_OBJECT, dtype=torch.uint8)
        for object_mask, label in zip(detections.masks, detections.labels.tolist(), strict=True):
            mask[object_mask] = label
        return mask

    def ask(self, values: Mapping[str, float], choice: str | None, area: Area | None) -> ScoreToExplain:
        """Return the logit of a class of the box at an area, among the boxes at the thresholds of the controls."""
        model = copy(self.model)
        detector = cast(Detector, model.objective)
        model.objective = replace(detector, nms_threshold=self.value(values, "iou"), score_threshold=0.0)
        model.preprocess = {**model.preprocess, "thresholds": [self.value(values, "score")]}
        x = self.input
        return self.task.score_to_explain(model, x, choice, None if area is None else self.area_in(x, area))
