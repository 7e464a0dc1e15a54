"""Functions that write pooling layers as ONNX nodes."""

from dataclasses import replace
from math import prod
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, LpPool2d, MaxPool2d, MaxUnpool2d
from pellucid.layers.base import pair
from pellucid.opening.onnx_nodes.node import Nodes
from pellucid.opening.onnx_nodes.resizing import write_matrix_products


def max_pool2d(layer: MaxPool2d, n: Nodes) -> None:
    """Write MaxPool."""
    pads, ceil_mode = _pads(layer, pair(layer.padding), n)
    n.needs_metadata = pads[:2] != pads[2:]
    n.last("MaxPool", n.x, **_window(layer), pads=pads, ceil_mode=ceil_mode)


def avg_pool2d(layer: AvgPool2d, n: Nodes) -> None:
    """Write AveragePool, after Pad if the mean includes padding but windows extend beyond it."""
    (*before, bottom, right), ceil_mode = _pads(layer, pair(layer.padding), n)
    end_extra = [bottom - before[0], right - before[1]]
    if any(end_extra) and layer.count_include_pad:
        padded = n.inner("Pad", n.x, n.integers("pads", 0, 0, *before, 0, 0, *before))
        n.last("AveragePool", padded, **_window(layer), pads=[0, 0, *end_extra], ceil_mode=0, count_include_pad=0)
        return
    n.needs_metadata = any(end_extra)
    n.last(
        "AveragePool",
        n.x,
        **_window(layer),
        pads=[*before, bottom, right],
        ceil_mode=ceil_mode,
        count_include_pad=int(layer.count_include_pad),
    )


def _window(layer: MaxPool2d | AvgPool2d | LpPool2d) -> dict[str, Any]:
    window = {"kernel_shape": [*pair(layer.kernel)], "strides": [*pair(layer.step)]}
    # The attribute keeps onnxruntime 1.31 from loading the average pooling of quantized images.
    if pair(layer.dilation) != (1, 1):
        window["dilations"] = [*pair(layer.dilation)]
    return window


def _pads(layer: MaxPool2d | AvgPool2d | LpPool2d, padding: tuple[int, int], n: Nodes) -> tuple[list[int], int]:
    """Return [top, left, bottom, right] and ceil_mode.

    With ceil_mode, ONNX also includes windows that start beyond the image, which Pellucid leaves out. In this case
    ceil_mode is 0, and the padding at the bottom and right extends to the end of the last window. Raises PellucidError
    if this padding is as large as the kernel.
    """
    spans = [d * (k - 1) + 1 for d, k in zip(pair(layer.dilation), pair(layer.kernel), strict=True)]
    starts = [size + 2 * p - span for size, p, span in zip(n.shape[1:], padding, spans, strict=True)]
    output_size = n.layer_run.output.shape[1:]
    strides = pair(layer.step)
    if (
        all(out == -(-start // s) + 1 for out, start, s in zip(output_size, starts, strides, strict=True))
        or not layer.ceil_mode
    ):
        return [*padding, *padding], int(layer.ceil_mode)
    extra = [max((out - 1) * s - start, 0) for out, start, s in zip(output_size, starts, strides, strict=True)]
    end_padding = [p + added for p, added in zip(padding, extra, strict=True)]
    if any(p >= k for p, k in zip(end_padding, pair(layer.kernel), strict=True)):
        raise PellucidError(
            f"{n.layer_run.name}: {layer} on an image of {n.shape[1]}x{n.shape[2]} needs a padding as large as the "
            "kernel, which onnxruntime does not support; use less dilation, or ceil_mode=False"
        )
    return [*padding, *end_padding], 0


def lp_pool2d(layer: LpPool2d, n: Nodes) -> None:
    """Write LpPool, which supports only integer p; for other p, write Pow before and after LpPool with p = 1."""
    pads, ceil_mode = _pads(layer, (0, 0), n)
    window = {**_window(layer), "pads": pads, "ceil_mode": ceil_mode}
    n.needs_metadata = any(pads)
    if float(layer.p).is_integer():
        n.last("LpPool", n.x, p=int(layer.p), **window)
        return
    powers = n.inner("Pow", n.inner("Abs", n.x), n.number("p", layer.p))
    n.last("Pow", n.inner("LpPool", powers, p=1, **window), n.number("1/p", 1 / layer.p))


def adaptive_avg_pool2d(layer: AdaptiveAvgPool2d, n: Nodes) -> None:
    """Write GlobalAveragePool, AveragePool if all windows have the same size, or else two matrix products."""
    size = n.shape[1:]
    rows, columns = pair(layer.size)
    if (rows, columns) == (1, 1):
        n.last("GlobalAveragePool", n.x)
    elif size[0] % rows == 0 and size[1] % columns == 0:
        window = [size[0] // rows, size[1] // columns]
        n.last("AveragePool", n.x, kernel_shape=window, strides=window)
    else:
        write_matrix_products(replace(layer, size=(rows, 1)), replace(layer, size=(1, columns)), n)


def max_unpool2d(layer: MaxUnpool2d, n: Nodes) -> None:
    """Write ScatterElements into zeros, since the indices of ONNX's MaxUnpool count over all images and channels."""
    values, switches = (value.name for value in n.layer_run.inputs)
    size = n.layer_run.output.shape[1:]
    planes = n.integers("planes", 0, 0, -1)  # (N, C, positions)
    images = n.inner("Shape", values, start=0, end=2)
    zeros = n.inner(
        "Expand", n.number("zero", 0.0), n.inner("Concat", images, n.integers("places", prod(size)), axis=0)
    )
    flat_inputs = (n.inner("Reshape", value_name, planes) for value_name in (switches, values))
    filled = n.inner("ScatterElements", zeros, *flat_inputs, axis=2)
    n.last("Reshape", filled, n.constant("shape", torch.tensor([0, 0, *size])))
