"""The dense layer and the convolutions in ONNX."""

from pellucid.export.onnx_nodes.node import Nodes
from pellucid.layers import Conv2d, ConvTranspose2d, Dense
from pellucid.layers.base import pair


def dense(layer: Dense, n: Nodes) -> None:
    """Write Gemm, or MatMul and Add for inputs with more than two axes, which Gemm does not support."""
    bias = (n.param("bias"),) if layer.bias else ()
    if len(n.shape) == 1:
        n.last("Gemm", n.x, n.param("weight"), *bias, transB=1)
        return
    transposed = n.inner("Transpose", n.param("weight"), perm=[1, 0])
    if not bias:
        n.last("MatMul", n.x, transposed)
    else:
        n.last("Add", n.inner("MatMul", n.x, transposed), *bias)


def conv2d(layer: Conv2d, n: Nodes) -> None:
    """Write Conv."""
    left, right, top, bottom = layer.edges()
    n.last(
        "Conv",
        n.x,
        n.param("weight"),
        *((n.param("bias"),) if layer.bias else ()),
        kernel_shape=[*pair(layer.kernel)],
        strides=[*pair(layer.stride)],
        pads=[top, left, bottom, right],
        dilations=[*pair(layer.dilation)],
        group=layer.groups,
    )


def conv_transpose2d(layer: ConvTranspose2d, n: Nodes) -> None:
    """Write ConvTranspose; for output padding that onnxruntime does not support, without padding, then Pad and Add."""
    bias = (n.param("bias"),) if layer.bias else ()
    window = {
        "kernel_shape": [*pair(layer.kernel)],
        "strides": [*pair(layer.stride)],
        "dilations": [*pair(layer.dilation)],
        "group": layer.groups,
    }
    (down, across), (rows, columns) = pair(layer.padding), pair(layer.output_padding)
    high, wide = pair(layer.stride)
    if rows < high and columns < wide:
        edges = [down, across, down, across]
        extra = [rows, columns]
        n.last("ConvTranspose", n.x, n.param("weight"), *bias, pads=edges, output_padding=extra, **window)
        return
    whole = n.inner("ConvTranspose", n.x, n.param("weight"), **window)
    pads = n.whole("pads", 0, 0, -down, -across, 0, 0, rows - down, columns - across)
    if not bias:
        n.last("Pad", whole, pads)
        return
    n.last("Add", n.inner("Pad", whole, pads), n.inner("Reshape", *bias, n.whole("bias_shape", -1, 1, 1)))
