"""The report page of a run, its figures and its tables."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pellucid.files import write_atomically
from pellucid.metrics import METRICS, f1, precision, recall
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.curves import accuracy_curves, gradient_norms, learning_rate, loss_curves, update_ratios
from pellucid.report.figures.objects import sheet_of_objects
from pellucid.report.figures.pictures import first_weights, worst_keypoints, worst_masks, worst_mistakes
from pellucid.report.figures.samples import image_rows, sample_sheet
from pellucid.report.page import render
from pellucid.report.write import write_page
from pellucid.run_report.data import ReportData

ACCURACY = "test accuracy"
CONFUSION = "confusion.json"
MAX_COUNT = 100_000  # a confusion matrix with larger counts, of pixels, is drawn with fractions


def class_rows(confusion: NDArray[np.int64], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return (class, precision, recall, F1, n) as text for each class, and their unweighted mean as the last row.

    confusion: (K, K) counts, true by predicted. A ratio with denominator 0 is "-", and the mean leaves it out.
    """
    counts = torch.from_numpy(confusion)
    true, predicted = counts.sum(1), counts.sum(0)
    ratios = ((precision, predicted), (recall, true), (f1, true + predicted))
    columns = [torch.where(cases > 0, metric(counts), torch.nan) for metric, cases in ratios]
    rows = [
        (name, *(_percent(float(column[k])) for column in columns), f"{int(true[k]):,}")
        for k, name in enumerate(classes)
    ]
    return [*rows, ("mean", *(_percent(float(column.nanmean())) for column in columns), f"{int(true.sum()):,}")]


