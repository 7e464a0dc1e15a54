"""Drawings of networks: boxes from top to bottom, branches side by side, with output shapes."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import torch
from matplotlib.figure import Figure

from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.combine.base import Combinator, join, shape_of
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
from pellucid.layers.base import Layer, Mode, Trait, describe, pair
from pellucid.network.summary import shape_text
from pellucid.report.figures.boxes import (
    BRANCH_SPACE,
    GAP,
    Piece,
    box,
    draw_line,
    empty_piece,
    framed,
    merge_box,
    side_by_side,
    stack,
    with_label,
)
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, PALE
from pellucid.sweep import forward

DrawnShapes = Mapping[str, Any]  # the output shape of each layer, by path

MARGIN = 12.0  # points
ASPECT = 1.5  # desired ratio of width to height, which determines the number of columns
# Penalty for an entirely empty area below the columns; an aspect ratio that is wrong by a factor of e has penalty 1.
EMPTY_PENALTY = 2.0
MAX_FRAME_DEPTH = 2  # depth of nesting up to which every combinator has a frame
# Colours of the layers that begin a new box; all other layers are added to the box before them.
BOX_COLOURS = {Trait.CONVOLUTION: BLUE, Trait.WEIGHTED: ORANGE, Trait.RESAMPLE: GREEN}
MERGE_LABELS: dict[type[Layer], str] = {Add: "+", Concat: "concat", Crop: "crop", Multiply: "x"}


def draw_network(net: Layer, input_shape: Any) -> Figure:
    """Draw `net` for inputs of `input_shape` (no batch axis), in columns from left to right.

    Equal consecutive blocks are drawn once, with their count. Only shapes are computed, no values.
    """
    shapes = _shapes(net, input_shape)
    input_box = merge_box(f"input  {shape_text(input_shape)}", PALE)
    columns = _arrange_columns([input_box, *_network_pieces(net, shapes)])
    width = sum(piece.width for piece in columns) + BRANCH_SPACE * (len(columns) - 1) + 2 * MARGIN
    height = max(piece.height for piece in columns) + 2 * (MARGIN + GAP)
    figure = Figure((width / 72, height / 72))  # in inches of 72 points
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    left, top = MARGIN, MARGIN + GAP
    for index, piece in enumerate(columns):
        port, bottom = left + piece.port, top + piece.height
        if index + 1 < len(columns):  # a line down, right to the gap between the columns, up, and into the next column
            gap_x, next_port = (
                left + piece.width + BRANCH_SPACE / 2,
                left + piece.width + BRANCH_SPACE + columns[index + 1].port,
            )
            draw_line(
                axes,
                [
                    (port, bottom),
                    (port, bottom + GAP),
                    (gap_x, bottom + GAP),
                    (gap_x, MARGIN),
                    (next_port, MARGIN),
                    (next_port, top),
                ],
            )
        piece.draw(axes, left, top)
        left += piece.width + BRANCH_SPACE
    return figure


def _shapes(net: Layer, input_shape: Any) -> DrawnShapes:
    """Return the output shape of every layer by path."""
    shapes: dict[str, Any] = {}

    def record_shape(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        shapes[path] = shape_of(y)

    has_several_inputs = bool(input_shape) and isinstance(input_shape[0], tuple)
    with torch.device("meta"), torch.no_grad():  # shapes only
        params, _ = net.init(input_shape, torch.Generator())
        xs = tuple(torch.empty(1, *shape) for shape in (input_shape if has_several_inputs else (input_shape,)))
        forward(net, params, xs if has_several_inputs else xs[0], Mode(keep=False), record_shape)
    return shapes


def _arrange_columns(pieces: list[Piece]) -> list[Piece]:
    """Arrange the pieces in 1 to 12 columns, with the least penalty for the aspect ratio and for empty area."""

    def fill_columns(n_columns: int) -> list[Piece]:
        height = sum(piece.height + GAP for piece in pieces) / n_columns
        columns: list[list[Piece]] = [[]]
        filled_height = 0.0
        for piece in pieces:
            if columns[-1] and filled_height + piece.height / 2 > height and len(columns) < n_columns:
                columns.append([])
                filled_height = 0.0
            columns[-1].append(piece)
            filled_height += piece.height + GAP
        return [stack(column) for column in columns]

    def penalty(columns: list[Piece]) -> float:
        width, height = sum(column.width + BRANCH_SPACE for column in columns), max(column.height for column in columns)
        empty_fraction = 1 - sum(column.height for column in columns) / (height * len(columns))
        return abs(math.log(width / height / ASPECT)) + EMPTY_PENALTY * empty_fraction

    return min((fill_columns(n_columns) for n_columns in range(1, min(len(pieces), 12) + 1)), key=penalty)


def _network_pieces(net: Layer, shapes: DrawnShapes) -> Iterator[Piece]:
    """Yield the pieces of a network: the children of its part "features" one by one, and the other parts."""
    if not isinstance(net, Sequential):
        yield _piece(net, "", shapes, 0)
        return
    other_parts = dict(net.children)
    feature_layers = _sequence_children(other_parts.get("features"))
    if feature_layers is not None:
        yield from _layer_pieces(feature_layers, "features", shapes, 1)
        del other_parts["features"]
    yield from _layer_pieces(other_parts, "", shapes, 1)


def _sequence_children(layer: Layer | None) -> Mapping[str, Layer] | None:
    """Return the children of a Sequential, or of a Graph whose nodes form a sequence; None for others."""
    if isinstance(layer, Sequential):
        return layer.children
    if isinstance(layer, Graph):
        sources = (*layer.inputs, *layer.nodes)
        # In place of its layer, a node may have the name of an earlier node, whose layer it shares.
        is_sequence = all(
            node[1:] == (source,) and not isinstance(node[0], str)
            for node, source in zip(layer.nodes.values(), sources, strict=False)  # the last node is no source
        )
        return layer.layers if is_sequence and len(layer.inputs) == 1 else None
    return None


def _piece(layer: Layer, path: str, shapes: DrawnShapes, depth: int) -> Piece:
    """Return the piece of a layer, with all its children."""
    match layer:
        case Identity():
            piece = empty_piece()
        case Sequential():
            piece = stack(list(_layer_pieces(layer.children, path, shapes, depth)))
        case Parallel():
            merge = merge_box(MERGE_LABELS.get(type(layer.merge)) or describe(layer.merge))
            piece = side_by_side(_branch_pieces(layer.branches, path, shapes, depth), merge)
        case Fork():
            piece = side_by_side(_branch_pieces(layer.heads, path, shapes, depth), None)
        case Graph():
            piece = _graph_piece(layer, path, shapes, depth)
        case Combinator():
            piece = stack(_branch_pieces(layer.layers, path, shapes, depth))
        case _:
            name = path.rpartition(".")[2] or "layer"
            piece = _layers_box([(name, layer)], shapes[path])
    return piece


def _branch_pieces(children: Mapping[str, Layer], path: str, shapes: DrawnShapes, depth: int) -> list[Piece]:
    return [with_label(name, _piece(child, join(path, name), shapes, depth + 1)) for name, child in children.items()]


def _graph_piece(graph: Graph, path: str, shapes: DrawnShapes, depth: int) -> Piece:
    """Return the piece of a graph: its nodes in order, with their inputs unless the only input is the previous node."""
    pieces: list[Piece] = []
    connected: list[bool] = []  # whether a line leads to each piece from the previous piece
    previous = graph.inputs[0]
    sequence: dict[str, Layer] = {}
    for name, (layer, *sources) in graph.nodes.items():
        reads_previous = sources == [previous]
        if not reads_previous and sequence:
            pieces += _layer_pieces(sequence, path, shapes, depth)
            sequence = {}
        layer_name = layer if isinstance(layer, str) else name
        if reads_previous and not isinstance(layer, str):
            sequence[name] = layer
        else:
            shared_text = f"{name} = {layer}, " if isinstance(layer, str) else ""
            piece = _piece(graph.layers[layer_name], join(path, layer_name), shapes, depth + 1)
            pieces.append(framed(name, f"{shared_text}input: {', '.join(sources)}", piece))
        connected += [reads_previous and bool(connected)] * (len(pieces) - len(connected))
        previous = name
    pieces += _layer_pieces(sequence, path, shapes, depth)
    return stack(pieces, connected + [True] * (len(pieces) - len(connected)))


def _layer_pieces(children: Mapping[str, Layer], path: str, shapes: DrawnShapes, depth: int) -> Iterator[Piece]:
    """Yield the pieces of consecutive layers: boxes of one or several layers, and frames of combinators."""
    pending: list[tuple[str, Layer]] = []

    def block_key(item: tuple[str, Layer]) -> tuple[Layer, Any]:
        return item[1], shapes[join(path, item[0])][1:]  # without channels, whose number may differ in equal blocks

    for (layer, _), group in groupby(children.items(), key=block_key):
        names = [name for name, _ in group]
        if not isinstance(layer, Combinator):
            for name in names:
                if _colour(layer) and pending:
                    yield _layers_box(pending, shapes[join(path, pending[-1][0])])
                    pending = []
                pending.append((name, layer))
            continue
        if pending:
            yield _layers_box(pending, shapes[join(path, pending[-1][0])])
            pending = []
        piece = _piece(layer, join(path, names[0]), shapes, depth + 1)
        if depth > MAX_FRAME_DEPTH and len(names) == 1:
            yield piece
        else:
            label = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} times"
            yield framed(label, shape_text(shapes[join(path, names[-1])]), piece)
    if pending:
        yield _layers_box(pending, shapes[join(path, pending[-1][0])])


def _layers_box(layers: list[tuple[str, Layer]], out: Any) -> Piece:
    """Return one box for consecutive layers; `out` is the output shape of the last one."""
    shape = shape_text(out)
    main = next(((name, layer) for name, layer in layers if _colour(layer)), None)
    if main is None:
        return box(", ".join(_label_text(layer) for _, layer in layers), [shape], PALE)
    main_name, main_layer = main
    other_labels = ", ".join(_label_text(layer) for name, layer in layers if name != main_name)
    return box(
        f"{main_name}  {_label_text(main_layer)}",
        [other_labels, shape] if other_labels else [shape],
        _colour(main_layer) or PALE,
    )


def _colour(layer: Layer) -> str | None:
    return next((colour for trait, colour in BOX_COLOURS.items() if trait in layer.traits), None)


def _label_text(layer: Layer) -> str:
    kind = type(layer)
    return LABEL_TEXTS[kind](layer) if kind in LABEL_TEXTS else describe(layer)


def _window_text(layer: Any) -> str:
    kernel, stride = pair(layer.kernel), pair(layer.kernel if layer.stride is None else layer.stride)
    stride_text = f" / {stride[0]}" if stride[0] == stride[1] else f" / {stride}"
    return f"{kernel[0]} x {kernel[1]}" + (stride_text if stride != (1, 1) else "")


def _convolution_text(layer: Any) -> str:
    groups_text = ""
    if layer.groups == layer.filters and layer.groups != 1:  # one filter for each group
        groups_text = " groups"
    elif layer.groups != 1:
        groups_text = f" in {layer.groups} groups"
    return f"{_window_text(layer)}, {layer.filters}{groups_text}"


LABEL_TEXTS: dict[type[Layer], Callable[[Any], str]] = {
    Conv2d: _convolution_text,
    ConvTranspose2d: _convolution_text,
    Dense: lambda layer: str(layer.units),
    MaxPool2d: lambda layer: f"max {_window_text(layer)}",
    AvgPool2d: lambda layer: f"mean {_window_text(layer)}",
    AdaptiveAvgPool2d: lambda layer: "mean to {} x {}".format(*pair(layer.size)),
    PadChannels: lambda layer: f"{layer.before + layer.after} channels of zeros",
    BatchNorm: lambda layer: "BatchNorm",
    LocalResponseNorm: lambda layer: f"LocalResponseNorm {layer.size}",
    Dropout: lambda layer: f"Dropout {layer.rate:g}",
}
