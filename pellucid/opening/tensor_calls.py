"""Translation of PyTorch operators to layers: reshaping, slicing, joining, arithmetic, reductions and attention."""

import math
from collections.abc import Callable
from typing import Any

import torch

from pellucid import layers, operators
from pellucid.opening.exported import Multiple, Ref
from pellucid.opening.values import END_OF_AXIS, CallLayer, Context, Unsupported

MATRIX_TRANSPOSES = ("t", "mT")  # exchange the last two axes


def unchanged(c: Context) -> CallLayer | str:
    """Return the name of the input, for operators that return a copy or a view; StepFunction for numbers of a mask."""
    dtype = c.call.dtype
    is_mask = c.first_source in c.masks
    if dtype is None or c.call.op not in ("to", "_to_copy", "type_as") or (is_mask and dtype is torch.bool):
        return c.first_source
    is_integer = c.first_source in c.integers
    name = str(dtype).removeprefix("torch.")
    if name not in operators.STEPS:
        raise Unsupported(f"dtype={dtype}")
    if is_mask or is_integer == dtype.is_floating_point:
        return CallLayer(operators.StepFunction(name), (c.first_source,))
    return c.first_source


def to_shape(c: Context) -> CallLayer | str:
    """Return ToShape for the axes that change, with -1 for the axis that depends on the number of examples."""
    if c.shape() == c.call.shape:
        return c.source("self")
    if c.call.op == "flatten" and c.shape()[0] == c.call.shape[0] == Multiple(1) and len(c.call.shape) == 2:
        return CallLayer(layers.Flatten(), (c.source("self"),))
    old, new = c.shape(), c.call.shape
    before = _common_prefix(old, new)
    after = _common_prefix(old[before:][::-1], new[before:][::-1])
    sizes = tuple(-1 if isinstance(size, Multiple) else size for size in new[before : len(new) - after])
    if sizes.count(-1) > 1:
        raise Unsupported("several sizes depend on the number of examples")
    sizes = (-1,) if len(sizes) == 1 else sizes
    return CallLayer(operators.ToShape(sizes, before, after), (c.source("self"),))


