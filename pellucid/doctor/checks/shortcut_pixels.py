"""Marks, such as logos or borders, that all images of some classes have."""

import torch

from pellucid.data.dataset import float_images
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding

MIN_EXAMPLES = 200
MAX_PIXELS = 10  # places in the evidence
FEW_CLASSES = 3  # which a pixel of a normal image may distinguish
MIN_CLASS_EXAMPLES = 8  # of each class, to find pixels that are the same in all images of a class
MAX_ALIKE_FRACTION = 0.05  # of the images of other classes that may have the same value there
MIN_ACCURACY_LOSS = 0.2  # by exchanging these pixels with other images; otherwise, the model does not rely on them
WITHOUT_PIXELS = "accuracy_with_these_pixels_from_other_examples"  # the name of the evidence
FIX = "crop or blank these pixels in all images, find out where they come from, and train again"


def find(case: Case) -> list[Finding]:
    """Look for pixels that are the same in all images of some classes, and on which a trained model relies.

    Other images must hardly have the same value there. In few classes, some pixels are the same by chance.
    """
    part, y = case.sample, case.sample.y
    if not case.classifies or part.x.dim() != 4 or len(part) < MIN_EXAMPLES or int(y.min()) < 0:
        return []
    x = float_images(part.x).flatten(1)
    labels, index, counts = y.unique(return_inverse=True, return_counts=True)
    if case.class_predictions is None or len(labels) <= FEW_CLASSES or int(counts.min()) < MIN_CLASS_EXAMPLES:
        return []
    lowest, highest = (torch.stack([getattr(x[y == label], name)(0) for label in labels]) for name in ("amin", "amax"))
    is_constant = lowest == highest  # (classes, P)
    value = lowest.gather(0, is_constant.float().argmax(0, keepdim=True))  # of the first class that is constant, (1, P)
    is_marked = is_constant & (lowest == value)
    is_other = ~is_marked[index]
    alike = ((x == value) & is_other).sum(0) / is_other.sum(0).clamp_min(1)
    pixels = (is_marked.any(0) & ~is_marked.all(0) & (alike <= MAX_ALIKE_FRACTION)).nonzero().flatten().tolist()
    accuracies = _accuracy_without(case, pixels) if pixels else {}
    if not accuracies or accuracies["accuracy"] - accuracies[WITHOUT_PIXELS] < MIN_ACCURACY_LOSS:
        return []
    marked = labels[is_marked[:, pixels].any(1)].tolist()
    evidence: Evidence = {
        "pixels": len(pixels), "first_rows_and_columns": _places(pixels[:MAX_PIXELS], *case.sample.x.shape[2:]),
        "classes_with_the_mark": len(marked), "first_class_with_the_mark": case.class_name(marked[0]),
    }  # fmt: skip
    cause = "all images of some classes have the same mark, such as a logo or a border, and the model recognises it"
    return [Finding(NAME, "train", evidence | accuracies, cause, FIX)]


def _places(pixels: list[int], height: int, width: int) -> str:
    return ", ".join(f"{pixel % (height * width) // width}:{pixel % width}" for pixel in pixels)


def _accuracy_without(case: Case, pixels: list[int]) -> dict[str, float]:
    """Return the accuracy of a trained model, and its accuracy when other examples' values replace these pixels."""
    if case.class_predictions is None:
        return {}
    predictions = case.class_predictions[0]
    x = float_images(predictions.part.x).clone()
    flat = x.view(len(x), -1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    flat[:, pixels] = flat[:, pixels].roll(len(x) // 2, 0)[order]
    accuracy = float((case.classes_for(x) == predictions.part.y).float().mean())
    return {"accuracy": predictions.accuracy, WITHOUT_PIXELS: accuracy}


NAME = "shortcut-pixels"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, finds_faults=True,
    explains=("overfitting", "shuffled-labels"),
)  # fmt: skip
