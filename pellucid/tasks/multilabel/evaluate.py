"""Evaluation of multi-label classifiers on the images of a table."""

from typing import Any

import torch
from torch import Tensor

from pellucid.metrics import MultiLabel, label_average_precision, label_counts
from pellucid.model import Model
from pellucid.tasks.labelled import held_out_part
from pellucid.tasks.multilabel.thresholds import thresholds_of
from pellucid.tasks.pictures import predict_source


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
