"""Occlusion of inputs of any shape: signals, volumes, vectors, embedded tokens, and several inputs one by one."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.explain.averaged import repeat_examples
from pellucid.explain.sweeps import check_not_empty, fix_target, scores
from pellucid.explain.target import Target, repeated_target
from pellucid.layers.base import Layer, Params

_Slices = tuple[slice, ...]  # a window along the axes of an example


@torch.no_grad()
def occlude_windows(
    net: Layer, params: Params, xs: tuple[Tensor, ...], channel_axes: Sequence[int | None], target: Target = None,
    square: Any = None, stride: Any = None, fill: Any = 0.0, batch: int = 16,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return for each of the first inputs the decrease of the score when windows of it alone are hidden.

    channel_axes: for each of these inputs, the axis that a window hides completely, which has size 1 in its map; None
    for vectors. square, stride, fill, batch: see `occlude`; square, stride and fill may be a tuple with one for each of
    these inputs. By default, each value of a vector is hidden alone.
    Raises PellucidError for windows larger than the input, and for strides that leave out values.
    """
    check_not_empty("occlusion", xs)
    integer(batch, "occlusion: batch", 1)
    n_inputs = len(channel_axes)
    settings = (square, stride, fill)
    squares, strides, fills = (value if isinstance(value, tuple) else (value,) * n_inputs for value in settings)
    if not len(squares) == len(strides) == len(fills) == n_inputs:
        raise PellucidError(f"occlusion: square, stride and fill must be one for all, or for each of {n_inputs} inputs")
    x = xs[0] if len(xs) == 1 else xs
    target = fix_target(net, params, x, target)
    baseline = scores(net, params, x, target)
    maps: list[Tensor] = []
    for index, channel_axis in enumerate(channel_axes):
        windows = _windows(xs[index].shape[1:], channel_axis, squares[index], strides[index])
        filled = as_tensor(fills[index], "occlusion: fill").to(xs[index]).expand(xs[index].shape)
        total = torch.zeros_like(xs[index])
        hidden_count = torch.zeros_like(xs[index][0])
        for start in range(0, len(windows), batch):
            chunk = windows[start : start + batch]
            variants = [repeat_examples(tensor, len(chunk)) for tensor in xs]
            for k, window in enumerate(chunk):
                variants[index][k :: len(chunk)][(slice(None), *window)] = filled[(slice(None), *window)]
            variant = variants[0] if len(xs) == 1 else tuple(variants)
            variant_scores = scores(net, params, variant, repeated_target(target, len(chunk))).view(-1, len(chunk))
            for k, window in enumerate(chunk):
                decrease = (baseline - variant_scores[:, k]).view(-1, *(1,) * len(window))
                total[(slice(None), *window)] += decrease
                hidden_count[window] += 1
        map_ = total / hidden_count
        maps.append(map_ if channel_axis is None else map_.narrow(channel_axis, 0, 1))
    return tuple(maps)


def _windows(shape: Sequence[int], channel_axis: int | None, square: int | None, stride: int | None) -> list[_Slices]:
    """Return the windows over the axes of an example; channel_axis counts the axis of examples."""
    window_sizes = [size for axis, size in enumerate(shape, start=1) if axis != channel_axis]
    if not window_sizes:  # one vector, such as that of a class
        return [tuple(slice(0, size) for size in shape)]
    default_side = 1 if channel_axis is None else max(1, min(window_sizes) // 4)
    side = default_side if square is None else integer(square, "occlusion: square", 1)
    step = max(1, side // 4) if stride is None else integer(stride, "occlusion: stride", 1)
    if side > min(window_sizes):
        raise PellucidError(f"occlusion: a window of {side} exceeds the input of {tuple(shape)}; shrink it")
    if step > side:
        raise PellucidError(f"occlusion: a stride of {step} leaves values that no window of {side} hides; reduce it")
    slices: list[list[slice]] = []
    for axis, size in enumerate(shape, start=1):
        starts = [0] if axis == channel_axis else range(0, (math.ceil((size - side) / step) + 1) * step, step)
        slices.append([slice(start, size if axis == channel_axis else min(start + side, size)) for start in starts])
    return list(itertools.product(*slices))
