"""Incremental inference on images that differ from one image in a square: only dependent values are recomputed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.layers import AvgPool2d, BatchNorm, Conv2d, LocalResponseNorm, LogSoftmax, MaxPool2d, Softmax
from pellucid.layers.base import Layer, Mode, Params, Trait, declares, pair

MAX_FRACTION = 0.85  # of a map's positions; if a rectangle covers more of them, the whole map is recomputed
MEMORY_FORMAT = torch.channels_last  # faster for copying rectangles and for convolutions of odd sizes on the CPU


class Rectangles(NamedTuple):
    """Rectangles of equal size in P variants of a map: the values (P, C, h, w), top rows (P,) and left columns (P,)."""

    values: Tensor
    rows: Tensor
    columns: Tensor


class IncrementalNetwork:
    """A network on variants of one image (C, H, W), in each of which a square is copied from `filled` (C, H, W).

    The outputs are the same as from full passes, up to rounding: convolutions, poolings and pointwise layers at the
    beginning of a Sequential are computed only where they depend on the square, all later layers in full. The outputs
    for the unchanged image are computed once. Source: the incremental inference of Nakandala, Kumar and
    Papakonstantinou 2019, section 4.
    """

    def __init__(self, net: Layer, params: Params, image: Tensor, filled: Tensor) -> None:
        self.filled = filled
        self.layers = list(_flat_layers(net, params))
        # The inputs of the layers for the unchanged image.
        self._full_inputs = [image[None].contiguous(memory_format=MEMORY_FORMAT)]

    def run(self, squares: Tensor, side: int, batch: int) -> Tensor:
        """Return the outputs for P squares, (P, 4): top, left, bottom, right; none has a side above `side`.

        Layers whose input is maps run on `batch` squares per call. Later layers, whose input is vectors, run once.
        """
        y = torch.cat([self._run_map_layers(square_batch, side) for square_batch in squares.split(batch)])
        for layer, params in self.layers[self._first_vector_layer() :]:
            y = _run(layer, params, y)
        return y

    def _first_vector_layer(self) -> int:
        """Return the index of the first layer whose input is vectors, or the number of layers."""
        inputs = (self._full_input(k) for k in range(len(self.layers)))
        return next((k for k, x in enumerate(inputs) if isinstance(x, Tensor) and x.dim() == 2), len(self.layers))

    def _run_map_layers(self, squares: Tensor, side: int) -> Tensor:
        """Return for each square the input of the first layer on vectors, or the outputs if there is none."""
        full_x = self._full_inputs[0]
        rectangles = _filled_squares(full_x[0], self.filled, squares, side)
        n_computed = 0
        while n_computed < len(self.layers) and _is_small(rectangles.values, full_x):
            layer, params = self.layers[n_computed]
            if _is_pointwise(layer):
                rectangles = rectangles._replace(values=_run(layer, params, rectangles.values))
            elif (window := _sliding_window(layer, full_x)) is not None:
                rectangles = _apply_window(layer, params, full_x, rectangles, window)
            else:
                break
            n_computed += 1
            full_x = self._full_input(n_computed)
        y = _paste(full_x, rectangles)
        for layer, params in self.layers[n_computed : self._first_vector_layer()]:
            y = _run(layer, params, y)
        return y

    def _full_input(self, index: int) -> Tensor:
        """Return the input of layer `index` for the unchanged image."""
        if index == len(self._full_inputs):
            self._full_inputs.append(_run(*self.layers[index - 1], self._full_inputs[-1]))
        return self._full_inputs[index]


def _is_pointwise(layer: Layer) -> bool:
    """Return whether each position of the layer's output depends only on the same position of its input."""
    if isinstance(layer, Softmax | LogSoftmax):
        return declares(layer, Softmax, LogSoftmax) and layer.axis == 1
    return declares(layer, Trait.ELEMENTWISE, BatchNorm, LocalResponseNorm)  # in evaluation mode


