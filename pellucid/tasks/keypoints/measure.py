"""Evaluation of key-points against annotations, with two baselines that learn nothing."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pellucid.data import DetectionFolder
from pellucid.data.keypoints import KeypointSource
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError
from pellucid.metrics.objects import EYES, normalised_errors, unit_points
from pellucid.model import Model
from pellucid.tasks.annotated import held_out
from pellucid.tasks.keypoints.finder import KeypointFinder

CHUNK = 32  # pictures at a time
RESAMPLES = 2000
CONFIDENCE = 0.95


def evaluate(model: Model, data: str | None = None) -> dict[str, Any]:
    """Evaluate a model on pictures of any size with one annotated object each; see `keypoint_source` for which.

    Returns nme, the mean distance of the points from the true ones, divided by the distance between two true points and
    averaged over the pictures (the two points of the model's NME metric, or the outer eye corners of faces);
    nme_interval, its 95 % interval by the bootstrap over pictures; n, and the name of the data.
    """
    finder, source = KeypointFinder(model), keypoint_source(model, data)
    unit = unit_points(model.metrics) or EYES
    errors = [normalised_errors(finder(images), truth, unit) for images, truth in _examples(source)]
    all_errors = torch.cat(errors)
    return {
        "nme": float(all_errors.mean()),
        "nme_interval": bootstrap(all_errors),
        "n": len(all_errors),
        "data": str(source.source.tree.path),
    }


def keypoint_source(model: Model, data: str | None) -> KeypointSource:
    """Return the annotated images of a folder or zip, only its held-out part if it has several.

    data: the name of a data set, a folder with annotations of COCO, or the root of the model's own data set; None: the
    model's own data. Raises PellucidError if there is none.
    """
    path, part = held_out(model, data)
    return KeypointSource(DetectionFolder(path, part, mode=KeypointFinder(model).mode))


def mean_shape(train: KeypointSource, test: KeypointSource, unit: tuple[int, int] = EYES) -> float:
    """Return the error of a baseline that predicts the mean key-points of the training images for every test image.

    All images have the same size. unit: the two points whose distance is the unit of the error. Points that are not
    labelled are left out.
    """
    points = torch.stack([truth for _, batch in _examples(train) for truth in batch])
    labelled = (points[..., 2:] > 0).float()
    mean = (points[..., :2] * labelled).sum(0) / labelled.sum(0).clamp_min(1)
    errors = [normalised_errors(mean.expand(len(truth), -1, -1), truth, unit) for _, truth in _examples(test)]
    return float(torch.cat(errors).mean())


def nearest_image(train: KeypointSource, test: KeypointSource, unit: tuple[int, int] = EYES) -> float:
    """Return the error of a baseline that copies the key-points of the training image with the nearest pixels.

    All images have the same size. unit: the two points whose distance is the unit of the error.
    """
    images, points = (torch.cat(parts) for parts in zip(*_stacked(train), strict=True))
    train_images = images.flatten(1).float()
    errors: list[Tensor] = []
    for batch, truth in _stacked(test):
        nearest = torch.cdist(batch.flatten(1).float(), train_images).argmin(1)
        errors.append(normalised_errors(points[nearest], truth, unit))
    return float(torch.cat(errors).mean())


def bootstrap(values: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values (n,): quantiles of the means of 2,000 resamples.

    Source: Efron 1979, the percentile method.
    """
    drawn = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator(0))
    means = values[drawn].mean(1)
    low, high = means.quantile(means.new_tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])).tolist()
    return low, high


def _examples(source: KeypointSource) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield the images of a few examples at a time, and their key-points (n, K, 3)."""
    for start in range(0, len(source), CHUNK):
        examples = [source.example(k) for k in range(start, min(start + CHUNK, len(source)))]
        yield [image for image, _ in examples], torch.stack([points for _, points in examples])


def _stacked(source: KeypointSource) -> Iterator[tuple[Tensor, Tensor]]:
    for images, points in _examples(source):
        if any(image.shape != images[0].shape for image in images):
            raise PellucidError(f"{source.source.tree.path}: images differ in size; give images of one size")
        yield torch.stack(images), points
