"""The section of a key-point model's report: the images with the largest errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data import float_images
from pellucid.data.seeds import generator
from pellucid.metrics.objects import check_points, measurable, normalised_errors, normalizing_points
from pellucid.report.figures.pictures import worst_keypoints
from pellucid.report.sections import FigurePart, Missing, Section
from pellucid.task import Reported
from pellucid.tasks.pictures import predict_source

if TYPE_CHECKING:
    from pellucid.data.keypoints import KeypointSource
    from pellucid.model import Model

MAX_IMAGES = 12  # number of images in a report


@dataclass(frozen=True)
class WorstKeypoints:
    """The images whose key-points have the largest normalized mean error, worst first.

    images: (n, H, W, 3), uint8. true: (n, K, 3), x, y and visibility. predicted: (n, K, 3), x, y and score. errors: of
    each image.
    """

    images: NDArray[np.uint8]
    true: NDArray[np.float32]
    predicted: NDArray[np.float32]
    errors: Sequence[float]


def report(model: Model, test: KeypointSource) -> Reported:
    """Return the section of the test images with the largest normalized mean error."""
    results = find_worst_images(model, test)
    if results is None:
        return Reported([Section("mistakes", "Worst mistakes", [Missing("NME is not a metric of the model.")])])
    plot = worst_keypoints(results.images, results.true, results.predicted, results.errors)
    caption = (
        f"The {len(results.errors)} test images with the largest normalised mean error of their key-points, which is "
        "written above each."
    )
    figure = FigurePart("keypoints", plot, "The images with the largest normalised mean error", caption)
    return Reported([Section("mistakes", "Worst mistakes", [figure], wide=True)])


def find_worst_images(model: Model, test: KeypointSource, max_images: int = MAX_IMAGES) -> WorstKeypoints | None:
    """Return the images with the largest normalized mean error; None if NME is not a metric of the model.

    Images whose error has no divisor are left out, see `NME`.
    """
    normalise = normalizing_points(model.metrics)
    if normalise is None:
        return None
    predicted, true = predict_source(model, test)
    check_points(predicted, true, normalise)
    indices = measurable(true, normalise).nonzero()[:, 0]
    errors = normalised_errors(predicted[indices], true[indices], normalise)
    worst_errors = errors.argsort(descending=True)[:max_images]
    order = indices[worst_errors]
    images = (float_images(test.batch(order.tolist(), generator(0)).images) * 255).round().to(torch.uint8)
    return WorstKeypoints(
        images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy(),
        true[order].numpy(),
        predicted[order].numpy(),
        errors[worst_errors].tolist(),
    )
