"""Samples of PyTorch's losses.

Theirs may return the losses one by one (reduction "none"); ours are always one number.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
from pellucid.scorecard.case import SkipCase
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.trial import Ours, Trial

Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (y, target) to (value, dy), as a loss of ours
Theirs = Callable[[], Tensor]


def trial_of(
    compute: Compute,
    y: Tensor,
    target: Tensor,
    theirs: Theirs,
    shape: Sequence[int] | None = None,
    factor: float | Tensor = 1.0,
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


def signed(weights: Tensor, build: Callable[[tuple[float, ...]], Compute]) -> Compute:
    """Return the sum of the losses that `build` makes for weights, which may be negative here.

    A sum is linear in its weights, and ours are at least 0: what the negative ones cost is a second loss,
    subtracted from the first.
    """

    def compute(y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, dy = y.new_zeros(()), torch.zeros_like(y)
        for sign in (1, -1):
            part = (sign * weights).clamp_min(0)
            if part.any():
                more, slope = build(tuple(part.tolist()))(y, target)
                value, dy = value + sign * more, dy + sign * slope
        return value, dy

    return compute


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

    def build(weights: tuple[float, ...] | None, reduction: Reduction) -> SoftmaxCrossEntropy:
        return SoftmaxCrossEntropy(label_smoothing, weights, ignore, reduction)

    return by_class(theirs, y, target, weight, ignore, reduced(reduction), build)


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

    def build(weights: tuple[float, ...] | None, reduction: Reduction) -> NegativeLogLikelihood:
        return NegativeLogLikelihood(weights, ignore, reduction)

    return by_class(theirs, y, target, weight, ignore, reduced(reduction), build)


def by_class(
    theirs: Theirs,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore: int | None,
    reduction: Reduction,
    build: Callable[[tuple[float, ...] | None, Reduction], Compute],
) -> Trial:
    """Return the trial of a loss with a class for each position, or a distribution over them.

    With negative weights a mean is taken as the sum, by `signed`, over the weights that the targets have.
    """
    shape = y.shape if y.dim() > 1 else (1, *y.shape)
    target = target if y.dim() > 1 else target.unsqueeze(0)
    if weight is None or bool((weight >= 0).all()):
        weights = None if weight is None else tuple(weight.tolist())
        return trial_of(build(weights, reduction), y, target, theirs, shape)
    if reduction == "sum":
        total: float | Tensor = 1.0
    elif target.is_floating_point():
        total = float(y.numel() // shape[1])
    else:
        total = weight[target if ignore is None else target[target != ignore]].sum()
    return trial_of(signed(weight, lambda weights: build(weights, "sum")), y, target, theirs, shape, 1 / total)


def cross_entropy_of_yes(
    theirs: Theirs,
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Trial:
    """Put a sample of binary_cross_entropy_with_logits to BinaryCrossEntropy.

    Ours has weights for the outputs, not for every value: with a `weight`, all values count as the outputs of one
    example, summed.
    """
    how = reduced(reduction)
    shape, yes = batched(y), 1.0
    if pos_weight is not None:
        spread = pos_weight.expand_as(y).reshape(-1) if weight is not None else pos_weight
        yes = tuple(spread.tolist())
    if weight is None:
        return trial_of(BinaryCrossEntropy(yes, how), y, target.reshape(shape), theirs, shape)
    compute = signed(weight.expand_as(y).reshape(-1), lambda weights: BinaryCrossEntropy(yes, "sum", weights))
    factor = 1 / y.numel() if how == "mean" else 1.0
    return trial_of(compute, y, target.reshape(1, -1), theirs, (1, y.numel()), factor)


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
    return cross_entropy_of_yes(theirs, y, target, weight)


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

    def build(weights: tuple[float, ...] | None = None) -> Hinge:
        return Hinge(float(margin), p, weights, how)  # pyright: ignore[reportArgumentType]

    compute = build() if weight is None else signed(weight, build)
    return trial_of(compute, y, target.reshape(-1), theirs, shape, 1 / shape[1] if how == "sum" else 1.0)


OPERATORS = (
    Operator("nn.functional.mse_loss", Quadratic, mse_loss),
    Operator("nn.functional.l1_loss", L1, l1_loss),
    Operator("nn.functional.huber_loss", Huber, huber_loss),
    Operator("nn.functional.smooth_l1_loss", Huber, smooth_l1_loss),
    Operator("nn.functional.cross_entropy", SoftmaxCrossEntropy, cross_entropy),
    Operator("nn.functional.nll_loss", NegativeLogLikelihood, nll_loss),
    Operator("nn.functional.binary_cross_entropy_with_logits", BinaryCrossEntropy, cross_entropy_of_yes),
    Operator("nn.functional.binary_cross_entropy", BinaryCrossEntropy, binary_cross_entropy),
    Operator("nn.functional.multilabel_soft_margin_loss", BinaryCrossEntropy, multilabel_soft_margin_loss),
    Operator("nn.functional.multi_margin_loss", Hinge, multi_margin_loss),
)
