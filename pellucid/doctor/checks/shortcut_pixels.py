"""Marks, such as logos or borders, that all images of some classes have."""

from dataclasses import replace

import torch

from pellucid.data import Arrays, float_images
from pellucid.doctor.case import Case, predictions
from pellucid.doctor.finding import Check, Finding

MIN_EXAMPLES = 200
MAX_PIXELS = 10  # places in the evidence
FEW_CLASSES = 3  # which a pixel of a normal image may distinguish
MIN_CLASS_EXAMPLES = 8  # of each class, to find pixels that are the same in all images of a class
MAX_ALIKE_FRACTION = 0.05  # of the images of other classes that may have the same value there
MIN_ACCURACY_LOSS = 0.2  # by exchanging these pixels with other images; otherwise, the model does not rely on them


def find(case: Case) -> list[Finding]:
    """Look for pixels that are the same in all images of some classes, and on which a trained model relies.

    Other images must hardly have the same value there. In few classes, some pixels are the same by chance.
    """
    sample, y = case.sample, case.sample.y
    if not case.classifies or sample.x.dim() != 4 or len(sample) < MIN_EXAMPLES or int(y.min()) < 0:
        return []
    x = float_images(sample.x).flatten(1)
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
    predicted = case.class_predictions[0]
    accuracy_without = _accuracy_without(case, predicted.examples, pixels) if pixels else predicted.accuracy
    if predicted.accuracy - accuracy_without < MIN_ACCURACY_LOSS:
        return []
    marked = labels[is_marked[:, pixels].any(1)].tolist()
    height, width = case.sample.x.shape[2:]
    return [
        Finding(
            NAME,
            "train",
            evidence={
                "pixels": len(pixels),
                "first_rows_and_columns": ", ".join(
                    f"{pixel % (height * width) // width}:{pixel % width}" for pixel in pixels[:MAX_PIXELS]
                ),
                "classes_with_the_mark": len(marked),
                "first_class_with_the_mark": case.class_name(marked[0]),
                "accuracy": predicted.accuracy,
                "accuracy_with_these_pixels_from_other_examples": accuracy_without,
            },
            cause="all images of some classes have the same mark, such as a logo or a border, and the model "
            "recognises it",
            fix="crop or blank these pixels in all images, find out where they come from, and train again",
        )
    ]


def _accuracy_without(case: Case, data: Arrays, pixels: list[int]) -> float:
    """Return the accuracy of a trained model when other examples' values replace these pixels."""
    x = float_images(data.x).clone()
    flat = x.view(len(x), -1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    flat[:, pixels] = flat[:, pixels].roll(len(x) // 2, 0)[order]
    return predictions(case.model, replace(data, x=x)).accuracy


NAME = "shortcut-pixels"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, finds_faults=True,
    explains=("overfitting", "shuffled-labels"),
)  # fmt: skip
