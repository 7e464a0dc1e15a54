"""Test cases of the losses: every option, targets of all kinds, ties, and the value of each loss in PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.losses import (
    L1,
    BinaryCrossEntropy,
    Dice,
    Focal,
    GIoU,
    Hinge,
    Huber,
    NegativeLogLikelihood,
    ProbabilityCrossEntropy,
    Quadratic,
    QualityFocal,
    SoftmaxCrossEntropy,
)
from tests.losses.keypoint_cases import KEYPOINT_CASES, Case, outputs

N_CLASSES = 5
CLASS_WEIGHTS = (0.5, 1.0, 2.0, 0.25, 3.0)


def classes(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, N_CLASSES, shape, generator=torch.Generator().manual_seed(seed))


def probabilities(*shape: int) -> Tensor:
    return outputs(*shape, seed=2).softmax(1)


def fractions(*shape: int) -> Tensor:
    return outputs(*shape, seed=3).sigmoid()


def one_hot(target: Tensor, count: int = N_CLASSES) -> Tensor:
    return F.one_hot(target, count).movedim(-1, 1).double()


def with_ignored(target: Tensor) -> Tensor:
    return torch.where(torch.arange(target.numel()).view(target.shape) % 3 == 0, -7, target)


def half_squares(y: Tensor, t: Tensor) -> Tensor:
    return 0.5 * F.mse_loss(y, t, reduction="sum") / len(y)


def weights() -> Tensor:
    return torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)


def per_channel(weight: Tensor) -> Tensor:
    return weight.view(-1, 1, 1)


def focal(y: Tensor, t: Tensor, gamma: float, weight: Tensor | None = None, ignore: int = -100) -> Tensor:
    """Return the weighted mean of the focal loss over the positions with a target other than `ignore`."""
    is_scored = t != ignore
    p = y.softmax(1).movedim(1, -1)[is_scored]  # (n, C)
    true_class_p = p[range(len(p)), t[is_scored]]
    w = torch.ones_like(true_class_p) if weight is None else weight[t[is_scored]]
    return -(w * (1 - true_class_p) ** gamma * true_class_p.log()).sum() / w.sum()


def dice(y: Tensor, t: Tensor, weight: Tensor | None = None, ignore: int = -100) -> Tensor:
    """Return the Dice loss, the weighted mean over the classes that occur, by a loop over these classes."""
    is_scored = t != ignore
    p, t = y.softmax(1).movedim(1, -1)[is_scored], t[is_scored]
    total, weight_sum = torch.zeros((), dtype=y.dtype), 0.0
    for c in t.unique().tolist():
        w = 1.0 if weight is None else float(weight[c])
        total = total + w * (1 - 2 * p[t == c, c].sum() / (p[:, c].sum() + (t == c).sum()))
        weight_sum += w
    return total / weight_sum


def quality_focal(y: Tensor, t: Tensor, beta: float = 2.0) -> Tensor:
    """Return the quality focal loss of each output: the cross-entropy times the modulating factor."""
    return (t - y.sigmoid()).abs() ** beta * F.binary_cross_entropy_with_logits(y, t, reduction="none")


def boxes(count: int, seed: int) -> Tensor:
    low = outputs(count, 2, seed=seed)
    return torch.cat([low, low + 0.5 + 2 * outputs(count, 2, seed=seed + 1).abs()], 1)


def giou(y: Tensor, t: Tensor) -> Tensor:
    """Return 1 - GIoU of each box: 1 - IoU plus the fraction of the hull outside of both boxes."""
    area = (y[:, 2] - y[:, 0]) * (y[:, 3] - y[:, 1]) + (t[:, 2] - t[:, 0]) * (t[:, 3] - t[:, 1])
    sides = [(torch.minimum(y[:, k + 2], t[:, k + 2]) - torch.maximum(y[:, k], t[:, k])).clamp(min=0) for k in (0, 1)]
    hull = [torch.maximum(y[:, k + 2], t[:, k + 2]) - torch.minimum(y[:, k], t[:, k]) for k in (0, 1)]
    intersection, hull_area = sides[0] * sides[1], hull[0] * hull[1]
    return 1 - intersection / (area - intersection) + (hull_area - area + intersection) / hull_area


IMAGE_SHAPE = (2, N_CLASSES, 3, 4)
MASK_SHAPE = (2, 3, 4)
CASES: dict[str, Case] = {
    **KEYPOINT_CASES,
    "quadratic": (Quadratic(), outputs(7, 4), outputs(7, 4, seed=9), half_squares),
    "mean squared error": (Quadratic("mean", factor=1.0), outputs(7, 4), outputs(7, 4, seed=9), F.mse_loss),
    "quadratic classes": (Quadratic(), outputs(7, N_CLASSES), classes(7), lambda y, t: half_squares(y, one_hot(t))),
    "quadratic pixels": (
        Quadratic(),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE),
        lambda y, t: half_squares(y, one_hot(t)),
    ),
    "quadratic words": (Quadratic(), outputs(2, N_CLASSES, 4), classes(2, 4), lambda y, t: half_squares(y, one_hot(t))),
    "quadratic many classes": (
        Quadratic(),
        outputs(3, 2000),
        classes(3) * 399,
        lambda y, t: half_squares(y, one_hot(t, 2000)),
    ),
    "quadratic mean": (
        Quadratic(reduction="mean"),
        outputs(*IMAGE_SHAPE),
        outputs(*IMAGE_SHAPE, seed=9),
        lambda y, t: 0.5 * F.mse_loss(y, t),
    ),
    "quadratic sum": (
        Quadratic(reduction="sum"),
        outputs(3, 2),
        outputs(3, 2, seed=9),
        lambda y, t: 0.5 * F.mse_loss(y, t, reduction="sum"),
    ),
    "quadratic one output": (
        Quadratic(),
        outputs(7, 1),
        outputs(7, seed=9),
        lambda y, t: half_squares(y, t.unsqueeze(1)),
    ),
    "l1": (L1(), outputs(7, 4), outputs(7, 4, seed=9), F.l1_loss),
    "l1 ties": (L1(), torch.zeros(3, 2).double(), torch.tensor([[0, 1], [0, -2], [0, 0]]).double(), F.l1_loss),
    "l1 batch": (
        L1(reduction="batch"),
        outputs(7, 4),
        outputs(7, 4, seed=9),
        lambda y, t: F.l1_loss(y, t, reduction="sum") / 7,
    ),
    "huber": (Huber(), outputs(7, 4), outputs(7, 4, seed=9), F.huber_loss),
    "huber sum": (
        Huber(delta=2.5, reduction="sum"),
        outputs(7, 4),
        outputs(7, 4, seed=9),
        lambda y, t: F.huber_loss(y, t, reduction="sum", delta=2.5),
    ),
    "probabilities": (ProbabilityCrossEntropy(), fractions(7, 4), fractions(7, 4) ** 2, F.binary_cross_entropy),
    "weighted probabilities": (
        ProbabilityCrossEntropy("sum", CLASS_WEIGHTS),
        fractions(7, N_CLASSES),
        one_hot(classes(7)),
        lambda y, t: F.binary_cross_entropy(y, t, weights(), reduction="sum"),
    ),
    "bce": (
        BinaryCrossEntropy(),
        outputs(7, 4),
        fractions(7, 4),
        lambda y, t: F.binary_cross_entropy_with_logits(y, t, reduction="sum") / 7,
    ),
    "bce mean": (
        BinaryCrossEntropy(reduction="mean"),
        outputs(*IMAGE_SHAPE),
        fractions(*IMAGE_SHAPE),
        F.binary_cross_entropy_with_logits,
    ),
    "bce classes": (
        BinaryCrossEntropy(),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.binary_cross_entropy_with_logits(y, one_hot(t), reduction="sum") / 7,
    ),
    "bce yes or no": (
        BinaryCrossEntropy(),
        outputs(7, 1),
        classes(7) % 2,
        lambda y, t: F.binary_cross_entropy_with_logits(y, t.double().unsqueeze(1)),
    ),
    "bce pos_weight": (
        BinaryCrossEntropy(pos_weight=2.5, reduction="mean"),
        outputs(7, 4),
        fractions(7, 4),
        lambda y, t: F.binary_cross_entropy_with_logits(y, t, pos_weight=torch.tensor(2.5).double()),
    ),
    "bce pos_weight for each output": (
        BinaryCrossEntropy(pos_weight=CLASS_WEIGHTS, reduction="sum"),
        outputs(7, N_CLASSES),
        fractions(7, N_CLASSES),
        lambda y, t: F.binary_cross_entropy_with_logits(y, t, pos_weight=weights(), reduction="sum"),
    ),
    "bce weights": (
        BinaryCrossEntropy(reduction="mean", class_weights=CLASS_WEIGHTS),
        outputs(7, N_CLASSES),
        fractions(7, N_CLASSES),
        lambda y, t: F.binary_cross_entropy_with_logits(y, t, weights()),
    ),
    "bce everything": (
        BinaryCrossEntropy(CLASS_WEIGHTS[::-1], "batch", CLASS_WEIGHTS),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE),
        lambda y, t: (
            F.binary_cross_entropy_with_logits(
                y, one_hot(t), per_channel(weights()), reduction="sum", pos_weight=per_channel(weights().flip(0))
            )
            / 2
        ),
    ),
    "softmax": (SoftmaxCrossEntropy(), outputs(7, N_CLASSES), classes(7), F.cross_entropy),
    "softmax pixels": (SoftmaxCrossEntropy(), outputs(*IMAGE_SHAPE), classes(*MASK_SHAPE), F.cross_entropy),
    "softmax words": (SoftmaxCrossEntropy(), outputs(2, N_CLASSES, 4), classes(2, 4), F.cross_entropy),
    "softmax soft": (SoftmaxCrossEntropy(), outputs(7, N_CLASSES), probabilities(7, N_CLASSES), F.cross_entropy),
    "softmax soft pixels": (SoftmaxCrossEntropy(), outputs(*IMAGE_SHAPE), probabilities(*IMAGE_SHAPE), F.cross_entropy),
    "softmax smooth": (
        SoftmaxCrossEntropy(label_smoothing=0.1),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.cross_entropy(y, t, label_smoothing=0.1),
    ),
    "softmax weights": (
        SoftmaxCrossEntropy(class_weights=CLASS_WEIGHTS),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE),
        lambda y, t: F.cross_entropy(y, t, weights()),
    ),
    "softmax ignore": (
        SoftmaxCrossEntropy(ignore=-7),
        outputs(*IMAGE_SHAPE),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: F.cross_entropy(y, t, ignore_index=-7),
    ),
    "softmax ignore a class": (
        SoftmaxCrossEntropy(ignore=0),
        outputs(9, N_CLASSES),
        classes(9),
        lambda y, t: F.cross_entropy(y, t, ignore_index=0),
    ),
    "softmax smooth soft weights": (
        SoftmaxCrossEntropy(label_smoothing=0.2, class_weights=CLASS_WEIGHTS),
        outputs(*IMAGE_SHAPE),
        probabilities(*IMAGE_SHAPE),
        lambda y, t: F.cross_entropy(y, t, weights(), label_smoothing=0.2),
    ),
    "softmax everything": (
        SoftmaxCrossEntropy(label_smoothing=0.2, class_weights=CLASS_WEIGHTS, ignore=-7),
        outputs(*IMAGE_SHAPE),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: F.cross_entropy(y, t, weights(), ignore_index=-7, label_smoothing=0.2),
    ),
    "softmax sum": (
        SoftmaxCrossEntropy(reduction="sum"),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.cross_entropy(y, t, reduction="sum"),
    ),
    "softmax batch": (
        SoftmaxCrossEntropy(reduction="batch"),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE),
        lambda y, t: F.cross_entropy(y, t, reduction="sum") / 2,
    ),
    "softmax soft sum": (
        SoftmaxCrossEntropy(class_weights=CLASS_WEIGHTS, reduction="sum"),
        outputs(*IMAGE_SHAPE),
        probabilities(*IMAGE_SHAPE),
        lambda y, t: F.cross_entropy(y, t, weights(), reduction="sum"),
    ),
    "softmax soft batch": (
        SoftmaxCrossEntropy(reduction="batch"),
        outputs(*IMAGE_SHAPE),
        probabilities(*IMAGE_SHAPE),
        lambda y, t: F.cross_entropy(y, t, reduction="sum") / 2,
    ),
    "softmax one class ignore": (
        SoftmaxCrossEntropy(ignore=-7),
        outputs(7, 1),
        with_ignored(0 * classes(7)),
        lambda y, t: F.cross_entropy(y, t, ignore_index=-7),
    ),
    "softmax everything batch": (
        SoftmaxCrossEntropy(0.2, CLASS_WEIGHTS, -7, "batch"),
        outputs(*IMAGE_SHAPE),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: F.cross_entropy(y, t, weights(), ignore_index=-7, label_smoothing=0.2, reduction="sum") / 2,
    ),
    "softmax many classes": (SoftmaxCrossEntropy(), outputs(3, 2000), classes(3) * 399, F.cross_entropy),
    "nll": (NegativeLogLikelihood(), outputs(7, N_CLASSES).log_softmax(1), classes(7), F.nll_loss),
    "nll everything": (
        NegativeLogLikelihood(class_weights=CLASS_WEIGHTS, ignore=-7),
        outputs(*IMAGE_SHAPE).log_softmax(1),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: F.nll_loss(y, t, weights(), ignore_index=-7),
    ),
    "nll everything sum": (
        NegativeLogLikelihood(CLASS_WEIGHTS, -7, "sum"),
        outputs(*IMAGE_SHAPE).log_softmax(1),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: F.nll_loss(y, t, weights(), ignore_index=-7, reduction="sum"),
    ),
    "nll batch": (
        NegativeLogLikelihood(reduction="batch"),
        outputs(*IMAGE_SHAPE).log_softmax(1),
        classes(*MASK_SHAPE),
        lambda y, t: F.nll_loss(y, t, reduction="sum") / 2,
    ),
    "hinge": (Hinge(), outputs(7, N_CLASSES), classes(7), F.multi_margin_loss),
    "hinge at the margin": (
        Hinge(),
        torch.tensor([[1.0, 0.0, 0.5]]).double(),
        torch.tensor([0]),
        F.multi_margin_loss,
    ),
    "hinge squared": (
        Hinge(margin=2.0, power=2),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.multi_margin_loss(y, t, p=2, margin=2.0),
    ),
    "hinge weights": (
        Hinge(class_weights=CLASS_WEIGHTS),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.multi_margin_loss(y, t, weight=weights()),
    ),
    "hinge squared weights sum": (
        Hinge(0.7, 2, CLASS_WEIGHTS, "sum"),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.multi_margin_loss(y, t, 2, 0.7, weights(), reduction="sum") * N_CLASSES,
    ),
    "hinge batch": (
        Hinge(reduction="batch"),
        outputs(7, N_CLASSES),
        classes(7),
        lambda y, t: F.multi_margin_loss(y, t) * N_CLASSES,
    ),
    "focal": (Focal(), outputs(7, N_CLASSES), classes(7), lambda y, t: focal(y, t, 2.0)),
    "focal without focus": (Focal(0.0), outputs(*IMAGE_SHAPE), classes(*MASK_SHAPE), F.cross_entropy),
    "focal linear": (Focal(1.0), outputs(*IMAGE_SHAPE), classes(*MASK_SHAPE), lambda y, t: focal(y, t, 1.0)),
    "focal everything": (
        Focal(1.5, CLASS_WEIGHTS, -7),
        outputs(*IMAGE_SHAPE),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: focal(y, t, 1.5, weights(), -7),
    ),
    "focal batch": (
        Focal(reduction="batch"),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE),
        lambda y, t: focal(y, t, 2.0) * 3 * 4,
    ),
    "dice": (Dice(), outputs(7, N_CLASSES), classes(7), dice),
    "dice pixels": (Dice(), outputs(*IMAGE_SHAPE), classes(*MASK_SHAPE), dice),
    "dice a class missing": (Dice(), outputs(*IMAGE_SHAPE), classes(*MASK_SHAPE) % 3, dice),
    "dice weights and a class missing": (
        Dice(CLASS_WEIGHTS),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE) % 3,
        lambda y, t: dice(y, t, weights()),
    ),
    "dice everything": (
        Dice(CLASS_WEIGHTS, -7),
        outputs(*IMAGE_SHAPE),
        with_ignored(classes(*MASK_SHAPE)),
        lambda y, t: dice(y, t, weights(), -7),
    ),
    "quality focal": (QualityFocal(), outputs(7, 4), fractions(7, 4), lambda y, t: quality_focal(y, t).mean()),
    "quality focal classes": (
        QualityFocal(1.5, "batch"),
        outputs(*IMAGE_SHAPE),
        classes(*MASK_SHAPE),
        lambda y, t: quality_focal(y, one_hot(t), 1.5).sum() / 2,
    ),
    "quality focal linear": (
        QualityFocal(1.0, "sum"),
        outputs(7, 4),
        fractions(7, 4),
        lambda y, t: quality_focal(y, t, 1.0).sum(),
    ),
    "giou": (GIoU(), boxes(40, 5), boxes(40, 7), lambda y, t: giou(y, t).mean()),
    "giou sum": (GIoU("sum"), boxes(9, 5), boxes(9, 5) + 0.1, lambda y, t: giou(y, t).sum()),
    "giou ties": (
        GIoU(),
        torch.tensor([[0.0, 0, 4, 4], [0, 1, 4, 4], [2, 2, 3, 4]]).double(),
        torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 4], [0, 1, 3, 3]]).double(),
        lambda y, t: giou(y, t).mean(),
    ),
    "giou of inverted boxes": (
        GIoU(),
        torch.cat([boxes(20, 5)[:, [2, 1, 0, 3]], boxes(20, 6)[:, [0, 3, 2, 1]], boxes(20, 9)[:, [2, 3, 0, 1]]]),
        boxes(60, 7),
        lambda y, t: giou(torch.cat([y[:, :2].minimum(y[:, 2:]), y[:, :2].maximum(y[:, 2:])], 1), t).mean(),
    ),
    "batch of one": (SoftmaxCrossEntropy(), outputs(1, N_CLASSES), classes(1), F.cross_entropy),
}
