"""Baselines without a network, with which the results of detectors and key-point models are compared."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.detection import scale_objects
from pellucid.data.images import resized
from pellucid.data.keypoints import KeypointSource
from pellucid.metrics.objects import OUTER_EYE_CORNERS, normalised_errors
from pellucid.ops.image_objects import Detections
from pellucid.tasks.detect.results import Results, measure
from pellucid.tasks.keypoints.measure import CHUNK_SIZE, read_chunk

THUMBNAIL = 32  # side in pixels to which images are resized for a comparison


def mean_shape_error(train: KeypointSource, test: KeypointSource, unit: tuple[int, int] = OUTER_EYE_CORNERS) -> float:
    """Return the error of a baseline that predicts the mean key-points of the training images for every test image.

    All images must have the same size. Points without a label are ignored. unit: the indices of the two points whose
    distance is the unit of the error.
    """
    points = torch.stack([truth for _, batch in _batches(train) for truth in batch])
    labelled = (points[..., 2:] > 0).float()
    mean = (points[..., :2] * labelled).sum(0) / labelled.sum(0).clamp_min(1)
    errors = [normalised_errors(mean.expand(len(truth), -1, -1), truth, unit) for _, truth in _batches(test)]
    return float(torch.cat(errors).mean())


def nearest_points_error(
    train: KeypointSource, test: KeypointSource, unit: tuple[int, int] = OUTER_EYE_CORNERS
) -> float:
    """Return the error of a baseline that copies the key-points of the training image with the nearest pixels.

    All images must have the same size; other images raise PellucidError. unit: the indices of the two points whose
    distance is the unit of the error.
    """
    images, points = (torch.cat(parts) for parts in zip(*_stacked_batches(train), strict=True))
    train_images = images.flatten(1).float()
    errors: list[Tensor] = []
    for batch, truth in _stacked_batches(test):
        nearest = torch.cdist(batch.flatten(1).float(), train_images).argmin(1)
        errors.append(normalised_errors(points[nearest], truth, unit))
    return float(torch.cat(errors).mean())


def _batches(source: KeypointSource) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield batches of at most CHUNK_SIZE examples: images, and key-points (n, K, 3)."""
    return (read_chunk(source, start) for start in range(0, len(source), CHUNK_SIZE))


def _stacked_batches(source: KeypointSource) -> Iterator[tuple[Tensor, Tensor]]:
    for images, points in _batches(source):
        if any(image.shape != images[0].shape for image in images):
            raise PellucidError(f"{source.source.tree.path}: images differ in size; give images of one size")
        yield torch.stack(images), points


def evaluate_nearest_objects(train: DetectionFolder, test: DetectionFolder) -> Results:
    """Evaluate a baseline that detects the objects of the training image with the nearest pixels, each with score 1.

    Images are compared at 32 x 32 pixels; boxes and masks are rescaled to the size of the test image. A detector that
    has learned only the layout of the images reaches about this result.
    """
    thumbnails = torch.stack([_thumbnail(train.example(k)[0]) for k in range(len(train))])
    detections, objects = [], []
    for k in range(len(test)):
        image, truth = test.example(k)
        neighbour, copied_objects = train.example(int(torch.cdist(_thumbnail(image)[None], thumbnails).argmin()))
        size, new_size = ((one.shape[1], one.shape[2]) for one in (neighbour, image))
        copied_objects = scale_objects(copied_objects, size, new_size)
        detections.append(
            Detections(
                copied_objects.boxes, torch.ones(len(copied_objects)), copied_objects.labels, copied_objects.masks
            )
        )
        objects.append(truth)
    return measure(detections, objects, test.classes or ())


def _thumbnail(image: Tensor) -> Tensor:
    return resized(image, (THUMBNAIL, THUMBNAIL)).flatten().float()