def _common_prefix(old: tuple[Any, ...], new: tuple[Any, ...]) -> int:
    """Return the number of equal sizes at the start."""
    pairs = zip(old, new, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def transpose(c: Context) -> CallLayer:
    """Return Permute, which swaps two axes."""
    rank = len(c.shape())
    names = ("dim0", "dim1") if "dim0" in c.call.arguments else ("axis0", "axis1")
    first, second = (rank - 2, rank - 1) if c.call.op in MATRIX_TRANSPOSES else (c[name] % rank for name in names)
    axes = list(range(rank))
    axes[first] = second
    axes[second] = first
    return CallLayer(operators.Permute(tuple(axes)), (c.source("self"),))


def movedim(c: Context) -> CallLayer:
    """Return Permute, which moves axes and leaves the order of the others unchanged."""
    sources, destinations, rank = c.axes("source"), c.axes("destination"), len(c.shape())
    source_by_axis = dict(zip(destinations, sources, strict=True))
    remaining = iter(axis for axis in range(rank) if axis not in sources)
    return CallLayer(
        operators.Permute(tuple(source_by_axis[i] if i in source_by_axis else next(remaining) for i in range(rank))),
        (c.first_source,),
    )


def slice_(c: Context) -> CallLayer | str:
    """Return Slice, or the name of the input for a slice of the entire axis."""
    axis = c.axis()
    size = c.shape()[axis]
    start = c.fixed_value("start") or 0
    stop = c["end"]
    step = c["step"]
    if isinstance(start, Ref) or isinstance(stop, Ref):
        raise Unsupported("an end depends on a tensor's value")
    if stop is None or stop == size or (not isinstance(stop, Multiple) and stop >= END_OF_AXIS):
        stop = None
    if (start, stop, step) == (0, None, 1):
        return c.source("self")
    if isinstance(stop, Multiple):
        raise Unsupported("end depends on the number of examples")
    return CallLayer(operators.Slice(axis, start, stop, step), (c.source("self"),))


def narrow(c: Context) -> CallLayer:
    """Return Slice."""
    start = c.fixed_value("start")
    return CallLayer(operators.Slice(c.axis(), start, start + c.fixed_value("length")), (c.source("self"),))


def slice_scatter(c: Context) -> CallLayer:
    """Return ReplaceSlice."""
    axis = c.axis()
    start, stop = c.fixed_value("start") or 0, c.fixed_value("end")
    stop = None if stop is None or stop >= END_OF_AXIS else stop
    sources = c.source("self"), c.source("src")
    return CallLayer(operators.ReplaceSlice(axis, start, stop, c["step"]), sources)


def select_scatter(c: Context) -> CallLayer:
    """Return ReplaceSelected."""
    layer = operators.ReplaceSelected(c.axis(), c.fixed_value("index"))
    return CallLayer(layer, (c.source("self"), c.source("src")))


def copy(c: Context) -> str:
    """Return the name of the copied tensor; raises Unsupported if it is broadcast."""
    if c.shape("src") != c.call.shape:
        raise Unsupported("the copied tensor is broadcast")
    return c.source("src")


def expand(c: Context) -> CallLayer | str:
    """Return Expand, or the name of the input if its shape is unchanged."""
    old_shape, new_shape = c.shape(), c.call.shape
    if old_shape == new_shape:
        return c.source("self")
    padded_shape = (None,) * (len(new_shape) - len(old_shape)) + old_shape
    sizes = tuple(-1 if old == new else new for old, new in zip(padded_shape, new_shape, strict=True))
    batch_sizes = [size for size in sizes if isinstance(size, Multiple)]
    if any(size.times != 1 for size in batch_sizes):
        raise Unsupported("a size is a multiple of the number of examples")
    expanded_sizes = tuple(0 if isinstance(size, Multiple) else size for size in sizes)
    return CallLayer(operators.Expand(expanded_sizes), (c.source("self"),), {}, with_network_input=bool(batch_sizes))


def roll(c: Context) -> CallLayer:
    """Return Roll."""
    if not c["dims"]:
        raise Unsupported("no axes are given")
    return CallLayer(operators.Roll(c.fixed_value("shifts"), c.axes("dims")), (c.source("self"),))


def pad(c: Context) -> CallLayer:
    """Return Pad for constant padding, and Pad2d for other padding of images."""
    padding = c.fixed_value("pad")
    kind = c.call.arguments.get("mode", "constant")
    value = c["value"] or 0.0
    if kind in ("reflect", "replicate", "circular") and len(c.shape()) == 4 and len(padding) == 4:
        return CallLayer(layers.Pad2d(padding, kind), (c.source("self"),))
    if kind != "constant":
        raise Unsupported(f"mode={kind!r}")
    return CallLayer(operators.Pad(padding, float(value)), (c.source("self"),))


def join(c: Context) -> CallLayer | str:
    """Return Concat, or Join along the first axis, or the name of a single input."""
    sources = tuple(reference.name for reference in c["tensors"])
    if len(sources) == 1:
        return sources[0]
    axis = c["dim"] % len(c.call.shape)
    return CallLayer(layers.Concat(axis) if axis else operators.Join(0), sources)


def stack(c: Context) -> CallLayer:
    """Return Stack."""
    sources = tuple(reference.name for reference in c["tensors"])
    return CallLayer(operators.Stack(c["dim"] % len(c.call.shape)), sources)


def windows_of_axis(c: Context) -> CallLayer:
    """Return the windows of an axis, with their values along a new last axis: one slice of every first value, etc."""
    axis, size, step = c.axis("dimension"), c["size"], c["step"]
    stop = (c.call.shape[axis] - 1) * step + 1
    slices = [CallLayer(operators.Slice(axis, start, start + stop, step), (c.source("self"),)) for start in range(size)]
    return CallLayer(operators.Stack(len(c.shape())), tuple(slices))


def add(c: Context) -> CallLayer:
    """Return Add for tensors with a batch axis and equal shapes, Plus for other tensors, AffineMap for a number."""
    if not isinstance(c["other"], Ref):
        return CallLayer(operators.AffineMap(1.0, c.number("other") * c.number("alpha")), (c.source("self"),))
    if c["alpha"] != 1:
        return CallLayer(operators.Plus(), (c.source("self"), scaled(c.source("other"), c.number("alpha"))))
    sources = c.source("self"), c.source("other")
    is_same_shape = c.shape("self") == c.shape("other") and c.shape("self")[:1] == (Multiple(1),)
    return CallLayer(layers.Add() if is_same_shape else operators.Plus(), sources)


def sub(c: Context) -> CallLayer:
    """Return Minus, or AffineMap for a number."""
    if not isinstance(c["self"], Ref):
        return CallLayer(operators.AffineMap(-c.number("alpha"), c.number("self")), (c.source("other"),))
    if not isinstance(c["other"], Ref):
        return CallLayer(operators.AffineMap(1.0, -c.number("other") * c.number("alpha")), (c.source("self"),))
    return CallLayer(operators.Minus(), (c.source("self"), scaled(c.source("other"), c.number("alpha"))))


def scaled(source: str | CallLayer, factor: float) -> str | CallLayer:
    """Return a value times a number."""
    return source if factor == 1 else CallLayer(operators.AffineMap(factor), (source,))


def rsub(c: Context) -> CallLayer:
    """Return AffineMap or Minus, for a number or a tensor minus the input."""
    c.check_values(alpha=1)
    if isinstance(c["other"], Ref):
        return CallLayer(operators.Minus(), (c.source("other"), c.source("self")))
    return CallLayer(operators.AffineMap(-1.0, c.number("other")), (c.source("self"),))


def mul(c: Context) -> CallLayer:
    """Return Multiply for two tensors with a batch axis, Times for other tensors, AffineMap for a number."""
    if not isinstance(c["other"], Ref):
        return CallLayer(operators.AffineMap(c.number("other")), (c.source("self"),))
    sources, (shape, other_shape) = (c.source("self"), c.source("other")), (c.shape("self"), c.shape("other"))
    is_batched = len(shape) == len(other_shape) and shape[:1] == other_shape[:1] == (Multiple(1),)
    return CallLayer(layers.Multiply() if is_batched else operators.Times(), sources)


def div(c: Context) -> CallLayer:
    """Return Over, or AffineMap for a number."""
    if c.call.arguments.get("rounding_mode") == "floor" and not isinstance(c["other"], Ref):
        return CallLayer(operators.StepFunction("floor_divide", c.number("other")), (c.source("self"),))
    if c.call.arguments.get("rounding_mode") is not None:
        raise Unsupported(f"rounding_mode={c['rounding_mode']!r}")
    if not isinstance(c["other"], Ref):
        return CallLayer(operators.AffineMap(1 / c.number("other")), (c.source("self"),))
    return CallLayer(operators.Over(), (c.source("self"), c.source("other")))


def power(c: Context) -> CallLayer:
    """Return Power, ToPower for an exponent that is a tensor, and for a base that is a number exp(log(base) x)."""
    if isinstance(c["exponent"], Ref) and isinstance(c["self"], Ref):
        return CallLayer(operators.ToPower(), (c.source("self"), c.source("exponent")))
    if isinstance(c["exponent"], Ref):
        base = c.number("self")
        if base <= 0:
            raise Unsupported(f"the base is {base:g}")
        scaled_exponent = CallLayer(operators.AffineMap(math.log(base)), (c.source("exponent"),))
        return CallLayer(operators.Exponential(), (scaled_exponent,))
    return CallLayer(operators.Power(c.number("exponent")), (c.source("self"),))


def reduce(make_layer: Callable[[tuple[int, ...], bool], Any]) -> Callable[[Context], CallLayer]:
    """Return the translation of a reduction over axes to the layer that `make_layer` returns for (axes, keep)."""

    def translate(c: Context) -> CallLayer:
        if c.call.arguments.get("dtype") not in (None, c.call.dtype) or "keepdim" not in c.call.arguments:
            raise Unsupported("no axes are given, or another dtype")
        return CallLayer(make_layer(c.axes(), bool(c["keepdim"])), (c.source("self"),))

    return translate


def clip(c: Context) -> CallLayer:
    """Return Clip, or for limits that are tensors Where, which chooses between the input and each of them."""
    low, high = c.call.arguments.get("min"), c.call.arguments.get("max")
    if isinstance(low, Ref) or isinstance(high, Ref):
        limited: str | CallLayer = c.source("self")
        for comparison, limit in (("ge", low), ("le", high)):
            if isinstance(limit, Ref):
                is_within = CallLayer(operators.StepFunction(comparison), (limited, limit.name))
                limited = CallLayer(operators.Where(), (is_within, limited, limit.name))
        assert isinstance(limited, CallLayer)
        return limited
    limits = (None if limit is None else float(limit) for limit in (low, high))
    return CallLayer(operators.Clip(*limits), (c.source("self"),))


def matmul(c: Context) -> CallLayer:
    """Return MatMul."""
    other_name = "mat2" if "mat2" in c.call.arguments else "other"
    if min(len(c.shape("self")), len(c.shape(other_name))) < 2:
        raise Unsupported("an input is a vector")
    return CallLayer(operators.MatMul(), (c.source("self"), c.source(other_name)))


def attention(c: Context) -> CallLayer:
    """Return Attention."""
    c.check_values(dropout_p=0.0, enable_gqa=False)
    scale = c["scale"]
    tensor_arguments = [name for name in ("query", "key", "value", "attn_mask") if c[name] is not None]
    scale = None if scale is None else float(scale)
    layer = operators.Attention(bool(c["is_causal"]), scale, c.attention_dropout)
    return CallLayer(layer, tuple(map(c.source, tensor_arguments)))


TRANSLATIONS: dict[str, Callable[[Context], Any]] = {
    **dict.fromkeys(
        ("contiguous", "clone", "alias", "to", "_to_copy", "type_as", "lift_fresh_copy", "detach_copy"), unchanged
    ),
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "reshape_as", "view_as"),
        to_shape,
    ),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", *MATRIX_TRANSPOSES), transpose),
    **dict.fromkeys(("expand", "expand_as"), expand),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("cat", "concat"), join),
    **dict.fromkeys(("matmul", "bmm", "mm"), matmul),
    "permute": lambda c: CallLayer(operators.Permute(c.axes("dims")), (c.source("self"),)),
    "movedim": movedim,
    "numpy_T": lambda c: CallLayer(operators.Permute(tuple(range(len(c.shape())))[::-1]), (c.first_source,)),
    "slice": slice_,
    "narrow": narrow,
    "select": lambda c: CallLayer(operators.Select(c.axis(), c.fixed_value("index")), (c.source("self"),)),
    "slice_scatter": slice_scatter,
    "select_scatter": select_scatter,
    "copy": copy,
    "roll": roll,
    "stack": stack,
    "unfold": windows_of_axis,
    "add": add,
    "sub": sub,
    "rsub": rsub,
    "mul": mul,
    **dict.fromkeys(("div", "true_divide"), div),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), clip),
    "exp": lambda c: CallLayer(operators.Exponential(), (c.source("self"),)),
    "neg": lambda c: CallLayer(operators.AffineMap(-1.0), (c.source("self"),)),
    "pow": power,
    "square": lambda c: CallLayer(operators.Power(2.0), (c.source("self"),)),
    "sqrt": lambda c: CallLayer(operators.Power(0.5), (c.source("self"),)),
    "rsqrt": lambda c: CallLayer(operators.Power(-0.5), (c.source("self"),)),
    "mean": reduce(operators.Mean),
    "sum": reduce(operators.Sum),
    "logsumexp": reduce(operators.LogSumExp),
    "amax": reduce(operators.Largest),
    "scaled_dot_product_attention": attention,
}
