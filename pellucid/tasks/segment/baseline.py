"""The baseline of segmentation: the class of a pixel by its brightness alone."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pellucid.data import Source, Subset
from pellucid.data.seeds import generator
from pellucid.task import Baseline
from pellucid.training.reading import read_batches

MAX_IMAGES = 200  # training images to which the baseline is fitted
LEVELS = 256  # of brightness


def brightness_baseline(train: Source, n_classes: int, ignored: int | None) -> Baseline:
    """Return the best threshold of brightness for two classes, otherwise the most frequent class of each brightness.

    The threshold is the one with the highest mean IoU on the training images, with either class above it. ignored: the
    value of pixels without a class, None if there is none.
    """
    indices = torch.randperm(len(train), generator=generator(0))[:MAX_IMAGES]
    counts = torch.zeros(LEVELS, n_classes, dtype=torch.int64)  # of the pixels with each brightness and class
    for batch in read_batches(Subset(train, indices), None, 1):
        has_class = batch.targets < n_classes if ignored is None else batch.targets != ignored
        pairs = _levels(batch.images)[has_class] * n_classes + batch.targets[has_class].long()
        counts += pairs.bincount(minlength=counts.numel()).reshape(counts.shape)
    if n_classes == 2:
        name, class_of_level = "the best threshold of brightness", _best_threshold(counts.double())
    else:
        name, class_of_level = "the most frequent class of each brightness", counts.argmax(1)
        class_of_level[counts.sum(1) == 0] = counts.sum(0).argmax()  # a brightness that does not occur in training
    return Baseline(name, lambda images: one_hot(class_of_level[_levels(images)], n_classes).movedim(-1, 1).float())


def _levels(images: Tensor) -> Tensor:
    """Return the brightness of each pixel of images (N, C, H, W), 0..1: (N, H, W), from 0 to LEVELS - 1."""
    return (images.mean(1) * (LEVELS - 1)).round().long().clamp(0, LEVELS - 1)


def _best_threshold(counts: Tensor) -> Tensor:
    """Return the class, 0 or 1, of each level for the threshold with the highest mean IoU; counts: (LEVELS, 2)."""
    counts_below = torch.cat([counts.new_zeros(1, 2), counts.cumsum(0)])  # (LEVELS + 1, 2): pixels below each threshold
    counts_above = counts.sum(0) - counts_below
    mean_ious = []
    for low, high in (
        (counts_below, counts_above),
        (counts_above, counts_below),
    ):  # `low` is predicted as class 0, `high` as class 1
        n_wrong = low[:, 1] + high[:, 0]
        mean_ious.append((low[:, 0] / (low[:, 0] + n_wrong) + high[:, 1] / (high[:, 1] + n_wrong)) / 2)
    best_index = int(torch.stack(mean_ious).nan_to_num().argmax())
    above_class, threshold = 1 - best_index // (LEVELS + 1), best_index % (LEVELS + 1)
    return torch.where(torch.arange(LEVELS) >= threshold, above_class, 1 - above_class)
