"""Pooling operators of ONNX as layers."""

from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, even, one
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, LpPool2d, MaxPool2d


def max_pool(it: Reading) -> Found:
    """Read MaxPool as MaxPool2d."""
    it.only(auto_pad="NOTSET", storage_order=0)
    kernel, stride, dilation = _window(it)
    padding, ceil_mode = even(it.take("pads", [0, 0, 0, 0])), bool(it.take("ceil_mode", 0))
    return it.found(MaxPool2d(kernel, stride, padding, dilation, ceil_mode))


def average_pool(it: Reading) -> Found:
    """Read AveragePool as AvgPool2d."""
    it.only(auto_pad="NOTSET")
    kernel, stride, dilation = _window(it)
    padding, ceil_mode = even(it.take("pads", [0, 0, 0, 0])), bool(it.take("ceil_mode", 0))
    return it.found(AvgPool2d(kernel, stride, padding, ceil_mode, bool(it.take("count_include_pad", 0)), dilation))


def lp_pool(it: Reading) -> Found:
    """Read LpPool as LpPool2d."""
    it.only(auto_pad="NOTSET", pads=[0, 0, 0, 0])
    kernel, stride, dilation = _window(it)
    return it.found(LpPool2d(kernel, float(it.take("p", 2)), stride, bool(it.take("ceil_mode", 0)), dilation))


def global_average_pool(it: Reading) -> Found:
    """Read GlobalAveragePool as AdaptiveAvgPool2d."""
    return it.found(AdaptiveAvgPool2d(1))


def _window(it: Reading) -> tuple[int | tuple[int, int], ...]:
    if "kernel_shape" not in it.attributes:
        raise Unreadable("has no kernel_shape")
    return one(it.pair("kernel_shape", 1)), one(it.pair("strides", 1)), one(it.pair("dilations", 1))
