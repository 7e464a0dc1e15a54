"""Products and convolutions of ONNX as layers."""

from torch import Tensor

from pellucid.combine import Sequential
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, edges, one
from pellucid.layers import Conv2d, ConvTranspose2d, Dense, Pad2d


def gemm(it: Reading) -> Found:
    """Read Gemm of a constant matrix and bias as Dense."""
    it.only(alpha=1.0, beta=1.0, transA=0)
    turned = it.take("transB", 0)
    weight = it.param(1) if turned else it.param(1).t().contiguous()
    if weight.dim() != 2 or len(it.shape) != 1:
        raise Unreadable("multiplies something else than rows by a matrix")
    if not turned:
        it.names[0] += ".T"
    return it.found(Dense(len(weight), bias=it.given(2)), weight=weight, **_bias(it))


def conv(it: Reading) -> Found:
    """Read Conv as Conv2d, behind Pad2d where it pads unevenly other than to keep the size."""
    it.only(auto_pad="NOTSET")
    weight, bias = _window(it), _bias(it)
    filters, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    stride, dilation = it.pair("strides", 1), it.pair("dilations", 1)
    left, right, top, bottom = put = edges(it.take("pads", [0, 0, 0, 0]))
    settings = {"dilation": one(dilation), "groups": it.take("group", 1), "bias": bool(bias)}
    if (left, top) == (right, bottom):
        even = Conv2d(filters, one(kernel), stride=one(stride), padding=one((top, left)), **settings)
        return it.found(even, weight=weight, **bias)
    if stride == (1, 1):
        same = Conv2d(filters, one(kernel), stride=1, padding="same", **settings)
        if same.edges() == put:
            return it.found(same, weight=weight, **bias)
    layer = Sequential(pad=Pad2d(put), conv=Conv2d(filters, one(kernel), stride=one(stride), padding=0, **settings))
    return it.found(layer, **{f"conv.{name}": tensor for name, tensor in {"weight": weight, **bias}.items()})


def conv_transpose(it: Reading) -> Found:
    """Read ConvTranspose as ConvTranspose2d."""
    it.only(auto_pad="NOTSET")
    weight, bias = _window(it), _bias(it)
    left, right, top, bottom = edges(it.take("pads", [0, 0, 0, 0]))
    if (left, top) != (right, bottom):
        raise Unreadable("has uneven pads")
    groups = it.take("group", 1)
    layer = ConvTranspose2d(
        weight.shape[1] * groups,
        one((weight.shape[2], weight.shape[3])),
        stride=one(it.pair("strides", 1)),
        padding=one((top, left)),
        output_padding=one(it.pair("output_padding", 0)),
        dilation=one(it.pair("dilations", 1)),
        groups=groups,
        bias=bool(bias),
    )
    return it.found(layer, weight=weight, **bias)


def _window(it: Reading) -> Tensor:
    weight = it.param(1)
    if weight.dim() != 4:
        raise Unreadable(f"has a window of {weight.dim() - 2} axes, not of height and width")
    it.only(kernel_shape=[*weight.shape[2:]])
    return weight


def _bias(it: Reading) -> dict[str, Tensor]:
    return {"bias": it.param(2)} if it.given(2) else {}
