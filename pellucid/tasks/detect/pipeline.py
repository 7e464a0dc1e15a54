"""One picture on its way through a detector, and what one of its boxes depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.data.detection import scaled
from pellucid.data.images import resized
from pellucid.detectors import Decision, Detector, Fate
from pellucid.detectors.walk import Scorer, Walk
from pellucid.errors import PellucidError, nearest
from pellucid.explain import explain
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.objects import Detections
from pellucid.ops.boxes import box_iou
from pellucid.ops.nms import suppressors
from pellucid.rules import Epsilon, ZPlus
from pellucid.rules.composites import relevance
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.training.device import CPU, on_device

SIDES = ("x0", "y0", "x1", "y1")
METHODS = ("saliency", "gradcam", "lrp")  # gradients, Grad-CAM and relevance
OF_A_MAP = ("gradcam", "gradcam_plus_plus", "guided_gradcam")  # methods that take a layer

WITHOUT_BIAS = relevance(ZPlus(bias=False), Epsilon(bias=False))


class Removed(NamedTuple):
    """A candidate that suppression removed: its index, its score, its IoU with the detection `by` that removed it.

    by: index of the detection, -1 where that one is beyond the limit of detections.
    """

    candidate: int
    score: float
    iou: float
    by: int


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What a detector computes of a picture; all boxes are in pixels of `image`, the picture as the network reads it.

    image: (C, h, w) uint8. size: (H, W) of the picture itself. decision: its detections are numbered from 1, in the
    order of descending scores, as `pellucid detect` numbers them.
    """

    model: Model
    classes: Sequence[str]
    image: Tensor
    size: tuple[int, int]
    walk: Walk
    decision: Decision

    @property
    def detector(self) -> Detector:
        """The detector."""
        return cast(Detector, self.model.objective)

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of the image as the network reads it."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def detections(self) -> Detections:
        """The detections in pixels of the picture itself."""
        return scaled(self.decision.detections, self.input_size, self.size)

    def place(self, box: int) -> int:
        """Return the index of detection number `box`; PellucidError where there is none."""
        count = len(self.decision.chosen)
        if not 1 <= box <= count:
            has = f"boxes 1 to {count}, as `pellucid detect` numbers them" if count else "no detections"
            raise PellucidError(f"box {box}: the picture has {has}")
        return box - 1

    def found(self, candidate: int, label: int) -> int:
        """Return the index of the detection that a candidate is of a class, -1 for none."""
        same = (self.decision.chosen == candidate) & (self.decision.detections.labels == label)
        return int(same.nonzero()[0, 0]) if bool(same.any()) else -1

    @cached_property
    def removed(self) -> list[list[Removed]]:
        """The candidates that suppression removed, for each class, the best first."""
        return [self._removed(label) for label in range(len(self.classes))]

    def _removed(self, label: int) -> list[Removed]:
        candidates, found = self.walk.candidates, self.decision.detections
        gone = (self.decision.fates[:, label] == Fate.SUPPRESSED).nonzero()[:, 0]
        gone = gone[candidates.scores[gone, label].argsort(descending=True, stable=True)]
        same = (found.labels == label).nonzero()[:, 0]
        boxes = torch.cat([found.boxes[same], candidates.boxes[gone]])
        by = suppressors(boxes, torch.arange(len(same)), self.detector.nms_threshold)[len(same) :]
        overlap = box_iou(candidates.boxes[gone], found.boxes[same])
        return [
            Removed(one, score, float(overlap[k, who]) if who >= 0 else 0.0, int(same[who]) if who >= 0 else -1)
            for k, (one, score, who) in enumerate(
                zip(gone.tolist(), candidates.scores[gone, label].tolist(), by.tolist(), strict=True)
            )
        ]

    def scorer(self, box: int, of: str | None = None) -> Scorer:
        """Return the network of one number of detection `box`: the logit of a class, its own for None, or a side."""
        label, side = self.aimed(box, of)
        candidate = int(self.decision.chosen[self.place(box)])
        it = self.detector.scorer(self.model.params, self.walk, candidate, label, side)
        return it._replace(params=on_device(it.params, self.model.device))

    def aimed(self, box: int, of: str | None = None) -> tuple[int, int | None]:
        """Return the class, and the index of the side or None, that `of` names; PellucidError where it names none."""
        own = int(self.decision.detections.labels[self.place(box)])
        if of is None:
            return own, None
        if of in self.classes:
            return self.classes.index(of), None
        if of in SIDES:
            return own, SIDES.index(of)
        hint = nearest(of, [*self.classes, *SIDES]) or f"; it has {', '.join(self.classes):.80}"
        raise PellucidError(f"the model has no class {of!r}{hint}, and the sides of a box are {', '.join(SIDES)}")

    def explain(self, box: int, of: str | None = None, method: str = "lrp", **options: Any) -> Tensor:
        """Return a map (h, w) of the pixels that one number of detection `box` depends on.

        of: a class, whose logit is explained, by default its own; or a side of the box, to first order. method,
        options: see pellucid.explain.explain. Grad-CAM is of the map of the neck that the box is read from, each
        position weighted by its own gradient, since those of one place cancel in the mean over the map. Relevance
        ("lrp") begins with the score, or for a side with the output; by default biases have a share only where no
        input contributes, as those of a backbone with folded normalization would take nearly all. The attributions of
        the channels are added up, magnitudes by their maximum. Proposals are constants.
        """
        it, (label, side) = self.scorer(box, of), self.aimed(box, of)
        if method in OF_A_MAP:
            options = {"layer": it.path, **({"local": True} if method == "gradcam" else {}), **options}
        if method == "lrp":
            options = {"composite": WITHOUT_BIAS, **options}
        found = explain(it.net, it.params, self.x, method, 0, **options)[0]  # (C, h, w)
        if method == "lrp" and side is None:  # a logit may be negative, or 0 for a score of 1/2
            score = self.walk.candidates.scores[self.decision.chosen[self.place(box)], label]
            found = found * (float(score) / self.output(box, of))
        return (found.amax(0) if method == "saliency" else found.sum(0)).cpu()

    def output(self, box: int, of: str | None = None) -> float:
        """Return the output of the network that `explain` explains: a logit, or what the offsets make of a side."""
        it = self.scorer(box, of)
        with torch.no_grad():
            return float(it.net.forward(it.params, self.x, Mode(keep=False))[0])

    @property
    def x(self) -> Tensor:
        """The network's input (1, C, h, w)."""
        return self.model.scaled(self.image[None])


def pipeline(model: Model, image: Tensor) -> Pipeline:
    """Run a detector on a picture, uint8 (C, H, W), and keep every step; PellucidError for other models."""
    finder = ObjectFinder(model)
    read = resized(image, finder.fitted(image))
    with torch.no_grad():
        walk = cast(Detector, model.objective).walk(model.params, model.scaled(read[None]))
        walk = on_device(walk, CPU)
        decision = cast(Detector, model.objective).decide(walk.candidates)
    return Pipeline(model, finder.classes, read, (int(image.shape[1]), int(image.shape[2])), walk, decision)
