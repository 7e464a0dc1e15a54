"""Calculators: output sizes, numbers of weights and multiply-adds, and receptive fields of layers in sequence."""

import ast
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import aligned, shown
from pellucid.combine import Combinator, Sequential
from pellucid.layers import LAYERS, AvgPool2d, BatchNorm, Conv2d, Layer, LpPool2d, MaxPool2d, Shape
from pellucid.layers.base import Trait, pair
from pellucid.layers.checks import window_outputs
from pellucid.nested import flatten
from pellucid.network.summary import shape_text, summary

SINGLE_INPUT_LAYERS = {layer.__name__: layer for layer in LAYERS if Trait.MULTIPLE_INPUTS not in layer.traits}


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Return the output size along one axis: floor((size - dilation (kernel - 1) - 1 + 2 padding) / stride) + 1.

    size: the size of the input, in pixels. Raises PellucidError for invalid arguments.
    Source: Dumoulin and Visin 2016, relationships 6 and 15.
    """
    window = Conv2d(1, kernel, stride=stride, padding=padding, dilation=dilation)
    settings = ((kernel, kernel), (stride, stride), (padding, padding), (dilation, dilation))
    return window_outputs(window, (size, size), *settings)[0]


@dataclass(frozen=True)
class LayerCount:
    """The counts of one layer for one example."""

    path: str  # the layer's path
    layer: str  # its constructor call
    shape: Shape  # its output shape
    weights: int  # the number of parameters other than biases
    biases: int
    multiply_adds: int


@dataclass(frozen=True)
class Counts:
    """The counts of a network's layers, and their totals."""

    rows: tuple[LayerCount, ...]

    @property
    def weights(self) -> int:
        """The number of parameters other than biases."""
        return sum(row.weights for row in self.rows)

    @property
    def biases(self) -> int:
        """The number of biases."""
        return sum(row.biases for row in self.rows)

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return self.weights + self.biases

    @property
    def multiply_adds(self) -> int:
        """The number of multiply-adds of the forward pass of one example."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def hessian_entries(self) -> int:
        """The number of different second derivatives of the loss, W (W + 1) / 2 for W parameters."""
        return self.parameters * (self.parameters + 1) // 2

    @property
    def quadratic_parameters(self) -> int:
        """The number of gradient and Hessian entries in a local quadratic approximation of the loss, W (W + 3) / 2."""
        return self.parameters + self.hessian_entries

    def to_json(self) -> dict[str, Any]:
        """Return the rows and the totals as JSON values."""
        totals = ("weights", "biases", "parameters", "multiply_adds", "hessian_entries", "quadratic_parameters")
        return {**{name: getattr(self, name) for name in totals}, "layers": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        """Return the table as aligned text."""
        rows = [
            (row.layer, shape_text(row.shape), *_number_cells(row.weights, row.biases, row.multiply_adds))
            for row in self.rows
        ]
        total_row = ("total", "", f"{self.weights:,}", f"{self.biases:,}", f"{self.multiply_adds:,}")
        return aligned([("layer", "output", "weights", "biases", "multiply-adds"), *rows, total_row], right=(2, 3, 4))


def counts(net: Combinator, input_shape: Shape) -> Counts:
    """Count weights, biases and multiply-adds of each layer of a network, for one input of `input_shape`.

    `input_shape` has no batch axis. Only shapes are computed, no values. Raises PellucidError for a layer with an
    invalid input shape, and for layers that are too large.
    """
    try:
        with torch.device("meta"):
            params, _ = net.init(input_shape, torch.Generator())
        summary_rows = summary(net, params, input_shape).rows
    except (RuntimeError, OverflowError, TypeError) as error:  # raised by PyTorch for sizes too large for tensors
        raise PellucidError(f"{shape_text(input_shape)}: the layers are too large; make them smaller") from error
    biases_by_layer: dict[str, int] = {}
    for path, leaf in flatten(params).items():
        layer, _, name = path.rpartition(".")
        biases_by_layer[layer] = biases_by_layer.get(layer, 0) + leaf.numel() * (name == "bias")
    rows = ((row, biases_by_layer.get(row.path, 0)) for row in summary_rows)
    return Counts(
        tuple(
            LayerCount(
                path=row.path,
                layer=row.layer,
                shape=row.shape,
                weights=row.parameters - n_biases,
                biases=n_biases,
                multiply_adds=row.multiply_adds,
            )
            for row, n_biases in rows
        )
    )


class ReceptiveField(NamedTuple):
    """The receptive field of the units of a layer's output, in pixels of the input."""

    path: str
    field: tuple[int, int]  # (height, width)
    step: tuple[int, int]  # (vertical, horizontal) distance between the receptive fields of neighbouring units


