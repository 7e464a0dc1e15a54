"""Check for objects that are assigned to no anchor, which the detector therefore does not learn."""

import torch

from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.ops.boxes import area
from pellucid.tasks.detect.doctor.case import DetectionCase

MAX_UNASSIGNED = 0.1  # fraction of unassigned objects up to which there is no finding
# Fraction of unassigned objects above which they are a proven cause of a failure: with fewer, the detector learns the
# other objects, and misses only these.
MIN_FAULT_FRACTION = 0.5


def find(case: DetectionCase) -> list[Finding]:
    """Count the objects of the sample that the detector assigns to no anchor."""
    unassigned_sides, n_objects, n_images = [], 0, 0
    for (_, objects), assignment in zip(case.sample, case.assignments, strict=True):
        if assignment is None:
            return []
        assigned = torch.zeros(len(objects), dtype=torch.bool)
        assigned[assignment.matched[assignment.positive].cpu()] = True
        n_objects += len(objects)
        n_images += bool(len(objects) and not assigned.any())
        unassigned_sides.append(area(objects.boxes[~assigned]).sqrt())
    sides = torch.cat(unassigned_sides) if unassigned_sides else torch.zeros(0)
    if len(sides) <= MAX_UNASSIGNED * n_objects:
        return []
    evidence: Evidence = {
        "objects": n_objects,
        "learned_by_no_anchor": len(sides),
        "images_without_a_positive_anchor": n_images,
        "median_side_of_these_objects": float(sides.median()),
    }
    cause = (
        "these objects are assigned to no anchor: they are smaller than the distance between anchors, several have "
        "their centres in the same cell, or no anchor overlaps them enough"
    )
    fix = "resize the images by data.size, or use a backbone with smaller strides or anchors of the objects' sizes"
    return [Finding(NAME, "train", evidence, cause, fix, is_fault=len(sides) > MIN_FAULT_FRACTION * n_objects)]


NAME = "no-positives"
CHECK = Check(NAME, find, explains=("score-collapse",))
