"""Objects whose size and shape no anchor fits."""

import torch

from pellucid.detectors import YOLO1
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.ops.boxes import area, box_iou
from pellucid.tasks.detect.doctor.case import DetectionCase

MIN_IOU = 0.2  # with the best anchor; an IoU below 0.3 counts as background (Ren et al. 2015)
MAX_UNFIT = 0.1  # of the objects
MOST = 0.5  # of the objects: anchors that fit fewer keep the detector from learning; others only miss some


def look(case: DetectionCase) -> list[Finding]:
    """Compare the objects of the sample with all anchors of their images."""
    if isinstance(case.detector, YOLO1):  # its cells have no anchor boxes
        return []
    best, object_sides, anchor_sizes = [], [], []
    for (_, objects), boxes in zip(case.sample, case.anchors, strict=True):
        if boxes is None:
            return []
        if len(objects):
            best.append(box_iou(objects.boxes, boxes).amax(1))
            object_sides.append(area(objects.boxes).sqrt())
            anchor_sizes.append(area(boxes).sqrt())
    if not best:
        return []
    best_iou, sides, anchor_sides = torch.cat(best), torch.cat(object_sides), torch.cat(anchor_sizes)
    unfit = best_iou < MIN_IOU
    share = float(unfit.float().mean())
    if share <= MAX_UNFIT:
        return []
    evidence: Evidence = {
        "objects": len(best_iou),
        "fit_by_no_anchor": int(unfit.sum()),
        "median_iou_with_the_best_anchor": float(best_iou.median()),
        "median_side_of_these_objects": float(sides[unfit].median()),
        "smallest_anchor": float(anchor_sides.min()),
        "largest_anchor": float(anchor_sides.max()),
    }
    cause = "the anchors have other sizes or shapes than these objects, so that no anchor learns them well"
    fix = "give the detector anchors of the objects' sizes (scale, sides or shapes), or resize the images by data.size"
    return [Finding(NAME, "train", evidence, cause, fix, direct=share > MOST)]


NAME = "unfitting-anchors"
CHECK = Check(NAME, look, explains=("no-positives", "score-collapse"))
