"""The baseline of key-points: the mean of each point over the training images."""

import torch
from torch import Tensor

from pellucid.data import Source
from pellucid.task import Baseline
from pellucid.training.reading import read_batches

MAX_IMAGES = 500  # training images over which points are averaged


def mean_shape(train: Source) -> Baseline:
    """Return the mean position of each labelled point, relative to the size of the image."""
    relative_points, label_masks = list[Tensor](), list[Tensor]()
    indices = torch.linspace(0, len(train) - 1, min(len(train), MAX_IMAGES)).round().long().tolist()
    for batch in read_batches(train, indices, 1):
        size = torch.tensor([batch.images.shape[3], batch.images.shape[2]])
        relative_points.append(batch.targets[..., :2] / size)
        label_masks.append(batch.targets[..., 2:] > 0)
    weights = torch.cat(label_masks).float()
    mean = (torch.cat(relative_points) * weights).sum(0) / weights.sum(0).clamp_min(1)  # (K, 2)

    def predict(images: Tensor) -> Tensor:
        points = mean * torch.tensor([images.shape[3], images.shape[2]])
        return torch.cat([points, torch.ones(len(points), 1)], 1).expand(len(images), -1, -1)

    return Baseline("the mean position of each point", predict)
