"""R-CNN on annotated images: linear classifiers on the features of a pretrained network, and their detections."""

import os
import time
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.combine.nets import parameter_counts
from pellucid.data import DetectionFolder
from pellucid.data.augment.standardise import scaled
from pellucid.data.detection import scale_objects as resized_objects
from pellucid.data.seeds import generator
from pellucid.detectors.rcnn import RCNN
from pellucid.detectors.search import Search, search
from pellucid.models import features
from pellucid.ops.assign import highest_iou
from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Detections
from pellucid.recipe.start import trained_network
from pellucid.run.described import feature_stats
from pellucid.tasks.detect.stages import StageTimes

WEIGHTS = "mobilenet_v2-keras-notop"
LAST_STAGE = "stage5"  # its 96 maps of 6 x 6 resolve the object's position, like R-CNN's "pool5"; later maps do not
WARPED_SIDE = 96  # pixels, the side of a warped proposal
MAX_IMAGES = 60  # training images, evenly spaced in the data set
MAX_PROPOSALS = 400  # of a training image: first those with an IoU of at least MIN_IOU with an object, then random ones
MIN_IOU = 0.5


class LinearDetections(NamedTuple):
    """The detections of R-CNN in an image, with and without the regression of boxes, and the time of each stage."""

    regressed: Detections
    unregressed: Detections
    stages: StageTimes


class LinearDetector:
    """R-CNN with the first stages of MobileNetV2.

    proposals: boxes by file name, as `pellucid.detectors.search.read_proposals` returns them, or the name of a search.
    root: the folder that contains the data sets and the downloaded weights.
    """

    def __init__(
        self, classes: int, proposals: dict[str, Tensor] | Search, root: str | os.PathLike[str] | None = None
    ) -> None:
        full_net, weights = trained_network(WEIGHTS, "mobilenet_v2", root)
        net_stages = features(full_net)
        assert isinstance(net_stages, Sequential)
        stage_names = list(net_stages.children)[: list(net_stages.children).index(LAST_STAGE) + 1]
        net = Sequential(**{name: net_stages.children[name] for name in stage_names})
        self.stats = feature_stats({"mean": [*weights.mean], "std": [*weights.std]} if weights.mean else {})
        self.rcnn = RCNN(net, {name: weights.params[name] for name in stage_names}, classes, WARPED_SIDE)
        self.proposals: dict[str, Tensor] | Search = proposals

    @property
    def parameters(self) -> int:
        """The number of parameters of the network, the SVMs and the regressions."""
        svm_counts = [np.size(svm.coef_) + 1 for svm in self.rcnn.svms if svm is not None]
        regression_counts = [
            np.size(regression.coef_) + 4 for regression in self.rcnn.box_regressions if regression is not None
        ]
        return (
            parameter_counts({"": self.rcnn.net}, self.rcnn.params).parameters
            + sum(svm_counts)
            + sum(regression_counts)
        )

    def fit(self, source: DetectionFolder, seed: int) -> "LinearDetector":
        """Train on at most MAX_IMAGES images of a source; return self."""
        image_indices = torch.linspace(0, len(source) - 1, min(MAX_IMAGES, len(source))).round().long().tolist()
        rng = generator(seed)
        images, targets, proposals = [], [], []
        for k in image_indices:
            image, objects = source.example(k)
            boxes = self._propose(source, k, image)
            overlaps_object = highest_iou(box_iou(boxes, objects.boxes))[0] >= MIN_IOU
            order = torch.randperm(len(boxes), generator=rng)
            order = order[(~overlaps_object[order]).long().argsort(stable=True)]
            images.append(self._scaled(image))
            targets.append(objects)
            proposals.append(boxes[order[:MAX_PROPOSALS]])
        self.rcnn.fit(images, targets, proposals)
        return self

    def detections(self, source: DetectionFolder, k: int) -> LinearDetections:
        """Return the detections in image k of a source."""
        image, _ = source.example(k)
        size, start_time = source.size_of(k), time.perf_counter()
        proposals = self._propose(source, k, image)
        proposals_end = time.perf_counter()
        x = self.rcnn.features(self._scaled(image), proposals)
        features_end = time.perf_counter()
        regressed = self.rcnn.decide(x, proposals, size, -torch.inf)
        decision_end = time.perf_counter()
        unregressed = self.rcnn.decide(x, proposals, size, -torch.inf, move=False)
        return LinearDetections(
            regressed,
            unregressed,
            StageTimes(
                features=features_end - proposals_end,
                proposals=proposals_end - start_time,
                heads=decision_end - features_end,
                decision=0.0,
            ),
        )

    def _scaled(self, image: Tensor) -> Tensor:
        return scaled(image[None], self.stats, torch.float32)[0]

    def _propose(self, source: DetectionFolder, k: int, image: Tensor) -> Tensor:
        proposals = self.proposals
        if isinstance(proposals, str):
            return search(image.float(), proposals)
        name = PurePosixPath(source.names[k]).name
        if name not in proposals:
            raise PellucidError(f"--proposals has no entry for {name}; add its list of boxes, [] for none")
        boxes = proposals[name]
        as_detections = Detections(boxes, torch.zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64))
        return resized_objects(as_detections, source.records[k].size, source.size_of(k)).boxes
