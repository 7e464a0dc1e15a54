"""The evaluation of multi-label classifiers on the images of a table, and the sections of their report.

The probability of each class from which a picture has its label is chosen on validation images.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, percent
from pellucid.data import Source, float_images
from pellucid.data.seeds import generator
from pellucid.metrics import MultiLabel, label_average_precision, label_counts
from pellucid.model import Model
from pellucid.report.figures.pictures import worst_mistakes
from pellucid.report.sections import FigurePart, Missing, Section, TablePart
from pellucid.task import Reported
from pellucid.tasks.annotated import held_out_part
from pellucid.tasks.pictures import predict_source

DEFAULT_THRESHOLD = 0.5


def thresholds_of(model: Model) -> Tensor:
    """Return the thresholds (K,) of a model, by default 0.5; raises PellucidError for another number of them."""
    n_classes = int(model.output_shape[0])
    thresholds = model.preprocess.get("thresholds") or [DEFAULT_THRESHOLD]
    if len(thresholds) == 1:  # one for all classes, such as --score
        thresholds = [*thresholds] * n_classes
    if len(thresholds) != n_classes:
        raise PellucidError(f"preprocess: {len(thresholds)} thresholds for {n_classes} classes; train the model again")
    return torch.tensor(thresholds)


def choose_thresholds(model: Model, validation: Source | None) -> bool:
    """Store the thresholds with the best F1 on validation images in a model; return whether it changed.

    A model that has thresholds is from a finished run, and keeps them.
    """
    if "thresholds" in model.preprocess:
        return False
    if validation is None:
        note(f"no validation images: labels are predicted from a probability of {DEFAULT_THRESHOLD:g} on")
        return False
    probabilities, targets = predict_source(model, validation)
    thresholds = [best_threshold(scores, true > 0.5) for scores, true in zip(probabilities.T, targets.T, strict=True)]
    model.preprocess["thresholds"] = thresholds
    chosen_metric = MultiLabel(tuple(thresholds))
    model.metrics = tuple(
        chosen_metric if metric == "multilabel" or isinstance(metric, MultiLabel) else metric
        for metric in model.metrics
    )
    return True


def best_threshold(scores: Tensor, true: Tensor) -> float:
    """Return the threshold with the best F1 of one class, halfway between two scores; of equal ones, nearest to 0.5.

    scores, true: (N,). Returns 0.5 if all or none of the images have the label.
    """
    n_true = int(true.sum())
    if n_true in (0, len(true)):
        return DEFAULT_THRESHOLD
    order = scores.argsort(descending=True, stable=True)
    sorted_scores, n_hits = scores[order].double(), true[order].cumsum(0).double()
    f1 = 2 * n_hits / (torch.arange(1, len(sorted_scores) + 1) + n_true)
    # below the lowest score, all images have the label
    next_scores = torch.cat([sorted_scores[1:], -sorted_scores[-1:] - 1])
    is_cut = next_scores < sorted_scores  # images with equal scores are on one side of a threshold
    middles = ((sorted_scores + next_scores) / 2).clamp_min(0)
    is_best = f1[is_cut] >= f1[is_cut].max() - 1e-12
    candidates = middles[is_cut][is_best]
    return round(float(candidates[(candidates - DEFAULT_THRESHOLD).abs().argmin()]), 6)


MAX_IMAGES = 24  # images with wrong labels in a report
EXPLANATION = (
    "AP: the average precision over all thresholds. F1, precision and recall: of the labels from the threshold of the "
    "class on, which was chosen on validation images. n: the number of images with the label."
)


def report(model: Model, test: Source) -> Reported:
    """Return the sections about the classes and the images with the most wrong labels."""
    classes, thresholds = tuple(test.classes or ()), thresholds_of(model)
    outputs, targets = predict_source(model, test)
    is_true, is_predicted = targets > 0.5, outputs >= thresholds
    rows = [
        (
            row["class"],
            *("-" if row[key] is None else percent(row[key]) for key in ("ap", "f1", "precision", "recall")),
            f"{row['threshold']:.2f}",
            f"{row['n']:,}",
        )
        for row in class_rows(outputs, is_true, thresholds, classes)
    ]
    head = ("class", "AP", "F1", "precision", "recall", "threshold", "n")
    labels_text = (
        f"An image has {float(is_true.sum(1).double().mean()):.2f} labels on average; "
        f"{float(is_predicted.sum(1).double().mean()):.2f} are predicted."
    )
    table = TablePart("Test images by class", head, rows)
    return Reported([
        Section("classes", "Class by class", [EXPLANATION, labels_text, table]),
        Section("mistakes", "Worst mistakes", [_mistakes(outputs, is_true, is_predicted, test, classes)]),
    ])  # fmt: skip


def _mistakes(
    outputs: Tensor, true: Tensor, predicted: Tensor, test: Source, classes: Sequence[str]
) -> FigurePart | Missing:
    """Return the figure of the images with the most wrong labels, those with the most confident ones first."""
    is_wrong = true != predicted  # (N, K)
    confidence = torch.where(predicted, outputs, 1 - outputs).masked_fill(~is_wrong, 0).amax(1)
    order = (is_wrong.sum(1) + confidence / 2).argsort(descending=True, stable=True)
    worst_indices = order[is_wrong[order].any(1)][:MAX_IMAGES]
    if not len(worst_indices):
        return Missing("The labels of all test images are right.")
    images = float_images(test.batch(worst_indices.tolist(), generator(0)).images).numpy()
    true_names = [_names(true[k], classes) for k in worst_indices.tolist()]
    predicted_names = [_names(predicted[k], classes) for k in worst_indices.tolist()]
    figure = worst_mistakes(images, true_names, predicted_names, confidence[worst_indices].tolist())
    caption = (
        f"{len(worst_indices)} of {int(is_wrong.any(1).sum()):,} test images with a wrong label, those with the most "
        "first: true → predicted labels, and the probability of the most confident wrong decision."
    )
    pairs_text = "; ".join(
        f"{true_text} predicted as {predicted_text}"
        for true_text, predicted_text in zip(true_names, predicted_names, strict=True)
    )
    return FigurePart("mistakes", figure, f"Images with wrong labels: {pairs_text}", caption)


def _names(mask: Tensor, classes: Sequence[str]) -> str:
    return ", ".join(name for name, is_present in zip(classes, mask.tolist(), strict=True) if is_present) or "none"


def evaluate(model: Model, data: str | None) -> dict[str, Any]:
    """Evaluate a model on the images of `held_out_part`, with the model's thresholds.

    Returns the results of `MultiLabel` without its lists, the loss, n, the path of the data, and for each class its
    name, number of images, threshold, ap, f1, precision and recall, each None if its denominator is 0.
    """
    part = held_out_part(model, data)
    outputs, targets = predict_source(model, part)
    metric = MultiLabel(tuple(thresholds_of(model).tolist()))
    metric.update(outputs, targets)
    results = {name: value for name, value in metric.compute().items() if not isinstance(value, list)}
    return {
        **results,
        "loss": float(model.evaluate(part)["loss"]),
        "n": len(part),
        "data": str(part.source.tree.path),  # type: ignore[attr-defined]  # of TableImages
        "classes": class_rows(outputs, targets > 0.5, thresholds_of(model), part.classes or ()),
    }


def class_rows(outputs: Tensor, true: Tensor, thresholds: Tensor, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the results of each class; outputs, true: (N, K)."""
    counts = label_counts(outputs >= thresholds, true)
    precisions = label_average_precision(outputs, true)
    columns = {
        "n": counts.true.tolist(),
        "threshold": [round(value, 6) for value in thresholds.tolist()],
        "ap": _none_if_nan(precisions),
        "f1": counts.f1.tolist(),
        "precision": _none_if_nan(counts.hits.double() / counts.predicted),
        "recall": _none_if_nan(counts.hits.double() / counts.true),
    }
    return [{"class": name, **{key: values[k] for key, values in columns.items()}} for k, name in enumerate(classes)]


def _none_if_nan(values: Tensor) -> list[float | None]:
    return [None if not torch.isfinite(value) else float(value) for value in values]
