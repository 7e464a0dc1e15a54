"""How PyTorch's losses are put to ours, for samples of its functions and of its modules.

Theirs may return the losses one by one (reduction "none"); ours are always one number. No weight here is below 0.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from conformance.case import SkipCase
from conformance.trial import Ours, Trial
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

Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (y, target) to (value, dy), as a loss of ours
Theirs = Callable[[], Tensor]


def trial_of(
    compute: Compute,
    y: Tensor,
    target: Tensor,
    theirs: Theirs,
    shape: Sequence[int] | None = None,
    factor: float = 1.0,
) -> Trial:
    """Return the trial of `factor` x our loss, which takes y in `shape`, and the target as given."""

    def ours() -> Ours:
        value, dy = compute(y.reshape(y.shape if shape is None else tuple(shape)), target)
        return Ours((value * factor,), lambda above: {"y": dy.reshape(y.shape) * factor * above})

    return Trial({"y": y}, lambda: (theirs(),), ours)


def reduced(reduction: str) -> Reduction:
    """Return the reduction as ours are called."""
    match reduction:
        case "mean" | "sum":
            return reduction
        case _:
            raise SkipCase(f"option reduction='{reduction}'")


def batched(y: Tensor) -> tuple[int, ...]:
    """Return y's shape, or that of one example with one output for a number alone."""
    return tuple(y.shape) or (1, 1)


def listed(weight: Tensor | None) -> tuple[float, ...] | None:
    """Return weights as ours take them."""
    return None if weight is None else tuple(weight.tolist())


def mse_loss(theirs: Theirs, y: Tensor, target: Tensor, reduction: str = "mean") -> Trial:
    """Put a sample of mse_loss to Quadratic, which is half of it."""
    shape = batched(y)
    return trial_of(Quadratic(reduced(reduction)), y, target.reshape(shape), theirs, shape, 2.0)


def l1_loss(theirs: Theirs, y: Tensor, target: Tensor, reduction: str = "mean") -> Trial:
    """Put a sample of l1_loss to L1."""
    shape = batched(y)
    return trial_of(L1(reduced(reduction)), y, target.reshape(shape), theirs, shape)


def huber_loss(theirs: Theirs, y: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Trial:
    """Put a sample of huber_loss to Huber."""
    shape = batched(y)
    return trial_of(Huber(delta, reduced(reduction)), y, target.reshape(shape), theirs, shape)


def smooth_l1_loss(theirs: Theirs, y: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Trial:
    """Put a sample of smooth_l1_loss to Huber, which is beta times it."""
    if not beta:
        raise SkipCase("beta=0, which is L1")
    shape = batched(y)
    return trial_of(Huber(beta, reduced(reduction)), y, target.reshape(shape), theirs, shape, 1 / beta)


def cross_entropy(
    theirs: Theirs,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Trial:
    """Put a sample of cross_entropy to SoftmaxCrossEntropy."""
    ignore = None if ignore_index == -100 else ignore_index
    loss = SoftmaxCrossEntropy(label_smoothing, listed(weight), ignore, reduced(reduction))
    return class_trial(theirs, y, target, loss)


def nll_loss(
    theirs: Theirs,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Trial:
    """Put a sample of nll_loss to NegativeLogLikelihood."""
    ignore = None if ignore_index == -100 else ignore_index
    return class_trial(theirs, y, target, NegativeLogLikelihood(listed(weight), ignore, reduced(reduction)))


def class_trial(theirs: Theirs, y: Tensor, target: Tensor, loss: Compute) -> Trial:
    """Return the trial of a loss with a class for each position, or a distribution over them."""
    if y.dim() > 1:
        return trial_of(loss, y, target, theirs)
    return trial_of(loss, y, target.unsqueeze(0), theirs, (1, *y.shape))


def cross_entropy_of_yes(
    theirs: Theirs,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Trial:
    """Put a sample of binary_cross_entropy_with_logits to BinaryCrossEntropy."""
    return yes_trial(theirs, y, target, weight, reduced(reduction), pos_weight)


def yes_trial(
    theirs: Theirs,
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
    shape = batched(y)
    if weight is not None and (weight.dim() > 1 or len(shape) != 2):
        shape, weight = (1, y.numel()), weight.expand_as(y).reshape(-1)
        pos_weight = None if pos_weight is None else pos_weight.expand_as(y).reshape(-1)
    elif weight is not None:
        weight = weight.expand(shape[1])
    loss = BinaryCrossEntropy(listed(pos_weight) or 1.0, reduction, listed(weight))
    factor = 1 / math.prod(shape[1:]) if reduction == "batch" else 1.0
    return trial_of(loss, y, target.reshape(shape), theirs, shape, factor)


def binary_cross_entropy(
    theirs: Theirs, y: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Trial:
    """Put a sample of binary_cross_entropy to BinaryCrossEntropy, which starts from ln(y / (1 - y)).

    Its gradient is divided by y (1 - y), by the chain rule.
    """
    logits = cross_entropy_of_yes(theirs, y.logit(), target, weight, reduction)

    def ours() -> Ours:
        outputs, pull = logits.ours()
        return Ours(outputs, lambda above: {"y": pull(above)["y"] / (y * (1 - y))})

    return Trial({"y": y}, logits.theirs, ours)


def multilabel_soft_margin_loss(
    theirs: Theirs, y: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Trial:
    """Put a sample of multilabel_soft_margin_loss to BinaryCrossEntropy: the mean over the classes, then the batch."""
    if reduction != "mean":
        raise SkipCase(f"option reduction='{reduction}'")
    return yes_trial(theirs, y, target, weight, "batch")


def multi_margin_loss(
    theirs: Theirs,
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
    how = reduced(reduction)
    shape = y.shape if y.dim() > 1 else (1, y.numel())

    loss = Hinge(float(margin), p, listed(weight), how)  # pyright: ignore[reportArgumentType]
    return trial_of(loss, y, target.reshape(-1), theirs, shape, 1 / shape[1] if how == "sum" else 1.0)
