"""The page of a detector's results: metrics, errors, and images with a sentence for each detection and miss."""

import math
from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.metrics.coco import RECALL_LEVELS
from pellucid.metrics.error_split import HIT, IGNORED, MISSED
from pellucid.ops.image_objects import Detections, Objects
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.grids import bar_panels
from pellucid.report.figures.objects import draw_detections, precision_recall
from pellucid.report.sections import (
    Bullets,
    Facts,
    FigurePart,
    FigureRow,
    Folded,
    Heading,
    Missing,
    Page,
    Section,
    SectionPart,
    TablePart,
)
from pellucid.tasks.detect.findings import DetectionFinding, findings
from pellucid.tasks.detect.results import Results, percent_cell

ERROR_DESCRIPTIONS = {
    "class": "the box is right, the class is wrong",
    "place": "the class is right, the IoU is from 0.1 to 0.5",
    "both": "class and box are wrong",
    "duplicate": "the object was found by a detection of a higher score",
    "background": "no object has an IoU of 0.1",
    "missed": "objects without a detection, even with a wrong class or box",
}
# By COCO's names of the metrics.
METRIC_DESCRIPTIONS = {
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
MAX_OPEN_IMAGES = 4  # further ones are folded
METRICS_CAPTION = "COCO's figures in per cent; the interval is a bootstrap over the images (95 %)."
CURVES_TEXT = (
    "The highest precision at each recall or above, for boxes with an IoU of at least 0.5; the area below is AP50."
)
BOXES_TEXT = "Solid boxes have the number of the detection, dashed ones the number of the missed object."
CROWDING_TEXT = (
    "Crowding is the largest fraction of an object's box that is inside another object's box: apart below 0.1, crowded "
    "from 0.3."
)


def worst_images(all_findings: Sequence[Sequence[DetectionFinding]], max_images: int) -> list[int]:
    """Return the indices of at most `max_images` images with errors and misses, those with the most first."""
    errors = [sum(finding.kind not in (HIT, IGNORED) for finding in image_findings) for image_findings in all_findings]
    order = sorted(range(len(errors)), key=lambda k: -errors[k])
    return [k for k in order if errors[k]][:max_images]


def detection_page(
    results: Results,
    file_names: Sequence[str],
    read_image: Callable[[int], Tensor],
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    title: str,
    command: str = "",
    max_images: int = 12,
    findings_with_reasons: Callable[[int], tuple[Detections, list[DetectionFinding]]] | None = None,
) -> Page:
    """Return the page: COCO's metrics, curves, kinds of errors, and the images with the most errors.

    read_image: returns an image by its index, (C, H, W) with values 0..1. max_images: the maximum number of images on
    the page. findings_with_reasons: returns for the index of an image its detections, which are recomputed, and the
    findings with reasons from the detector's intermediate results.
    """
    all_findings = [
        findings(image_detections, image_objects, results.classes, results.score)
        for image_detections, image_objects in zip(detections, objects, strict=True)
    ]
    images: list[SectionPart] = []
    worst_indices = worst_images(all_findings, max_images)
    if worst_indices:
        images_text = "The image" if len(worst_indices) == 1 else f"The {len(worst_indices)} images"
        images.append(f"{images_text} with the most errors. {BOXES_TEXT}")
    else:
        images.append(Missing(f"There are no errors among the detections with a score of at least {results.score}."))
    pictures: list[list[SectionPart]] = []
    for k in worst_indices:
        image_detections, image_findings = (
            (detections[k], all_findings[k]) if findings_with_reasons is None else findings_with_reasons(k)
        )
        figure = draw_findings(read_image(k), image_findings, image_detections, objects[k])
        hit_texts = [finding.text for finding in image_findings if finding.kind == HIT]
        error_texts = [finding.text for finding in image_findings if finding.kind != HIT]
        figure_part = FigurePart(f"image-{k}", figure, f"Detections and missed objects of {file_names[k]}")
        bullets = Bullets(error_texts, hit_texts, f"{len(hit_texts)} right")
        pictures.append([Heading(file_names[k]), FigureRow([figure_part, bullets])])
    images += [part for picture in pictures[:MAX_OPEN_IMAGES] for part in picture]
    if folded_pictures := pictures[MAX_OPEN_IMAGES:]:
        images.append(Folded(f"{len(folded_pictures)} more", [part for picture in folded_pictures for part in picture]))
    sections = [
        Section("results", "Results", _metric_parts(results)),
        Section("curves", "Precision and recall", _curve_parts(results), wide=True),
        Section("errors", "Kinds of errors", _error_parts(results), wide=True),
        Section("images", "Hits, false alarms and misses", images, wide=True),
    ]
    return Page(title, sections, results=_tiles(results), header=_costliest_error(results), command=command)


def _costliest_error(results: Results) -> list[SectionPart]:
    """Return a sentence about the kind of error whose repair would raise AP50 most; [] if none would."""
    kind, repair = max(results.gains.items(), key=lambda item: item[1].gain)
    if repair.gain <= 0:
        return []
    return [
        f"The kind of error that costs most is {kind} ({ERROR_DESCRIPTIONS[kind]}): without its {repair.errors:,}, "
        f"AP50 would be {100 * repair.gain:.1f} points higher than {100 * results.base_ap50:.1f} %."
    ]


def _metric_parts(results: Results) -> list[SectionPart]:
    by_class = [
        (name, f"{count:,}", percent_cell(ap), percent_cell(ap50)) for name, count, ap, ap50 in results.by_class
    ]
    columns = ["", "boxes", "interval", *(f"{kind}s" for kind in results.other_metrics)]
    return [
        TablePart(METRICS_CAPTION, columns, _metric_rows(results)),
        TablePart("By class, in per cent", ["class", "objects", "AP", "AP50"], by_class),
    ]


def _curve_parts(results: Results) -> list[SectionPart]:
    plot, alt = precision_recall(results.curves, RECALL_LEVELS), "Precision by recall of each class"
    return [CURVES_TEXT, FigurePart("curves", plot, alt, otherwise="There is no object to find.")]


def _error_parts(results: Results) -> list[SectionPart]:
    gains = {kind: (gain.errors, 100 * gain.gain) for kind, gain in results.gains.items()}
    errors = bar_panels(gains, ("number", "gain in AP50 if repaired (points)"), (0, 1))
    confusion = confusion_matrix(results.confusion, [*results.classes, "background"])
    group_rows = [
        (name, f"{counts.objects:,}", f"{100 * counts.found / counts.objects:.1f} %" if counts.objects else "-")
        for shares in results.recall_groups.values()
        for name, counts in shares.items()
    ]
    return [
        f"AP50 is {100 * results.base_ap50:.1f} %. Each kind of error is repaired alone; the gains do not add up "
        "(Bolya et al. 2020).",
        FigurePart("errors", errors, "Number of errors of each kind, and the gain in AP50 if they are repaired"),
        Facts([*ERROR_DESCRIPTIONS.items()]),
        Heading("Confusion"),
        f"Detections with a score of at least {results.score}; the last row has detections on the background, the last "
        "column missed objects.",
        FigurePart(
            "confusion", confusion, "Confusion matrix of detections, with the background",
            otherwise="There are no detections with this score, and no objects.",
        ),
        Heading("Size and crowding"),
        CROWDING_TEXT,
        TablePart("", ["objects", "number", "found"], group_rows),
    ]  # fmt: skip


def draw_findings(
    image: Tensor, findings: Sequence[DetectionFinding], detections: Detections, objects: Objects
) -> Figure:
    """Draw the boxes of an image's findings, with the numbers used in their sentences."""
    boxes, texts = [], []
    n_detections = 0
    for finding in findings:
        is_missed = finding.kind == MISSED
        n_detections += not is_missed
        boxes.append(objects.boxes[finding.object_index] if is_missed else detections.boxes[finding.detection])
        texts.append(f"{finding.object_index + 1 if is_missed else n_detections}")
    all_boxes = torch.stack(boxes) if boxes else torch.zeros(0, 4)
    return draw_detections(image, all_boxes, [finding.kind for finding in findings], texts)


def _tiles(results: Results) -> list[tuple[str, str]]:
    tiles = [(name.upper(), f"{100 * results.figures[name]:.1f} %") for name in ("ap", "ap50")]
    for kind, figures in results.other_metrics.items():
        tiles += [(f"{kind} {name.upper()}", f"{100 * figures[name]:.1f} %") for name in ("ap", "ap50")]
    return [*tiles, ("images", f"{results.n:,}"), ("objects", f"{results.objects:,}")]


def _metric_rows(results: Results) -> list[tuple[str, ...]]:
    """Return COCO's metrics in per cent, with their intervals if there are any; missing values are dashes."""
    rows = []
    for name, description in METRIC_DESCRIPTIONS.items():
        interval = results.intervals.get(name)
        interval_text = "" if interval is None else " to ".join(f"{100 * value:.1f}" for value in interval)
        other_cells = [percent_cell(figures.get(name, math.nan)) for figures in results.other_metrics.values()]
        rows.append((description, percent_cell(results.figures[name]), interval_text, *other_cells))
    return rows