class SlidingWindow(NamedTuple):
    """A layer's sliding window, as pairs (height, width), and the padding value."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    padding_value: float


def _sliding_window(layer: Layer, x: Tensor) -> SlidingWindow | None:
    """Return the window of a layer on x; None for layers without a window and for unsupported options."""
    if x.dim() != 4:
        return None
    if type(layer) is Conv2d and not isinstance(layer.padding, str):
        stride = layer.stride
        padding = layer.padding
        padding_value = 0.0
    elif type(layer) is MaxPool2d and not layer.ceil_mode:
        stride = layer.step
        padding = layer.padding
        padding_value = -torch.inf
    elif type(layer) is AvgPool2d and not layer.ceil_mode and pair(layer.padding) == (0, 0):
        stride = layer.step
        padding = 0
        padding_value = 0.0
    else:
        return None
    return SlidingWindow(pair(layer.kernel), pair(stride), pair(padding), pair(layer.dilation), padding_value)


def _apply_window(
    layer: Any, params: Params, full_map: Tensor, rectangles: Rectangles, window: SlidingWindow
) -> Rectangles:
    """Return the rectangle of the layer's output that depends on the rectangle of its input."""
    output_starts, input_sizes = [], []
    for axis, rectangle_starts in enumerate((rectangles.rows, rectangles.columns)):
        k, s, p, d = window.kernel[axis], window.stride[axis], window.padding[axis], window.dilation[axis]
        span = d * (k - 1) + 1
        n_windows = (full_map.shape[2 + axis] + 2 * p - span) // s + 1
        low = (-((span - 1 - p - rectangle_starts) // s)).clamp(0, n_windows - 1)  # the first window that overlaps
        high = ((rectangle_starts + rectangles.values.shape[2 + axis] - 1 + p) // s).clamp(0, n_windows - 1)
        size = max(1, int((high - low).max()) + 1)  # the difference is -1 if the square lies between windows
        output_starts.append(low.clamp_max(n_windows - size))
        input_sizes.append((size - 1) * s + span)
    p, s = window.padding, window.stride
    padded = F.pad(full_map, (p[1], p[1], p[0], p[0]), value=window.padding_value)
    # The positions in the padded map:
    shifted = Rectangles(rectangles.values, rectangles.rows + p[0], rectangles.columns + p[1])
    x = _crop_patched(padded, shifted, output_starts[0] * s[0], output_starts[1] * s[1], input_sizes[0], input_sizes[1])
    return Rectangles(_run(replace(layer, padding=0), params, x), *output_starts)


def _crop_patched(
    full_map: Tensor, patch: Rectangles, rows: Tensor, columns: Tensor, height: int, width: int
) -> Tensor:
    """Return rectangles of `full_map` at `rows` and `columns`, (P, C, height, width), with the patches pasted in."""
    shape = (len(rows), full_map.shape[1], height, width)
    x = torch.empty(shape, dtype=full_map.dtype, device=full_map.device, memory_format=MEMORY_FORMAT)
    offsets = torch.stack([rows, columns, patch.rows - rows, patch.columns - columns], 1).tolist()
    for rectangle, values, (row, column, row_offset, column_offset) in zip(x, patch.values, offsets, strict=True):
        rectangle.copy_(full_map[0, :, row : row + height, column : column + width])
        # Rows of the patch above the rectangle (negative row_offset) and beyond its end are cut off; columns likewise.
        inner = values[:, max(-row_offset, 0) : height - row_offset, max(-column_offset, 0) : width - column_offset]
        top, left = max(row_offset, 0), max(column_offset, 0)
        rectangle[:, top : top + inner.shape[1], left : left + inner.shape[2]] = inner
    return x


def _filled_squares(image: Tensor, filled: Tensor, squares: Tensor, side: int) -> Rectangles:
    """Return a rectangle of the image around each square, with the values of `filled` in the square."""
    rows, columns = (squares[:, axis].clamp_max(image.shape[1 + axis] - side) for axis in (0, 1))
    values = image.new_empty(len(squares), len(image), side, side)
    for value, row, column, (top, left, bottom, right) in zip(
        values, rows.tolist(), columns.tolist(), squares.tolist(), strict=True
    ):
        value.copy_(image[:, row : row + side, column : column + side])
        value[:, top - row : bottom - row, left - column : right - column] = filled[:, top:bottom, left:right]
    return Rectangles(values, rows, columns)


def _paste(full_map: Tensor, rectangles: Rectangles) -> Tensor:
    """Return (P, C, H, W): copies of `full_map`, each with the rectangle of one variant pasted into it."""
    zeros = torch.zeros_like(rectangles.rows)
    return _crop_patched(full_map, rectangles, zeros, zeros, full_map.shape[2], full_map.shape[3])


def _is_small(values: Tensor, full_map: Tensor) -> bool:
    return full_map.dim() == 4 and values[0, 0].numel() <= MAX_FRACTION * full_map[0, 0].numel()


def _run(layer: Layer, params: Params, x: Tensor) -> Tensor:
    return layer.forward(params, x, Mode(keep=False))[0]


def _flat_layers(net: Layer, params: Params) -> Iterator[tuple[Layer, Params]]:
    """Yield the layers of nested Sequentials in order, with their parameters."""
    if type(net) is Sequential:
        for name, child in net.children.items():
            yield from _flat_layers(child, params[name])
    else:
        yield net, params
