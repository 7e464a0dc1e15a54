"""Classes without any training pixel, and classes that a trained model never predicts, in segmentation."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.predictions import UnansweredError

MIN_FRACTION = 1e-3  # of the labelled pixels; a rarer class may never be predicted even by a good model


def look(case: Case) -> list[Finding]:
    """Count the pixels of each class in the masks, and in a sample of the model's predictions."""
    outputs, y = case.model.output_shape, case.train.y
    if y.dim() != 3 or y.is_floating_point() or len(outputs) != 3 or outputs[0] < 2:
        return []
    count = int(outputs[0])
    ignored = getattr(case.model.loss, "ignore", None)
    found: list[Finding] = []
    absent = _counts(y, count, ignored) == 0
    if ignored is not None and 0 <= ignored < count:
        absent[ignored] = False  # no mask pixel counts as this class
    if int(absent.sum()) and len(y) > 1:
        cause = "no mask pixel has one of these classes, so the network cannot learn them"
        fix = (
            "check how the masks are read: shifted class indices, a class read as the ignored index, or missing images"
        )
        found.append(Finding(NAME, "train", _evidence(case, absent, count), cause, fix, direct=True))
    if not case.trained:
        return found
    try:
        predictions = case.train_predictions
    except UnansweredError:
        return found
    not_ignored = (
        torch.ones_like(predictions.part.y, dtype=torch.bool) if ignored is None else predictions.part.y != ignored
    )
    true, predicted = (
        _counts(predictions.part.y, count, ignored),
        predictions.classes[not_ignored].bincount(minlength=count),
    )
    never = (predicted == 0) & (true > MIN_FRACTION * true.sum())
    if int(never.sum()):
        evidence = _evidence(case, never, count)
        evidence["share_of_the_pixels"] = float(true[never].sum() / true.sum())
        fix = "give rare classes more weight (class_weights), use the Dice or focal loss, or train longer"
        found.append(Finding(NAME, "training", evidence, "", fix))
    return found


def _counts(y: Tensor, count: int, ignored: int | None) -> Tensor:
    """Return the number of pixels of each of `count` classes in masks (N, H, W), without the ignored class."""
    labels = y.flatten() if ignored is None else y[y != ignored]
    labels = labels.long()
    return labels[(labels >= 0) & (labels < count)].bincount(minlength=count)


def _evidence(case: Case, which: Tensor, count: int) -> Evidence:
    classes = which.nonzero().flatten().tolist()
    return {"classes": count, "missing": len(classes), "the_first_of_them": case.class_name(classes[0])}


NAME = "mask-classes"
CHECK = Check(NAME, look)
