"""A case for the doctor of detectors: the model, its data, and its outputs for a sample of the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, Objects, Source
from pellucid.data.loader import steps_per_epoch
from pellucid.data.seeds import generator
from pellucid.detectors import Detector, OneStageDetector, ProposalDetector
from pellucid.doctor.inputs import drawn_indices
from pellucid.training.device import CPU
from pellucid.training.model import BaseModel
from pellucid.training.reading import Augmentation

MAX_SAMPLE = 48  # images in the sample, drawn by the seed
MAX_IMAGES = 5_000  # images whose annotations are read

ImageWithObjects = tuple[Tensor, Objects]  # an image (C, H, W), and the objects in it


@dataclass(frozen=True, eq=False)
class DetectionCase:
    """A detector with its training data.

    validation: validation data, or None. trained: whether the detector is trained. notes: sentences to print before the
    findings. batch_size, epochs, augment: of its training; epochs is 0 if unknown. begin: returns a new copy of the
    model before its first step. stopped: the error that ended the training, or its message; "" if it did not fail.
    """

    classifies: ClassVar[bool] = False

    model: BaseModel
    train: Source
    begin: Callable[[], BaseModel]
    validation: Source | None = None
    trained: bool = False
    notes: tuple[str, ...] = ()
    batch_size: int = 8
    epochs: int = 0
    augment: Augmentation | None = None
    stopped: PellucidError | str = ""
    device: torch.device = CPU

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in one epoch."""
        return steps_per_epoch(len(self.train), self.batch_size)

    @property
    def steps_planned(self) -> int:
        """The number of steps of the training, 0 if unknown."""
        return self.epochs * self.steps_per_epoch

    @property
    def detector(self) -> Detector:
        """The objective of the model."""
        assert isinstance(self.model.objective, Detector)
        return self.model.objective

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, or their indices if they have no names."""
        return self.train.classes or self.model.classes or [str(label) for label in range(self.detector.classes)]

    @cached_property
    def sample(self) -> list[ImageWithObjects]:
        """The images of the sample with their objects, without crowds."""
        sample: list[ImageWithObjects] = []
        for k in drawn_indices(len(self.train), MAX_SAMPLE, self.model.seed).tolist():
            images, targets = self.train.batch([k], generator(self.model.seed))
            objects: Objects = targets[0]
            sample.append((images[0], objects if objects.crowd is None else objects.take(~objects.crowd)))
        return sample

    @cached_property
    def objects(self) -> list[Objects]:
        """The objects of each training image, for the first MAX_IMAGES images."""
        count = min(len(self.train), MAX_IMAGES)
        if isinstance(self.train, DetectionFolder):  # its annotations are read without decoding images
            n_keypoints = len(self.train.keypoints)
            return [record.objects(n_keypoints) for record in self.train.records[:count]]
        return [self.train.batch([k], generator(0)).targets[0] for k in range(count)]

    def inputs(self, image: Tensor) -> Tensor:
        """Return the network's input for an image (C, H, W): a preprocessed batch of one."""
        return self.model.scaled(image[None])

    @property
    def anchor_boxes(self) -> list[Tensor]:
        """The boxes (A, 4) of the anchors for each image of the sample; [] for a detector without anchors."""
        detector = self.detector
        if not isinstance(detector, OneStageDetector | ProposalDetector):
            return []
        with torch.inference_mode():
            return [detector.anchors_of(self.model.params, self.inputs(image)).boxes.cpu() for image, _ in self.sample]
