"""Classes without any training pixel, and rare values that are never predicted, in segmentation."""

from pellucid.doctor.case import Case
from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import Check, Finding
from pellucid.losses import BinaryCrossEntropy

MIN_IGNORED = 0.02  # of the pixels; fewer may be borders
# Of the mask pixels, one of two values, and the share of these that a network may find that never predicts it.
MAX_RARE, MAX_FOUND, MIN_PROBABILITY = 0.05, 0.01, 0.5


def find(case: Case) -> list[Finding]:
    """Count the pixels of each class in the masks."""
    outputs, y = case.model.output_shape, case.train.y
    has_two_values = y.dim() == 4 and isinstance(case.model.loss, BinaryCrossEntropy)
    has_two_values = has_two_values or (y.dim() == 3 and not y.is_floating_point() and outputs[0] == 2)
    if has_two_values and (found := _unpredicted(case)):
        return found
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


def _unpredicted(case: Case) -> list[Finding]:
    """Return a finding if a trained network never predicts the rarer one of two values of masks."""
    if not case.trained:
        return []
    predictions = case.train_predictions
    outputs, y = predictions.y, predictions.examples.y
    predicted = outputs.argmax(1) if y.dim() == 3 else outputs > MIN_PROBABILITY
    shares = [float((y == value).double().mean()) for value in (0, 1)]
    rare = int(shares[1] < shares[0])
    if predicted.shape != y.shape or not 0 < shares[rare] < MAX_RARE:
        return []
    found_share = float((predicted[y == rare] == rare).double().mean())
    if found_share > MAX_FOUND:
        return []
    return [
        Finding(
            NAME,
            "train",
            evidence={"share_of_the_rarer_value": shares[rare], "found_by_the_network": found_share},
            cause=f"the network never predicts {rare}, which {shares[rare]:.1%} of the mask pixels are",
            fix="look at some masks first: resizing other than by the nearest neighbour, and thresholds, remove thin "
            "or small regions; if these pixels are so rare, weight them in the loss, or use a loss of overlap",
            is_fault=True,
        )
    ]


NAME = "mask-classes"
CHECK = Check(NAME, find)
