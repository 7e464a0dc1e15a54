"""The sections of a multi-label classifier's report: the results of each class, and images with wrong labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.base.text import percent
from pellucid.data import Source, float_images
from pellucid.data.seeds import generator
from pellucid.model import Model
from pellucid.report.figures.pictures import worst_mistakes
from pellucid.report.sections import FigurePart, Missing, Section, TablePart
from pellucid.task import Reported
from pellucid.tasks.multilabel.evaluate import class_rows
from pellucid.tasks.multilabel.thresholds import thresholds_of
from pellucid.tasks.pictures import predict_source

MAX_IMAGES = 24  # images with wrong labels in a report
EXPLANATION = (
    "AP: the average precision over all thresholds. F1, precision and recall: of the labels from the threshold of the "
    "class on, which was chosen on validation images. n: the number of images with the label."
)


def report(model: Model, test: Source) -> Reported:
    """Return the sections about the classes and the images with the most wrong labels."""
    classes, thresholds = tuple(test.classes or ()), thresholds_of(model)
    outputs, targets = predict_source(model, test)
    true, predicted = targets > 0.5, outputs >= thresholds
    rows = [
        (
            row["class"],
            *("-" if row[key] is None else percent(row[key]) for key in ("ap", "f1", "precision", "recall")),
            f"{row['threshold']:.2f}",
            f"{row['n']:,}",
        )
        for row in class_rows(outputs, true, thresholds, classes)
    ]
    head = ("class", "AP", "F1", "precision", "recall", "threshold", "n")
    labels_text = (
        f"An image has {float(true.sum(1).double().mean()):.2f} labels on average; "
        f"{float(predicted.sum(1).double().mean()):.2f} are predicted."
    )
    table = TablePart("Test images by class", head, rows)
    return Reported([
        Section("classes", "Class by class", [EXPLANATION, labels_text, table]),
        Section("mistakes", "Worst mistakes", [_mistakes(outputs, true, predicted, test, classes)]),
    ])  # fmt: skip


def _mistakes(
    outputs: Tensor, true: Tensor, predicted: Tensor, test: Source, classes: Sequence[str]
) -> FigurePart | Missing:
    """Return the figure of the images with the most wrong labels, those with the most confident ones first."""
    wrong = true != predicted  # (N, K)
    confidence = torch.where(predicted, outputs, 1 - outputs).masked_fill(~wrong, 0).amax(1)
    order = (wrong.sum(1) + confidence / 2).argsort(descending=True, stable=True)
    worst = order[wrong[order].any(1)][:MAX_IMAGES]
    if not len(worst):
        return Missing("The labels of all test images are right.")
    images = float_images(test.batch(worst.tolist(), generator(0)).images).numpy()
    true_names = [_names(true[k], classes) for k in worst.tolist()]
    predicted_names = [_names(predicted[k], classes) for k in worst.tolist()]
    figure = worst_mistakes(images, true_names, predicted_names, confidence[worst].tolist())
    caption = (
        f"{len(worst)} of {int(wrong.any(1).sum()):,} test images with a wrong label, those with the most first: true "
        "→ predicted labels, and the probability of the most confident wrong decision."
    )
    pairs = "; ".join(f"{a} predicted as {b}" for a, b in zip(true_names, predicted_names, strict=True))
    return FigurePart("mistakes", figure, f"Images with wrong labels: {pairs}", caption)


def _names(mask: Tensor, classes: Sequence[str]) -> str:
    return ", ".join(name for name, present in zip(classes, mask.tolist(), strict=True) if present) or "none"
