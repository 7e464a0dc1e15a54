"""Detection of objects in pictures of any size, and drawings of the detections."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch
from numpy import ndarray
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import printable
from pellucid.data.detection import scale_objects
from pellucid.data.files import resized_size
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import resized
from pellucid.detectors import Detector
from pellucid.fuse.inference import inference
from pellucid.layers.base import Params
from pellucid.model import Model
from pellucid.objective import InferenceNetwork
from pellucid.ops.image_objects import Detections
from pellucid.report.figures.overlay import object_overlay
from pellucid.tasks.annotated import mode_of


def is_detector(model: Model) -> bool:
    """Return whether a model detects objects in images."""
    return isinstance(model.objective, Detector)


def detector_for_predictions(detector: Detector, params: Params) -> Detector:
    """Return the detector with its networks in their form for inference; `params` must not change afterwards."""
    return detector.with_nets(
        {name: InferenceNetwork(net, inference(net, params[name])) for name, net in detector.nets.items()}
    )


class ObjectFinder:
    """Detects the objects in pictures of any size. classes: the class names. mode: the mode in which to read pictures.

    Pictures are resized as in training: the longest side to a length, or both sides to a height and a width. The
    model's weights must not change after the first pictures. Raises PellucidError for a model that is not a detector.
    """

    def __init__(self, model: Model) -> None:
        if not is_detector(model):
            raise PellucidError("the model finds no objects; give one that does, such as a run of bccd-single")
        self.model = model
        n_classes = cast(Detector, model.objective).classes
        self.classes: Sequence[str] = model.classes or tuple(str(label) for label in range(n_classes))
        self.mode: ColourMode = mode_of(model)
        self.size: int | Sequence[int] | None = model.preprocess.get("size")

    def __call__(self, image: Tensor) -> Detections:
        """Return the objects in a picture (C, H, W) uint8, in pixels of the picture, by descending score."""
        return self.find([image])[0]

    def find(self, images: Sequence[Tensor], score: float | None = None) -> list[Detections]:
        """Return the objects in each picture with a score of at least `score`; pictures of one size form a batch.

        score: by default the detector's own threshold. Each picture has at most MAX_DETECTIONS objects.
        """
        model, detector = self._converted_model, cast(Detector, self._converted_model.objective)
        if score is not None:  # also a higher one, since boxes of lower scores suppress no others
            model = copy(model)
            model.objective = replace(detector, score_threshold=score)
        sizes = [self.input_size(image) for image in images]
        detections_by_index: dict[int, Detections] = {}
        for size in dict.fromkeys(sizes):
            model.outputs_for_picture((model.nominal_shape[0], *size))
            indices = [k for k, image_size in enumerate(sizes) if image_size == size]
            batch = torch.stack([resized(images[k], size) for k in indices])
            predicted: Any = model.predict(batch)
            detections_by_index |= dict(zip(indices, predicted, strict=True))
        return [
            scale_objects(detections_by_index[k], size, (image.shape[1], image.shape[2]))
            for k, (size, image) in enumerate(zip(sizes, images, strict=True))
        ]

    @cached_property
    def _converted_model(self) -> Model:
        model = copy(self.model)
        model.objective = detector_for_predictions(cast(Detector, model.objective), model.params)
        return model

    def input_size(self, image: Tensor) -> tuple[int, int]:
        """Return the size (H, W) of the network's input for a picture."""
        size = self.size if self.size is None or isinstance(self.size, int) else (self.size[0], self.size[1])
        return resized_size((image.shape[1], image.shape[2]), size)


def overlay(image: Tensor, detections: Detections, classes: Sequence[str]) -> ndarray:
    """Draw the detections, numbered from 1, on an image (C, H, W) uint8: (H, W, 3) uint8, enlarged if small."""
    texts = [
        f"{number} {printable(str(classes[int(label)]))} {score:.2f}"
        for number, (label, score) in enumerate(
            zip(detections.labels.tolist(), detections.scores.tolist(), strict=True), 1
        )
    ]
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    return object_overlay(
        pixels,
        detections.boxes,
        detections.labels,
        texts,
        n_classes=len(classes),
        masks=detections.masks,
        keypoints=detections.keypoints,
    )
