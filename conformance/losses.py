"""Trials of our losses on the samples of PyTorch's loss functions and loss modules.

Cases with the reduction "none" are skipped, because our losses return one number. All weights are at least 0.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from conformance.case import SkipCase
from conformance.trial import ForwardPass, Trial
from pellucid.losses import (
    L1,
    BinaryCrossEntropy,
    Hinge,
    Huber,
    NegativeLogLikelihood,
    Quadratic,
    SoftmaxCrossEntropy,
)
from pellucid.losses.base import Reduction

ComputeLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (y, target) to (value, dy), like our losses
Reference = Callable[[], Tensor]


def loss_trial(
    compute: ComputeLoss,
    y: Tensor,
    target: Tensor,
    reference: Reference,
    shape: Sequence[int] | None = None,
    factor: float = 1.0,
) -> Trial:
    """Return the trial of `factor` times our loss, which receives y reshaped to `shape` and the target unchanged."""

    def forward() -> ForwardPass:
        value, dy = compute(y.reshape(y.shape if shape is None else tuple(shape)), target)
        return ForwardPass((value * factor,), lambda dy_above: {"y": dy.reshape(y.shape) * factor * dy_above})

    return Trial({"y": y}, lambda: (reference(),), forward)


def as_reduction(reduction: str) -> Reduction:
    """Return a reduction that our losses have too, unchanged; raise SkipCase for any other."""
    match reduction:
        case "mean" | "sum":
            return reduction
        case _:
            raise SkipCase(f"option reduction='{reduction}'")


def batched_shape(y: Tensor) -> tuple[int, ...]:
    """Return y's shape, or (1, 1) for a tensor without axes: one example with one output."""
    return tuple(y.shape) or (1, 1)


def weight_tuple(weight: Tensor | None) -> tuple[float, ...] | None:
    """Return weights as a tuple, the form that our losses take."""
    return None if weight is None else tuple(weight.tolist())


def mse_loss(reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean") -> Trial:
    """Return the trial of 2 x Quadratic on a sample of mse_loss."""
    shape = batched_shape(y)
    return loss_trial(Quadratic(as_reduction(reduction)), y, target.reshape(shape), reference, shape, 2.0)


def l1_loss(reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean") -> Trial:
    """Return the trial of L1 on a sample of l1_loss."""
    shape = batched_shape(y)
    return loss_trial(L1(as_reduction(reduction)), y, target.reshape(shape), reference, shape)


def huber_loss(reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Trial:
    """Return the trial of Huber on a sample of huber_loss."""
    shape = batched_shape(y)
    return loss_trial(Huber(delta, as_reduction(reduction)), y, target.reshape(shape), reference, shape)


def smooth_l1_loss(
    reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Trial:
    """Return the trial of Huber / beta on a sample of smooth_l1_loss."""
    if not beta:
        raise SkipCase("beta=0, which is L1")
    shape = batched_shape(y)
    return loss_trial(Huber(beta, as_reduction(reduction)), y, target.reshape(shape), reference, shape, 1 / beta)


def cross_entropy(
    reference: Reference,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Trial:
    """Return the trial of SoftmaxCrossEntropy on a sample of cross_entropy."""
    ignore = None if ignore_index == -100 else ignore_index
    loss = SoftmaxCrossEntropy(label_smoothing, weight_tuple(weight), ignore, as_reduction(reduction))
    return class_trial(reference, y, target, loss)


def nll_loss(
    reference: Reference,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Trial:
    """Return the trial of NegativeLogLikelihood on a sample of nll_loss."""
    ignore = None if ignore_index == -100 else ignore_index
    return class_trial(
        reference, y, target, NegativeLogLikelihood(weight_tuple(weight), ignore, as_reduction(reduction))
    )


def class_trial(reference: Reference, y: Tensor, target: Tensor, loss: ComputeLoss) -> Trial:
    """Return the trial of a loss whose target is a class, or a distribution over the classes, for each position."""
    if y.dim() > 1:
        return loss_trial(loss, y, target, reference)
    return loss_trial(loss, y, target.unsqueeze(0), reference, (1, *y.shape))


def binary_cross_entropy_with_logits(
    reference: Reference,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Trial:
    """Return the trial of BinaryCrossEntropy on a sample of binary_cross_entropy_with_logits."""
    return binary_trial(reference, y, target, weight, as_reduction(reduction), pos_weight)


def binary_trial(
    reference: Reference,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: Reduction,
    pos_weight: Tensor | None = None,
) -> Trial:
    """Return the trial of BinaryCrossEntropy; with the reduction "batch", divided by the number of outputs.

    Our loss has one weight for each output. If the sample has one for each value, all values become the outputs of
    one example.
    """
    shape = batched_shape(y)
    if weight is not None and (weight.dim() > 1 or len(shape) != 2):
        shape, weight = (1, y.numel()), weight.expand_as(y).reshape(-1)
        pos_weight = None if pos_weight is None else pos_weight.expand_as(y).reshape(-1)
    elif weight is not None:
        weight = weight.expand(shape[1])
    loss = BinaryCrossEntropy(weight_tuple(pos_weight) or 1.0, reduction, weight_tuple(weight))
    factor = 1 / math.prod(shape[1:]) if reduction == "batch" else 1.0
    return loss_trial(loss, y, target.reshape(shape), reference, shape, factor)


def binary_cross_entropy(
    reference: Reference, y: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Trial:
    """Return the trial of BinaryCrossEntropy on a sample of binary_cross_entropy, whose y are probabilities.

    Our loss receives the logits ln(y / (1 - y)); its gradient is divided by y (1 - y), by the chain rule.
    """
    logits = binary_cross_entropy_with_logits(reference, y.logit(), target, weight, reduction)

    def forward() -> ForwardPass:
        outputs, backward = logits.forward()
        return ForwardPass(outputs, lambda dy_above: {"y": backward(dy_above)["y"] / (y * (1 - y))})

    return Trial({"y": y}, logits.reference, forward)


def multilabel_soft_margin_loss(
    reference: Reference, y: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Trial:
    """Return the trial of BinaryCrossEntropy on a sample of multilabel_soft_margin_loss.

    The loss is the mean over the classes, then over the batch.
    """
    if reduction != "mean":
        raise SkipCase(f"option reduction='{reduction}'")
    return binary_trial(reference, y, target, weight, "batch")


def multi_margin_loss(
    reference: Reference,
    y: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Trial:
    """Return the trial of Hinge on a sample of multi_margin_loss; the reduction "sum" adds means over the classes."""
    if margin <= 0:
        raise SkipCase("margin below 0")
    loss_reduction = as_reduction(reduction)
    shape = y.shape if y.dim() > 1 else (1, y.numel())

    loss = Hinge(float(margin), p, weight_tuple(weight), loss_reduction)  # pyright: ignore[reportArgumentType]
    return loss_trial(loss, y, target.reshape(-1), reference, shape, 1 / shape[1] if loss_reduction == "sum" else 1.0)