def receptive_field(net: Sequential) -> list[ReceptiveField]:
    """Return the receptive field after each layer, for units whose windows lie within the image.

    A window of k pixels with dilation d adds d (k - 1) times the step of its input; its stride multiplies the step.
    Raises PellucidError for a layer without a window, unless it is elementwise or batch normalization.
    Source: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks", equation 2.
    """
    field, step = (1, 1), (1, 1)
    fields: list[ReceptiveField] = []
    for path, layer in net.children.items():
        if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d | LpPool2d):
            stride = layer.stride if isinstance(layer, Conv2d) else layer.step
            axes = zip(field, step, pair(layer.kernel), pair(layer.dilation), strict=True)
            field = _pair_of([size + d * (k - 1) * s for size, s, k, d in axes])
            step = _pair_of([a * b for a, b in zip(step, pair(stride), strict=True)])
        elif not (Trait.ELEMENTWISE in layer.traits or isinstance(layer, BatchNorm)):
            raise PellucidError(
                f"{path}: the receptive field after {type(layer).__name__} is not one window; leave out this layer and "
                "the following ones"
            )
        fields.append(ReceptiveField(path, field, step))
    return fields


def read_layers(text: str) -> Sequential:
    """Parse a text such as "Conv2d(20, 5, padding=2), ReLU, MaxPool2d(2), Flatten, Dense(10)" as a Sequential.

    Arguments can be literals: numbers, texts, pairs, True, False and None; nothing else is evaluated. Raises
    PellucidError for any other text.
    """
    try:
        list_expression = ast.parse(f"[{text}]", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PellucidError(_syntax_message(text)) from error
    if not isinstance(list_expression, ast.List) or not list_expression.elts:
        raise PellucidError(_syntax_message(text))
    return Sequential([_parse_layer(expression, text) for expression in list_expression.elts])


def _parse_layer(expression: ast.expr, text: str) -> Layer:
    type_name = expression.func if isinstance(expression, ast.Call) else expression
    if not isinstance(type_name, ast.Name):
        raise PellucidError(_syntax_message(text))
    if type_name.id not in SINGLE_INPUT_LAYERS:
        raise PellucidError(f"no layer is called {type_name.id!r}{nearest(type_name.id, SINGLE_INPUT_LAYERS)}")
    if not isinstance(expression, ast.Call):
        return SINGLE_INPUT_LAYERS[type_name.id]()
    try:
        arguments = [ast.literal_eval(argument) for argument in expression.args]
        keywords = {
            keyword.arg: ast.literal_eval(keyword.value) for keyword in expression.keywords if keyword.arg is not None
        }
    except (ValueError, TypeError) as error:
        raise PellucidError(f"{ast.unparse(expression)}: give numbers, pairs, texts, True, False or None") from error
    if len(keywords) < len(expression.keywords):
        raise PellucidError(_syntax_message(text))
    try:
        return SINGLE_INPUT_LAYERS[type_name.id](*arguments, **keywords)
    except (TypeError, ValueError) as error:
        raise PellucidError(f"{ast.unparse(expression)}: {error}") from error


def _syntax_message(text: str) -> str:
    return f"{shown(text)} is not a list of layers; write them as in 'Conv2d(20, 5), MaxPool2d(2), Flatten, Dense(10)'"


def _number_cells(*values: int) -> list[str]:
    return [f"{value:,}" if value else "" for value in values]


def _pair_of(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]
