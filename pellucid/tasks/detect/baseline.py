"""The baseline of detection: the mean box of each class."""

import torch
from torch import Tensor

from pellucid.data import Detections, Source
from pellucid.data.seeds import generator
from pellucid.task import Baseline
from pellucid.training.examples import first_batch

MAX_IMAGES = 500  # training images over which boxes are averaged


def mean_boxes(train: Source) -> Baseline:
    """Return the mean box of each class, relative to the size of the image, scored by the class's share of images."""
    box_sums: dict[int, Tensor] = {}
    box_counts: dict[int, int] = {}
    image_counts: dict[int, int] = {}
    n_images = min(len(train), MAX_IMAGES)
    for k in torch.linspace(0, len(train) - 1, n_images).long().tolist():
        batch = train.batch([k], generator(0))
        image, objects = batch.images[0], batch.targets[0]
        boxes = objects.boxes / _size(image)
        for label in set(objects.labels.tolist()):
            class_boxes = boxes[objects.labels == label]
            box_sums[label] = box_sums.get(label, torch.zeros(4)) + class_boxes.sum(0)
            box_counts[label] = box_counts.get(label, 0) + len(class_boxes)
            image_counts[label] = image_counts.get(label, 0) + 1
    labels = sorted(box_counts, key=lambda label: -image_counts[label])
    boxes = torch.stack([box_sums[label] / box_counts[label] for label in labels]) if labels else torch.zeros(0, 4)
    scores = torch.tensor([image_counts[label] / n_images for label in labels])

    label_tensor, has_masks = torch.tensor(labels, dtype=torch.int64), first_batch(train).targets[0].masks is not None

    def predict(images: Tensor) -> list[Detections]:
        return [
            Detections(image_boxes, scores, label_tensor, _box_masks(image_boxes, image) if has_masks else None)
            for image in images
            for image_boxes in (boxes * _size(image),)
        ]

    return Baseline("the mean box of each class", predict)


def _box_masks(boxes: Tensor, image: Tensor) -> Tensor:
    """Return masks (n, H, W) of the pixels whose centres are in each box."""
    y, x = torch.arange(image.shape[1]) + 0.5, torch.arange(image.shape[2]) + 0.5
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    rows, columns = (y0 <= y) & (y < y1), (x0 <= x) & (x < x1)
    return rows[:, :, None] & columns[:, None, :]


def _size(image: Tensor) -> Tensor:
    """Return width, height, width, height of an image (C, H, W)."""
    return torch.tensor([image.shape[2], image.shape[1]] * 2)
