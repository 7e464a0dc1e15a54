"""Samples of PyTorch's losses."""

from typing import Any

from torch import Tensor

from conformance.losses import (
    Reference,
    as_reduction,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    multi_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    smooth_l1_loss,
    weight_tuple,
)
from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, UNBATCHED, ForwardPass, Trial
from pellucid.layers import Dense, Mode
from pellucid.losses import (
    L1,
    BinaryCrossEntropy,
    Hinge,
    Huber,
    NegativeLogLikelihood,
    Quadratic,
    SoftmaxCrossEntropy,
)


def linear_cross_entropy(
    reference: Reference,
    x: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Trial:
    """Return the trial of Dense followed by SoftmaxCrossEntropy on a sample of linear_cross_entropy.

    The linear weight is (C, ..., features), so y is (N, C, ...). `options` are PyTorch's chunks, which we ignore.
    """
    view = AS_IS if x.dim() > 1 else UNBATCHED
    parameters = {"weight": linear_weight} | ({} if linear_bias is None else {"bias": linear_bias})
    params = {"weight": linear_weight.flatten(0, -2)} | ({} if linear_bias is None else {"bias": linear_bias.flatten()})
    layer = Dense(len(params["weight"]), linear_bias is not None)
    loss = SoftmaxCrossEntropy(label_smoothing, weight_tuple(weight), ignore_index, as_reduction(reduction))

    def forward() -> ForwardPass:
        y, cache = layer.forward(params, view.lift(x), Mode())  # (N, C x ...)
        value, dy = loss(y.reshape(-1, *linear_weight.shape[:-1]), view.lift(target))

        def backward(dy_above: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, dy.reshape(y.shape) * dy_above)
            return {"x": view.drop(dx)} | {name: dparams[name].reshape(one.shape) for name, one in parameters.items()}

        return ForwardPass((value,), backward)

    return Trial({"x": x, **parameters}, lambda: (reference(),), forward)


OPERATORS = (
    Operator("nn.functional.mse_loss", Quadratic, mse_loss),
    Operator("nn.functional.l1_loss", L1, l1_loss),
    Operator("nn.functional.huber_loss", Huber, huber_loss),
    Operator("nn.functional.smooth_l1_loss", Huber, smooth_l1_loss),
    Operator("nn.functional.cross_entropy", SoftmaxCrossEntropy, cross_entropy, weighs=True),
    Operator("nn.functional.linear_cross_entropy", SoftmaxCrossEntropy, linear_cross_entropy, weighs=True),
    Operator("nn.functional.linear_cross_entropy", SoftmaxCrossEntropy, linear_cross_entropy, "chunked", weighs=True),
    Operator("nn.functional.nll_loss", NegativeLogLikelihood, nll_loss, weighs=True),
    Operator(
        "nn.functional.binary_cross_entropy_with_logits",
        BinaryCrossEntropy,
        binary_cross_entropy_with_logits,
        weighs=True,
    ),
    Operator("nn.functional.binary_cross_entropy", BinaryCrossEntropy, binary_cross_entropy, weighs=True),
    Operator("nn.functional.multilabel_soft_margin_loss", BinaryCrossEntropy, multilabel_soft_margin_loss, weighs=True),
    Operator("nn.functional.multi_margin_loss", Hinge, multi_margin_loss, weighs=True),
)
