"""Nodes of ONNX's losses."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs, forward
from pellucid.layers import LogSoftmax
from pellucid.losses import NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.losses.base import Loss, Reduction

REDUCTIONS: dict[str, Reduction] = {"mean": "mean", "sum": "sum"}


def loss_of_classes(
    build: Callable[[tuple[float, ...] | None, int | None, Reduction], Loss],
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the value of the loss that `build` makes from the class weights, the ignored class and the reduction."""
    if reduction not in REDUCTIONS:
        raise SkipCase(f"option reduction={reduction!r}")
    weights = None if weight is None else tuple(weight.tolist())
    return build(weights, ignore_index, REDUCTIONS[reduction])(y, target)[0]


def negative_log_likelihood(*inputs: Tensor, **attributes: Any) -> Outputs:
    """Return the outputs of a NegativeLogLikelihoodLoss node, computed by NegativeLogLikelihood."""
    return (loss_of_classes(NegativeLogLikelihood, *inputs, **attributes),)


def softmax_cross_entropy(y: Tensor, *inputs: Tensor, **attributes: Any) -> Outputs:
    """Return the outputs of a SoftmaxCrossEntropyLoss node, computed by SoftmaxCrossEntropy and LogSoftmax."""
    value = loss_of_classes(partial(SoftmaxCrossEntropy, 0.0), y, *inputs, **attributes)
    return value, forward(LogSoftmax(), y)[0]


OPERATORS = {
    "NegativeLogLikelihoodLoss": Operator(NegativeLogLikelihood, negative_log_likelihood, since=12),
    "SoftmaxCrossEntropyLoss": Operator(SoftmaxCrossEntropy, softmax_cross_entropy, since=12),
}
