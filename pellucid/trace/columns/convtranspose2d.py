"""ConvTranspose2d: each x[n, c, p, q] adds w[c, f, a, b] to y[n, f, p s + a d - pad, q s + b d - pad]."""

import torch
from torch import Tensor

from pellucid.layers import ConvTranspose2d
from pellucid.layers.base import pair
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, index_of, map_bias, places, read


def conv_transpose2d(call: Call, what: str, place: int) -> Column:
    """A weight is stamped at every position, a pixel weighs one stamp."""
    layer = call.layer
    assert isinstance(layer, ConvTranspose2d)
    batch, channels, height, width = call.x.shape
    _, filters, rows, columns = call.y.shape
    (down, across), (drow, dcolumn) = pair(layer.stride), pair(layer.dilation)
    pad_down, pad_across = pair(layer.padding)
    per_group, outs_per_group = channels // layer.groups, filters // layer.groups
    everywhere = torch.arange(batch)
    if what == "bias":
        return map_bias(call, place)
    kernel = call.params["weight"].shape
    if what == "weight":
        c, f, a, b = index_of(place, kernel)
        p, into = _inside(torch.arange(height), down, a * drow - pad_down, rows)
        q, beside = _inside(torch.arange(width), across, b * dcolumn - pad_across, columns)
        out = c // per_group * outs_per_group + f
        return Column(
            places(call.y.shape, everywhere, out, into, beside),
            (read(call, "x.0", places(call.x.shape, everywhere, c, p, q), "x", "activation"),),
            f"this weight is stamped {len(p)}x{len(q)} times on map {out}: at each stamp, the delta under the weight "
            f"times the value of channel {c} that weighs the stamp",
            r"\frac{\partial C}{\partial w_{cfab}} = \sum_{n,p,q} \delta_{n,f,\,ps+ad-t,\,qs+bd-l}\, x_{ncpq}",
        )
    n, c, p, q = index_of(place, call.x.shape)
    into, a = _inside(torch.arange(kernel[2]), drow, p * down - pad_down, rows, taps=True)
    beside, b = _inside(torch.arange(kernel[3]), dcolumn, q * across - pad_across, columns, taps=True)
    f, i, j = torch.meshgrid(torch.arange(outs_per_group), torch.arange(len(a)), torch.arange(len(b)), indexing="ij")
    f, i, j = f.flatten(), i.flatten(), j.flatten()
    out = c // per_group * outs_per_group + f
    reads = ((c * kernel[1] + f) * kernel[2] + a[i]) * kernel[3] + b[j]
    return Column(
        ((n * filters + out) * rows + into[i]) * columns + beside[j],
        (read(call, "weight", reads, "w", "weight"),),
        "this value weighs one stamp: the delta under each of the stamp's weights times that weight"
        if len(f)
        else "its stamp lies wholly in the padding: nothing passes",
        r"\frac{\partial C}{\partial x_{ncpq}} = \sum_{f,a,b} \delta_{n,f,\,ps+ad-t,\,qs+bd-l}\, w_{cfab}",
    )


def _inside(steps: Tensor, stride: int, shift: int, length: int, taps: bool = False) -> tuple[Tensor, Tensor]:
    """Return which steps land inside the output and where; with `taps`, where they land first."""
    under = steps * stride + shift
    keep = (under >= 0) & (under < length)
    return (under[keep], steps[keep]) if taps else (steps[keep], under[keep])
