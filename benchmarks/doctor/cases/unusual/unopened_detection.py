"""Mistakes in detection of the unopened half."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import CELLS, Boxes
from benchmarks.doctor.cases.unusual.sound import detector
from benchmarks.doctor.fit import Case, Pair
from pellucid.data import Augment
from pellucid.ops.image_objects import Objects
from pellucid.optim import Momentum

MEASURE = "average precision"


def flip_without_boxes(seed: int) -> Pair:
    """Mirror images, and leave their boxes."""
    flip = Augment(flip=True)
    sound, _ = detector(seed)

    def images_alone(images: Tensor, rng: torch.Generator) -> Tensor:
        return flip(images, rng)

    return Pair(sound.but(augment=images_alone), sound.but(augment=flip), MEASURE)


def labels_off_by_one(seed: int) -> Pair:
    """Count the classes of training from one; the last becomes the first."""

    def change(one: Objects) -> Objects:
        return replace(one, labels=(one.labels + 1) % len(CELLS))

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, MEASURE)


def missing_boxes(seed: int) -> Pair:
    """Annotate one object of each image."""

    def change(one: Objects) -> Objects:
        return one.take(torch.tensor([len(one) // 2], dtype=torch.int64)) if len(one) else one

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, MEASURE)


def rate_of_larger_batch(seed: int) -> Pair:
    """Use the learning rate of many images a batch for two."""
    wrong, _ = detector(seed, optimizer=Momentum(1.0))
    sound, _ = detector(seed, optimizer=Momentum(0.02))
    return Pair(wrong.but(batch_size=2, epochs=4), sound.but(batch_size=2, epochs=4), MEASURE)


def validation_boxes_of_original_size(seed: int) -> Pair:
    """Validate against the boxes of images of twice the size."""

    def doubled(part: Boxes) -> Boxes:
        return part.but(lambda one: replace(one, boxes=one.boxes / 2))

    sound, parts = detector(seed)
    wrong = sound.but(validation=doubled(parts.validation), score=scores.precision(doubled(parts.test)))
    return Pair(wrong, sound, MEASURE)


def xy_swapped(seed: int) -> Pair:
    """Read (ymin, xmin, ymax, xmax) as (xmin, ymin, xmax, ymax)."""

    def change(one: Objects) -> Objects:
        return replace(one, boxes=one.boxes[:, [1, 0, 3, 2]])

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, MEASURE)


CASES: Mapping[str, Case] = {
    "det-flip-without-boxes": flip_without_boxes,
    "det-labels-off-by-one": labels_off_by_one,
    "det-missing-boxes": missing_boxes,
    "det-rate-of-larger-batch": rate_of_larger_batch,
    "det-validation-boxes-of-original-size": validation_boxes_of_original_size,
    "det-xy-swapped": xy_swapped,
}
