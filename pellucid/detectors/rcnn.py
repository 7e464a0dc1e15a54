"""R-CNN: features of each warped proposal, a linear classifier for each class, and a regression of its box."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.fuse.inference import inference
from pellucid.layers import Mode, RoIAlign
from pellucid.layers.base import Layer, Params
from pellucid.objects import Detections, Objects
from pellucid.ops.assign.base import in_crowd
from pellucid.ops.boxes import box_iou, clip
from pellucid.ops.coding import decode, encode
from pellucid.ops.nms import batched_nms

CONTEXT = 16  # pixels around the proposal in its warped image (Girshick et al. 2014, appendix A)
NORM = 20.0  # mean norm of the scaled features
NEGATIVE = 0.3  # IoU with every object of the class below which a proposal is a negative example
HARD = -1.0  # margin from which a negative that was not learned from is a hard one
NEAR = 0.6  # IoU with an object from which a proposal learns to move to it
C, POSITIVE_WEIGHT, RIDGE = 1e-3, 2.0, 1000.0
NMS = 0.3
AT_ONCE = 64  # warped proposals in a forward pass

Array = NDArray[np.float64]


@dataclass
class RCNN:
    """A detector that classifies the features of each proposal by itself.

    net, params: features of warped proposals (n, 3, side, side), such as those of a trained classifier. side: in
    pixels. Proposals come from elsewhere: `pellucid.detectors.search`, or a file, see `read_proposals`. Source:
    Girshick et al. 2014, without the fine-tuning of the network.
    """

    net: Layer
    params: Params
    classes: int
    side: int = 96
    scale: float = field(default=1.0, init=False)
    machines: list[LinearSVC | None] = field(default_factory=list, init=False)
    moves: list[Ridge | None] = field(default_factory=list, init=False)
    run: Callable[[Tensor], Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Convert the network for evaluation."""
        self.run = inference(self.net, self.params)

    def features(self, image: Tensor, boxes: Tensor) -> Array:
        """Return the features (n, D) of boxes (n, 4) in an image (C, H, W), scaled once the detector is fitted."""
        parts = [self.run(warp(image, part, self.side)).flatten(1).clone() for part in boxes.split(AT_ONCE)]
        return torch.cat(parts).double().cpu().numpy() * self.scale

    def fit(self, images: Sequence[Tensor], targets: Sequence[Objects], proposals: Sequence[Tensor]) -> "RCNN":
        """Learn from images, their objects, and proposals (m, 4) in each; crowds, and proposals in them, are left out.

        Raises PellucidError where there is no object at all.
        """
        truths = [one if one.crowd is None else one.take(~one.crowd) for one in targets]
        crowds = [in_crowd(boxes, one.boxes, one.crowd) for one, boxes in zip(targets, proposals, strict=True)]
        proposals = [boxes[~crowd] for boxes, crowd in zip(proposals, crowds, strict=True)]
        if not any(len(one) for one in truths):
            raise PellucidError("RCNN: the images have no object to learn from; give labelled images")
        held = [torch.cat([one.boxes, boxes]) for one, boxes in zip(truths, proposals, strict=True)]  # objects first
        self.scale = 1.0
        raw = [self.features(image, boxes) for image, boxes in zip(images, held, strict=True)]
        self.scale = NORM / float(np.linalg.norm(np.concatenate(raw), axis=1).mean())
        scaled = [one * self.scale for one in raw]
        examples = list(zip(scaled, held, truths, strict=True))
        self.machines = [self._machine(label, examples) for label in range(self.classes)]
        self.moves = [self._move(label, examples) for label in range(self.classes)]
        return self

    def predict(self, image: Tensor, proposals: Tensor, threshold: float = 0.0, move: bool = True) -> Detections:
        """Return the detections among proposals (m, 4) in an image (C, H, W); see `decide`.

        Raises PellucidError before `fit`.
        """
        self._need_fit()
        size = int(image.shape[1]), int(image.shape[2])
        return self.decide(self.features(image, proposals), proposals, size, threshold, move)

    def decide(
        self, x: Array, proposals: Tensor, size: tuple[int, int], threshold: float = 0.0, move: bool = True
    ) -> Detections:
        """Return the detections among proposals (m, 4) with the features x (m, D) in an image of `size` (H, W).

        threshold: the lowest margin of the classifier. Scores are margins under a sigmoid, without calibration. With
        `move`, boxes are moved by the regression.
        """
        self._need_fit()
        boxes, margins, labels = [proposals[:0]], [proposals[:0, 0]], [torch.zeros(0, dtype=torch.int64)]
        for label, (machine, mover) in enumerate(zip(self.machines, self.moves, strict=True)):
            if machine is None or not len(proposals):
                continue
            margin = torch.from_numpy(machine.decision_function(x)).to(proposals)
            found = (margin >= threshold).nonzero()[:, 0]
            own = proposals[found]
            if move and mover is not None and len(found):
                own = decode(torch.from_numpy(mover.predict(x[found.numpy()])).to(own), own)
            own = clip(own, size)
            held = (own[:, 2:] > own[:, :2]).all(1)  # regression may move a box out of the image
            boxes.append(own[held])
            margins.append(margin[found[held]])
            labels.append(torch.full((int(held.sum()),), label))
        every, scores, classes = torch.cat(boxes), torch.cat(margins), torch.cat(labels)
        kept = batched_nms(every, scores, classes, NMS)
        return Detections(every[kept], scores[kept].sigmoid(), classes[kept])

    def _need_fit(self) -> None:
        if not self.machines:
            raise PellucidError("RCNN is not fitted; call fit(images, targets, proposals) first")

    def _machine(self, label: int, examples: list[tuple[Array, Tensor, Objects]]) -> LinearSVC | None:
        """Return the classifier of a class, None without an object of it: objects against what overlaps none of them.

        Half of the negatives come first; then those of the others that it takes for objects, or nearly.
        """
        positive: list[Array] = []
        negative: list[Array] = []
        for x, boxes, truth in examples:
            own = (truth.labels == label).nonzero()[:, 0]
            positive.append(x[own.numpy()])
            overlap = box_iou(boxes, truth.boxes[own]).amax(1) if len(own) else boxes.new_zeros(len(boxes))
            negative.append(x[(overlap < NEGATIVE).numpy()])
        yes, no = np.concatenate(positive), np.concatenate(negative)
        if not len(yes) or not len(no):
            return None
        first, rest = no[::2], no[1::2]
        machine = _svm(yes, first)
        hard = rest[machine.decision_function(rest) > HARD] if len(rest) else rest
        return _svm(yes, np.concatenate([first, hard])) if len(hard) else machine

    def _move(self, label: int, examples: list[tuple[Array, Tensor, Objects]]) -> Ridge | None:
        """Return the regression from features to offsets, by proposals near an object of the class; None without."""
        inputs: list[Array] = []
        offsets: list[Tensor] = []
        for x, boxes, truth in examples:
            own = truth.boxes[truth.labels == label]
            if not len(own):
                continue
            overlap, nearest = box_iou(boxes, own).max(1)
            near = (overlap >= NEAR).nonzero()[:, 0]
            inputs.append(x[near.numpy()])
            offsets.append(encode(own[nearest[near]], boxes[near]))
        wanted = torch.cat(offsets).double().numpy() if offsets else np.zeros((0, 4))
        return Ridge(alpha=RIDGE).fit(np.concatenate(inputs), wanted) if len(wanted) else None


def warp(image: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return boxes (n, 4) of an image (C, H, W) resampled to (n, C, side, side), with CONTEXT pixels around each.

    Beyond the image stands its mean.
    """
    mean = image.mean((1, 2), keepdim=True)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = half * side / (side - 2 * CONTEXT)
    regions = torch.cat([boxes.new_zeros(len(boxes), 1), middle - half, middle + half], 1)
    warped, _ = RoIAlign(side, sampling=1).forward({}, ((image - mean)[None], regions), Mode())
    return warped + mean


def _svm(yes: Array, no: Array) -> LinearSVC:
    machine = LinearSVC(C=C, loss="hinge", class_weight={1: POSITIVE_WEIGHT}, max_iter=20_000, random_state=0)
    return machine.fit(np.concatenate([yes, no]), np.repeat([1, 0], [len(yes), len(no)]))
