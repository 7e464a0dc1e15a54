"""Labels that can be predicted from a few pixels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import float_images
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding

MIN_EXAMPLES = 200
PIXEL_FRACTION, MAX_PIXELS = 1 / 50, 10  # the number of pixels: this fraction of an image's values, at most MAX_PIXELS
MIN_EXPLAINED = 0.95  # fraction of the other half's labels that are predicted from these pixels only
# A pixel of a normal image can distinguish up to FEW_CLASSES classes. So with these or fewer classes, one pixel must
# predict the fraction MIN_EXACT_FRACTION of the labels, and the pixels next to it at most MAX_NEIGHBOUR_FRACTION.
FEW_CLASSES = 3
MIN_EXACT_FRACTION = 0.995
MAX_NEIGHBOUR_FRACTION = 0.9
MIN_CLASS_EXAMPLES = 8  # of each class, to find pixels that are the same in all images of a class
MAX_ALIKE_FRACTION = 0.05  # of the images of other classes that may have the same value there
MIN_ACCURACY_LOSS = 0.2  # by exchanging these pixels with other images; otherwise, the model does not rely on them
WITHOUT_PIXELS = "accuracy_with_these_pixels_from_other_examples"  # the name of the evidence
FIX = "crop or blank these pixels in all images, find out where they come from, and train again"
BINS = 16  # of the histogram of a pixel's values
MAX_CANDIDATES = 128  # pixels for the greedy selection


def find(case: Case) -> list[Finding]:
    """Predict the labels of half of a sample from a few pixels, by naive Bayes fitted to the other half."""
    part = case.sample
    if not case.classifies or part.x.dim() != 4 or len(part) < MIN_EXAMPLES or int(part.y.min()) < 0:
        return []
    x, classes = float_images(part.x).flatten(1), len(part.y.unique())
    _, height, width = part.x.shape[1:]
    if classes > FEW_CLASSES and (finding := _mark_of_classes(case, x)):
        return [finding]
    pixels, fraction = _select_pixels(x, part.y, min(max(int(PIXEL_FRACTION * x.shape[1]), 1), MAX_PIXELS))
    if classes < 2 or fraction < (MIN_EXACT_FRACTION if classes <= FEW_CLASSES else MIN_EXPLAINED):
        return []
    if classes <= FEW_CLASSES and (
        len(pixels) > 1 or _neighbour_fraction(x, part.y, pixels[0], width) > MAX_NEIGHBOUR_FRACTION
    ):
        return []
    evidence: Evidence = {
        "pixels": len(pixels),
        "rows_and_columns": _places(pixels, height, width),
        "labels_told_by_these_alone": fraction,
        "examples": len(part),
    }
    cause = "a few pixels determine the label: a mark, a border or a number in the images"
    return [Finding(NAME, "train", evidence | _accuracy_without(case, pixels), cause, FIX)]


def _mark_of_classes(case: Case, x: Tensor) -> Finding | None:
    """Return a finding if pixels are the same in all images of some classes, and a trained model relies on them.

    Other images must hardly have the same value there. x: the pixels of the sample's images, (N, P).
    """
    y = case.sample.y
    labels, index, counts = y.unique(return_inverse=True, return_counts=True)
    if case.class_predictions is None or int(counts.min()) < MIN_CLASS_EXAMPLES:
        return None
    lowest, highest = (torch.stack([getattr(x[y == label], name)(0) for label in labels]) for name in ("amin", "amax"))
    is_constant = lowest == highest  # (classes, P)
    value = lowest.gather(0, is_constant.float().argmax(0, keepdim=True))  # of the first class that is constant, (1, P)
    is_marked = is_constant & (lowest == value)
    is_other = ~is_marked[index]
    alike = ((x == value) & is_other).sum(0) / is_other.sum(0).clamp_min(1)
    pixels = (is_marked.any(0) & ~is_marked.all(0) & (alike <= MAX_ALIKE_FRACTION)).nonzero().flatten().tolist()
    accuracies = _accuracy_without(case, pixels) if pixels else {}
    if not accuracies or accuracies["accuracy"] - accuracies[WITHOUT_PIXELS] < MIN_ACCURACY_LOSS:
        return None
    marked = labels[is_marked[:, pixels].any(1)].tolist()
    evidence: Evidence = {
        "pixels": len(pixels), "first_rows_and_columns": _places(pixels[:MAX_PIXELS], *case.sample.x.shape[2:]),
        "classes_with_the_mark": len(marked), "first_class_with_the_mark": case.class_name(marked[0]),
    }  # fmt: skip
    cause = "all images of some classes have the same mark, such as a logo or a border, and the model recognises it"
    return Finding(NAME, "train", evidence | accuracies, cause, FIX)


def _places(pixels: list[int], height: int, width: int) -> str:
    return ", ".join(f"{pixel % (height * width) // width}:{pixel % width}" for pixel in pixels)


def _likelihoods(x: Tensor, y: Tensor) -> Tensor:
    """Return ln p(bin | class) for P pixels, the n examples of the second half and K classes, (P, n, K).

    The probabilities are estimated from the first half. x: (N, P). y: (N,).
    """
    n, n_classes = len(x) // 2, int(y.max()) + 1
    low, high = x.amin(0), x.amax(0)
    bins = ((x - low) / (high - low).clamp_min(1e-12) * (BINS - 1)).round().long()  # (N, P)
    one_hot = F.one_hot(y[:n], n_classes).float()  # (n, K)
    counts = torch.stack([one_hot.t() @ (bins[:n] == k).float() for k in range(BINS)], 2) + 1 / BINS  # (K, P, BINS)
    log_p = (counts / counts.sum(2, keepdim=True)).log()
    return log_p.permute(1, 2, 0).gather(1, bins[n:].t()[:, :, None].expand(-1, -1, n_classes))


def _select_pixels(x: Tensor, y: Tensor, max_pixels: int) -> tuple[list[int], float]:
    """Return the indices of at most `max_pixels` pixels that predict the labels best, and their accuracy.

    The pixels are chosen greedily; the accuracy is that on the second half of the examples. x: (N, P). y: (N,).
    """
    n = len(x) // 2
    varying = (x.amax(0) > x.amin(0)).nonzero().flatten()
    fit_x, labels = x[:n, varying], y[:n]
    variance = fit_x.var(0, correction=0)
    centres = torch.stack([fit_x[labels == label].mean(0) for label in labels.unique()])
    ratio = centres.var(0, correction=0) / variance.clamp_min(1e-12)
    candidates = varying[ratio.argsort(descending=True)[:MAX_CANDIDATES]]
    if not len(candidates):
        return [], 0.0
    log_likelihoods = _likelihoods(x[:, candidates], y)  # (P, n, K)
    prior = torch.log(F.one_hot(labels, log_likelihoods.shape[2]).float().sum(0) + 1e-6)
    scores, selected, best_accuracy = prior.expand(log_likelihoods.shape[1:]), list[int](), 0.0
    for _ in range(max_pixels):
        accuracies = ((scores + log_likelihoods).argmax(2) == y[n:]).float().mean(1)
        index = int(accuracies.argmax())
        if float(accuracies[index]) <= best_accuracy:
            break
        best_accuracy, scores = float(accuracies[index]), scores + log_likelihoods[index]
        selected.append(int(candidates[index]))
    return selected, best_accuracy


def _neighbour_fraction(x: Tensor, y: Tensor, pixel: int, width: int) -> float:
    """Return the largest accuracy of predictions from one of the four pixels next to `pixel`."""
    neighbours = (pixel - width, pixel - 1, pixel + 1, pixel + width)
    return _select_pixels(x[:, [index for index in neighbours if 0 <= index < x.shape[1]]], y, 1)[1]


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
    explains=("overfitting", "miscalibration", "shuffled-labels"),
)  # fmt: skip
