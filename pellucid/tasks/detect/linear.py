"""R-CNN on annotated images: linear classifiers of a trained network's features, and what they find."""

import os
import time
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.data import DetectionFolder
from pellucid.data.augment.standardise import scaled
from pellucid.data.detection import scaled as resized_objects
from pellucid.data.seeds import generator
from pellucid.detectors.rcnn import RCNN
from pellucid.detectors.search import Search, search
from pellucid.errors import PellucidError
from pellucid.layers import AdaptiveAvgPool2d
from pellucid.models import features
from pellucid.objects import Detections
from pellucid.ops.boxes import box_iou
from pellucid.recipe.start import trained_network
from pellucid.run.described import feature_stats
from pellucid.tasks.detect.stages import Stages
from pellucid.tree import flatten, leaves

WEIGHTS = "mobilenet_v2-keras-notop"
SIDE = 96  # pixels of a warped proposal
IMAGES = 80  # training images at most, evenly from all of them
PROPOSALS = 400  # of a training image at most: all that overlap an object by half, then others at random
NEAR = 0.5


class Linear(NamedTuple):
    """What R-CNN finds in an image, with and without the regression of boxes, and how long it takes."""

    moved: Detections
    unmoved: Detections
    stages: Stages


class LinearDetector:
    """R-CNN with MobileNetV2's features. proposals: by the names of files, from `read_proposals`, or a search."""

    def __init__(
        self, classes: int, proposals: dict[str, Tensor] | Search, root: str | os.PathLike[str] | None = None
    ) -> None:
        net, trained = trained_network(WEIGHTS, "mobilenet_v2", root)
        whole = Sequential(features=features(net), pool=AdaptiveAvgPool2d(1))
        params, _ = whole.init((3, SIDE, SIDE), torch.Generator())
        held = flatten(trained.params)
        for path, tensor in flatten(params["features"]).items():
            tensor.copy_(held[path])
        self.stats = feature_stats({"mean": [*trained.mean], "std": [*trained.std]} if trained.mean else {})
        self.rcnn = RCNN(whole, params, classes, SIDE)
        self.proposals: dict[str, Tensor] | Search = proposals

    @property
    def parameters(self) -> int:
        """The number of values of the network, the classifiers and the regressions."""
        machines = [np.size(one.coef_) + 1 for one in self.rcnn.machines if one is not None]
        moves = [np.size(one.coef_) + 4 for one in self.rcnn.moves if one is not None]
        return sum(leaf.numel() for leaf in leaves(self.rcnn.params)) + sum(machines) + sum(moves)

    def fit(self, source: DetectionFolder, seed: int) -> "LinearDetector":
        """Learn from at most IMAGES images of a source."""
        chosen = torch.linspace(0, len(source) - 1, min(IMAGES, len(source))).round().long().tolist()
        rng = generator(seed)
        images, targets, proposals = [], [], []
        for k in chosen:
            image, objects = source.example(k)
            found = self._propose(source, k, image)
            near = box_iou(found, objects.boxes).amax(1) >= NEAR if len(objects) else torch.zeros(len(found)).bool()
            order = torch.randperm(len(found), generator=rng)
            order = order[(~near[order]).long().argsort(stable=True)]
            images.append(self._scaled(image))
            targets.append(objects)
            proposals.append(found[order[:PROPOSALS]])
        self.rcnn.fit(images, targets, proposals)
        return self

    def detections(self, source: DetectionFolder, k: int) -> Linear:
        """Return what is found in image k."""
        image, _ = source.example(k)
        size, begun = source.size_of(k), time.perf_counter()
        found = self._propose(source, k, image)
        proposed = time.perf_counter()
        x = self.rcnn.features(self._scaled(image), found)
        computed = time.perf_counter()
        moved = self.rcnn.decide(x, found, size, -torch.inf)
        ended = time.perf_counter()
        unmoved = self.rcnn.decide(x, found, size, -torch.inf, move=False)
        return Linear(moved, unmoved, Stages(computed - proposed, proposed - begun, ended - computed, 0.0))

    def _scaled(self, image: Tensor) -> Tensor:
        return scaled(image[None], self.stats, torch.float32)[0]

    def _propose(self, source: DetectionFolder, k: int, image: Tensor) -> Tensor:
        held = self.proposals
        if isinstance(held, str):
            return search(image.float(), held)
        name = PurePosixPath(source.names[k]).name
        if name not in held:
            raise PellucidError(f"--proposals has none for {name}; add a list for it, [] for an image without any")
        boxes = held[name]
        nothing = Detections(boxes, torch.zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64))
        return resized_objects(nothing, source.records[k].size, source.size_of(k)).boxes
