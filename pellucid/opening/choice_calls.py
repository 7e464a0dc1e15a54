"""Translation of PyTorch operators to layers: positions, indices, conditions, distances, products and resizing."""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from pellucid import operators
from pellucid.base.text import note_once
from pellucid.opening.exported import Multiple, Ref
from pellucid.opening.values import CallLayer, Context, Unsupported


def search_positions(c: Context, search: str, count: int = 1, keep: bool = True) -> CallLayer:
    """Return Positions, for a search along the call's axis; keep: whether that axis is kept."""
    if c["dim"] is None:
        raise Unsupported("over all examples")
    axis = c.axis()
    positions = CallLayer(operators.Positions(search, axis, count), (c.source("self"),))
    return positions if keep else CallLayer(operators.Select(axis, 0), (positions,))


def chosen_output(c: Context, index: int) -> CallLayer:
    """Return the values or the positions that max, min, median, kthvalue, topk, sort, cummax or cummin choose."""
    keep = bool(c.call.arguments.get("keepdim", True))
    axis = c.axis()
    if c.call.op == "max" and index == 0:
        return CallLayer(operators.LargestOne(axis, keep), (c.source("self"),))
    search = c.call.op
    if search == "topk":
        search = "largest" if c["largest"] else "smallest"
    elif search == "sort":
        search = "descending" if c["descending"] else "ascending"
    count = c.fixed_value("k") if "k" in c.call.arguments else 1
    positions = search_positions(c, search, count)
    result = CallLayer(operators.Gather(axis), (c.source("self"), positions)) if index == 0 else positions
    return result if keep else CallLayer(operators.Select(axis, 0), (result,))


def gather(c: Context) -> CallLayer:
    """Return Gather."""
    index = "index" if "index" in c.call.arguments else "indices"
    sizes, index_sizes = list(c.shape()), list(c.shape(index))
    if c.call.op == "take_along_dim" and _without(sizes, c.axis()) != _without(index_sizes, c.axis()):
        raise Unsupported("indices of other sizes, which are repeated")
    return CallLayer(operators.Gather(c.axis()), (c.source("self"), c.source(index)))


def _without(sizes: Sequence[Any], axis: int) -> list[Any]:
    return [size for number, size in enumerate(sizes) if number != axis]


def scatter(c: Context) -> CallLayer:
    """Return Scatter."""
    if c.call.arguments.get("reduce") is not None:
        raise Unsupported(f"reduce={c['reduce']!r}")
    if "value" in c.call.arguments:
        layer = operators.Scatter(c.axis(), c.number("value"))
        return CallLayer(layer, (c.source("self"), c.source("index")))
    if c.shape("src") != c.shape("index"):
        raise Unsupported("a source of another size than its indices")
    return CallLayer(operators.Scatter(c.axis()), (c.source("self"), c.source("index"), c.source("src")))


def one_hot(c: Context) -> CallLayer:
    """Return OneHot; raises Unsupported for a number of classes that the values decide."""
    if c.fixed_value("num_classes") < 1:
        raise Unsupported("num_classes is not given")
    return CallLayer(operators.OneHot(c["num_classes"]), (c.source("self"),))


def embedding(c: Context) -> CallLayer:
    """Return Index: the rows of the table at the indices."""
    c.check_values(scale_grad_by_freq=False, sparse=False)
    ignored_index = None if c["padding_idx"] < 0 else c["padding_idx"]
    return CallLayer(operators.Index(0, ignored_index), (c.source("weight"), _integers(c, c["indices"])))


def _integers(c: Context, index: Any) -> str:
    if index.name not in c.constants and index.name not in c.integers:
        raise Unsupported("its indices are no integers")
    return index.name


