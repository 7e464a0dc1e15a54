"""Samples of PyTorch's operators, run on our operators for opened networks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import ForwardPass, Trial
from pellucid import operators
from pellucid.base.errors import PellucidError
from pellucid.layers import Layer, Mode, Trait


def operator_trial(layer: Layer, xs: Sequence[Any], reference: Callable[[], Tensor]) -> Trial:
    """Return the trial of an operator on `xs`; tensors of integers and booleans have no gradient."""
    differentiable = {f"x{i}": x for i, x in enumerate(xs) if x.is_floating_point()}

    def forward() -> ForwardPass:
        is_one = len(xs) == 1 and Trait.MULTIPLE_INPUTS not in layer.traits
        y, cache = layer.forward({}, xs[0] if is_one else tuple(xs), Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, _ = layer.backward({}, cache, dy)
            dxs = dx if isinstance(dx, tuple) else (dx,)
            return {f"x{i}": dxs[i] for i in range(len(xs)) if f"x{i}" in differentiable}

        return ForwardPass((y,), backward)

    return Trial(differentiable, lambda: (reference(),), forward)


def tensor_adapter(make: Callable[[], Layer]) -> Callable[..., Trial]:
    """Return the adapter of an operator whose arguments are all tensors."""

    def adapt(reference: Callable[[], Tensor], *xs: Any, **options: Any) -> Trial:
        if any(options.values()):
            raise SkipCase(f"option {next(name for name, value in options.items() if value)}")
        if not all(isinstance(x, Tensor) for x in xs):
            raise SkipCase("a number instead of a tensor")
        return operator_trial(make(), xs, reference)

    return adapt


def axes_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """Return the axes of PyTorch's `dim` as non-negative numbers, all axes for None; raise SkipCase without axes."""
    axes = (dim,) if isinstance(dim, int) else tuple(dim or range(x.dim()))
    if not x.dim():
        raise SkipCase("a tensor without axes")
    return tuple(axis % x.dim() for axis in axes)


def reduction_adapter(make: Callable[[tuple[int, ...], bool], Layer]) -> Callable[..., Trial]:
    """Return the adapter of a reduction; `make` takes the axes and whether they are kept with size 1."""

    def adapt(
        reference: Callable[[], Tensor], x: Tensor, dim: Any = None, keepdim: bool = False, **options: Any
    ) -> Trial:
        if options:
            raise SkipCase(f"option {next(iter(options))}")
        return operator_trial(make(axes_of(x, dim), keepdim), (x,), reference)

    return adapt


def variance(
    reference: Callable[[], Tensor], x: Tensor, dim: Any = None, *further_arguments: Any, **options: Any
) -> Trial:
    """Return the trial of Variance on a sample of var."""
    if further_arguments or isinstance(dim, bool) or options.keys() - {"correction", "keepdim"}:
        raise SkipCase("option unbiased")
    correction = options.get("correction")
    layer = operators.Variance(axes_of(x, dim), options.get("keepdim", False), 1 if correction is None else correction)
    return operator_trial(layer, (x,), reference)


def largest_one(reference: Callable[[], Any], x: Tensor, dim: int, keepdim: bool = False) -> Trial:
    """Return the trial of LargestOne on a sample of max along an axis; the indices are not compared."""
    (axis,) = axes_of(x, dim)
    return operator_trial(operators.LargestOne(axis, keepdim), (x,), lambda: reference().values)


def length(reference: Callable[[], Tensor], x: Tensor, ord: Any = 2, dim: Any = None, **options: Any) -> Trial:
    """Return the trial of Length on a sample of vector_norm."""
    if ord != 2 or options.get("dtype") is not None:
        raise SkipCase("another norm, or another dtype")
    return operator_trial(operators.Length(axes_of(x, dim), options.get("keepdim", False)), (x,), reference)


