"""Nodes of ONNX's losses."""

from torch import Tensor

from pellucid.layers import LogSoftmax
from pellucid.losses import NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.losses.base import Reduction
from pellucid.scorecard.case import SkipCase
from pellucid.scorecard.onnx_nodes.operator import Operator, Outputs, run

REDUCTIONS: dict[str, Reduction] = {"mean": "mean", "sum": "sum"}


def negative_log_likelihood(
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Outputs:
    """Put a node of NegativeLogLikelihoodLoss to NegativeLogLikelihood."""
    loss = NegativeLogLikelihood(_weights(weight), ignore_index, _reduction(reduction))
    return (loss(y, target)[0],)


def softmax_cross_entropy(
    y: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Outputs:
    """Put a node of SoftmaxCrossEntropyLoss to SoftmaxCrossEntropy; its second output is that of LogSoftmax."""
    loss = SoftmaxCrossEntropy(0.0, _weights(weight), ignore_index, _reduction(reduction))
    return loss(y, target)[0], run(LogSoftmax(), y)[0]


def _weights(weight: Tensor | None) -> tuple[float, ...] | None:
    return None if weight is None else tuple(weight.tolist())


def _reduction(name: str) -> Reduction:
    if name not in REDUCTIONS:
        raise SkipCase(f"reduction {name}")
    return REDUCTIONS[name]


OPERATORS = {
    "NegativeLogLikelihoodLoss": Operator(NegativeLogLikelihood, negative_log_likelihood, since=12),
    "SoftmaxCrossEntropyLoss": Operator(SoftmaxCrossEntropy, softmax_cross_entropy, since=12),
}
