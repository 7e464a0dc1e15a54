"""Objects that are assigned to no anchor, so that the detector does not learn them."""

import torch

from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.ops.boxes import area
from pellucid.tasks.detect.doctor.case import DetectionCase

MAX_MISSED = 0.1  # of the objects
MOST = 0.5  # of the objects: a detector that learns fewer learns the others, and only misses these


def look(case: DetectionCase) -> list[Finding]:
    """Count the objects of the sample that the detector assigns to no anchor."""
    missed, count, images = [], 0, 0
    for (_, objects), assignment in zip(case.sample, case.assignments, strict=True):
        if assignment is None:
            return []
        assigned = torch.zeros(len(objects), dtype=torch.bool)
        assigned[assignment.matched[assignment.positive].cpu()] = True
        count += len(objects)
        images += bool(len(objects) and not assigned.any())
        missed.append(area(objects.boxes[~assigned]).sqrt())
    sides = torch.cat(missed) if missed else torch.zeros(0)
    if len(sides) <= MAX_MISSED * count:
        return []
    evidence: Evidence = {
        "objects": count,
        "learned_by_no_anchor": len(sides),
        "images_without_a_positive_anchor": images,
        "median_side_of_these_objects": float(sides.median()),
    }
    cause = (
        "these objects are assigned to no anchor: they are smaller than the distance between anchors, several have "
        "their centres in the same cell, or no anchor overlaps them enough"
    )
    fix = "resize the images by data.size, or use a backbone with smaller strides or anchors of the objects' sizes"
    return [Finding(NAME, "train", evidence, cause, fix, direct=len(sides) > MOST * count)]


NAME = "no-positives"
CHECK = Check(NAME, look, explains=("score-collapse",))
