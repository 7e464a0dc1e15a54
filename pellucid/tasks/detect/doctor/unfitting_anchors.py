"""Check for objects whose size and shape no anchor fits."""

from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch

from pellucid.detectors import YOLO1, Detector
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import rebuilt
from pellucid.ops.boxes import area, box_iou
from pellucid.tasks.detect.doctor.case import DetectionCase

MIN_IOU = 0.2  # with the best anchor; an IoU below 0.3 counts as background (Ren et al. 2015)
MAX_UNFIT = 0.1  # fraction of objects without a fitting anchor up to which there is no finding
MIN_FAULT_FRACTION = (
    0.5  # fraction of such objects above which the anchors are a proven cause; with fewer, only these are missed
)


def find(case: DetectionCase) -> list[Finding]:
    """Compute the highest IoU of each object in the sample with the anchors of its image."""
    if isinstance(case.detector, YOLO1):  # its cells have no anchor boxes
        return []
    best_ious, object_sides, anchor_sides = [], [], []
    for (_, objects), anchor_boxes in zip(case.sample, case.anchor_boxes, strict=False):
        if len(objects):
            best_ious.append(box_iou(objects.boxes, anchor_boxes).amax(1))
            object_sides.append(area(objects.boxes).sqrt())
            anchor_sides.append(area(anchor_boxes).sqrt())
    if not best_ious:
        return []
    all_best_ious, all_object_sides, all_anchor_sides = (
        torch.cat(best_ious),
        torch.cat(object_sides),
        torch.cat(anchor_sides),
    )
    is_unfit = all_best_ious < MIN_IOU
    unfit_fraction = float(is_unfit.float().mean())
    if unfit_fraction <= MAX_UNFIT:
        return []
    evidence: Evidence = {
        "objects": len(all_best_ious),
        "fit_by_no_anchor": int(is_unfit.sum()),
        "median_iou_with_the_best_anchor": float(all_best_ious.median()),
        "median_side_of_these_objects": float(all_object_sides[is_unfit].median()),
        "smallest_anchor": float(all_anchor_sides.min()),
        "largest_anchor": float(all_anchor_sides.max()),
    }
    cause = "the anchors have other sizes or shapes than these objects, so that no anchor learns them well"
    fix = "give the detector anchors of the objects' sizes (scale, sides or shapes), or resize the images by data.size"
    anchor_side = (all_anchor_sides.min() * all_anchor_sides.max()).sqrt()
    factor = float(f"{float(all_object_sides.median() / anchor_side):.1g}")
    remedy = None
    if factor not in (0, 1) and _anchor_field(case.detector):
        remedy = Remedy(
            f"anchors of {factor:g} times their size", partial(_with_anchors, factor=factor), f"anchors-{factor:g}"
        )
    return [Finding(NAME, "train", evidence, cause, fix, remedy, is_fault=unfit_fraction > MIN_FAULT_FRACTION)]


def _anchor_field(detector: Detector) -> str:
    """Return the name of the detector's argument with the sizes of its anchors; "" if it has none."""
    names = {field.name for field in fields(detector)}
    return next((name for name in ("scale", "sides", "shapes") if name in names), "")


def _with_anchors(case: DetectionCase, factor: float) -> DetectionCase:
    """Return the case with anchors of `factor` times their size, and an untrained model."""
    field_name = _anchor_field(case.detector)

    def scaled(value: Any) -> Any:
        return tuple(map(scaled, value)) if isinstance(value, tuple) else value * factor

    return rebuilt(case, objective=replace(case.detector, **{field_name: scaled(getattr(case.detector, field_name))}))


NAME = "unfitting-anchors"
CHECK = Check(NAME, find)