def hardtanh(reference: Callable[[], Tensor], x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Trial:
    """Return the trial of Clip on a sample of hardtanh."""
    return operator_trial(operators.Clip(min_val, max_val), (x,), reference)


def prelu(reference: Callable[[], Tensor], x: Tensor, weight: Tensor) -> Trial:
    """Return the trial of ParametricReLU on a sample of prelu."""
    return operator_trial(operators.ParametricReLU(), (x, weight), reference)


def masked_fill(reference: Callable[[], Tensor], x: Tensor, mask: Tensor, value: Any) -> Trial:
    """Return the trial of MaskedFill on a sample of masked_fill."""
    if isinstance(value, Tensor):
        raise SkipCase("a tensor as the value")
    return operator_trial(operators.MaskedFill(float(value)), (x, mask), reference)


def where(reference: Callable[[], Tensor], x: Tensor, mask: Tensor, other: Any) -> Trial:
    """Return the trial of Where on a sample of where, in which PyTorch has swapped the first two arguments."""
    return operator_trial(operators.Where(), (mask, x, other), reference)


def softplus(reference: Callable[[], Tensor], x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Trial:
    """Return the trial of SoftPlus on a sample of softplus."""
    return operator_trial(operators.SoftPlus(float(beta), float(threshold)), (x,), reference)


def einsum(reference: Callable[[], Tensor], xs: Sequence[Tensor], equation: str) -> Trial:
    """Return the trial of Einsum on a sample of einsum."""
    try:
        layer = operators.Einsum(equation.replace(" ", ""))
    except PellucidError as error:
        raise SkipCase("repeated indices, dots, or no arrow") from error
    return operator_trial(layer, xs, reference)


def as_pair(value: Any) -> tuple[int, int]:
    """Return one number for both axes, or one for each, as a pair."""
    return (value, value) if isinstance(value, int) else tuple(value) * (2 if len(value) == 1 else 1)


def unfold(
    reference: Callable[[], Tensor], x: Tensor, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Trial:
    """Return the trial of Unfold on a sample of unfold."""
    return operator_trial(operators.Unfold(*map(as_pair, (kernel, stride, padding, dilation))), (x,), reference)


def attention(
    reference: Callable[[], Tensor], q: Tensor, k: Tensor, v: Tensor, mask: Any = None, **options: Any
) -> Trial:
    """Return the trial of Attention on a sample of scaled_dot_product_attention."""
    mask, scale = options.get("attn_mask", mask), options.get("scale")
    if options.get("dropout_p") or options.get("enable_gqa"):
        raise SkipCase("option dropout_p or enable_gqa")
    layer = operators.Attention(bool(options.get("is_causal")), scale)
    _, cache = layer.forward({}, (q, k, v) if mask is None else (q, k, v, mask), Mode())
    if q.dtype is torch.float32 and bool((cache.weights > 1 - 1e-5).any()):
        raise SkipCase("weights that round to 1 in float32, so that differences to them are rounding errors")
    return operator_trial(layer, (q, k, v) if mask is None else (q, k, v, mask), reference)


OPERATORS = (
    Operator("add", operators.Plus, tensor_adapter(operators.Plus)),
    Operator("mul", operators.Times, tensor_adapter(operators.Times)),
    Operator("neg", operators.AffineMap, tensor_adapter(lambda: operators.AffineMap(-1.0))),
    *(
        Operator(name, operators.Power, tensor_adapter(partial(operators.Power, exponent)))
        for name, exponent in (("square", 2.0), ("sqrt", 0.5), ("rsqrt", -0.5), ("reciprocal", -1.0))
    ),
    Operator("nn.functional.hardtanh", operators.Clip, hardtanh),
    Operator("sub", operators.Minus, tensor_adapter(operators.Minus)),
    Operator("div", operators.Over, tensor_adapter(operators.Over), "no_rounding_mode"),
    Operator("bmm", operators.MatMul, tensor_adapter(operators.MatMul)),
    Operator("exp", operators.Exponential, tensor_adapter(operators.Exponential)),
    Operator("log", operators.Logarithm, tensor_adapter(operators.Logarithm)),
    Operator("abs", operators.Absolute, tensor_adapter(operators.Absolute)),
    Operator("sin", operators.SineFunction, tensor_adapter(operators.SineFunction)),
    Operator("cos", operators.CosineFunction, tensor_adapter(operators.CosineFunction)),
    Operator("erf", operators.ErrorFunction, tensor_adapter(operators.ErrorFunction)),
    Operator("nn.functional.prelu", operators.ParametricReLU, prelu),
    Operator("nn.functional.softplus", operators.SoftPlus, softplus),
    Operator("mean", operators.Mean, reduction_adapter(operators.Mean)),
    Operator("sum", operators.Sum, reduction_adapter(operators.Sum)),
    Operator("amax", operators.Largest, reduction_adapter(operators.Largest)),
    Operator("max", operators.LargestOne, largest_one, "reduction_with_dim"),
    Operator("linalg.vector_norm", operators.Length, length),
    Operator("var", operators.Variance, variance),
    Operator("masked_fill", operators.MaskedFill, masked_fill),
    Operator("where", operators.Where, where),
    Operator("einsum", operators.Einsum, einsum),
    Operator("nn.functional.unfold", operators.Unfold, unfold),
    Operator("nn.functional.scaled_dot_product_attention", operators.Attention, attention),
)
