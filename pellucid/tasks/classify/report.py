"""The sections of a classifier's report: classes, and the images that were misclassified."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data import Source, float_images
from pellucid.data.seeds import generator
from pellucid.metrics import class_scores, classes_of, confusion_matrix
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.recipe.run_report.classes import CONFUSION_FILE, class_sections
from pellucid.report.figures.pictures import worst_mistakes
from pellucid.report.sections import FigurePart, Missing, Section
from pellucid.task import Reported
from pellucid.tasks.pictures import predict_source
from pellucid.training.examples import first_batch

MAX_MISTAKES = 24  # misclassified images in a report


@dataclass(frozen=True)
class Mistakes:
    """Misclassified images, the most confident first.

    images: (n, 1 or 3, H, W), values 0..1. true, predicted: class names. probability: of the predicted class.
    total: the number of misclassified images in the test data.
    """

    images: NDArray[np.float32]
    true: Sequence[str]
    predicted: Sequence[str]
    probability: Sequence[float]
    total: int


def report(model: Model, test: Source) -> Reported:
    """Return the sections of a classifier's report and the confusion matrix; nothing for other models."""
    classes = tuple(test.classes or ())
    image_shape = tuple(first_batch(test).images.shape[1:])
    if not isinstance(model.objective, Supervised):
        return Reported()
    outputs, labels = predict_source(model, test, tuple(model.nominal_shape or image_shape))
    scores = class_scores(outputs)
    if scores.ndim != 2 or not scores.shape[1] == len(classes) > 1:
        return Reported()
    counts = confusion_matrix(labels, classes_of(scores), len(classes)).numpy()
    mistakes = Section("mistakes", "Worst mistakes", [mistakes_part(select_mistakes(scores, labels, test))])
    return Reported(
        [*class_sections(counts, classes), mistakes],
        {CONFUSION_FILE: {"classes": list(classes), "counts": counts.tolist()}},
    )


def mistakes_part(mistakes: Mistakes | None) -> FigurePart | Missing:
    """Return the figure of the worst mistakes.

    mistakes: None if the data are not images. Without mistakes, a text that says so is returned.
    """
    if mistakes is None:
        return Missing("These data cannot be shown as images.")
    if mistakes.total == 0:
        return Missing("No test image was misclassified.")
    figure = worst_mistakes(mistakes.images, mistakes.true, mistakes.predicted, mistakes.probability)
    pairs = zip(mistakes.true, mistakes.predicted, strict=True)
    pair_text = ", ".join(f"{true} predicted as {predicted}" for true, predicted in pairs)
    caption = (
        f"{len(mistakes.true)} of {mistakes.total:,} misclassified test images, the most confident first: true → "
        "predicted class, and the probability (or score) of the predicted one."
    )
    return FigurePart("mistakes", figure, f"Misclassified images: {pair_text}", caption)


def select_mistakes(scores: Tensor, labels: Tensor, test: Source, max_count: int = MAX_MISTAKES) -> Mistakes | None:
    """Return the `max_count` misclassified images with the largest probabilities; None if the data are not images."""
    channels, height, width = first_batch(test).images.shape[1:]
    if channels not in (1, 3) or min(height, width) < 2:
        return None
    confidences, predicted = scores.max(1)  # (N,)
    wrong_indices, class_names = torch.nonzero(predicted != labels).flatten(), test.classes or ()
    selected_indices = wrong_indices[
        torch.argsort(confidences[wrong_indices], descending=True, stable=True)[:max_count]
    ]
    return Mistakes(
        float_images(test.batch(selected_indices.tolist(), generator(0)).images).numpy(),
        [class_names[int(k)] for k in labels[selected_indices]],
        [class_names[int(k)] for k in predicted[selected_indices]],
        confidences[selected_indices].tolist(),
        len(wrong_indices),
    )