def index(c: Context) -> CallLayer | str:
    """Return Index, for indices of one axis, for constant ones of adjacent axes, and for one of each example.

    Indices of all examples, as those that remain of x[torch.arange(len(x)), -1], return the name of the input.
    """
    refs = [(axis, ref) for axis, ref in enumerate(c["indices"]) if ref is not None]
    (first_axis, ref), *other_refs = refs
    x = c.source("self")
    if first_axis == 0 and _is_range(c, ref):
        if not other_refs and c.shapes[ref.name] == c.shape()[:1]:
            return x
        if len(other_refs) == 1 and other_refs[0][1].name in c.integers:
            axis, positions = other_refs[0]
            return _one_of_each_example(c, axis, positions.name)
    if any(ref.name not in c.constants for _, ref in refs):
        if other_refs or ref.name not in c.integers:
            raise Unsupported("its indices are computed")
        return CallLayer(operators.Index(first_axis), (x, ref.name))
    indices = [part for _, ref in refs for part in _as_positions(c.constants[ref.name])]
    last_axis = first_axis + len(indices) - 1
    sizes = c.shape()[first_axis : last_axis + 1]
    if len(other_refs) and [axis for axis, _ in refs] != list(range(first_axis, first_axis + len(refs))):
        raise Unsupported("indices of axes that are not adjacent")
    if any(isinstance(size, Multiple) for size in sizes):
        raise Unsupported("indices of examples")
    if len(indices) == 1:
        return CallLayer(operators.Index(first_axis), (x, c.constant("positions", indices[0])))
    flat_positions = torch.zeros((), dtype=torch.int64)
    for position, size in zip(indices, sizes, strict=True):
        flat_positions = flat_positions * size + position % size
    flattened = CallLayer(operators.ToShape((-1,), first_axis, len(c.shape()) - last_axis - 1), (x,))
    return CallLayer(operators.Index(first_axis), (flattened, c.constant("positions", flat_positions)))


