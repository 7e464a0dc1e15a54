"""The summary of a network: each layer's output shape, parameters, multiply-adds and memory."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import fit_to_screen
from pellucid.base.settings.checks import integer
from pellucid.base.text import aligned, plural, shortened
from pellucid.combine.base import Combinator, prefix_of, shape_of
from pellucid.layers.base import Cache, Layer, Mode, Params, describe
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.dense import Dense
from pellucid.layers.recurrent import Recurrent
from pellucid.nested import flatten
from pellucid.operators import Attention, Convolve, Einsum, LinearMap, MatMul
from pellucid.sweep import forward

SCREEN_WIDTH = 80  # characters of the table in `repr`
MIN_COLUMN_WIDTH = 12  # characters of a cut column

# Number of multiply-adds for one image: (layer, parameters, input of batch size 1, its output) -> number
MultiplyAddCount = Callable[[Any, Params, Any, Tensor], int]
MULTIPLY_ADD_COUNTS: dict[type[Layer], MultiplyAddCount] = {
    Dense: lambda layer, params, x, y: y.numel() * params["weight"].shape[1],
    Conv2d: lambda layer, params, x, y: y.numel() * params["weight"][0].numel(),  # each output value uses one filter
    # Each input value adds to a window.
    ConvTranspose2d: lambda layer, params, x, y: x.numel() * params["weight"][0].numel(),
    # Each step uses all weights.
    Recurrent: lambda layer, params, x, y: x.shape[1] * sum(params[name].numel() for name in layer.decayed),
    Convolve: lambda layer, _, x, y: (x[0] if layer.transposed else y).numel() * x[1][0].numel(),
    LinearMap: lambda layer, _, x, y: y.numel() * x[1].shape[1],
    MatMul: lambda layer, _, x, y: y.numel() * x[0].shape[-1],
    Einsum: lambda layer, _, x, y: _einsum_products(layer.equation, x),
    # For each query, the products with all keys and the weighted sum of all values.
    Attention: lambda layer, _, x, y: x[1].shape[-2] * (y.numel() // y.shape[-1] * x[0].shape[-1] + y.numel()),
}


@dataclass(frozen=True)
class SummaryRow:
    """The numbers of one layer, for one image."""

    path: str
    layer: str  # its constructor call, or the number of the layers of a module
    shape: tuple[Any, ...]  # the output shape, without the batch axis (a tuple of shapes for several outputs)
    parameters: int  # the number of learned values
    buffers: int  # the number of values in running statistics
    multiply_adds: int
    memory: int  # the bytes of the output and the cache, without memory that earlier layers already use
    uses: int  # the number of times that the network runs the layer


@dataclass(frozen=True)
class Summary:
    """The summary of a network: a row for each layer that is not a combinator, in forward order."""

    rows: tuple[SummaryRow, ...]

    def __repr__(self) -> str:
        """Return the first rows and the totals for a screen, with long layers cut so that their numbers fit."""
        return fit_to_screen(aligned(_narrowed(self.cells()), right=(3, 4, 5)))

    @property
    def parameters(self) -> int:
        """The number of learned parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """The number of multiply-adds of the forward pass of one image."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def memory(self) -> int:
        """The bytes of outputs and caches that one image keeps for the backward pass."""
        return sum(row.memory for row in self.rows)

    def by_module(self, depth: int) -> "Summary":
        """Return the summary with one row for all layers whose paths share their first `depth` parts.

        The row contains the output shape of the last of these layers; its `layer` is a text with their number. The row
        of a single layer is unchanged.
        """
        integer(depth, "depth", 1)
        modules: dict[str, list[SummaryRow]] = {}
        for row in self.rows:
            modules.setdefault(".".join(row.path.split(".")[:depth]), []).append(row)
        return Summary(tuple(_merge_rows(path, rows) for path, rows in modules.items()))

    def to_json(self) -> dict[str, Any]:
        """Return the rows and the totals as JSON values."""
        return {
            "parameters": self.parameters,
            "buffers": sum(row.buffers for row in self.rows),
            "multiply_adds": self.multiply_adds,
            "memory": self.memory,
            "layers": [asdict(row) for row in self.rows],
        }

    def cells(self) -> list[tuple[str, ...]]:
        """Return the cells of the table as text: the headings, the layers, the totals."""
        headings = ("path", "layer", "output", "parameters", "multiply-adds", "memory")
        body = [
            (
                row.path,
                row.layer + (f" (used {row.uses} times)" if row.uses > 1 else ""),
                shape_text(row.shape),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.multiply_adds:,}" if row.multiply_adds else "",
                bytes_text(row.memory) if row.memory else "",
            )
            for row in self.rows
        ]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", bytes_text(self.memory))
        return [headings, *body, total]

    def __str__(self) -> str:
        """Return the table as aligned text."""
        return aligned(self.cells(), right=(3, 4, 5))

    def _repr_html_(self) -> str:
        """Return the table as HTML for notebooks."""
        from pellucid.report.page import table_html

        return table_html(f"{plural(len(self.rows), 'layer')}, {self.parameters:,} parameters", self.cells(), (3, 4, 5))


def _narrowed(cells: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the cells of a table with layers, then paths, cut where it is wider than SCREEN_WIDTH."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    excess = sum(widths) + 2 * (len(widths) - 1) - SCREEN_WIDTH
    for column in (1, 0):  # the layer, and the path
        new_width = max(widths[column] - max(excess, 0), min(widths[column], MIN_COLUMN_WIDTH))
        excess -= widths[column] - new_width
        widths[column] = new_width
    return [(shortened(path, widths[0]), shortened(layer, widths[1]), *numbers) for path, layer, *numbers in cells]


def _merge_rows(path: str, rows: list[SummaryRow]) -> SummaryRow:
    """Return one row for a module, from the rows of its layers."""
    if len(rows) == 1:
        return rows[0]
    count_names = ("parameters", "buffers", "multiply_adds", "memory")
    sums = {name: sum(getattr(row, name) for row in rows) for name in count_names}
    return SummaryRow(path, plural(len(rows), "layer"), rows[-1].shape, **sums, uses=1)


def summary(net: Layer, params: Params | None, input_shape: Any, seed: int = 0) -> Summary:
    """Return the summary of `net`, from one run on an image of zeros in evaluation mode.

    input_shape: the shape of an input without the batch axis, or a tuple of such shapes for several inputs. params: the
    parameters; None to draw them with `seed`. For parameters on the device "meta", which have no values, the summary is
    the same, without computation.
    """
    if params is None:
        params, _ = net.init(input_shape, torch.Generator().manual_seed(seed))
    leaf_by_path = flatten(params)
    device = next((leaf.device for leaf in leaf_by_path.values()), torch.device("cpu"))
    dtype = next((leaf.dtype for leaf in leaf_by_path.values() if leaf.is_floating_point()), torch.float32)
    has_several_inputs = bool(input_shape) and isinstance(input_shape[0], tuple)
    shapes = input_shape if has_several_inputs else (input_shape,)
    images = tuple(torch.zeros(1, *shape, device=device, dtype=dtype) for shape in shapes)

    counted_ids = {
        _storage_id(leaf) for leaf in (*leaf_by_path.values(), *images)
    }  # parameters and inputs are not counted
    live_tensors: list[Any] = []  # keeps all tensors alive, since later tensors would reuse freed memory
    rows: dict[str, SummaryRow] = {}

    def add_row(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if isinstance(layer, Combinator):
            return
        live_tensors.append((x, y, cache))
        storages = {_storage_id(tensor): tensor.untyped_storage().nbytes() for tensor in _tensors((y, cache))}
        new_storages = {key: size for key, size in storages.items() if key not in counted_ids}
        counted_ids.update(new_storages)
        prefix = prefix_of(path)
        own_params = {name: leaf_by_path[prefix + name] for name in _own_names(leaf_by_path, prefix)}
        own_params |= {"": leaf_by_path[path]} if path in leaf_by_path else {}  # of Learned and Fixed
        earlier_row = rows.get(path)
        rows[path] = SummaryRow(
            path=path or type(layer).__name__.lower(),
            layer=describe(layer),
            shape=shape_of(y) if earlier_row is None else earlier_row.shape,
            parameters=sum(leaf.numel() for name, leaf in own_params.items() if name not in layer.buffers),
            buffers=sum(leaf.numel() for name, leaf in own_params.items() if name in layer.buffers),
            multiply_adds=multiply_adds(layer, own_params, x, y)
            + (0 if earlier_row is None else earlier_row.multiply_adds),
            memory=sum(new_storages.values()) + (0 if earlier_row is None else earlier_row.memory),
            uses=1 if earlier_row is None else earlier_row.uses + 1,
        )

    with torch.no_grad():
        forward(net, params, images if has_several_inputs else images[0], Mode(), add_row)
    return Summary(tuple(rows.values()))


def multiply_adds(layer: Layer, params: Params, x: Any, y: Any) -> int:
    """Return the number of multiply-adds of a layer for one image: 0 for layers without a product of matrices.

    params: the layer's parameters by name. x, y: its input and output, with a batch size of 1.
    """
    for layer_type in type(layer).__mro__:
        if layer_type in MULTIPLY_ADD_COUNTS:
            return MULTIPLY_ADD_COUNTS[layer_type](layer, params, x, y)
    return 0


def _einsum_products(equation: str, x: Any) -> int:
    """Return the number of products in an Einstein sum: (inputs - 1) for each combination of the indices."""
    xs = x if isinstance(x, tuple) else (x,)
    subscripts = equation.partition("->")[0].split(",")
    sizes = dict(
        pair
        for subscript, operand in zip(subscripts, xs, strict=True)
        for pair in zip(subscript, operand.shape, strict=True)
    )
    return (len(xs) - 1) * math.prod(sizes.values())


def shape_text(shape: tuple[Any, ...]) -> str:
    """Return a shape as text such as "20 x 12 x 12"; several shapes are separated by commas."""
    if shape and isinstance(shape[0], tuple):
        return ", ".join(map(shape_text, shape))
    return " x ".join("any" if size is None else str(size) for size in shape) or "1"


def bytes_text(count: int) -> str:
    """Return a number of bytes as text, with the unit (B to GiB) in which it is below 1024."""
    power = min(int(math.log2(count) // 10), 3) if count else 0
    return f"{count:,} B" if power == 0 else f"{count / 1024**power:,.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def _own_names(leaf_by_path: dict[str, Tensor], prefix: str) -> list[str]:
    return [path[len(prefix) :] for path in leaf_by_path if path.startswith(prefix) and "." not in path[len(prefix) :]]


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if not isinstance(tree, tuple | list):  # caches may also have numbers, texts and shapes
        return []
    return [tensor for child in tree for tensor in _tensors(child)]


def _storage_id(x: Tensor) -> int:
    return x.untyped_storage()._cdata  # also for tensors on "meta", whose values have no address
