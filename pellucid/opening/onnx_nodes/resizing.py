"""Upsampling as ONNX nodes: Resize if it computes the same output, else Gather or matrix products."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.layers.base import Mode

if TYPE_CHECKING:
    from pellucid.layers import Upsample
    from pellucid.layers.base import Layer
    from pellucid.opening.onnx_nodes.node import Nodes

RESIZE_MODES = {"bilinear": "linear", "bicubic": "cubic"}


def upsample(layer: Upsample, n: Nodes) -> None:
    """Write Resize if it computes the same output; else Gather for nearest neighbours, or two matrix products."""
    input_size = n.shape[1:]
    output_size = n.layer_run.output.shape[1:]
    integer_ratio = all(new % old == 0 for old, new in zip(input_size, output_size, strict=True))
    if layer.kind in RESIZE_MODES:
        if layer.antialias or not _is_exact_ratio(layer, input_size, output_size):
            write_matrix_products(*_row_and_column_layers(layer, output_size), n)
            return
        attributes = {
            "mode": RESIZE_MODES[layer.kind],
            "coordinate_transformation_mode": "align_corners" if layer.align_corners else "half_pixel",
        }
        _resize(n, input_size, output_size, integer_ratio, **attributes)
        return
    rows, columns = _source_indices(layer, input_size, output_size)
    factors = [new // old for old, new in zip(input_size, output_size, strict=True)]
    axes = zip((rows, columns), factors, strict=True)
    if integer_ratio and all(_repeats(indices, factor) for indices, factor in axes):
        _resize(n, input_size, output_size, integer_ratio, mode="nearest", coordinate_transformation_mode="asymmetric")
        return
    resized_rows = n.inner("Gather", n.x, n.constant("rows", rows), axis=2)
    n.last("Gather", resized_rows, n.constant("columns", columns), axis=3)


def write_matrix_products(row_layer: Layer, column_layer: Layer, n: Nodes) -> None:
    """Write y = A x B, (H', H) x (H, W) x (W, W'), for a layer that is linear in rows and in columns.

    row_layer: the layer that resizes only the rows, for images one pixel wide. column_layer: the layer that resizes
    only the columns, for images one pixel high.
    """
    height, width = n.shape[1:]
    # Channel c of the input is 1 in row c and 0 in all others, so channel c of the output is column c of A.
    rows, _ = row_layer.forward({}, torch.eye(height).view(1, height, height, 1), Mode())  # (1, H, H', 1)
    columns, _ = column_layer.forward({}, torch.eye(width).view(1, width, 1, width), Mode())  # (1, W, 1, W')
    resized_rows = n.inner("MatMul", n.constant("rows", rows[0, :, :, 0].T.contiguous()), n.x)
    n.last("MatMul", resized_rows, n.constant("columns", columns[0, :, 0].contiguous()))


def _is_exact_ratio(layer: Upsample, input_size: tuple[int, ...], output_size: tuple[int, ...]) -> bool:
    """Return whether the ratio of the sizes equals the scale; it does not if the output size was rounded."""
    if layer.align_corners or layer.scale is None:
        return True
    return all(scale * old == new for scale, old, new in zip(_scales(layer), input_size, output_size, strict=True))


def _row_and_column_layers(layer: Upsample, output_size: tuple[int, ...]) -> tuple[Upsample, Upsample]:
    """Return the layers that resize only the rows, and only the columns."""
    if layer.scale is None:
        return replace(layer, size=(output_size[0], 1)), replace(layer, size=(1, output_size[1]))
    row_scale, column_scale = _scales(layer)
    return replace(layer, scale=(row_scale, 1.0)), replace(layer, scale=(1.0, column_scale))


def _scales(layer: Upsample) -> tuple[float, float]:
    assert layer.scale is not None
    return layer.scale if isinstance(layer.scale, tuple) else (layer.scale, layer.scale)


def _repeats(indices: Tensor, factor: int) -> bool:
    """Return whether each source index occurs `factor` times in turn."""
    return indices.tolist() == [index // factor for index in range(len(indices))]


def _source_indices(
    layer: Upsample, input_size: tuple[int, ...], output_size: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return the index of the input row that each output row copies, and the same for columns."""
    row_layer, column_layer = _row_and_column_layers(layer, output_size)
    rows, _ = row_layer.forward({}, torch.arange(input_size[0]).float().view(1, 1, -1, 1), Mode())
    columns, _ = column_layer.forward({}, torch.arange(input_size[1]).float().view(1, 1, 1, -1), Mode())
    return rows.flatten().long(), columns.flatten().long()


def _resize(
    n: Nodes, input_size: tuple[int, ...], output_size: tuple[int, ...], integer_ratio: bool, **attributes: str
) -> None:
    rounding = {"nearest_mode": "floor"} if attributes["mode"] == "nearest" else {}
    if integer_ratio:
        factors = [new / old for old, new in zip(input_size, output_size, strict=True)]
        # Without axes, which onnxruntime 1.31 does not move along when it transposes quantized images.
        scales = torch.tensor([1.0, 1.0, *factors], dtype=torch.float32)
        n.last("Resize", n.x, "", n.constant("scales", scales), **attributes, **rounding)
    else:
        n.last("Resize", n.x, "", "", n.integers("sizes", *output_size), axes=[2, 3], **attributes, **rounding)
