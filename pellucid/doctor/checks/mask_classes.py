"""Classes without any training pixel, in segmentation."""

from pellucid.doctor.case import Case
from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import Check, Finding

MIN_IGNORED = 0.02  # of the pixels; fewer may be borders


def find(case: Case) -> list[Finding]:
    """Count the pixels of each class in the masks."""
    outputs, y = case.model.output_shape, case.train.y
    if y.dim() != 3 or y.is_floating_point() or len(outputs) != 3 or outputs[0] < 2:
        return []
    n_classes, ignored = int(outputs[0]), getattr(case.model.loss, "ignore", None)
    labels = (y.flatten() if ignored is None else y[y != ignored]).long()
    is_absent = labels[(labels >= 0) & (labels < n_classes)].bincount(minlength=n_classes) == 0
    if ignored is not None and 0 <= ignored < n_classes:
        is_absent[ignored] = False  # pixels of this class are not counted
    absent = is_absent.nonzero().flatten().tolist()
    if not absent or len(y) < 2:
        return []
    cause = "no mask pixel has one of these classes, so the network cannot learn them"
    fix = "check how the masks are read: shifted class indices, a class read as the ignored index, or missing images"
    ignored_fraction = 1 - len(labels) / y.numel()
    if n_classes - len(absent) == 1 and ignored_fraction > MIN_IGNORED:
        cause = f"{ignored_fraction:.0%} of the mask pixels have the label {ignored}, which the loss ignores, and all "
        cause += "others are of one class, so the network learns only this class"
        fix = f"map label {ignored} to class {absent[0]}, or let the loss ignore no label (ignore_index), if these "
        fix += "pixels are the objects"
    return [
        Finding(
            NAME,
            "train",
            evidence={
                "classes": n_classes,
                "missing": len(absent),
                "the_first_of_them": case.class_name(absent[0]),
            },
            cause=cause,
            fix=fix,
            is_fault=True,
            kind=LACKED_CLASS,
        )
    ]


NAME = "mask-classes"
CHECK = Check(NAME, find)
