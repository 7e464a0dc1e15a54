"""Conversion of ONNX operators that reshape, slice, join and pad tensors, with one function for each."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pellucid import layers
from pellucid.base.limits import MAX_ONNX_COPIES
from pellucid.opening.onnx.reading import NodeReading, Reader, edges, free_batch_shape, shortest_decimal
from pellucid.opening.onnx.values import BATCH_SIZES, Sizes, Unreadable, Value, constant
from pellucid.opening.onnx_nodes.layers import PAD_MODES
from pellucid.operators import Expand, Fold, Index, Join, Pad, Permute, Reverse, Select, Slice, ToShape

PAD_KINDS = {mode: kind for kind, mode in PAD_MODES.items()}  # kinds of Pad2d; "constant" stays "constant", not "zero"
FLOATS = (1, 10, 16)  # TensorProto.FLOAT, FLOAT16 and BFLOAT16, which are all computed in float32


def to_shape(r: NodeReading, x: Value, sizes: tuple[Sizes, Sizes], name_suffix: str = "") -> Value:
    """Return x in another shape, with Flatten or Reshape if the batch axis is unchanged, else with ToShape."""
    if any(math.prod(a) != math.prod(b) for a, b in zip(x.sizes, sizes, strict=True)):
        raise Unreadable(f"reshapes {x.sizes[0][1:]} to {sizes[0][1:]}")
    shape = free_batch_shape(sizes)
    keeps_batch = (
        x.has_batch and (sizes[0][:1], sizes[1][:1]) == (BATCH_SIZES[:1], BATCH_SIZES[1:]) and -1 not in shape[1:]
    )
    if keeps_batch and len(shape) > 1:
        layer = layers.Flatten() if len(shape) == 2 else layers.Reshape(shape[1:])
    else:
        layer = ToShape(shape)
    return r.inner(name_suffix, layer, x) if name_suffix else r.layer(layer, x)


def flatten(r: NodeReading) -> Value:
    """Read Flatten."""
    axis = r.attribute("axis", 1)
    if not -r.x.rank <= axis <= r.x.rank:
        raise Unreadable(f"has axis={axis} for {r.x.rank} axes")
    axis += r.x.rank if axis < 0 else 0
    first, second = ((math.prod(size[:axis]), math.prod(size[axis:])) for size in r.x.sizes)
    return to_shape(r, r.x, (first, second))


def reshape(r: NodeReading) -> Value:
    """Read Reshape; in a file for a fixed batch size, `_batch_free_sizes` finds the batch axis of the output."""
    keeps_zeros = r.attribute("allowzero", 0)
    targets = r.sizes(1)
    axis = r.x.batch_axis
    batch = r.context.batch
    if batch is not None and axis is not None and targets[0] == targets[1]:
        sizes, outer_size = _batch_free_sizes(r.x, targets[0], axis, batch, keeps_zeros)
        return replace(to_shape(r, r.x, sizes), outer_size=outer_size)
    first, second = (_resolve_sizes(target, size, keeps_zeros) for target, size in zip(targets, r.x.sizes, strict=True))
    return to_shape(r, r.x, (first, second))


def _resolve_sizes(target: Sequence[int], input_sizes: Sizes, keeps_zeros: bool) -> Sizes:
    """Return the shape of a Reshape to `target`, with sizes 0 and -1 replaced; raises Unreadable if it is invalid."""
    if not keeps_zeros and any(size == 0 and index >= len(input_sizes) for index, size in enumerate(target)):
        raise Unreadable(f"reshapes {input_sizes} to {target}")
    sizes = [input_sizes[index] if size == 0 and not keeps_zeros else size for index, size in enumerate(target)]
    n_values, known_product = math.prod(input_sizes), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes) or known_product < 1 or n_values % known_product:
        raise Unreadable(f"reshapes {input_sizes} to {list(target)}")
    return tuple(n_values // known_product if size == -1 else size for size in sizes)


def _batch_free_sizes(
    x: Value, target: Sequence[int], axis: int, batch: int, keeps_zeros: bool
) -> tuple[tuple[Sizes, Sizes], int]:
    """Return the output shapes for both BATCH_SIZES of a Reshape written for `batch` examples, and `Value.outer_size`.

    The product of the sizes before the examples is the same in the output as in x. An output axis of size `batch` at
    this offset contains the examples, if one exists. Else the examples are the slower index of the axis that starts at
    the offset, unless it is the last axis, or the faster index of the axis that ends there. `pellucid.open` compares
    the result with runs of single examples.
    """
    input_sizes = list(x.sizes[0])
    input_sizes[axis] = input_sizes[axis] // BATCH_SIZES[0] * batch
    sizes = _resolve_sizes(target, tuple(input_sizes), keeps_zeros)
    n_before = math.prod(input_sizes[:axis]) * x.outer_size
    starts = [math.prod(sizes[:index]) for index in range(len(sizes))]
    axes_of_examples = [index for index, start in enumerate(starts) if start == n_before and sizes[index] == batch]
    start_axes = [index for index, start in enumerate(starts) if start == n_before and sizes[index] % batch == 0]
    end_axes = [
        index for index, start in enumerate(starts) if start < n_before and start * sizes[index] == n_before * batch
    ]
    last_axis = len(sizes) - 1  # contains features
    candidates = axes_of_examples or (
        start_axes if n_before == 1 else [index for index in start_axes if index < last_axis] or end_axes or start_axes
    )
    if not candidates:
        raise Unreadable(f"reshapes to {list(target)}, which mixes the examples with other axes")
    index = candidates[0]
    first, second = (
        (*sizes[:index], sizes[index] // batch * batch_size, *sizes[index + 1 :]) for batch_size in BATCH_SIZES
    )
    return (first, second), n_before // starts[index]


def squeeze(r: NodeReading) -> Value:
    """Read Squeeze."""
    axes = r.integer_list("axes", 1)
    if axes is None:  # without axes, all axes of size 1 are dropped
        dropped = [index for index, pair in enumerate(zip(*r.x.sizes, strict=True)) if pair == (1, 1)]
    else:
        dropped = r.axes(axes) if axes else ()
    if any(size[axis] != 1 for axis in dropped for size in r.x.sizes):
        raise Unreadable(f"drops the axes {list(dropped)} of {free_batch_shape(r.x.sizes)}")
    first, second = (tuple(n for index, n in enumerate(size) if index not in dropped) for size in r.x.sizes)
    return to_shape(r, r.x, (first, second))


def unsqueeze(r: NodeReading) -> Value:
    """Read Unsqueeze."""
    axes = r.integer_list("axes", 1, []) or []
    new_axes = r.axes(axes, r.x.rank + len(axes)) if axes else ()
    shapes: list[Sizes] = []
    for size in r.x.sizes:
        sizes = list(size)
        for axis in new_axes:
            sizes.insert(axis, 1)
        shapes.append(tuple(sizes))
    return to_shape(r, r.x, (shapes[0], shapes[1]))


def transpose(r: NodeReading) -> Value:
    """Read Transpose as Permute."""
    order = r.attribute("perm", list(reversed(range(r.x.rank))))
    if sorted(order) != list(range(r.x.rank)):
        raise Unreadable(f"has perm={order}")
    return r.layer(Permute(tuple(order)))


def expand(r: NodeReading) -> Value:
    """Read Expand."""
    x = r.x
    targets = r.sizes(1)
    first, second = (np.broadcast_shapes(size, tuple(target)) for size, target in zip(x.sizes, targets, strict=True))
    return expand_to(r, x, (first, second))


def expand_to(r: NodeReading, x: Value, sizes: tuple[Sizes, Sizes], name_suffix: str = "") -> Value:
    """Return x expanded to a shape."""
    if sizes == x.sizes:
        return x
    padded_shapes = ((None,) * (len(sizes[0]) - x.rank) + size for size in x.sizes)
    expand_sizes: list[int] = []
    for old, new in zip(zip(*padded_shapes, strict=True), zip(*sizes, strict=True), strict=True):
        if new[0] != new[1] and new not in (old, BATCH_SIZES):
            raise Unreadable("repeats values a number of times that is a multiple of the number of examples")
        if old == new:
            expand_sizes.append(-1)  # unchanged
        elif new[0] != new[1]:
            expand_sizes.append(0)  # the number of examples
        else:
            expand_sizes.append(new[0])
    return r.context.emit(Expand(tuple(expand_sizes)), [x], {}, name_suffix, with_network_input=0 in expand_sizes)


def tile(r: NodeReading) -> Value:
    """Read Tile as Concat of copies."""
    x = r.x
    repeats = r.integers(1)
    if len(repeats) != x.rank or any(not 0 < n_copies <= MAX_ONNX_COPIES for n_copies in repeats):
        raise Unreadable(f"repeats {repeats} times")
    for axis, n_copies in enumerate(repeats):
        if n_copies > 1:
            x = r.inner(f"axis{axis}", concat_layer(axis), *([x] * n_copies))
    return x


def concat_layer(axis: int) -> layers.Layer:
    """Return Concat, or Join along the first axis."""
    return layers.Concat(axis) if axis else Join(0)


def concat(r: NodeReading) -> Value:
    """Read Concat; in a file for one example, constants are repeated for each example."""
    axis = r.axis(0)
    values = r.input_values
    if len({value.rank for value in values}) != 1:
        raise Unreadable("joins inputs with different numbers of axes")
    batch_axis = next((value.batch_axis for value in values if value.batch_axis not in (None, axis)), None)
    if batch_axis is not None and r.context.batch == 1:
        values = [
            _repeat_per_example(r, value, batch_axis, f"part{index}") for index, value in enumerate(values, start=1)
        ]
    return values[0] if len(values) == 1 else r.layer(concat_layer(axis), *values)


def _repeat_per_example(r: NodeReading, value: Value, axis: int, name: str) -> Value:
    """Return a constant of size 1 along the axis, repeated for each example; return other values unchanged."""
    if not value.is_known or value.sizes[0][axis] != 1:
        return value
    first, second = (
        (*size[:axis], batch_size, *size[axis + 1 :]) for size, batch_size in zip(value.sizes, BATCH_SIZES, strict=True)
    )
    return expand_to(r, value, (first, second), name)


def gather(r: NodeReading) -> Value:
    """Read Gather with constant indices as Select or Index."""
    axis = r.axis(0)
    positions = r.value(1).constant
    if positions is None or positions.dtype not in (torch.int64, torch.int32):
        raise Unreadable("reads computed positions")
    size, other_size = (sizes[axis] for sizes in r.x.sizes)
    if size != other_size and int(positions.abs().max()) > 0:
        raise Unreadable("reads single examples")
    if positions.numel() == 0 or int(positions.min()) < -size or int(positions.max()) >= size:
        raise Unreadable(f"reads positions outside of {size}")
    if positions.dim() == 0:
        return r.layer(Select(axis, int(positions) % size))
    return r.layer(Index(axis), r.x, constant(positions.to(torch.int64) % size))


def slice_(r: NodeReading) -> Value:
    """Read Slice of height and width as Pad2d, of other axes as one Slice each, after Reverse for negative steps."""
    starts, ends = r.integer_list("starts", 1), r.attribute("ends", None)
    if starts is None:
        raise Unreadable("has no starts")
    stops = (ends, ends) if ends is not None else r.sizes(2)
    axes_input = r.integer_list("axes", 3)
    axes = list(range(len(starts))) if axes_input is None else [axis % r.x.rank for axis in axes_input]
    steps = r.integers(4) if r.has_input(4) else [1] * len(starts)
    if not len(starts) == len(stops[0]) == len(axes) == len(steps) or max([0, *axes]) >= r.x.rank:
        raise Unreadable("has starts, ends, axes and steps that do not belong together")
    x = r.x
    reversed_axes = tuple(sorted(axis for axis, step in zip(axes, steps, strict=True) if step < 0))
    if reversed_axes:
        x = r.inner("reversed", Reverse(reversed_axes))
    slices = [
        (axis, *_slice_bounds(x, axis, start, (stops[0][index], stops[1][index]), step))
        if step > 0  # position i is -i - 1 in the reversed order
        else (axis, *_slice_bounds(x, axis, -start - 1, (-stops[0][index] - 1, -stops[1][index] - 1), -step))
        for index, (axis, start, step) in enumerate(zip(axes, starts, steps, strict=True))
    ]
    bounds_by_axis = {axis: (start, stop) for axis, start, stop, step in slices if step == 1}
    if r.x.rank == 4 and bounds_by_axis.keys() == {2, 3} and len(slices) == 2:
        (top, bottom), (left, right) = bounds_by_axis[2], bounds_by_axis[3]
        height, width = r.x.sizes[0][2:]
        return r.layer(layers.Pad2d((-left, right - width, -top, bottom - height)), x)
    changing_slices = [axis_slice for axis_slice in slices if axis_slice[1:] != (0, x.sizes[0][axis_slice[0]], 1)]
    for axis, start, stop, step in changing_slices:
        x = r.inner(f"axis{axis}", Slice(axis, start, stop, step), x)
    return x


def _slice_bounds(x: Value, axis: int, start: int, stops: tuple[int, int], step: int) -> tuple[int, int, int]:
    """Return start, stop and step of a slice; raises Unreadable for an empty one or a part of the batch axis."""
    bounds: list[tuple[int, int]] = []
    for sizes, stop in zip(x.sizes, stops, strict=True):
        size = sizes[axis]
        first, last = (min(max(position + size if position < 0 else position, 0), size) for position in (start, stop))
        bounds.append((first, last))
    if step < 1:
        raise Unreadable(f"has a step of {step}")
    (first, last), other_bounds = bounds
    if x.sizes[0][axis] != x.sizes[1][axis]:
        if (first, step, last, other_bounds[1]) != (0, 1, x.sizes[0][axis], x.sizes[1][axis]):
            raise Unreadable("takes some of the examples")
    elif (first, last) != other_bounds or first >= last:
        raise Unreadable(f"takes the positions from {first} to {last} of an axis")
    return first, last, step


def split(r: NodeReading) -> tuple[Value, ...]:
    """Read Split as one Slice for each output."""
    axis = r.axis(0)
    n_outputs = len(r.node.outputs)
    size, other_size = (sizes[axis] for sizes in r.x.sizes)
    if size != other_size:
        raise Unreadable("splits the examples")
    r.attribute("num_outputs", n_outputs)
    part_size = -(-size // n_outputs)
    split_sizes = r.integer_list("split", 1) or [min(part_size, size - part_size * index) for index in range(n_outputs)]
    if sum(split_sizes) != size or len(split_sizes) != n_outputs or min(split_sizes) < 1:
        raise Unreadable(f"splits {size} into {split_sizes}")
    ends = [sum(split_sizes[: index + 1]) for index in range(n_outputs)]
    return tuple(
        r.inner(str(index), Slice(axis, end - split_size, end))
        for index, (split_size, end) in enumerate(zip(split_sizes, ends, strict=True), start=1)
    )


def pad(r: NodeReading) -> Value:
    """Read Pad of height and width as Pad2d, of channels with zeros as PadChannels, of other axes as Pad."""
    mode = r.attribute("mode", "constant")
    pads = r.integer_list("pads", 1) or r.attribute("paddings", None)
    number = r.attribute("value", None)
    value = 0.0
    if mode == "constant":
        # an attribute in operator set 2, an input in later ones
        value = shortest_decimal(number) if number is not None else r.number(2, 0.0)
    rank = r.x.rank
    axes = r.axes(r.integers(3)) if r.has_input(3) else tuple(range(rank))
    if pads is None or len(pads) != 2 * len(axes) or mode not in PAD_KINDS:
        raise Unreadable(f"pads {len(axes)} axes by {pads}, with mode={mode!r}")
    before_by_axis, after_by_axis = dict(zip(axes, pads, strict=False)), dict(zip(axes, pads[len(axes) :], strict=True))
    pads_by_axis = [(before_by_axis.get(axis, 0), after_by_axis.get(axis, 0)) for axis in range(rank)]
    if not any(any(pair) for pair in pads_by_axis):
        return r.x
    if any(pads_by_axis[0]):
        raise Unreadable("pads the axis of examples")
    if rank == 4 and not any(pads_by_axis[1]):
        kind = PAD_KINDS[mode] if value or mode != "constant" else "zero"
        (top, bottom), (left, right) = pads_by_axis[2:]
        return r.layer(layers.Pad2d(edges([top, left, bottom, right]), kind, value))
    if mode != "constant":
        raise Unreadable(f"pads other axes than height and width with mode={mode!r}")
    if rank == 4 and not value and min(pads_by_axis[1]) >= 0 and not any(map(any, pads_by_axis[2:])):
        return r.layer(layers.PadChannels(*pads_by_axis[1]))
    return r.layer(Pad(tuple(width for pair in reversed(pads_by_axis) for width in pair), value))


def depth_to_space(r: NodeReading) -> Value:
    """Read DepthToSpace as Reshape, Permute and Reshape."""
    block, mode = r.attribute("blocksize", 0), r.attribute("mode", "DCR")
    n, c, h, w = r.x.sizes[0] if r.x.rank == 4 and r.x.has_batch else (0, 0, 0, 0)
    if block < 1 or not n or c % block**2:
        raise Unreadable(f"has blocksize={block} for inputs {r.x.sizes[0][1:]}")
    out_channels = c // block**2
    order = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
    block_shape = (block, block, out_channels, h, w) if mode == "DCR" else (out_channels, block, block, h, w)
    x = r.inner("order", Permute(order), r.inner("blocks", layers.Reshape(block_shape)))
    return r.layer(layers.Reshape((out_channels, h * block, w * block)), x)


def space_to_depth(r: NodeReading) -> Value:
    """Read SpaceToDepth as Reshape, Permute and Reshape."""
    block = r.attribute("blocksize", 0)
    n, c, h, w = r.x.sizes[0] if r.x.rank == 4 and r.x.has_batch else (0, 0, 0, 0)
    if block < 1 or not n or h % block or w % block:
        raise Unreadable(f"has blocksize={block} for inputs {r.x.sizes[0][1:]}")
    x = r.inner("blocks", layers.Reshape((c, h // block, block, w // block, block)))
    x = r.inner("order", Permute((0, 3, 5, 1, 2, 4)), x)
    return r.layer(layers.Reshape((block * block * c, h // block, w // block)), x)


def fold(r: NodeReading) -> Value:
    """Read Col2Im of images as Fold."""
    size, kernel = r.integers(1), r.integers(2)
    pads = r.attribute("pads", [0, 0, 0, 0])
    if len(size) != 2 or len(kernel) != 2 or pads[:2] != pads[2:]:
        raise Unreadable(f"has images of {len(size)} axes, or uneven pads {pads}")
    window = r.pair("strides", 1), (pads[0], pads[1]), r.pair("dilations", 1)
    return r.layer(Fold((size[0], size[1]), (kernel[0], kernel[1]), *window))


def cast(r: NodeReading) -> Value:
    """Return the input of a Cast between floating-point types, since all of them are computed in float32."""
    r.attribute("saturate", 1)
    r.attribute("round_mode", "up")
    if not r.x.is_float or r.attribute("to", 0) not in FLOATS:
        raise Unreadable("converts computed values to another type than float32")
    return r.x


def input_shape(r: NodeReading) -> Value:
    """Return the shape of the input, which is known before the network runs."""
    start, end = r.attribute("start", 0), r.attribute("end", None)
    first, second = (torch.tensor(size[start:end], dtype=torch.int64) for size in r.x.sizes)
    return Value((first, second))


def value_count(r: NodeReading) -> Value:
    """Return the number of values of the input."""
    first, second = (torch.tensor(math.prod(size)) for size in r.x.sizes)
    return Value((first, second))


READERS: dict[str, Reader] = {
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Gather": gather,
    "Slice": slice_,
    "Split": split,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Col2Im": fold,
    "Cast": cast,
    "Shape": input_shape,
    "Size": value_count,
    "Identity": lambda r: r.layer(layers.Identity()),
}
