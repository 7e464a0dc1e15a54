"""R-CNN: features of each warped proposal, and for each class a linear classifier and a box regression."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.fuse.inference import inference
from pellucid.layers import Mode, RoIAlign
from pellucid.layers.base import Layer, Params
from pellucid.ops.assign import highest_iou, in_crowd
from pellucid.ops.boxes import box_iou, clip
from pellucid.ops.coding import decode, encode
from pellucid.ops.image_objects import Detections, Objects
from pellucid.ops.nms import batched_nms

CONTEXT_PIXELS = 16  # pixels around the proposal in its warped image (Girshick et al. 2014, appendix A)
MEAN_NORM = 20.0  # mean norm of the scaled features
# Lowest IoU of a positive example with an object. The paper, with thousands of objects, uses the objects only.
MIN_POSITIVE_IOU = 0.7
MAX_NEGATIVE_IOU = 0.3  # the IoU of a negative example with each object of the class is below it
HARD_MARGIN = -1.0  # negative examples left out of the first fit are used in the second if their margin is above it
MIN_REGRESSION_IOU = 0.6  # lowest IoU with an object of a proposal that the box regression is fitted to
SVM_C = 1e-3  # inverse regularization strength of the SVMs
POSITIVE_WEIGHT = 2.0  # weight of the positive class in the SVMs
RIDGE_ALPHA = 1000.0  # regularization strength of the box regressions
NMS_THRESHOLD = 0.3
BATCH_SIZE = 64  # warped proposals in a forward pass

FloatArray = NDArray[np.float64]


@dataclass
class RCNN:
    """A detector that computes the features of each proposal separately and classifies them with linear SVMs.

    The caller passes the proposals, for example from `search` or `read_proposals` in `pellucid.detectors.search`. `fit`
    sets scale, the factor of the features, and svms and box_regressions, the SVM and the box regression of each class.
    net: the network that computes the features of warped proposals (n, 3, side, side), for example a trained classifier
        without its last layer.
    params: of the network.
    side: in pixels.
    Source: Girshick et al. 2014, without the fine-tuning of the network.
    """

    net: Layer
    params: Params
    classes: int
    side: int = 96
    scale: float = field(default=1.0, init=False)
    svms: list[LinearSVC | None] = field(default_factory=list, init=False)
    box_regressions: list[Ridge | None] = field(default_factory=list, init=False)
    run: Callable[[Tensor], Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Convert the network to its form for inference."""
        self.run = inference(self.net, self.params)

    def features(self, image: Tensor, boxes: Tensor) -> FloatArray:
        """Return the features (n, D) of boxes (n, 4) in an image (C, H, W), multiplied by `scale`."""
        features = [self.run(warp(image, chunk, self.side)).flatten(1).clone() for chunk in boxes.split(BATCH_SIZE)]
        return torch.cat(features).double().cpu().numpy() * self.scale

    def fit(self, images: Sequence[Tensor], targets: Sequence[Objects], proposals: Sequence[Tensor]) -> "RCNN":
        """Fit the SVMs and regressions to images, their objects, and proposals (m, 4) in each image.

        Crowds and the proposals inside them are left out. Raises PellucidError if the images have no object.
        """
        objects = [target if target.crowd is None else target.take(~target.crowd) for target in targets]
        crowds = [in_crowd(boxes, target.boxes, target.crowd) for target, boxes in zip(targets, proposals, strict=True)]
        proposals = [boxes[~crowd] for boxes, crowd in zip(proposals, crowds, strict=True)]
        if not any(len(object_) for object_ in objects):
            raise PellucidError("RCNN: the images have no object to learn from; give labelled images")
        regions = [torch.cat([target.boxes, boxes]) for target, boxes in zip(objects, proposals, strict=True)]
        self.scale = 1.0
        image_features = [self.features(image, boxes) for image, boxes in zip(images, regions, strict=True)]
        norms = np.concatenate([np.linalg.norm(features, axis=1) for features in image_features])
        self.scale = MEAN_NORM / float(norms.mean())
        for features in image_features:
            np.multiply(features, self.scale, out=features)
        examples = list(zip(image_features, regions, objects, strict=True))
        self.svms = [self._fit_svm(label, examples) for label in range(self.classes)]
        self.box_regressions = [self._fit_regression(label, examples) for label in range(self.classes)]
        return self

    def predict(self, image: Tensor, proposals: Tensor, threshold: float = 0.0, move: bool = True) -> Detections:
        """Return the detections among proposals (m, 4) in an image (C, H, W); see `decide`.

        Raises PellucidError before `fit`.
        """
        self._check_fitted()
        size = int(image.shape[1]), int(image.shape[2])
        return self.decide(self.features(image, proposals), proposals, size, threshold, move)

    def decide(
        self, x: FloatArray, proposals: Tensor, size: tuple[int, int], threshold: float = 0.0, move: bool = True
    ) -> Detections:
        """Return the detections among proposals (m, 4) with the features x (m, D) in an image of `size` (H, W).

        threshold: the lowest SVM margin of a detection. Scores are the sigmoid of the margins, without calibration.
        move: whether the regression refines the boxes. Raises PellucidError before `fit`.
        """
        self._check_fitted()
        boxes, margins, labels = [proposals[:0]], [proposals[:0, 0]], [torch.zeros(0, dtype=torch.int64)]
        for label, (svm, regression) in enumerate(zip(self.svms, self.box_regressions, strict=True)):
            if svm is None or not len(proposals):
                continue
            margin = torch.from_numpy(svm.decision_function(x)).to(proposals)
            indices = (margin >= threshold).nonzero()[:, 0]
            class_boxes = proposals[indices]
            if move and regression is not None and len(indices):
                class_boxes = decode(
                    torch.from_numpy(regression.predict(x[indices.numpy()])).to(class_boxes), class_boxes
                )
            class_boxes = clip(class_boxes, size)
            # the regression may move a box out of the image
            has_area = (class_boxes[:, 2:] > class_boxes[:, :2]).all(1)
            boxes.append(class_boxes[has_area])
            margins.append(margin[indices[has_area]])
            labels.append(torch.full((int(has_area.sum()),), label))
        all_boxes, scores, classes = torch.cat(boxes), torch.cat(margins), torch.cat(labels)
        selected = batched_nms(all_boxes, scores, classes, NMS_THRESHOLD)
        return Detections(all_boxes[selected], scores[selected].sigmoid(), classes[selected])

    def _check_fitted(self) -> None:
        if not self.svms:
            raise PellucidError("RCNN is not fitted; call fit(images, targets, proposals) first")

    def _fit_svm(self, label: int, examples: list[tuple[FloatArray, Tensor, Objects]]) -> LinearSVC | None:
        """Return the SVM of a class, or None if there are no positive or no negative examples.

        Positive examples are the objects of the class and the boxes that have a high IoU with one of them; negative
        examples are the boxes that have a low IoU with all of them. The SVM is fitted with half of the negative
        examples, then refitted with additional negative examples: those of the other half that have a high margin.
        """
        positive: list[FloatArray] = []
        negative: list[FloatArray] = []
        for x, boxes, objects in examples:
            indices = (objects.labels == label).nonzero()[:, 0]
            overlap, _ = highest_iou(box_iou(boxes, objects.boxes[indices]))
            positive.append(x[(overlap >= MIN_POSITIVE_IOU).numpy()])
            negative.append(x[(overlap < MAX_NEGATIVE_IOU).numpy()])
        positives, negatives = np.concatenate(positive), np.concatenate(negative)
        if not len(positives) or not len(negatives):
            return None
        first_half, second_half = negatives[::2], negatives[1::2]
        svm = _fit_linear_svm(positives, first_half)
        hard = second_half[svm.decision_function(second_half) > HARD_MARGIN] if len(second_half) else second_half
        return _fit_linear_svm(positives, np.concatenate([first_half, hard])) if len(hard) else svm

    def _fit_regression(self, label: int, examples: list[tuple[FloatArray, Tensor, Objects]]) -> Ridge | None:
        """Return the regression from features to offsets for boxes near objects of the class, or None without any."""
        inputs: list[FloatArray] = []
        offsets: list[Tensor] = []
        for x, boxes, image_objects in examples:
            objects = image_objects.boxes[image_objects.labels == label]
            if not len(objects):
                continue
            overlap, nearest = box_iou(boxes, objects).max(1)
            near_indices = (overlap >= MIN_REGRESSION_IOU).nonzero()[:, 0]
            inputs.append(x[near_indices.numpy()])
            offsets.append(encode(objects[nearest[near_indices]], boxes[near_indices]))
        expected_offsets = torch.cat(offsets).double().numpy() if offsets else np.zeros((0, 4))
        return Ridge(alpha=RIDGE_ALPHA).fit(np.concatenate(inputs), expected_offsets) if len(expected_offsets) else None


def warp(image: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return boxes (n, 4) of an image (C, H, W) resampled to (n, C, side, side), with CONTEXT_PIXELS around each.

    Pixels outside the image have the mean colour of the image.
    """
    mean = image.mean((1, 2), keepdim=True)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = half * side / (side - 2 * CONTEXT_PIXELS)
    regions = torch.cat([boxes.new_zeros(len(boxes), 1), centre - half, centre + half], 1)
    warped, _ = RoIAlign(side, sampling=1).forward({}, ((image - mean)[None], regions), Mode())
    return warped + mean


def _fit_linear_svm(positives: FloatArray, negatives: FloatArray) -> LinearSVC:
    svm = LinearSVC(C=SVM_C, loss="hinge", class_weight={1: POSITIVE_WEIGHT}, max_iter=20_000, random_state=0)
    labels = np.repeat([1, 0], [len(positives), len(negatives)])
    return svm.fit(np.concatenate([positives, negatives]), labels)
