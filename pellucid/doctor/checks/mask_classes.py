"""Classes without any training pixel, rare ones that are never predicted, and masks scaled twice, in segmentation."""

from pellucid.doctor.case import Case
from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import Check, Finding
from pellucid.losses import BinaryCrossEntropy

MIN_IGNORED = 0.02  # of the pixels; fewer may be borders
# Of the mask pixels, all values but the most frequent, and the share of each that a network may find that never
# predicts it.
MAX_RARE, MAX_FOUND, MIN_PROBABILITY = 0.05, 0.01, 0.5
MAX_SCALED = 0.02  # of the largest value of masks of 0 and 1 that were divided by 255 once more, 0.004


def find(case: Case) -> list[Finding]:
    """Count the pixels of each class in the masks."""
    outputs, y = case.model.output_shape, case.train.y
    are_values = y.dim() == 4 and isinstance(case.model.loss, BinaryCrossEntropy)
    if are_values and len(y) >= 2 and 0 < (largest := float(y.max())) <= MAX_SCALED and bool((y >= 0).all()):
        return [
            Finding(
                NAME,
                "train",
                evidence={"largest_value": largest},
                cause=f"the largest value of the masks is {largest:.4f}, so the network learns that nothing is an "
                "object",
                fix="give masks with values of 0 and 1: these seem to be divided by 255 though they were 0 and 1 "
                "before",
                is_fault=True,
            )
        ]
    are_classes = y.dim() == 3 and not y.is_floating_point() and len(outputs) == 3 and outputs[0] >= 2
    if (are_values or are_classes) and (found := _unpredicted(case)):
        return found
    if not are_classes:
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
    """Return a finding if a trained network never predicts any but the most frequent value of masks, and it is rare."""
    if not case.trained:
        return []
    predictions, ignored = case.train_predictions, getattr(case.model.loss, "ignore", None)
    outputs, y = predictions.y, predictions.examples.y
    are_classes = y.dim() == 3
    predicted = outputs.argmax(1) if are_classes else outputs > MIN_PROBABILITY
    values = [value for value in range(outputs.shape[1] if are_classes else 2) if value != ignored]
    shares = {value: share for value in values if (share := float((y == value).double().mean())) > 0}
    if predicted.shape != y.shape or len(shares) < 2:
        return []
    most_frequent = max(shares, key=lambda value: shares[value])
    rare_shares = {value: share for value, share in shares.items() if value != most_frequent}
    rare_share = sum(rare_shares.values())
    found_share = max(float((predicted[y == value] == value).double().mean()) for value in rare_shares)
    if rare_share >= MAX_RARE or found_share > MAX_FOUND:
        return []
    names = " and ".join(case.class_name(value) if are_classes else str(value) for value in rare_shares)
    return [
        Finding(
            NAME,
            "train",
            evidence={"share_of_the_rarer_value": rare_share, "found_by_the_network": found_share},
            cause=f"the network never predicts {names}, which {rare_share:.1%} of the mask pixels are",
            fix="look at some masks first: resizing other than by the nearest neighbour, and thresholds, remove thin "
            "or small regions; if these pixels are so rare, weight them in the loss, or use a loss of overlap",
            is_fault=True,
        )
    ]


NAME = "mask-classes"
CHECK = Check(NAME, find)
