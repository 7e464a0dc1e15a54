"""Mistakes in segmentation of the unopened half."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.doctor.cases.unusual.data import CLASSES, STREET_SIZE, Parts, arrays, streets
from benchmarks.doctor.cases.unusual.sound import IGNORE, segmenter
from benchmarks.doctor.fit import Case, Pair
from pellucid.data import Augment
from pellucid.data.source import Arrays
from pellucid.losses import SoftmaxCrossEntropy

MEASURE = "mean IoU"


def masked(part: Arrays, y: Tensor) -> Arrays:
    """Return the images with other masks."""
    return arrays(part.x, y.contiguous(), part.classes)


def background_ignored(seed: int) -> Pair:
    """Ignore the background, and learn three kinds of objects in it."""
    parts = two_kinds(seed)
    sound, _ = segmenter(seed, parts, classes=3)
    hidden = masked(parts.train, parts.train.y.masked_fill(parts.train.y == 0, IGNORE))
    return Pair(sound.but(train=hidden), sound, MEASURE)


def two_kinds(seed: int) -> Parts:
    """Return streets with cars (1), trees (2) and a background (0) of all else."""
    to = torch.zeros(len(CLASSES), dtype=torch.int64)
    to[CLASSES.index("car")], to[CLASSES.index("tree")] = 1, 2
    return Parts(*(arrays(part.x, to[part.y], ("background", "car", "tree")) for part in streets(seed)))


def object_is_255(seed: int) -> Pair:
    """Write 255, which is ignored, for the road."""
    road = CLASSES.index("road")
    parts = Parts(*(arrays(part.x, (part.y == road).long(), ("rest", "road")) for part in streets(seed)))
    sound, _ = segmenter(seed, parts, classes=2)
    return Pair(sound.but(train=masked(parts.train, parts.train.y * 255)), sound, MEASURE)


def flip_without_mask(seed: int) -> Pair:
    """Mirror images and masks by two generators."""
    flip = Augment(flip=True)
    sound, _ = segmenter(seed)

    def images_alone(images: Tensor, rng: torch.Generator) -> Tensor:
        return flip(images, rng)

    return Pair(sound.but(augment=images_alone), sound.but(augment=flip), MEASURE)


def mask_interpolated(seed: int) -> Pair:
    """Resize masks of a twelfth of the size by interpolation between the numbers of classes."""
    sound, parts = segmenter(seed)
    small = parts.train.y[:, None, ::4, ::4].float()
    smooth = interpolate(small, STREET_SIZE, mode="bilinear")[:, 0].round().long()
    nearest = interpolate(small, STREET_SIZE, mode="nearest")[:, 0].long()
    return Pair(sound.but(train=masked(parts.train, smooth)), sound.but(train=masked(parts.train, nearest)), MEASURE)


def validation_divided_once(seed: int) -> Pair:
    """Divide the images by 255 twice in training, and once in use."""
    parts = streets(seed)
    train, validation, test = (arrays(part.x.float() / 255, part.y, part.classes) for part in parts)
    sound, _ = segmenter(seed, Parts(train, validation, test))
    return Pair(sound.but(train=arrays(train.x / 255, train.y, train.classes)), sound, MEASURE)


def weights_by_frequency(seed: int) -> Pair:
    """Weight each class by its frequency."""
    usual, parts = segmenter(seed)
    share = torch.bincount(parts.train.y.flatten(), minlength=len(CLASSES)).double() / parts.train.y.numel()
    weights = (share**2 / (share**2).mean()).tolist()
    wrong, _ = segmenter(seed, parts, SoftmaxCrossEntropy(ignore=IGNORE, class_weights=tuple(weights)))
    return Pair(wrong, usual, MEASURE)


CASES: Mapping[str, Case] = {
    "seg-background-ignored": background_ignored,
    "seg-flip-without-mask": flip_without_mask,
    "seg-mask-interpolated": mask_interpolated,
    "seg-object-is-255": object_is_255,
    "seg-validation-divided-once": validation_divided_once,
    "seg-weights-by-frequency": weights_by_frequency,
}
