"""ONNX's nodes as our layers: one function for each operator."""

from collections.abc import Callable

from pellucid.export.onnx_readers import linear, norms, pooling, shapes, values
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable

READERS: dict[str, Callable[[Reading], Found]] = {
    "Gemm": linear.gemm,
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "LpPool": pooling.lp_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    "Pad": shapes.pad,
    "Slice": shapes.cut,
    "Resize": shapes.resize,
    "Concat": shapes.concat,
    **dict.fromkeys(values.PLAIN, values.same),
    "LeakyRelu": values.leaky_relu,
    "Clip": values.clip,
    "Elu": values.elu,
    "Gelu": values.gelu,
    "Softmax": values.softmax,
    "LogSoftmax": values.log_softmax,
    "Dropout": values.dropout,
    "Add": values.add,
    "Sum": values.add,
    "Mul": values.multiply,
    "Sub": values.subtract,
    "Div": values.divide,
    "BatchNormalization": norms.batch_normalization,
    "InstanceNormalization": norms.instance_normalization,
    "GroupNormalization": norms.group_normalization,
    "LayerNormalization": norms.layer_normalization,
    "LRN": norms.lrn,
}

__all__ = ["READERS", "Found", "Reading", "Unreadable"]