def common_confusions(confusion: NDArray[np.int64], classes: Sequence[str], most: int = 5) -> list[str]:
    """Return the most frequent mistakes as text, such as "4 → 9 (12 times)"."""
    wrong = np.array(confusion, dtype=np.int64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    counts = [(divmod(index, len(classes)), int(wrong.flat[index])) for index in order.tolist()]
    return [
        f"{classes[true]} → {classes[predicted]} ({'once' if n == 1 else f'{n:,} times'})"
        for (true, predicted), n in counts
        if n
    ]


def confusions_text(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return the most frequent mistakes as a sentence."""
    frequent = common_confusions(confusion, classes)
    return f"Most frequent: {', '.join(frequent)}." if frequent else "No image was misclassified."


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def page(data: ReportData, figures: Mapping[str, Figure | None]) -> str:
    """Return the whole HTML document."""
    counts, wrong = data.confusion, data.mistakes
    pairs = () if wrong is None else zip(wrong.true, wrong.predicted, strict=True)
    return render(
        "training",
        data=data,
        figures=figures,
        results=headline(data.metrics, data.summary.parameters if data.summary is not None else None),
        validated=any(_known(row, "val_loss") for row in data.history),
        ends={what: _ends(data, what) for what in ("loss", "accuracy", "ap")},
        confused="" if counts is None else confusions_text(counts, data.classes),
        classes=() if counts is None else class_rows(counts, data.classes),
        mistaken=", ".join(f"{true} predicted as {predicted}" for true, predicted in pairs),
        manifest=flat(data.manifest),
    )


def headline(found: Mapping[str, Any], parameters: int | None = None) -> list[tuple[str, str]]:
    """Return the main results of a run as pairs of name and text, "not finite" for NaN and infinity."""
    texts: dict[str, str] = {}
    measured = {f"test {name.replace('_', ' ')}": found.get(name) for name in ("accuracy", "loss", *METRICS)}
    for name, value in measured.items():
        if isinstance(value, int | float):
            text = f"{100 * value:.2f} %" if name == ACCURACY else f"{value:.4g}"
            texts[name] = text if math.isfinite(value) else "not finite"
    for key, name in (("n", "test images"), ("epochs", "epochs"), ("images_per_second", "images per second")):
        if _known(found, key):
            texts[name] = f"{found[key]:,.0f}"
    if _known(found, "seconds"):
        texts["training"] = duration(found["seconds"])
    return [*texts.items()] if parameters is None else [*texts.items(), ("parameters", f"{parameters:,}")]


def duration(seconds: float) -> str:
    """Return a time as text: 4.2 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as pairs of a dotted name and text."""
    if isinstance(values, Mapping):
        pairs = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        pairs = [(str(k), value) for k, value in enumerate(values, 1)]
    else:
        return [(prefix, "" if values is None else str(values))]
    return [line for key, value in pairs for line in flat(value, f"{prefix}.{key}" if prefix else key)]


def _known(values: Mapping[str, Any], key: str) -> bool:
    """Return whether the value of a key is a finite number."""
    value = values.get(key)
    return isinstance(value, int | float) and math.isfinite(value)


def _ends(data: ReportData, what: str) -> str:
    """Return the first and last values of a metric on training and held-out data, as text."""
    words: list[str] = []
    for key, name in ((f"train_{what}", "training"), (f"val_{what}", data.held)):
        values = [row[key] for row in data.history if _known(row, key)]
        if values:
            words.append(f"{name} from {values[0]:.4g} to {values[-1]:.4g}")
    return f"{what.capitalize()} by epoch: {', '.join(words) or 'nothing recorded'}"


def write_report(run: str | os.PathLike[str], data: ReportData) -> Path:
    """Write report.html, figures/*.png and confusion.json into the folder `run`; return the path of report.html.

    Each file is written atomically. Raises PellucidError if one cannot be written.
    """
    figures = draw(data)
    path = write_page(Path(run) / "report.html", page(data, figures), figures)
    if data.confusion is not None:
        counts = {"classes": list(data.classes), "counts": data.confusion.tolist()}  # true by predicted
        write_atomically(Path(run) / CONFUSION, (json.dumps(counts) + "\n").encode(), durable=False)
    return path


def draw(data: ReportData) -> dict[str, Figure | None]:
    """Return the report's figures by name, None if there is nothing to draw."""
    wrong, masks, points, counts = data.mistakes, data.masks, data.keypoints, data.confusion
    kinds = ("confusion", "masks", "keypoints", "objects", "mistakes", "first_weights")
    kinds += ("samples", "epochs", "nearest", "walks")
    figures: dict[str, Figure | None] = dict.fromkeys(kinds)
    if counts is not None:
        figures["confusion"] = confusion_matrix(counts, data.classes, bool(counts.max() >= MAX_COUNT))
    if masks is not None:
        figures["masks"] = worst_masks(masks.images, masks.true, masks.predicted, masks.scores, data.classes)
    if points is not None:
        figures["keypoints"] = worst_keypoints(points.images, points.true, points.found, points.errors)
    if data.objects is not None and data.objects.images:
        names = [f"{name}: {ap:.2f}" for name, ap in zip(data.objects.names, data.objects.ap, strict=True)]
        figures["objects"] = sheet_of_objects(data.objects.images, data.objects.marks, names, data.classes)
    if (generated := data.generated) is not None:
        row = len(generated.nearest)
        figures["samples"] = sample_sheet(generated.samples)
        if generated.epochs:
            figures["epochs"] = image_rows(
                {f"after epoch {epoch}": images for epoch, images in generated.epochs.items()}
            )
        figures["nearest"] = image_rows({"sample": generated.samples[:row], "training image": generated.nearest})
        figures["walks"] = image_rows({f"walk {k}": images for k, images in enumerate(generated.walks, start=1)})
    if wrong is not None:
        figures["mistakes"] = worst_mistakes(wrong.images, wrong.true, wrong.predicted, wrong.probability)
    if data.first_weights is not None:
        figures["first_weights"] = first_weights(data.first_weights)
    return {
        "loss": loss_curves(data.history, data.held),
        "accuracy": accuracy_curves(data.history, data.held),
        "ap": accuracy_curves(data.history, data.held, "ap", "average precision (%)"),
        **figures,
        "learning_rate": learning_rate(data.history),
        "gradients": gradient_norms(data.layers),
        "updates": update_ratios(data.layers),
    }
