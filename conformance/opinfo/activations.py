"""Samples of PyTorch's activations."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, UNBATCHED, ForwardPass, Trial, View, compose_views, layer_trial
from conformance.views import NEGATED, ONE_VALUE
from pellucid.layers import (
    ELU,
    GELU,
    HardSigmoid,
    HardSwish,
    Identity,
    Layer,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    Softmax,
    Tanh,
)
from pellucid.layers.softmax import SoftmaxCache


def adapter_of(layer: Layer) -> Callable[[Callable[[], Tensor], Tensor], Trial]:
    """Return the adapter of an operator without options; `layer` accepts any shape."""
    return lambda reference, x: layer_trial(layer, {}, x, reference)


def leaky_relu(reference: Callable[[], Tensor], x: Tensor, negative_slope: float = 0.01) -> Trial:
    """Return the trial of LeakyReLU on a sample of leaky_relu."""
    return layer_trial(LeakyReLU(negative_slope), {}, x, reference)


def rrelu(
    reference: Callable[[], Tensor], x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Trial:
    """Return the trial of LeakyReLU on a sample of rrelu in evaluation mode, whose slope is (lower + upper) / 2."""
    if training:
        raise SkipCase("slopes drawn in training")
    return leaky_relu(reference, x, (lower + upper) / 2)


def celu(reference: Callable[[], Tensor], x: Tensor, alpha: float = 1.0) -> Trial:
    """Return the trial of ELU on a sample of celu, α (exp(x / α) - 1) below 0, which equals elu for α = 1."""
    if alpha != 1:
        raise SkipCase("option alpha")
    return elu(reference, x)


def elu(reference: Callable[[], Tensor], x: Tensor, alpha: float = 1.0) -> Trial:
    """Return the trial of ELU on a sample of elu."""
    return layer_trial(ELU(alpha), {}, x, reference)


def gelu(reference: Callable[[], Tensor], x: Tensor, approximate: str = "none") -> Trial:
    """Return the trial of GELU on a sample of gelu."""
    return layer_trial(GELU(approximate), {}, x, reference)


def softmax_along(kind: type[Softmax] | type[LogSoftmax], sign: View = AS_IS) -> Callable[..., Trial]:
    """Return the adapter of softmax, log_softmax or softmin; `sign` is applied to the input first.

    Axis 0 of our layer is the batch, so a batch axis is added for a sample along axis 0. With a `dtype`, both compute
    in it, and dx has the dtype of x.
    """

    def adapt(reference: Callable[[], Tensor], x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Trial:
        axis = dim % max(x.dim(), 1)
        view = ONE_VALUE if not x.dim() else UNBATCHED if axis == 0 else AS_IS
        cast = View(lambda x: x.to(dtype or x.dtype), lambda x: x)
        trial = layer_trial(kind(axis or 1), {}, x, reference, view=compose_views(compose_views(view, sign), cast))

        def forward() -> ForwardPass:
            outputs, backward = trial.forward()
            return ForwardPass(outputs, lambda dy: {"x": backward(dy)["x"].to(x.dtype)})

        return replace(trial, forward=forward)

    return adapt


def safe_softmax(reference: Callable[[], Tensor], x: Tensor, dim: int) -> Trial:
    """Return the trial of Softmax on a sample of _safe_softmax, which differs in rows of -infinity only."""
    if bool((x == -torch.inf).all(dim).any()):
        raise SkipCase("zeros for a row of -infinity")
    return softmax_along(Softmax)(reference, x, dim)


def softmax_backward(
    reference: Callable[[], Tensor], dy: Tensor, y: Tensor, dim: int, input_dtype: torch.dtype
) -> Trial:
    """Return the trial of Softmax.backward on a sample of _softmax_backward_data.

    The function is linear in dy with the symmetric matrix diag(y) - y yᵀ, so its gradient is the same function.
    """
    axis = dim % dy.dim()
    view = UNBATCHED if axis == 0 else AS_IS
    layer, cache = Softmax(axis or 1), SoftmaxCache(view.lift(y))

    def softmax_dx(dy: Tensor) -> Tensor:
        return view.drop(layer.backward({}, cache, view.lift(dy))[0])

    return Trial(
        {"dy": dy},
        lambda: (reference(),),
        lambda: ForwardPass((softmax_dx(dy),), lambda dy_above: {"dy": softmax_dx(dy_above)}),
    )


OPERATORS = (
    Operator("nn.functional.relu", ReLU, adapter_of(ReLU())),
    Operator("nn.functional.relu6", ReLU6, adapter_of(ReLU6())),
    Operator("nn.functional.leaky_relu", LeakyReLU, leaky_relu),
    Operator("nn.functional.rrelu", LeakyReLU, rrelu),
    Operator("nn.functional.elu", ELU, elu),
    Operator("nn.functional.celu", ELU, celu),
    Operator("nn.functional.gelu", GELU, gelu),
    Operator("nn.functional.hardsigmoid", HardSigmoid, adapter_of(HardSigmoid())),
    Operator("nn.functional.hardswish", HardSwish, adapter_of(HardSwish())),
    Operator("sigmoid", Sigmoid, adapter_of(Sigmoid())),
    Operator("tanh", Tanh, adapter_of(Tanh())),
    Operator("positive", Identity, adapter_of(Identity())),
    Operator("softmax", Softmax, softmax_along(Softmax)),
    Operator("softmax", Softmax, softmax_along(Softmax), "with_dtype"),
    Operator("nn.functional.softmin", Softmax, softmax_along(Softmax, NEGATED)),
    Operator("nn.functional.softmin", Softmax, softmax_along(Softmax, NEGATED), "with_dtype"),
    Operator("torch.ops.aten._safe_softmax.default", Softmax, safe_softmax),
    Operator("_softmax_backward_data", Softmax, softmax_backward),
    Operator("log_softmax", LogSoftmax, softmax_along(LogSoftmax)),
    Operator("log_softmax", LogSoftmax, softmax_along(LogSoftmax), "with_dtype"),
)
