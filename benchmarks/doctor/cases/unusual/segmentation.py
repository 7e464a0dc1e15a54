"""Mistakes in segmentation."""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.doctor.cases.unusual.data import CLASSES, Parts, arrays, streets
from benchmarks.doctor.cases.unusual.sound import IGNORE, segmenter
from benchmarks.doctor.fit import Case, Pair
from pellucid.data import Augment
from pellucid.data.source import Arrays
from pellucid.losses import SoftmaxCrossEntropy

MEASURE = "mean IoU"


def void_as_background(seed: int) -> Pair:
    """Learn what annotators left out as the first class."""
    parts, rng = streets(seed), torch.Generator().manual_seed(seed)
    left_out = torch.rand(len(parts.train), len(CLASSES), generator=rng) < 0.6
    left_out[:, 0] = False
    gone = left_out.gather(1, parts.train.y.flatten(1)).view_as(parts.train.y)
    marked, filled = (
        arrays(parts.train.x, parts.train.y.masked_fill(gone, k), parts.train.classes) for k in (IGNORE, 0)
    )
    sound, _ = segmenter(seed, Parts(marked, parts.validation, parts.test))
    return Pair(sound.but(train=filled), sound, MEASURE)


def unsorted_pairs(seed: int) -> Pair:
    """Pair images and masks by their places in two listings."""
    sound, parts = segmenter(seed)
    order = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(seed))
    return Pair(sound.but(train=arrays(parts.train.x, parts.train.y[order], parts.train.classes)), sound, MEASURE)


def rare_class(seed: int) -> Pair:
    """Learn a class of one pixel in a hundred without weights."""
    walker, names = CLASSES.index("pedestrian"), ("rest", "pedestrian")
    parts = Parts(*(arrays(part.x, (part.y == walker).long(), names) for part in streets(seed)))
    wrong, _ = segmenter(seed, parts, SoftmaxCrossEntropy(ignore=IGNORE), 2)
    sound, _ = segmenter(seed, parts, SoftmaxCrossEntropy(ignore=IGNORE, class_weights=(0.1, 1.9)), 2)
    return Pair(wrong.but(epochs=2), sound.but(epochs=2), MEASURE)


def mask_transposed(seed: int) -> Pair:
    """Exchange the rows and columns of the masks."""

    def square(part: Arrays) -> Arrays:
        return arrays(part.x[..., 8:56].contiguous(), part.y[..., 8:56].contiguous(), part.classes)

    parts = Parts(*map(square, streets(seed)))
    sound, _ = segmenter(seed, parts)
    turned = arrays(parts.train.x, parts.train.y.transpose(1, 2).contiguous(), parts.train.classes)
    return Pair(sound.but(train=turned), sound, MEASURE)


def zoom_without_mask(seed: int) -> Pair:
    """Zoom the images, and leave the masks."""
    zoom = Augment(scale=(0.5, 2.0), crop_size=(48, 64), fill="nearest", ignore=IGNORE)
    sound, _ = segmenter(seed)

    def images_alone(images: Tensor, rng: torch.Generator) -> Tensor:
        return zoom(images, rng)

    return Pair(sound.but(augment=images_alone), sound.but(augment=zoom), MEASURE)


CASES: Mapping[str, Case] = {
    "seg-void-as-background": void_as_background,
    "seg-unsorted-pairs": unsorted_pairs,
    "seg-rare-class": rare_class,
    "seg-mask-transposed": mask_transposed,
    "seg-zoom-without-mask": zoom_without_mask,
}
