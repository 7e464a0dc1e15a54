"""Samples of the layers of pellucid.operators, each with the same function of PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import Layer
from pellucid.operators import (
    FUNCTIONS,
    Absolute,
    AdaptiveMaxPool,
    AffineGrid,
    AffineMap,
    AngleOfPoint,
    Attention,
    Clip,
    Convolve,
    CosineFunction,
    Detach,
    Einsum,
    ErrorFunction,
    Expand,
    Exponential,
    Fold,
    Gather,
    GridSample,
    Index,
    Join,
    KeepOutside,
    Largest,
    LargestOne,
    Length,
    LinearMap,
    Logarithm,
    LogSumExp,
    MaskedFill,
    MatMul,
    Mean,
    Minus,
    NormalizeChannels,
    NormalizeGroups,
    NormalizeLast,
    NumberFunction,
    Over,
    Pad,
    ParametricReLU,
    Permute,
    Plus,
    Power,
    Repeat,
    ReplaceSelected,
    ReplaceSlice,
    Reverse,
    Roll,
    RunningProduct,
    RunningSum,
    Scatter,
    Select,
    SineFunction,
    Slice,
    SoftPlus,
    Stack,
    StepFunction,
    Sum,
    Times,
    ToPower,
    ToShape,
    Unfold,
    Variance,
    Where,
)


class Case(NamedTuple):
    """An operator, its inputs (a shape for a random input, or a tensor), and its function in PyTorch."""

    layer: Layer
    inputs: tuple[Any, ...]
    function: Callable[..., Tensor]


INDICES = torch.tensor([[2, 0, 0], [1, -1, 2]])
KEEP_MASK = torch.tensor([[True, False, True, True], [True, True, True, False], [False, True, True, True]])
ORDER = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(2)).argsort(1)
GRID = 1.4 * torch.rand((2, 6, 7, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.7
GRID[:, 0] *= 2.5  # some positions are far outside of the image
TIED_MAXIMA = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
CASES = [
    Case(ToShape((4, -1)), ((2, 3, 4),), lambda x: x.reshape(4, 6)),
    Case(ToShape((2, 3, 2, 2)), ((2, 3, 4),), lambda x: x.unflatten(2, (2, 2))),
    Case(ToShape((-1,), 1, 1), ((2, 3, 4, 5),), lambda x: x.flatten(1, 2)),
    Case(ToShape((2, 2), before=2), ((2, 3, 4),), lambda x: x.view(2, 3, 2, 2)),
    Case(ToShape((), 1, 1), ((2, 1, 5),), lambda x: x.squeeze(1)),
    Case(Permute((2, 0, 1)), ((2, 3, 4),), lambda x: x.movedim(2, 0)),
    Case(Permute((0, 3, 1, 2)), ((2, 3, 4, 5),), lambda x: x.movedim(3, 1)),
    Case(Slice(1, 1, 3), ((2, 4, 3),), lambda x: x[:, 1:3]),
    Case(Slice(2, 0, None, 2), ((2, 4, 5),), lambda x: x[..., ::2]),
    Case(Slice(1, -3, -1), ((2, 4, 3),), lambda x: x[:, -3:-1]),
    Case(Select(0, 1), ((3, 4),), lambda x: x[1]),
    Case(Select(1, -1), ((3, 4, 2),), lambda x: x[:, -1]),
    Case(ReplaceSlice(1, 1, 4, 2), ((2, 5, 3), (2, 2, 3)), lambda x, y: torch.slice_scatter(x, y, 1, 1, 4, 2)),
    Case(ReplaceSelected(1, -2), ((2, 5, 3), (2, 3)), lambda x, y: torch.select_scatter(x, y, 1, -2)),
    Case(Expand((2, -1, 3)), ((1, 4, 1),), lambda x: x.repeat(2, 1, 3)),
    Case(Expand((0, 5, -1)), ((5, 2), torch.zeros(3, 1)), lambda x, other: x[None].repeat(3, 1, 1)),
    Case(Roll((1, -2), (1, 2)), ((2, 4, 5),), lambda x: x.roll(1, 1).roll(-2, 2)),
    Case(Pad((1, 2, 0, 3)), ((2, 3, 4),), lambda x: F.pad(x, (1, 2, 0, 3))),
    Case(Pad((-1, 2), 0.5), ((2, 4),), lambda x: torch.cat([x[:, 1:], torch.full((2, 2), 0.5)], 1)),
    Case(Stack(1), ((2, 3), (2, 3), (2, 3)), lambda *xs: torch.cat([x[:, None] for x in xs], 1)),
    Case(Join(0), ((2, 3), (4, 3)), lambda a, b: torch.vstack((a, b))),
    Case(Index(0), ((3, 4), INDICES), lambda x, at: x.index_select(0, at.flatten() % 3).view(2, 3, 4)),
    Case(Index(1), ((2, 3, 4), INDICES[0]), lambda x, at: x.index_select(1, at)),
    Case(Index(1), ((2, 3, 4), torch.tensor(1)), lambda x, at: x[:, 1]),
    Case(Plus(), ((2, 3, 4), (3, 1)), torch.add),
    Case(Plus(), ((4,), (2, 3, 4)), torch.add),
    Case(Minus(), ((2, 1, 4), (3, 4)), torch.sub),
    Case(Times(), ((2, 3, 4), (4,)), torch.mul),
    Case(Over(), ((2, 3, 4), (2, 3, 1)), torch.div),
    Case(AffineMap(-2.5, 0.5), ((2, 3),), lambda x: 0.5 - 2.5 * x),
    Case(Power(3.0), ((2, 3),), lambda x: x * x * x),
    Case(Power(0.5), (torch.rand(2, 3, dtype=torch.float64) + 0.1,), torch.sqrt),
    Case(Power(0.0), ((2, 3),), lambda x: torch.ones_like(x) + 0 * x),
    Case(Exponential(), ((2, 3),), torch.exp),
    Case(Clip(-0.5, 0.7), ((4, 5),), lambda x: x.clamp(-0.5, 0.7)),
    Case(Clip(1.0), (TIED_MAXIMA,), lambda x: x.clamp_min(1.0)),
    Case(Clip(high=1.0), (TIED_MAXIMA,), lambda x: x.clamp_max(1.0)),
    Case(Length((1,)), (TIED_MAXIMA,), lambda x: torch.linalg.vector_norm(x, dim=1)),
    Case(Length((0, 2), keep=True), ((2, 3, 4),), lambda x: torch.linalg.vector_norm(x, dim=(0, 2), keepdim=True)),
    Case(Mean((1, 2)), ((2, 3, 4),), lambda x: x.flatten(1).mean(1)),
    Case(Mean((1,), keep=True), ((2, 3, 4),), lambda x: x.mean(1, True)),
    Case(Sum((0, 2)), ((2, 3, 4),), lambda x: x.sum((0, 2))),
    Case(Sum((2,), keep=True), ((2, 3, 4),), lambda x: x.sum(2, True)),
    Case(Largest((1, 2)), ((2, 3, 4),), lambda x: x.amax((1, 2))),
    Case(Largest((1,), keep=True), (TIED_MAXIMA,), lambda x: x.amax(1, True)),
    Case(MatMul(), ((2, 3, 4), (2, 4, 5)), torch.bmm),
    Case(MatMul(), ((2, 3, 4), (4, 5)), torch.matmul),
    Case(MatMul(), ((1, 3, 4), (6, 2, 4, 5)), torch.matmul),
    Case(LinearMap(), ((2, 3, 4), (5, 4)), F.linear),
    Case(LinearMap(), ((2, 4), (5, 4), (5,)), F.linear),
    Case(Attention(), ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 7)), F.scaled_dot_product_attention),
    Case(
        Attention(causal=True, scale=0.3),
        ((2, 4, 5), (2, 4, 5), (2, 4, 5)),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
    ),
    Case(Attention(), ((2, 2, 3, 5), (2, 2, 4, 5), (2, 2, 4, 5), (2, 3, 4)), F.scaled_dot_product_attention),
    Case(Attention(), ((2, 3, 5), (2, 4, 5), (2, 4, 5), KEEP_MASK), F.scaled_dot_product_attention),
    Case(Convolve((1,), (1,), (1,)), ((2, 3, 7), (4, 3, 3), (4,)), lambda x, w, b: F.conv1d(x, w, b, padding=1)),
    Case(
        Convolve((2, 1), (1, 0), (1, 2), 2),
        ((2, 4, 7, 6), (6, 2, 3, 2)),
        lambda x, w: F.conv2d(x, w, None, (2, 1), (1, 0), (1, 2), 2),
    ),
    Case(Convolve((1,) * 3, (0,) * 3, (1,) * 3), ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), (2,)), F.conv3d),
    Case(
        Convolve((2, 2), (1, 1), (1, 1), 2, transposed=True, output_padding=(1, 0)),
        ((2, 4, 3, 3), (4, 3, 3, 3), (6,)),
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, (1, 0), 2),
    ),
    Case(NormalizeLast((4,)), ((2, 3, 4),), lambda x: F.layer_norm(x, (4,))),
    Case(NormalizeLast((3, 4), 0.1), ((2, 3, 4), (3, 4)), lambda x, w: F.layer_norm(x, (3, 4), w, None, 0.1)),
    Case(NormalizeLast((4,)), ((2, 3, 4), (4,), (4,)), lambda x, w, b: F.layer_norm(x, (4,), w, b)),
    Case(NormalizeGroups(2), ((2, 4, 3, 3),), lambda x: F.group_norm(x, 2)),
    Case(NormalizeGroups(2, 0.1), ((2, 4, 5), (4,), (4,)), lambda x, w, b: F.group_norm(x, 2, w, b, 0.1)),
    Case(NormalizeGroups(4), ((2, 4, 3, 3), (4,), (4,)), lambda x, w, b: F.instance_norm(x, weight=w, bias=b)),
    Case(NormalizeChannels(), ((1, 4, 9),), lambda x: F.batch_norm(x, None, None, training=True)),
    Case(
        NormalizeChannels(0.1),
        ((1, 4, 9), (4,)),
        lambda x, w: F.batch_norm(x, None, None, w, training=True, eps=0.1),
    ),
    Case(MaskedFill(-2.0), ((2, 3, 4), KEEP_MASK), lambda x, mask: x.masked_fill(mask, -2.0)),
    Case(MaskedFill(0.0), ((1, 4), KEEP_MASK), lambda x, mask: torch.where(mask, 0, x)),
    Case(Where(), (KEEP_MASK, (2, 3, 4), (3, 1)), torch.where),
    Case(LargestOne(1), ((2, 3, 4),), lambda x: x.max(1).values),
    Case(LargestOne(1, keep=True), (TIED_MAXIMA,), lambda x: x.max(1, keepdim=True).values),
    *(
        Case(AdaptiveMaxPool(sizes), ((2, 3, *image),), pool)
        for sizes, image, pool in (
            ((3,), (7,), lambda x: F.adaptive_max_pool1d(x, 3)),
            ((1, 1), (4, 5), lambda x: F.adaptive_max_pool2d(x, 1)),
            ((4, 2), (7, 6), lambda x: F.adaptive_max_pool2d(x, (4, 2))),
            ((5, 5), (3, 4), lambda x: F.adaptive_max_pool2d(x, 5)),
            ((2, 3, 2), (5, 4, 3), lambda x: F.adaptive_max_pool3d(x, (2, 3, 2))),
        )
    ),
    Case(AdaptiveMaxPool((1,)), (TIED_MAXIMA[None],), lambda x: F.adaptive_max_pool1d(x, 1)),
    Case(ToPower(), (torch.rand(2, 3, 4, dtype=torch.float64) + 0.1, (3, 1)), torch.pow),
    Case(ToPower(), (TIED_MAXIMA, torch.tensor([2.5, 1.0, 3.0], dtype=torch.float64)), torch.pow),
    Case(
        ToPower(),
        (torch.tensor([[0.0], [0.5], [2.0]], dtype=torch.float64), torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)),
        torch.pow,
    ),
    Case(StepFunction("sign"), ((2, 3),), torch.sign),
    Case(Gather(1), ((2, 3, 4), ORDER), lambda x, at: x.take_along_dim(at, 1)),
    Case(Gather(2), ((2, 3, 4), ORDER[:, :, :2]), lambda x, at: torch.gather(x, 2, at)),
    Case(Scatter(1), ((2, 3, 4), ORDER[:, :2], (2, 2, 4)), lambda x, at, y: torch.scatter(x, 1, at, y)),
    Case(Scatter(2, 0.5), ((2, 3, 4), ORDER[:, :, :2]), lambda x, at: torch.scatter(x, 2, at, 0.5)),
    Case(Index(0, ignored=2), ((4, 3), INDICES.abs()), lambda x, at: F.embedding(at, x, padding_idx=2)),
    Case(RunningProduct(1), ((2, 3, 4),), lambda x: x.cumprod(1)),
    Case(RunningProduct(0), (torch.tensor([0.5, 0.0, 2.0, 0.0, 3.0], dtype=torch.float64),), lambda x: x.cumprod(0)),
    Case(AngleOfPoint(), ((2, 3, 4), (3, 1)), torch.atan2),
    *(
        Case(NumberFunction(name), (0.1 + 0.8 * torch.rand(3, 4, dtype=torch.float64),), getattr(torch, name))
        for name in FUNCTIONS
    ),
    Case(StepFunction("floor"), ((2, 3),), torch.floor),
    Case(
        Unfold((3, 2), (2, 1), (1, 0), (1, 2)),
        ((2, 3, 7, 6),),
        lambda x: F.unfold(x, (3, 2), (1, 2), (1, 0), (2, 1)),
    ),
    Case(
        Fold((7, 6), (3, 2), (2, 1), (1, 0), (1, 2)),
        ((2, 18, 16),),
        lambda x: F.fold(x, (7, 6), (3, 2), (1, 2), (1, 0), (2, 1)),
    ),
    Case(Repeat((2, 3)), ((2, 3),), lambda x: x.repeat(2, 3)),
    Case(Repeat((2, 1, 3)), ((2, 3),), lambda x: torch.tile(x, (2, 1, 3))),
    Case(Reverse((0, 2)), ((2, 3, 4),), lambda x: x.flip((0, 2))),
    Case(RunningSum(1), ((2, 3, 4),), lambda x: x.cumsum(1)),
    Case(Einsum("nhij,nhjd->nhid"), ((2, 3, 4, 4), (2, 3, 4, 5)), torch.matmul),
    Case(Einsum("ij,jk,k->i"), ((2, 3), (3, 4), (4,)), lambda a, b, c: a @ b @ c),
    Case(Einsum("ijk->ik"), ((2, 3, 4),), lambda x: x.sum(1)),
    Case(Einsum("ij,k->kj"), ((2, 3), (4,)), lambda a, b: b[:, None] * a.sum(0)),
    Case(Variance((1, 2)), ((2, 3, 4),), lambda x: x.flatten(1).var(1)),
    Case(Variance((1,), keep=True, correction=0), ((2, 3, 4),), lambda x: x.var(1, correction=0, keepdim=True)),
    Case(Logarithm(), (torch.rand(2, 3, dtype=torch.float64) + 0.1,), torch.log),
    Case(Absolute(), (TIED_MAXIMA - 1,), torch.abs),
    Case(SineFunction(), ((2, 3),), torch.sin),
    Case(CosineFunction(), ((2, 3),), torch.cos),
    Case(ErrorFunction(), ((2, 3),), torch.erf),
    Case(SoftPlus(), ((2, 3),), F.softplus),
    Case(SoftPlus(2.0, 1.0), ((4, 5),), lambda x: F.softplus(x, 2.0, 1.0)),
    Case(KeepOutside(-0.5, 0.7), ((4, 5),), lambda x: torch.where((x < -0.5) | (x > 0.7), x, 0)),
    Case(KeepOutside(None, 0.1, 20.0), ((4, 5),), lambda x: F.threshold(x, 0.1, 20.0)),
    Case(KeepOutside(-0.4, 0.4), ((4, 5),), lambda x: F.hardshrink(x, 0.4)),
    Case(Detach(), ((2, 3),), lambda x: x.detach() + 0 * x),
    Case(LogSumExp((1, 2)), ((2, 3, 4),), lambda x: x.logsumexp((1, 2))),
    Case(LogSumExp((0,), keep=True), (800 * TIED_MAXIMA,), lambda x: x.logsumexp(0, True)),
    *(
        Case(AffineGrid(size, corners), ((3, 2, 3),), partial(F.affine_grid, size=(3, 1, *size), align_corners=corners))
        for size, corners in (((4, 5), False), ((4, 5), True), ((1, 3), False))
    ),
    *(
        Case(
            GridSample(kind, outside, corners), ((2, 3, 5, 4), GRID),
            partial(F.grid_sample, mode=kind, padding_mode=outside, align_corners=corners),
        )
        for kind in ("bilinear", "nearest") for outside in ("zeros", "border") for corners in (False, True)
    ),
    Case(ParametricReLU(), ((2, 3, 4), (3,)), F.prelu),
    Case(ParametricReLU(), ((2, 3), (1,)), F.prelu),
]  # fmt: skip


def draw_inputs(case: Case) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(3)
    return tuple(
        one if isinstance(one, Tensor) else torch.randn(one, generator=rng, dtype=torch.float64) for one in case.inputs
    )
