"""Conv2d: y[n, f, p, q] = b[f] + Σ w[f, c, a, b] x[n, c, p s + a d - top, q s + b d - left]."""

import torch
from torch import Tensor

from pellucid.layers import Conv2d
from pellucid.layers.base import pair
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, index_of, map_bias, places, read


def conv2d(call: Call, what: str, place: int) -> Column:
    """Return the terms of a derivative: of a weight one per output position, of a pixel one per window over it."""
    layer = call.layer
    assert isinstance(layer, Conv2d)
    batch, channels, height, width = call.x.shape
    _, filters, rows, columns = call.y.shape
    left, _, top, _ = layer.edges()
    (down, across), (drow, dcolumn) = pair(layer.stride), pair(layer.dilation)
    per_group, outs_per_group = channels // layer.groups, filters // layer.groups
    everywhere = torch.arange(batch)
    if what == "bias":
        return map_bias(call, place)
    if what == "weight":
        f, c, a, b = index_of(place, call.params["weight"].shape)
        p, h = _inside(torch.arange(rows), down, a * drow - top, height)
        q, w = _inside(torch.arange(columns), across, b * dcolumn - left, width)
        channel = f // outs_per_group * per_group + c
        return Column(
            places(call.y.shape, everywhere, f, p, q),
            (read(call, "x.0", places(call.x.shape, everywhere, channel, h, w), "x", "activation"),),
            f"this weight of filter {f} is used at {len(p)}x{len(q)} positions: at each, the delta of map {f} there "
            f"times the value of channel {channel} that lies under the weight",
            r"\frac{\partial C}{\partial w_{fcab}} = \sum_{n,p,q} \delta_{nfpq}\, x_{n,c,\,ps+ad-t,\,qs+bd-l}",
        )
    n, c, h, w = index_of(place, call.x.shape)
    p, a = _windows(rows, layer_size(call)[0], down, drow, h + top)
    q, b = _windows(columns, layer_size(call)[1], across, dcolumn, w + left)
    group = c // per_group
    maps = torch.arange(group * outs_per_group, (group + 1) * outs_per_group)
    f, p, q, a, b = _cross(maps, p, q, a, b)
    kernel = call.params["weight"].shape
    reads = ((f * kernel[1] + c % per_group) * kernel[2] + a) * kernel[3] + b
    return Column(
        ((n * filters + f) * rows + p) * columns + q,
        (read(call, "weight", reads, "w", "weight"),),
        "each window over this value, in each map: the delta of the window's output times the weight that lay here"
        if len(f)
        else "no window holds this value: nothing passes",
        r"\frac{\partial C}{\partial x_{nchw}} = \sum_{f,a,b} \delta_{nf,\frac{h+t-ad}{s},\frac{w+l-bd}{s}}\, w_{fcab}",
    )


def layer_size(call: Call) -> tuple[int, int]:
    """Return the kernel's height and width."""
    return call.params["weight"].shape[2], call.params["weight"].shape[3]


def _inside(outs: Tensor, stride: int, shift: int, length: int) -> tuple[Tensor, Tensor]:
    """Return the outputs whose pixel under a weight lies inside the image, and that pixel."""
    under = outs * stride + shift
    keep = (under >= 0) & (under < length)
    return outs[keep], under[keep]


def _windows(outs: int, kernel: int, stride: int, dilation: int, padded: int) -> tuple[Tensor, Tensor]:
    """Return the outputs whose window holds a pixel, counted from the padding on, and the tap that lies on it."""
    taps = torch.arange(kernel)
    start = padded - taps * dilation
    keep = (start >= 0) & (start % stride == 0) & (start // stride < outs)
    return start[keep] // stride, taps[keep]


def _cross(maps: Tensor, p: Tensor, q: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Return all (map, row, column) with the taps of that row and column, flat."""
    f, i, j = torch.meshgrid(maps, torch.arange(len(p)), torch.arange(len(q)), indexing="ij")
    i, j = i.flatten(), j.flatten()
    return f.flatten(), p[i], q[j], a[i], b[j]