def _as_positions(constant: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the constant index as positions: those of a mask's True values, one tensor for each of its axes."""
    if constant.dtype is torch.bool:
        return constant.nonzero(as_tuple=True)
    if constant.dtype not in (torch.int64, torch.int32):
        raise Unsupported(f"indices of {constant.dtype}")
    return (constant.long(),)


def _is_range(c: Context, ref: Ref) -> bool:
    """Return whether a value is the numbers of all examples."""
    values = c.varying.get(ref.name, ())
    return bool(values) and all(torch.equal(value, torch.arange(len(value))) for value in values)


def _one_of_each_example(c: Context, axis: int, positions: str) -> CallLayer:
    """Return the values of each example at its position in an axis."""
    sizes = c.shape()
    if len(c.shapes[positions]) != 1:
        raise Unsupported("several indices of each example")
    column = CallLayer(operators.ToShape((1,) * (len(sizes) - 1), 1, 0), (positions,))
    layer = operators.Expand((-1, *sizes[1:axis], 1, *sizes[axis + 1 :]))
    expanded = CallLayer(layer, (column,)) if len(sizes) > 2 else column
    return CallLayer(operators.Select(axis, 0), (CallLayer(operators.Gather(axis), (c.source("self"), expanded)),))


def index_put(c: Context) -> CallLayer:
    """Return MaskedFill, for one number that is written where a mask is True, or at constant positions of an axis."""
    refs = [(axis, ref) for axis, ref in enumerate(c["indices"]) if ref is not None]
    value = c.constants.get(c.source("values"))
    if len(refs) != 1 or c["accumulate"] or value is None or value.numel() != 1:
        raise Unsupported("other values than one number, or several indices")
    axis, ref = refs[0]
    rank = len(c.shape())
    layer = operators.MaskedFill(float(value))
    if ref.name in c.masks and axis == 0:
        n_later_axes = rank - len(c.shapes[ref.name])
        mask = (
            CallLayer(operators.ToShape((1,) * n_later_axes, rank - n_later_axes, 0), (ref.name,))
            if n_later_axes
            else ref.name
        )
        return CallLayer(layer, (c.source("self"), mask))
    if ref.name not in c.constants or isinstance(c.shape()[axis], Multiple):
        raise Unsupported("its indices are computed")
    return _filled(c, axis, c.constants[ref.name], float(value))


def index_fill(c: Context) -> CallLayer:
    """Return MaskedFill at constant positions of an axis."""
    axis = c.axis()
    positions = c.constants.get(c.source("index"))
    if positions is None or isinstance(c["value"], Ref) or isinstance(c.shape()[axis], Multiple):
        raise Unsupported("its indices are computed")
    return _filled(c, axis, positions, c.number("value"))


def _filled(c: Context, axis: int, positions: torch.Tensor, value: float) -> CallLayer:
    """Return MaskedFill with a number at constant positions of an axis, or where a constant mask is True."""
    if positions.dtype is torch.bool:
        mask = positions
    else:
        mask = torch.zeros(c.shape()[axis], dtype=torch.bool)
        mask[positions] = True
    n_later_axes = len(c.shape()) - axis - mask.dim()
    mask_name = c.constant("mask", mask.view(*mask.shape, *(1,) * n_later_axes))
    return CallLayer(operators.MaskedFill(value), (c.source("self"), mask_name))


def any_or_all(c: Context) -> CallLayer:
    """Return whether any value of a mask, or all of them along some axes, are True."""
    if c.source("self") not in c.masks or "dim" not in c.call.arguments:
        raise Unsupported("of numbers, or over all examples")
    negate = operators.StepFunction("logical_not")
    is_all = c.call.op == "all"
    values = CallLayer(negate, (c.source("self"),)) if is_all else c.source("self")
    count = CallLayer(operators.Sum(c.axes(), bool(c["keepdim"])), (values,))
    found_any = CallLayer(operators.StepFunction("gt", 0.0), (count,))
    return CallLayer(negate, (found_any,)) if is_all else found_any


def infinite(c: Context) -> CallLayer:
    """Return a mask of positive and negative infinity."""
    sides = (CallLayer(operators.StepFunction(name), (c.first_source,)) for name in ("isposinf", "isneginf"))
    return CallLayer(operators.StepFunction("logical_or"), tuple(sides))


def remainder(c: Context) -> CallLayer:
    """Return what is left of a division by a number, rounded down."""
    divisor = c.number("other")
    quotient = CallLayer(operators.StepFunction("floor_divide", divisor), (c.source("self"),))
    return CallLayer(operators.Minus(), (c.source("self"), CallLayer(operators.AffineMap(divisor), (quotient,))))


def fraction(c: Context) -> CallLayer:
    """Return x minus its whole part."""
    return CallLayer(operators.Minus(), (c.first_source, CallLayer(operators.StepFunction("trunc"), (c.first_source,))))


def nan_to_num(c: Context) -> CallLayer:
    """Return x with numbers in place of NaN and infinity."""
    assert c.call.dtype is not None
    largest = torch.finfo(c.call.dtype).max
    result: str | CallLayer = c.source("self")
    for test, argument, default in (
        ("isnan", "nan", 0.0),
        ("isposinf", "posinf", largest),
        ("isneginf", "neginf", -largest),
    ):
        value = default if c[argument] is None else c.number(argument)
        mask = CallLayer(operators.StepFunction(test), (c.source("self"),))
        result = CallLayer(operators.MaskedFill(value), (result, mask))
    assert isinstance(result, CallLayer)
    return result


def norm(c: Context) -> CallLayer:
    """Return Length, or the sum or the largest of absolute values."""
    if c["dtype"] not in (None, c.call.dtype):
        raise Unsupported(f"dtype={c['dtype']}")
    return _norm(c.number("ord"), c.source("self"), c.axes(), bool(c["keepdim"]))


def _norm(order: float, x: str | CallLayer, axes: tuple[int, ...], keep: bool) -> CallLayer:
    if order == 2:
        return CallLayer(operators.Length(axes, keep), (x,))
    sizes = CallLayer(operators.Absolute(), (x,))
    if math.isinf(order) and order > 0:
        return CallLayer(operators.Largest(axes, keep), (sizes,))
    if order == 1:
        return CallLayer(operators.Sum(axes, keep), (sizes,))
    raise Unsupported(f"a norm of order {order}")  # whose gradient at 0 powers do not give


def distances(c: Context) -> CallLayer:
    """Return the distances between the rows of two tensors (..., P, M) and (..., R, M)."""
    rank = len(c.shape("x1"))
    if len(c.shape("x2")) != rank:
        raise Unsupported("tensors with different numbers of axes")
    rows = CallLayer(operators.ToShape((1,), rank - 1, 1), (c.source("x1"),))
    columns = CallLayer(operators.ToShape((1,), rank - 2, 2), (c.source("x2"),))
    return _norm(c.number("p"), CallLayer(operators.Minus(), (rows, columns)), (rank,), keep=False)


def bilinear(c: Context) -> CallLayer:
    """Return x1 W_k x2 + b_k for each k."""
    before = string.ascii_lowercase[: len(c.shape("input1")) - 1]
    product = CallLayer(operators.Einsum(f"{before}x,zxy->{before}zy"), (c.source("input1"), c.source("weight")))
    y = CallLayer(operators.Einsum(f"{before}zy,{before}y->{before}z"), (product, c.source("input2")))
    return y if c["bias"] is None else CallLayer(operators.Plus(), (y, c.source("bias")))


def tensordot(c: Context) -> CallLayer:
    """Return Einsum over the pairs of axes."""
    left_letters, right_letters = (
        list(string.ascii_lowercase[start : start + len(c.shape(name))]) for start, name in ((0, "self"), (13, "other"))
    )
    shared = c.axes("dims_self"), c.axes("dims_other", of="other")
    for first, second in zip(*shared, strict=True):
        right_letters[second] = left_letters[first]
    output_letters = [
        letter for letter in (*left_letters, *right_letters) if (letter in left_letters) != (letter in right_letters)
    ]
    equation = f"{''.join(left_letters)},{''.join(right_letters)}->{''.join(output_letters)}"
    return CallLayer(operators.Einsum(equation), (c.source("self"), c.source("other")))


def product(c: Context) -> CallLayer:
    """Return the last of the running products."""
    if "dim" not in c.call.arguments:
        raise Unsupported("over all examples")
    axis = c.axis()
    running = CallLayer(operators.RunningProduct(axis), (c.source("self"),))
    last = operators.Slice(axis, -1) if c["keepdim"] else operators.Select(axis, -1)
    return CallLayer(last, (running,))


def log_add_exp(c: Context) -> CallLayer:
    """Return log(exp(a) + exp(b)) of tensors of one shape."""
    rank = len(c.shape())
    if c.shape() != c.shape("other"):
        raise Unsupported("tensors of different shapes")
    stacked = CallLayer(operators.Stack(rank), (c.source("self"), c.source("other")))
    return CallLayer(operators.LogSumExp((rank,)), (stacked,))


def resize(mode: str) -> Callable[[Context], CallLayer]:
    """Return the translation of resizing, one axis after the other: a product with a constant matrix for each."""

    def translate(c: Context) -> CallLayer:
        name = "self" if "self" in c.call.arguments else "input"
        letters = string.ascii_lowercase[: len(c.shape(name))]
        sizes = c.fixed_value("output_size")
        scales = c.call.arguments.get("scale_factors")
        align = {"align_corners": bool(c["align_corners"])} if mode == "linear" else {}
        result: str | CallLayer = c.source(name)
        for k, letter in enumerate(letters[2:]):
            identity = torch.eye(c.shape(name)[2 + k], dtype=c.call.dtype)[None]
            extent: dict[str, Any] = {"size": sizes[k]} if scales is None else {"scale_factor": scales[k]}
            matrix = F.interpolate(identity, mode=mode, **extent, **align)[0]
            equation = f"{letters},{letter}z->{letters.replace(letter, 'z')}"
            result = CallLayer(operators.Einsum(equation), (result, c.constant(f"axis{k}", matrix)))
        assert isinstance(result, CallLayer)
        return result

    return translate


def shifted_dropout(c: Context) -> str:
    """Return the name of the input, as in evaluation mode."""
    note_once("open: AlphaDropout drops nothing in training here")
    return c.first_source


TRANSLATIONS: dict[str, Callable[[Context], Any]] = {
    **{
        name: lambda c, name=name: CallLayer(operators.NumberFunction(name), (c.first_source,))
        for name in operators.FUNCTIONS
    },
    "atan2": lambda c: CallLayer(operators.AngleOfPoint(), (c.source("self"), c.source("other"))),
    "argmax": lambda c: search_positions(c, "argmax", keep=bool(c["keepdim"])),
    "argmin": lambda c: search_positions(c, "argmin", keep=bool(c["keepdim"])),
    "argsort": lambda c: search_positions(c, "descending" if c["descending"] else "ascending"),
    **dict.fromkeys(("gather", "take_along_dim"), gather),
    "scatter": scatter,
    "one_hot": one_hot,
    "embedding": embedding,
    "index": index,
    "index_select": lambda c: CallLayer(operators.Index(c.axis()), (c.source("self"), _integers(c, c["index"]))),
    "index_put": index_put,
    "index_fill": index_fill,
    "isinf": infinite,
    **dict.fromkeys(("any", "all"), any_or_all),
    "remainder": remainder,
    "frac": fraction,
    "nan_to_num": nan_to_num,
    "linalg_vector_norm": norm,
    "cdist": distances,
    "bilinear": bilinear,
    "tensordot": tensordot,
    "prod": product,
    "cumprod": lambda c: CallLayer(operators.RunningProduct(c.axis()), (c.source("self"),)),
    "logaddexp": log_add_exp,
    "upsample_trilinear3d": resize("linear"),
    "upsample_nearest3d": resize("nearest"),
    **{f"_upsample_nearest_exact{n}d": resize("nearest-exact") for n in (1, 2, 3)},
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), shifted_dropout),
}
# Operators that take more time than their values, in constants of files
COSTLY = ("cdist", "sort", "topk", "argsort", "median", "kthvalue")
# Operators with several outputs; the layer of one of them is that of its index.
OUTPUTS = dict.fromkeys(("max", "min", "median", "kthvalue", "topk", "sort", "cummax", "cummin"), chosen_output)
