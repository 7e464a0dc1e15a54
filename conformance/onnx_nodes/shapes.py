"""Nodes of ONNX's products and sums, and of operators that only move values."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs, batched_axis, forward, image_view, without_none
from conformance.onnx_nodes.windows import edges_of_pads
from conformance.trial import UNBATCHED
from pellucid.layers import Add, Concat, Dense, Flatten, Layer, Multiply, Pad2d, Reshape

PAD_KINDS = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 - ONNX's name
    transB: int = 0,  # noqa: N803
) -> Outputs:
    """Return the outputs of a Gemm node, y = alpha A B + beta C, computed by Dense with the weight alpha Bᵀ.

    beta C is the bias if all its rows are equal; otherwise Add adds it.
    """
    x, weight = a.t() if transA else a, alpha * (b if transB else b.t())
    units = len(weight)
    if c is None or c.dim() < 2 or len(c) == 1:
        bias = None if c is None else beta * c.reshape(-1).expand(units)
        return (forward(Dense(units, bias is not None), x, without_none(weight=weight, bias=bias))[0],)
    y, _ = forward(Dense(units, bias=False), x, {"weight": weight})
    return (forward(Add(), (y, (beta * c).expand_as(y)))[0],)


def gemm_before_7(a: Tensor, b: Tensor, c: Tensor, *, broadcast: int = 0, **further_attributes: Any) -> Outputs:
    """Return the outputs of a Gemm node of a version before 7, in which C is broadcast only if `broadcast` is 1."""
    return gemm(a, b, c, **further_attributes)


def matmul(a: Tensor, b: Tensor) -> Outputs:
    """Return the outputs of a MatMul node, computed by Dense with the weight Bᵀ (one row for a vector B)."""
    if b.dim() > 2:
        raise SkipCase("a batch of right-hand matrices")
    weight = b.unsqueeze(0) if b.dim() == 1 else b.t()
    rows = a.reshape(-1, a.shape[-1])  # Dense accepts vectors only
    y = forward(Dense(len(weight), bias=False), rows, {"weight": weight})[0].reshape(*a.shape[:-1], len(weight))
    return (y.squeeze(-1) if b.dim() == 1 else y,)


def merge(layer: Layer, *xs: Tensor) -> Outputs:
    """Return the outputs of a node with several inputs, which are broadcast to one shape for `layer`."""
    if len(xs) < 2:
        raise SkipCase("a single input")
    return (forward(layer, tuple(torch.broadcast_tensors(*xs)))[0],)


def merge_before_7(layer: Layer, a: Tensor, b: Tensor, *, broadcast: int = 0, axis: int | None = None) -> Outputs:
    """Return the outputs of a node of a version before 7, in which b is broadcast along a.

    The first axis of b is `axis` of a; without `axis`, the last axes of both are aligned.
    """
    n_trailing_axes = 0 if axis is None else a.dim() - axis % max(a.dim(), 1) - b.dim()
    return merge(layer, a, b.reshape((*b.shape, *(1,) * n_trailing_axes)))


def concat(*xs: Tensor, axis: int) -> Outputs:
    """Return the outputs of a Concat node, computed by Concat; for axis 0, the inputs get an additional batch axis."""
    if len(xs) < 2:
        raise SkipCase("a single input")
    merge_axis, view = batched_axis(axis, xs[0].dim())
    return (view.drop(forward(Concat(merge_axis), tuple(view.lift(x) for x in xs))[0]),)


def flatten(x: Tensor, *, axis: int = 1) -> Outputs:
    """Return the outputs of a Flatten node, computed by Flatten; the axes before `axis` are the batch."""
    axis = axis + x.dim() if axis < 0 else axis
    return (forward(Flatten(), x.reshape(math.prod(x.shape[:axis]), *x.shape[axis:]))[0],)


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Outputs:
    """Return the outputs of a Reshape node, computed by Reshape on x with an additional batch axis.

    In `shape`, -1 is the inferred size, and 0 the size of x along this axis unless `allowzero`.
    """
    sizes = [int(size) for size in shape]
    if allowzero and 0 in sizes:
        raise SkipCase("an axis of size 0")
    sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    inferred_size = x.numel() // -math.prod(sizes) if -1 in sizes else 0
    layer = Reshape(tuple(inferred_size if size == -1 else size for size in sizes))
    return (UNBATCHED.drop(forward(layer, UNBATCHED.lift(x))[0]),)


def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Outputs:
    """Return the outputs of a Pad node, computed by Pad2d."""
    rank = x.dim()
    named_axes = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    pad_values = pads.tolist()
    begins = dict(zip(named_axes, pad_values[: len(pad_values) // 2], strict=True))
    ends = dict(zip(named_axes, pad_values[len(pad_values) // 2 :], strict=True))
    if any(edge.get(axis) for edge in (begins, ends) for axis in (0, 1)):
        raise SkipCase("padding of the batch or the channels")
    view = image_view(x)
    spatial_axes = range(2, rank)
    edges = edges_of_pads([begins.get(axis, 0) for axis in spatial_axes] + [ends.get(axis, 0) for axis in spatial_axes])
    fill = float(value) if mode == "constant" and value is not None else 0.0
    return (view.drop(forward(Pad2d(edges, PAD_KINDS[mode], fill), view.lift(x))[0]),)


def pad_by_attributes(x: Tensor, *, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Outputs:
    """Return the outputs of a Pad node of a version before 11, whose padding is an attribute."""
    return pad(x, torch.tensor(pads), torch.tensor(value), mode=mode)


OPERATORS = {
    "Gemm": Operator(Dense, gemm, since=7, older=Operator(Dense, gemm_before_7)),
    "MatMul": Operator(Dense, matmul),
    "Add": Operator(Add, partial(merge, Add()), since=7, older=Operator(Add, partial(merge_before_7, Add()), since=6)),
    "Sum": Operator(Add, partial(merge, Add()), since=6),
    "Mul": Operator(
        Multiply,
        partial(merge, Multiply()),
        since=7,
        older=Operator(Multiply, partial(merge_before_7, Multiply()), since=6),
    ),
    "Concat": Operator(Concat, concat, since=4, moves=True),
    "Flatten": Operator(Flatten, flatten, moves=True),
    "Reshape": Operator(Reshape, reshape, since=5, moves=True),
    "Pad": Operator(Pad2d, pad, since=11, moves=True, older=Operator(Pad2d, pad_by_attributes, since=2)),
}
