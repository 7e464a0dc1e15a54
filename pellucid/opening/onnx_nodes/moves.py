"""Functions that write the operators that reshape, slice, join and repeat tensors as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from pellucid import operators

if TYPE_CHECKING:
    from pellucid.layers.base import Layer
    from pellucid.opening.onnx_nodes.node import Nodes

SLICE_END = torch.iinfo(torch.int64).max  # the stop of a slice up to the end of its axis


def to_shape(layer: operators.ToShape, n: Nodes) -> None:
    """Write Reshape; 0 keeps a size of x, and other sizes that depend on the number of examples are read from x."""
    sizes = n.layer_run.inputs[0].sizes
    kept_sizes = sizes[len(sizes) - layer.after :]
    starts = [0] * layer.before + [*layer.sizes]
    if None not in kept_sizes:
        n.last("Reshape", n.x, n.integers("shape", *starts, *(size or 0 for size in kept_sizes)))
        return
    ends = n.inner("Shape", n.x, start=len(sizes) - layer.after)
    n.last("Reshape", n.x, n.inner("Concat", n.integers("starts", *starts), ends, axis=0) if starts else ends)


def slice_(layer: operators.Slice, n: Nodes) -> None:
    """Write Slice."""
    n.last("Slice", n.x, *_slice_inputs(n, layer.axis, layer.start, layer.stop, layer.step))


def replace(layer: operators.ReplaceSlice | operators.ReplaceSelected, n: Nodes) -> None:
    """Write Concat of both inputs along the axis, and Gather of the positions in the order of the output."""
    x, other = n.sources
    order = torch.arange(n.size(layer.axis))
    if isinstance(layer, operators.ReplaceSelected):
        other = n.inner("Unsqueeze", other, n.integers("axes", layer.axis))
        replaced = slice(layer.index, layer.index + 1 or None)
    else:
        replaced = slice(layer.start, layer.stop, layer.step)
    order[replaced] = len(order) + torch.arange(len(order[replaced]))
    n.last("Gather", n.inner("Concat", x, other, axis=layer.axis), n.constant("order", order), axis=layer.axis)


def index(layer: operators.Index, n: Nodes) -> None:
    """Write Gather, after a Cast to int64 of indices that are an input of floats."""
    x, indices = n.sources
    if n.layer_run.inputs[1].dtype.is_floating_point:
        indices = n.inner("Cast", indices, to=7)  # TensorProto.INT64
    n.last("Gather", x, indices, axis=layer.axis)


def expand(layer: operators.Expand, n: Nodes) -> None:
    """Write Expand; the number of examples is read from the last input."""
    sizes = [1 if size == -1 else size for size in layer.sizes]
    if 0 not in sizes:
        n.last("Expand", n.x, n.integers("shape", *sizes))
        return
    examples = n.inner("Shape", n.sources[-1], start=0, end=1)
    index = sizes.index(0)
    before, after = n.integers("before", *sizes[:index]), n.integers("after", *sizes[index + 1 :])
    n.last("Expand", n.x, n.inner("Concat", before, examples, after, axis=0))


def roll(layer: operators.Roll, n: Nodes) -> None:
    """Write two Slices for each axis, and Concat in the reverse order."""
    x = n.x
    for index, (shift, axis) in enumerate(zip(layer.shifts, layer.axes, strict=True)):
        start = -shift % n.size(axis)
        last = n.inner("Slice", x, *_slice_inputs(n, axis, start, None, 1, f"last{index}"))
        first = n.inner("Slice", x, *_slice_inputs(n, axis, 0, start, 1, f"first{index}"))
        if index == len(layer.axes) - 1:
            n.last("Concat", last, first, axis=axis)
        else:
            x = n.inner("Concat", last, first, axis=axis)


def pad(layer: operators.Pad, n: Nodes) -> None:
    """Write Pad of the last axes."""
    n_axes = len(layer.padding) // 2
    before, after = layer.padding[::2][::-1], layer.padding[1::2][::-1]
    axes = n.integers("axes", *range(-n_axes, 0))
    n.last("Pad", n.x, n.integers("pads", *before, *after), n.number("value", layer.value), axes, mode="constant")


def stack(layer: operators.Stack, n: Nodes) -> None:
    """Write Unsqueeze of each input, and Concat along the new axis."""
    axes = n.integers("axes", layer.axis)
    n.last("Concat", *(n.inner("Unsqueeze", name, axes) for name in n.sources), axis=layer.axis)


def unfold(layer: operators.Unfold, n: Nodes) -> None:
    """Write Conv with a kernel for each position of the window, and Reshape."""
    n_channels = n.size(1)
    n_positions = layer.kernel[0] * layer.kernel[1]
    kernels = torch.eye(n_positions).view(n_positions, 1, *layer.kernel).repeat(n_channels, 1, 1, 1)
    window = {"strides": [*layer.stride], "dilations": [*layer.dilation], "pads": [*layer.padding, *layer.padding]}
    patches = n.inner("Conv", n.x, n.constant("kernels", kernels), **window, group=n_channels)
    n.last("Reshape", patches, n.integers("shape", 0, n_channels * n_positions, -1))


def fold(layer: operators.Fold, n: Nodes) -> None:
    """Write Col2Im."""
    window = {"strides": [*layer.stride], "dilations": [*layer.dilation], "pads": [*layer.padding, *layer.padding]}
    n.last("Col2Im", n.x, n.integers("size", *layer.size), n.integers("kernel", *layer.kernel), **window)


def repeat(layer: operators.Repeat, n: Nodes) -> None:
    """Write Tile, after Unsqueeze for new axes."""
    n_new_axes = len(layer.counts) - len(n.layer_run.inputs[0].sizes)
    x = n.inner("Unsqueeze", n.x, n.integers("axes", *range(n_new_axes))) if n_new_axes else n.x
    n.last("Tile", x, n.integers("counts", *layer.counts))


def reverse(layer: operators.Reverse, n: Nodes) -> None:
    """Write Slice with steps of -1."""
    n_axes = len(layer.axes)
    bounds = n.integers("starts", *[-1] * n_axes), n.integers("ends", *[-SLICE_END] * n_axes)
    n.last("Slice", n.x, *bounds, n.integers("axes", *layer.axes), n.integers("steps", *[-1] * n_axes))


def _slice_inputs(n: Nodes, axis: int, start: int, stop: int | None, step: int, name: str = "part") -> tuple[str, ...]:
    """Return the inputs of Slice after the first: starts, ends, axes and, unless they are 1, steps."""
    starts, ends = n.integers(f"{name}/start", start), n.integers(f"{name}/stop", SLICE_END if stop is None else stop)
    steps = (n.integers(f"{name}/step", step),) if step != 1 else ()
    return starts, ends, n.integers(f"{name}/axis", axis), *steps


WRITERS: Mapping[type[Layer], Callable[[Any, Nodes], None]] = {
    operators.ToShape: to_shape,
    operators.Permute: lambda layer, n: n.last("Transpose", n.x, perm=[*layer.axes]),
    operators.Slice: slice_,
    operators.Select: lambda layer, n: n.last(
        "Gather", n.x, n.constant("index", torch.tensor(layer.index)), axis=layer.axis
    ),
    operators.ReplaceSlice: replace,
    operators.ReplaceSelected: replace,
    operators.Expand: expand,
    operators.Roll: roll,
    operators.Pad: pad,
    operators.Stack: stack,
    operators.Join: lambda layer, n: n.last("Concat", *n.sources, axis=layer.axis),
    operators.Index: index,
    operators.Unfold: unfold,
    operators.Fold: fold,
    operators.Repeat: repeat,
    operators.Reverse: reverse,
}
