"""Sections about classes: the confusion matrix, and precision, recall and F1 of each class."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.metrics import f1, precision, recall
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.sections import FigurePart, Section, TablePart

CONFUSION_FILE = "confusion.json"  # in the run folder: {"classes": [...], "counts": [[...]]}, true by predicted class
MAX_COUNT = 100_000  # a confusion matrix with a count of this size or more, as for pixels, is drawn with percentages


def class_sections(confusion: NDArray[np.int64], classes: Sequence[str], unit: str = "images") -> list[Section]:
    """Return the sections about the classes; confusion: (K, K) counts of `unit` by true and predicted class."""
    confusions = confusions_text(confusion, classes)
    has_fractions = bool(confusion.max() >= MAX_COUNT)
    figure_of_counts = confusion_matrix(confusion, classes, has_fractions)
    cell_meaning = "Per cent of the true class" if has_fractions else "Counts"
    caption = f"{cell_meaning}; the deeper the colour (by square root), the larger the fraction of the true class."
    explanation = (
        f"Precision: of the {unit} predicted as a class, the fraction that belongs to it. Recall: of the {unit} of a "
        f"class, the fraction predicted as it. F1: the harmonic mean of both. n: the number of {unit}."
    )
    header = ("class", "precision", "recall", "F1", "n")
    rows = TablePart(f"Test {unit} by class", header, class_rows(confusion, classes), foot=True)
    figure = FigurePart(
        "confusion", figure_of_counts, f"Confusion matrix. {confusions}", caption, "No images were tested."
    )
    return [
        Section("confusion", "Confusion matrix", [confusions, figure]),
        Section("classes", "Class by class", [explanation, rows]),
    ]


def class_rows(confusion: NDArray[np.int64], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return (class, precision, recall, F1, n) as text for each class, and their unweighted mean as the last row.

    confusion: (K, K) counts by true and predicted class. A ratio with denominator 0 is "-" and is left out of the mean.
    """
    counts = torch.from_numpy(confusion)
    true_counts, predicted_counts = counts.sum(1), counts.sum(0)
    metrics_and_denominators = (
        (precision, predicted_counts),
        (recall, true_counts),
        (f1, true_counts + predicted_counts),
    )
    columns = [
        torch.where(denominator > 0, metric(counts), torch.nan) for metric, denominator in metrics_and_denominators
    ]
    rows = [
        (name, *(_percent(float(column[k])) for column in columns), f"{int(true_counts[k]):,}")
        for k, name in enumerate(classes)
    ]
    return [*rows, ("mean", *(_percent(float(column.nanmean())) for column in columns), f"{int(true_counts.sum()):,}")]


def common_confusions(confusion: NDArray[np.int64], classes: Sequence[str], max_pairs: int = 5) -> list[str]:
    """Return at most `max_pairs` of the most frequent confusions as text, such as "4 → 9 (12 times)"."""
    errors = np.array(confusion, dtype=np.int64)
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:max_pairs]
    errors_by_frequency = [(divmod(index, len(classes)), int(errors.flat[index])) for index in order.tolist()]
    return [
        f"{classes[true]} → {classes[predicted]} ({'once' if count == 1 else f'{count:,} times'})"
        for (true, predicted), count in errors_by_frequency
        if count
    ]


def confusions_text(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return a sentence with the most frequent confusions."""
    frequent_confusions = common_confusions(confusion, classes)
    return f"Most frequent: {', '.join(frequent_confusions)}." if frequent_confusions else "No image was misclassified."


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f} %"
