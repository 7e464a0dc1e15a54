"""Drawings of networks: boxes from top to bottom, branches side by side, with output shapes."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import torch
from matplotlib.figure import Figure

from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.combine.base import Combinator, join
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Crop,
    Dense,
    Dropout,
    Identity,
    LocalResponseNorm,
    MaxPool2d,
    Multiply,
    PadChannels,
)
from pellucid.layers.base import Layer, Mode, Trait, pair
from pellucid.network.summary import describe, shape_text
from pellucid.report.figures.boxes import (
    BRANCH_SPACE,
    GAP,
    Piece,
    beside,
    box,
    frame,
    labelled,
    line,
    nothing,
    stack,
    word,
)
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, PALE
from pellucid.sweep import forward

DrawnShapes = Mapping[str, Any]  # the output shape of each layer, by path

MARGIN = 12.0  # points
ASPECT = 1.5  # desired ratio of width to height, which determines the number of columns
# Penalty for an entirely empty area below the columns; the penalty of a ratio that is wrong by a factor of e is 1.
EMPTY_PENALTY = 2.0
MAX_FRAME_DEPTH = 2  # depth of nesting up to which every combinator has a frame
# Colours of the layers that begin a new box; all other layers are added to the box before them.
COLOURS = {Trait.CONVOLUTION: BLUE, Trait.WEIGHTED: ORANGE, Trait.RESAMPLE: GREEN}
MERGES: dict[type[Layer], str] = {Add: "+", Concat: "concat", Crop: "crop", Multiply: "x"}


def draw_network(net: Layer, input_shape: Any) -> Figure:
    """Draw `net` for inputs of `input_shape` (no batch axis), in columns from left to right.

    Equal consecutive blocks are drawn once, with their number. Only shapes are computed, no values.
    """
    shapes = _shapes(net, input_shape)
    first = word(f"input  {shape_text(input_shape)}", PALE)
    columns = _columns([first, *_parts(net, shapes)])
    width = sum(piece.width for piece in columns) + BRANCH_SPACE * (len(columns) - 1) + 2 * MARGIN
    height = max(piece.height for piece in columns) + 2 * (MARGIN + GAP)
    figure = Figure((width / 72, height / 72))
    plot = figure.add_axes((0, 0, 1, 1))
    plot.set_xlim(0, width)
    plot.set_ylim(height, 0)
    plot.set_axis_off()
    left, top = MARGIN, MARGIN + GAP
    for index, piece in enumerate(columns):
        port, bottom = left + piece.port, top + piece.height
        if index + 1 < len(columns):  # a line down, right to the gap between the columns, up, and into the next column
            between, following = (
                left + piece.width + BRANCH_SPACE / 2,
                left + piece.width + BRANCH_SPACE + columns[index + 1].port,
            )
            line(
                plot,
                [
                    (port, bottom),
                    (port, bottom + GAP),
                    (between, bottom + GAP),
                    (between, MARGIN),
                    (following, MARGIN),
                    (following, top),
                ],
            )
        piece.draw(plot, left, top)
        left += piece.width + BRANCH_SPACE
    return figure


def _shapes(net: Layer, input_shape: Any) -> DrawnShapes:
    """Return the output shape of every layer by path."""
    shapes: dict[str, Any] = {}

    def note(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        shapes[path] = _shape(y)

    has_several_inputs = bool(input_shape) and isinstance(input_shape[0], tuple)
    with torch.device("meta"), torch.no_grad():  # shapes only
        params, _ = net.init(input_shape, torch.Generator())
        xs = tuple(torch.empty(1, *shape) for shape in (input_shape if has_several_inputs else (input_shape,)))
        forward(net, params, xs if has_several_inputs else xs[0], Mode(keep=False), note)
    return shapes


def _shape(y: Any) -> tuple[Any, ...]:
    return tuple(map(_shape, y)) if isinstance(y, tuple) else tuple(y.shape[1:])


def _columns(pieces: list[Piece]) -> list[Piece]:
    """Arrange the pieces in 1 to 12 columns: as many as minimize the penalty for the aspect and for empty area."""

    def packed(count: int) -> list[Piece]:
        height = sum(piece.height + GAP for piece in pieces) / count
        columns: list[list[Piece]] = [[]]
        filled = 0.0
        for piece in pieces:
            if columns[-1] and filled + piece.height / 2 > height and len(columns) < count:
                columns.append([])
                filled = 0.0
            columns[-1].append(piece)
            filled += piece.height + GAP
        return [stack(column) for column in columns]

    def penalty(columns: list[Piece]) -> float:
        width, height = sum(column.width + BRANCH_SPACE for column in columns), max(column.height for column in columns)
        empty = 1 - sum(column.height for column in columns) / (height * len(columns))
        return abs(math.log(width / height / ASPECT)) + EMPTY_PENALTY * empty

    return min((packed(count) for count in range(1, min(len(pieces), 12) + 1)), key=penalty)


def _parts(net: Layer, shapes: DrawnShapes) -> Iterator[Piece]:
    """Yield the pieces of a network: the children of its part "features" one by one, and the other parts."""
    if not isinstance(net, Sequential):
        yield _piece(net, "", shapes, 0)
        return
    rest = dict(net.children)
    inner = _chain(rest.get("features"))
    if inner is not None:
        yield from _rows(inner, "features", shapes, 1)
        del rest["features"]
    yield from _rows(rest, "", shapes, 1)


def _chain(layer: Layer | None) -> Mapping[str, Layer] | None:
    """Return the children of a Sequential, or of a Graph whose nodes form a sequence; None for others."""
    if isinstance(layer, Sequential):
        return layer.children
    if isinstance(layer, Graph):
        before = (*layer.inputs, *layer.nodes)
        # In place of its layer, a node may have the name of an earlier node, whose layer it shares.
        chained = all(
            node[1:] == (source,) and not isinstance(node[0], str)
            for node, source in zip(layer.nodes.values(), before, strict=False)
        )
        return layer.layers if chained and len(layer.inputs) == 1 else None
    return None


def _piece(layer: Layer, path: str, shapes: DrawnShapes, depth: int) -> Piece:
    """Return the piece of a layer, with all its children."""
    match layer:
        case Identity():
            piece = nothing()
        case Sequential():
            piece = stack(list(_rows(layer.children, path, shapes, depth)))
        case Parallel():
            merge = word(MERGES.get(type(layer.merge)) or describe(layer.merge))
            piece = beside(_branches(layer.branches, path, shapes, depth), merge)
        case Fork():
            piece = beside(_branches(layer.heads, path, shapes, depth), None)
        case Graph():
            piece = _graph(layer, path, shapes, depth)
        case Combinator():
            piece = stack(_branches(layer.layers, path, shapes, depth))
        case _:
            name = path.rpartition(".")[2] or "layer"
            piece = _box([(name, layer)], shapes[path])
    return piece


def _branches(children: Mapping[str, Layer], path: str, shapes: DrawnShapes, depth: int) -> list[Piece]:
    return [labelled(name, _piece(child, join(path, name), shapes, depth + 1)) for name, child in children.items()]


def _graph(graph: Graph, path: str, shapes: DrawnShapes, depth: int) -> Piece:
    """Return the piece of a graph: its nodes in order, with their inputs unless these are only the node before."""
    pieces: list[Piece] = []
    connected: list[bool] = []  # whether a line leads to each piece from the one before
    before = graph.inputs[0]
    run: dict[str, Layer] = {}
    for name, (layer, *sources) in graph.nodes.items():
        follows = sources == [before]
        if not follows and run:
            pieces += _rows(run, path, shapes, depth)
            run = {}
        owner = layer if isinstance(layer, str) else name
        if follows and not isinstance(layer, str):
            run[name] = layer
        else:
            repeated = f"{name} = {layer}, " if isinstance(layer, str) else ""
            piece = _piece(graph.layers[owner], join(path, owner), shapes, depth + 1)
            pieces.append(frame(name, f"{repeated}input: {', '.join(sources)}", piece))
        connected += [follows and bool(connected)] * (len(pieces) - len(connected))
        before = name
    pieces += _rows(run, path, shapes, depth)
    return stack(pieces, connected + [True] * (len(pieces) - len(connected)))


def _rows(children: Mapping[str, Layer], path: str, shapes: DrawnShapes, depth: int) -> Iterator[Piece]:
    """Yield the pieces of consecutive layers: boxes of one or several layers, and frames of combinators."""
    pending: list[tuple[str, Layer]] = []

    def alike(item: tuple[str, Layer]) -> tuple[Layer, Any]:
        return item[1], shapes[join(path, item[0])][1:]  # without channels, whose number may differ in equal blocks

    for (equal, _), group in groupby(children.items(), key=alike):
        names = [name for name, _ in group]
        if not isinstance(equal, Combinator):
            for name in names:
                if _colour(equal) and pending:
                    yield _box(pending, shapes[join(path, pending[-1][0])])
                    pending = []
                pending.append((name, equal))
            continue
        if pending:
            yield _box(pending, shapes[join(path, pending[-1][0])])
            pending = []
        piece = _piece(equal, join(path, names[0]), shapes, depth + 1)
        if depth > MAX_FRAME_DEPTH and len(names) == 1:
            yield piece
        else:
            label = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} times"
            yield frame(label, shape_text(shapes[join(path, names[-1])]), piece)
    if pending:
        yield _box(pending, shapes[join(path, pending[-1][0])])


def _box(layers: list[tuple[str, Layer]], out: Any) -> Piece:
    """Return one box for consecutive layers; `out` is the output shape of the last one."""
    shape = shape_text(out)
    main, colour = next(((item, colour) for item in layers if (colour := _colour(item[1]))), (None, PALE))
    if main is None:
        return box(", ".join(_words(layer) for _, layer in layers), [shape], colour)
    rest = ", ".join(_words(layer) for name, layer in layers if name != main[0])
    return box(f"{main[0]}  {_words(main[1])}", [rest, shape] if rest else [shape], colour)


def _colour(layer: Layer) -> str | None:
    return next((colour for trait, colour in COLOURS.items() if trait in layer.traits), None)


def _words(layer: Layer) -> str:
    kind = type(layer)
    return WORDS[kind](layer) if kind in WORDS else describe(layer)


def _window(layer: Any) -> str:
    kernel, stride = pair(layer.kernel), pair(layer.kernel if layer.stride is None else layer.stride)
    step = f" / {stride[0]}" if stride[0] == stride[1] else f" / {stride}"
    return f"{kernel[0]} x {kernel[1]}" + (step if stride != (1, 1) else "")


def _convolution(layer: Any) -> str:
    groups = "" if layer.groups == 1 else " groups" if layer.groups == layer.filters else f" in {layer.groups} groups"
    return f"{_window(layer)}, {layer.filters}{groups}"


WORDS: dict[type[Layer], Callable[[Any], str]] = {
    Conv2d: _convolution,
    ConvTranspose2d: _convolution,
    Dense: lambda layer: str(layer.units),
    MaxPool2d: lambda layer: f"max {_window(layer)}",
    AvgPool2d: lambda layer: f"mean {_window(layer)}",
    AdaptiveAvgPool2d: lambda layer: "mean to {} x {}".format(*pair(layer.size)),
    PadChannels: lambda layer: f"{layer.before + layer.after} channels of zeros",
    BatchNorm: lambda layer: "BatchNorm",
    LocalResponseNorm: lambda layer: f"LocalResponseNorm {layer.size}",
    Dropout: lambda layer: f"Dropout {layer.rate:g}",
}
