"""The page of a detector's results: figures, errors, and images with a sentence for each detection and miss."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.image_objects import Detections, Objects
from pellucid.metrics.coco import RECALLS
from pellucid.metrics.verdicts import HIT, IGNORED, MISSED
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.detections import draw_detections, precision_recall
from pellucid.report.figures.grids import bars
from pellucid.report.page import render
from pellucid.tasks.detect.findings import DetectionFinding, findings
from pellucid.tasks.detect.results import Results, percent_cell

# Descriptions of the kinds of errors.
ABOUT = {
    "class": "the box is right, the class is wrong",
    "place": "the class is right, the IoU is from 0.1 to 0.5",
    "both": "class and box are wrong",
    "duplicate": "the object was found by a detection of a higher score",
    "background": "no object has an IoU of 0.1",
    "missed": "objects without a detection, even with a wrong class or box",
}
# Descriptions of COCO's metrics.
FIGURES = {
    "ap": "AP, the mean over IoU 0.5 to 0.95",
    "ap50": "AP50, at IoU 0.5",
    "ap75": "AP75, at IoU 0.75",
    "ap_small": "AP of small objects, below 32 x 32 pixels",
    "ap_medium": "AP of medium objects",
    "ap_large": "AP of large objects, above 96 x 96 pixels",
    "ar1": "recall with 1 detection per class and image",
    "ar10": "recall with 10",
    "ar100": "recall with 100",
    "ar_small": "recall of small objects",
    "ar_medium": "recall of medium objects",
    "ar_large": "recall of large objects",
}


class Shown(NamedTuple):
    """An image of the page with its findings."""

    name: str
    findings: list[DetectionFinding]
    figure: str


def worst(all_findings: Sequence[Sequence[DetectionFinding]], most: int) -> list[int]:
    """Return the indices of the `most` images with the most errors and misses, without images that have none."""
    errors = [sum(one.kind not in (HIT, IGNORED) for one in found) for found in all_findings]
    order = sorted(range(len(errors)), key=lambda k: -errors[k])
    return [k for k in order if errors[k]][:most]


def detection_page(
    results: Results,
    names: Sequence[str],
    image: Callable[[int], Tensor],
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    title: str,
    command: str = "",
    most: int = 12,
    walked: Callable[[int], tuple[Detections, list[DetectionFinding]]] | None = None,
) -> tuple[str, dict[str, Figure | None]]:
    """Return the HTML document, and its figures by name.

    names: of the image files. image: returns an image by its index, (C, H, W) with values 0..1. most: the maximum
    number of images shown, those with the most errors. walked: returns for the index of an image its detections,
    computed again, and the findings with reasons from the detector's intermediate results.
    """
    all_findings = [
        findings(detected, truth, results.classes, results.score)
        for detected, truth in zip(detections, objects, strict=True)
    ]
    figures: dict[str, Figure | None] = {
        "curves": precision_recall(results.curves, RECALLS),
        "errors": bars(
            {kind: (gain.errors, 100 * gain.gain) for kind, gain in results.gains.items()},
            ("number", "gain in AP50 if repaired (points)"),
            (0, 1),
        ),
        "confusion": confusion_matrix(results.confusion, [*results.classes, "background"]),
    }
    shown = []
    for k in worst(all_findings, most):
        detected, shown_findings = (detections[k], all_findings[k]) if walked is None else walked(k)
        figures[f"image-{k}"] = picture(image(k), shown_findings, detected, objects[k])
        shown.append(Shown(names[k], shown_findings, f"image-{k}"))
    groups = [
        (
            f"{name}",
            f"{recall.objects:,}",
            "-" if not recall.objects else f"{100 * recall.found / recall.objects:.1f} %",
        )
        for group in results.groups.values()
        for name, recall in group.items()
    ]
    values: dict[str, Any] = {
        "title": title,
        "results": results,
        "tiles_of": _tiles(results),
        "by_class": [(name, f"{n:,}", percent_cell(ap), percent_cell(ap50)) for name, n, ap, ap50 in results.by_class],
        "rows": _rows(results),
        "further": [f"{kind}s" for kind in results.further],
        "groups": groups,
        "about": ABOUT,
        "shown": shown,
        "figures": figures,
        "command": command,
    }
    return render("detections", **values), figures


def picture(image: Tensor, found: Sequence[DetectionFinding], detections: Detections, objects: Objects) -> Figure:
    """Draw the boxes of an image's findings, with the numbers that their sentences have."""
    boxes, texts = [], []
    n_detections = 0
    for finding in found:
        missed = finding.kind == MISSED
        n_detections += not missed
        boxes.append(objects.boxes[finding.truth] if missed else detections.boxes[finding.detection])
        texts.append(f"{finding.truth + 1 if missed else n_detections}")
    drawn = torch.stack(boxes) if boxes else torch.zeros(0, 4)
    return draw_detections(image, drawn, [finding.kind for finding in found], texts)


def _tiles(results: Results) -> list[tuple[str, str]]:
    tiles = [(name.upper(), f"{100 * results.figures[name]:.1f} %") for name in ("ap", "ap50")]
    for kind, figures in results.further.items():
        tiles += [(f"{kind} {name.upper()}", f"{100 * figures[name]:.1f} %") for name in ("ap", "ap50")]
    return [*tiles, ("images", f"{results.n:,}"), ("objects", f"{results.objects:,}")]


def _rows(results: Results) -> list[tuple[str, ...]]:
    """Return COCO's metrics in per cent, with their intervals if there are any; a dash where nothing was measured."""
    rows = []
    for name, about in FIGURES.items():
        interval = results.intervals.get(name)
        interval_text = "" if interval is None else " to ".join(f"{100 * value:.1f}" for value in interval)
        further = [percent_cell(figures.get(name, math.nan)) for figures in results.further.values()]
        rows.append((about, percent_cell(results.figures[name]), interval_text, *further))
    return rows
