"""How PyTorch's losses are put to ours, for samples of its functions and of its modules.

Theirs may return the losses one by one (reduction "none"); ours are always one number. No weight here is below 0.
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

ComputeLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (y, target) to (value, dy), as a loss of ours
Reference = Callable[[], Tensor]


def loss_trial(
    compute: ComputeLoss,
    y: Tensor,
    target: Tensor,
    reference: Reference,
    shape: Sequence[int] | None = None,
    factor: float = 1.0,
) -> Trial:
    """Return the trial of `factor` x our loss, which takes y in `shape`, and the target as given."""

    def forward() -> ForwardPass:
        value, dy = compute(y.reshape(y.shape if shape is None else tuple(shape)), target)
        return ForwardPass((value * factor,), lambda dy_above: {"y": dy.reshape(y.shape) * factor * dy_above})

    return Trial({"y": y}, lambda: (reference(),), forward)


def as_reduction(reduction: str) -> Reduction:
    """Return the reduction as ours are called."""
    match reduction:
        case "mean" | "sum":
            return reduction
        case _:
            raise SkipCase(f"option reduction='{reduction}'")


def batched_shape(y: Tensor) -> tuple[int, ...]:
    """Return y's shape, or that of one example with one output for a number alone."""
    return tuple(y.shape) or (1, 1)


def weight_tuple(weight: Tensor | None) -> tuple[float, ...] | None:
    """Return weights as ours take them."""
    return None if weight is None else tuple(weight.tolist())


def mse_loss(reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean") -> Trial:
    """Put a sample of mse_loss to Quadratic, which is half of it."""
    shape = batched_shape(y)
    return loss_trial(Quadratic(as_reduction(reduction)), y, target.reshape(shape), reference, shape, 2.0)


def l1_loss(reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean") -> Trial:
    """Put a sample of l1_loss to L1."""
    shape = batched_shape(y)
    return loss_trial(L1(as_reduction(reduction)), y, target.reshape(shape), reference, shape)


def huber_loss(reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Trial:
    """Put a sample of huber_loss to Huber."""
    shape = batched_shape(y)
    return loss_trial(Huber(delta, as_reduction(reduction)), y, target.reshape(shape), reference, shape)


def smooth_l1_loss(
    reference: Reference, y: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Trial:
    """Put a sample of smooth_l1_loss to Huber, which is beta times it."""
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
    """Put a sample of cross_entropy to SoftmaxCrossEntropy."""
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
    """Put a sample of nll_loss to NegativeLogLikelihood."""
    ignore = None if ignore_index == -100 else ignore_index
    return class_trial(
        reference, y, target, NegativeLogLikelihood(weight_tuple(weight), ignore, as_reduction(reduction))
    )


def class_trial(reference: Reference, y: Tensor, target: Tensor, loss: ComputeLoss) -> Trial:
    """Return the trial of a loss with a class for each position, or a distribution over them."""
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
    """Put a sample of binary_cross_entropy_with_logits to BinaryCrossEntropy."""
    return binary_trial(reference, y, target, weight, as_reduction(reduction), pos_weight)


def binary_trial(
    reference: Reference,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: Reduction,
    pos_weight: Tensor | None = None,
) -> Trial:
    """Return the trial of BinaryCrossEntropy in a reduction of ours; "batch" is divided by the outputs afterwards.

    Ours has weights for the outputs, not for every value: where the sample weighs every value, all of them count as
    the outputs of one example.
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
    """Put a sample of binary_cross_entropy to BinaryCrossEntropy, which starts from ln(y / (1 - y)).

    Its gradient is divided by y (1 - y), by the chain rule.
    """
    logits = binary_cross_entropy_with_logits(reference, y.logit(), target, weight, reduction)

    def forward() -> ForwardPass:
        outputs, backward = logits.forward()
        return ForwardPass(outputs, lambda dy_above: {"y": backward(dy_above)["y"] / (y * (1 - y))})

    return Trial({"y": y}, logits.reference, forward)


def multilabel_soft_margin_loss(
    reference: Reference, y: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Trial:
    """Put a sample of multilabel_soft_margin_loss to BinaryCrossEntropy: the mean over the classes, then the batch."""
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
    """Put a sample of multi_margin_loss to Hinge; its sum is over the batch, with the mean over the classes."""
    if margin <= 0:
        raise SkipCase("margin below 0")
    loss_reduction = as_reduction(reduction)
    shape = y.shape if y.dim() > 1 else (1, y.numel())

    loss = Hinge(float(margin), p, weight_tuple(weight), loss_reduction)  # pyright: ignore[reportArgumentType]
    return loss_trial(loss, y, target.reshape(-1), reference, shape, 1 / shape[1] if loss_reduction == "sum" else 1.0)
