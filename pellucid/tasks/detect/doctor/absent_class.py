"""Check for classes without objects in the training data."""

from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase


def find(case: DetectionCase) -> list[Finding]:
    """Count the objects of each class in the training data; crowds are excluded, since training ignores them."""
    counts = [0] * case.detector.classes
    for objects in case.objects:
        labels = objects.labels if objects.crowd is None else objects.labels[~objects.crowd]
        for label in labels.tolist():
            if 0 <= label < len(counts):
                counts[label] += 1
    absent = [label for label, count in enumerate(counts) if not count]
    if not absent:
        return []
    class_names = case.classes
    evidence: Evidence = {
        "classes": len(counts),
        "without_objects": len(absent),
        "the_first_of_them": class_names[absent[0]] if absent[0] < len(class_names) else str(absent[0]),
        "objects": sum(counts),
    }
    cause = "the training data contain no object of these classes, so the detector cannot learn them"
    fix = (
        "add images with such objects, correct the class names, or set objective.classes to the number of classes used"
    )
    return [Finding(NAME, "train", evidence, cause, fix, kind=LACKED_CLASS)]


NAME = "absent-class"
CHECK = Check(NAME, find, finds_faults=True)
