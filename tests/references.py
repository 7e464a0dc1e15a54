"""Reference implementations of all layers and combinators in PyTorch's differentiable functions.

`reference_forward` runs a network without Pellucid's forward passes: tests compare its output with the forward pass,
and its gradients by PyTorch's autograd with the backward pass.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import combine, layers
from pellucid.layers import Layer, Mode
from tests.layers.elementwise import ELEMENTWISE


def conv2d(layer: layers.Conv2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel lengths")  # only about speed
        return F.conv2d(
            x, params["weight"], params.get("bias"), layer.stride, layer.padding, layer.dilation, layer.groups
        )


def conv_transpose2d(layer: layers.ConvTranspose2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    return F.conv_transpose2d(
        x,
        params["weight"],
        params.get("bias"),
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.groups,
        layer.dilation,
    )


def max_pool2d(layer: layers.MaxPool2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    return F.max_pool2d(x, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)


def avg_pool2d(layer: layers.AvgPool2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    """Return the means of windows by PyTorch's pooling, or, if dilated, by a mean over the window's pixels."""
    if as_pair(layer.dilation) == (1, 1):
        return F.avg_pool2d(x, layer.kernel, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad)
    pad_rows, pad_columns = as_pair(layer.padding)
    padded = F.pad(x, (pad_columns, pad_columns, pad_rows, pad_rows), value=0 if layer.count_include_pad else math.nan)
    output_size = F.max_pool2d(
        x.detach(), layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
    ).shape[2:]
    return pooling_windows(layer, padded, output_size, math.nan).nanmean(4)


def lp_pool2d(layer: layers.LpPool2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    """Return the norms of zero-padded windows; F.lp_pool2d differs at the border and adds signed cubes."""
    output_size = F.max_pool2d(x.detach(), layer.kernel, layer.stride, 0, layer.dilation, layer.ceil_mode).shape[2:]
    return torch.linalg.vector_norm(pooling_windows(layer, x, output_size, 0), layer.p, dim=4)


def pooling_windows(layer: layers.AvgPool2d | layers.LpPool2d, x: Tensor, output_size: Any, fill: float) -> Tensor:
    """Return the pixels of all windows over x, padded by `fill`: (N, C, *outs, pixels)."""
    kernel, stride = as_pair(layer.kernel), as_pair(layer.stride or layer.kernel)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, as_pair(layer.dilation), strict=True)]
    padded = F.pad(x, (0, extent[1] + stride[1], 0, extent[0] + stride[0]), value=fill)
    windows = padded.unfold(2, extent[0], stride[0]).unfold(3, extent[1], stride[1])[
        :, :, : output_size[0], : output_size[1]
    ]
    return windows[..., :: as_pair(layer.dilation)[0], :: as_pair(layer.dilation)[1]].flatten(4)


def as_pair(value: Any) -> Any:
    """Return one value for both axes as (height, width)."""
    return value if isinstance(value, tuple) else (value, value)


def max_unpool2d(layer: layers.MaxUnpool2d, params: Any, x: tuple[Tensor, Tensor], mode: Mode) -> Tensor:
    return F.max_unpool2d(*x, layer.kernel, layer.stride, layer.padding, layer.size)


def pad2d(layer: layers.Pad2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    """Pad by indexing: look up each output pixel by its row and column in the input."""
    left, right, top, bottom = (layer.padding,) * 4 if isinstance(layer.padding, int) else layer.padding
    height, width = x.shape[2:]
    rows, columns = torch.arange(-top, height + bottom), torch.arange(-left, width + right)
    if layer.kind in ("zero", "constant"):
        inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        clamped = x[:, :, rows.clamp(0, height - 1)][:, :, :, columns.clamp(0, width - 1)]
        return torch.where(inside, clamped, layer.value)
    if layer.kind == "replicate":
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    elif layer.kind == "circular":
        first, period = max(-top, 0), height + min(top, 0) + min(bottom, 0)
        rows = first + (rows - first) % period
        first, period = max(-left, 0), width + min(left, 0) + min(right, 0)
        columns = first + (columns - first) % period
    else:
        rows = (height - 1) - ((height - 1) - rows.abs()).abs()
        columns = (width - 1) - ((width - 1) - columns.abs()).abs()
    return x[:, :, rows][:, :, :, columns]


def pad_channels(layer: layers.PadChannels, params: Any, x: Tensor, mode: Mode) -> Tensor:
    zeros = [x.new_zeros(len(x), count, *x.shape[2:]) for count in (layer.before, layer.after)]
    return torch.cat([zeros[0], x, zeros[1]], 1)


def upsample(layer: layers.Upsample, params: Any, x: Tensor, mode: Mode) -> Tensor:
    if layer.antialias:
        rows, columns = (
            antialias_weights(
                layer.kind, length, layer.size and as_pair(layer.size)[axis], layer.scale and as_pair(layer.scale)[axis]
            )
            for axis, length in enumerate(x.shape[2:])
        )
        return rows @ x @ columns.T
    if layer.kind == "bicubic" and layer.scale and not layer.align_corners:  # autograd may use another size
        rows, columns = (
            keys_weights(length, scale) for length, scale in zip(x.shape[2:], as_pair(layer.scale), strict=True)
        )
        return rows @ x @ columns.T
    align = layer.align_corners if layer.kind in ("bilinear", "bicubic") else None
    scale = layer.scale if isinstance(layer.scale, tuple) or layer.scale is None else (layer.scale,) * 2
    return F.interpolate(x, layer.size, scale and tuple(map(float, scale)), layer.kind, align)  # pyright: ignore[reportArgumentType]


def antialias_weights(kind: str, length: int, size: int | None, scale: float | None) -> Tensor:
    """Return the weights (size, length) of input rows in output rows, by a kernel widened by the reduction factor.

    For equal lengths they are the identity matrix for any scale, as in PyTorch's forward pass but not in its autograd.
    """
    size, scale = size or int(length * (scale or 1)), scale or (size or 1) / length
    if size == length:
        return torch.eye(length, dtype=torch.float64)
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) / scale
    distance = (torch.arange(length) + 0.5 - centres[:, None]).abs() * min(scale, 1)  # (size, length)
    if kind == "bilinear":
        weights = (1 - distance).clamp(min=0)
    else:  # Keys 1981, equation 4, with a = -1/2
        near, far = (1.5 * distance - 2.5) * distance**2 + 1, ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
        weights = near * (distance <= 1) + far * ((distance > 1) & (distance < 2))
    return weights / weights.sum(1, keepdim=True)


def keys_weights(length: int, scale: float) -> Tensor:
    """Return the weights of `length` input rows in each output row, by Keys' kernel (equation 4) with a = -3/4."""
    weights = torch.zeros(int(length * scale), length, dtype=torch.float64)
    for new_row in range(len(weights)):
        centre = (new_row + 0.5) / scale - 0.5
        for row in range(math.floor(centre) - 1, math.floor(centre) + 3):
            distance = abs(row - centre)
            near, far = (
                (1.25 * distance - 2.25) * distance**2 + 1,
                -0.75 * (((distance - 5) * distance + 8) * distance - 4),
            )
            edge_row = min(max(row, 0), length - 1)  # rows outside repeat the edge
            weights[new_row, edge_row] += near if distance <= 1 else far
    return weights


def dropout(layer: layers.Dropout, params: Any, x: Tensor, mode: Mode) -> Tensor:
    if not mode.train:
        return x
    uniform = torch.rand(x[..., :1, :1].shape if layer.channels and x.dim() == 4 else x.shape, generator=mode.rng)
    keep = uniform >= layer.rate
    return torch.where(keep, x / (1 - layer.rate), torch.zeros_like(x))


def batch_norm(layer: layers.BatchNorm, params: Any, x: Tensor, mode: Mode) -> Tensor:
    running = params["running_mean"].clone(), params["running_var"].clone()
    return F.batch_norm(x, *running, params["weight"], params["bias"], mode.train, layer.momentum, layer.epsilon)


def instance_norm(layer: layers.InstanceNorm2d, params: Any, x: Tensor, mode: Mode) -> Tensor:
    return F.instance_norm(x, weight=params.get("weight"), bias=params.get("bias"), eps=layer.epsilon)


def group_norm(layer: layers.GroupNorm, params: Any, x: Tensor, mode: Mode) -> Tensor:
    groups = x.reshape(len(x), layer.groups, -1)
    variance, mean = torch.var_mean(groups, 2, correction=0, keepdim=True)
    normal = ((groups - mean) / (variance + layer.epsilon).sqrt()).reshape(x.shape)
    ones = (-1,) + (1,) * (x.dim() - 2)
    return normal * params["weight"].view(ones) + params["bias"].view(ones)


def layer_norm(layer: layers.LayerNorm, params: Any, x: Tensor, mode: Mode) -> Tensor:
    shape = x.shape[1:] if layer.shape is None else layer.shape
    return F.layer_norm(x, shape, params["weight"], params["bias"], layer.epsilon)


def recurrent(layer: layers.LSTM | layers.GRU | layers.RNN, params: Any, x: Tensor, mode: Mode) -> Tensor:
    module_type = getattr(torch.nn, type(layer).__name__)
    options = {"bias": layer.bias, "bidirectional": layer.bidirectional, "batch_first": True}
    if isinstance(layer, layers.RNN):
        options["nonlinearity"] = layer.nonlinearity
    module = module_type(x.shape[2], layer.units, layer.levels, **options, device="meta")
    return torch.func.functional_call(module, params, (x,))[0]


def local_response_norm(layer: layers.LocalResponseNorm, params: Any, x: Tensor, mode: Mode) -> Tensor:
    return F.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k)


def local_contrast_norm(layer: layers.LocalContrastNorm, params: Any, x: Tensor, mode: Mode) -> Tensor:
    """Follow Jarrett et al. 2009, section 2, with the window as one convolution kernel over all channels."""
    half, channels = layer.size // 2, x.shape[1]
    offsets = torch.arange(-half, half + 1).to(x)
    squared = offsets[:, None] ** 2 + offsets[None, :] ** 2
    window = torch.exp(-squared / (2 * (layer.size / 4) ** 2)).expand(1, channels, -1, -1)
    mass = F.conv2d(torch.ones_like(x[:1]), window, padding=half)
    v = x - F.conv2d(x, window, padding=half) / mass
    variance = F.conv2d(v**2, window, padding=half) / mass
    sigma = torch.where(variance > 0, variance, 1).sqrt() * (variance > 0)
    divisor = torch.maximum(sigma, sigma.mean((1, 2, 3), keepdim=True))
    return v / torch.clamp(divisor, min=layer.epsilon)


def crop(layer: layers.Crop, params: Any, x: tuple[Tensor, Tensor], mode: Mode) -> Tensor:
    """Crop the first input to the height and width of the second, whose gradient is zero."""
    return x[0].narrow(2, 0, x[1].shape[2]).narrow(3, 0, x[1].shape[3]) + 0 * x[1].sum()


def roi_align(layer: layers.RoIAlign, params: Any, x: tuple[Tensor, Tensor], mode: Mode) -> Tensor:
    """Interpolate one sampling point after another, in loops."""
    maps, regions = x[0], x[1].detach()
    rows, columns = as_pair(layer.size)
    out = []
    for image, *box in regions.tolist():
        plane = maps[int(image)]
        x0, y0, x1, y1 = (layer.scale * value for value in box)
        high, wide = y1 - y0, x1 - x0
        if layer.aligned:
            x0, y0 = x0 - 0.5, y0 - 0.5
        else:
            high, wide = max(high, 1.0), max(wide, 1.0)
        down = layer.sampling or math.ceil(high / rows)
        across = layer.sampling or math.ceil(wide / columns)
        bins = [
            sum(
                (
                    bilinear(
                        plane, y0 + high / rows * (r + (i + 0.5) / down), x0 + wide / columns * (c + (j + 0.5) / across)
                    )
                    for i in range(down)
                    for j in range(across)
                ),
                torch.zeros_like(plane[:, 0, 0]),
            )
            / max(down * across, 1)
            for r in range(rows)
            for c in range(columns)
        ]
        out.append(torch.stack(bins, 1).view(-1, rows, columns))
    return torch.stack(out)


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """Interpolate a plane (C, H, W) at a position; 0 if it is more than a pixel outside."""
    height, width = plane.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0 * plane[:, 0, 0]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    below, beyond = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * plane[:, top, left] + u * plane[:, top, beyond]
    return (1 - v) * upper + v * ((1 - u) * plane[:, below, left] + u * plane[:, below, beyond])


def roi_pool(layer: layers.RoIPool, params: Any, x: tuple[Tensor, Tensor], mode: Mode) -> Tensor:
    """Take the maximum of each bin in loops; of equal values, the first one."""
    maps, regions = x[0], x[1].detach()
    (rows, columns), (height, width) = as_pair(layer.size), maps.shape[2:]
    out = []
    for image, *box in regions.tolist():
        plane = maps[int(image)]
        x0, y0, x1, y1 = (int(math.copysign(math.floor(abs(layer.scale * value) + 0.5), value)) for value in box)
        high, wide = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for r in range(rows):
            top, below = (min(max(y0 + at, 0), height) for at in (r * high // rows, -(-(r + 1) * high // rows)))
            for c in range(columns):
                left, beyond = (
                    min(max(x0 + at, 0), width) for at in (c * wide // columns, -(-(c + 1) * wide // columns))
                )
                bin_ = plane[:, top:below, left:beyond].flatten(1)
                out.append(
                    bin_.gather(1, bin_.detach().argmax(1)[:, None])[:, 0] if bin_.numel() else 0 * plane[:, 0, 0]
                )
    return torch.stack(out).view(-1, rows, columns, maps.shape[1]).permute(0, 3, 1, 2)


def soft_argmax(layer: layers.SoftArgmax, params: Any, x: Tensor, mode: Mode) -> Tensor:
    """Return the mean of the cells' centres, weighted by their probabilities."""
    _, _, height, width = x.shape
    centres = [[(j + 0.5) / width - 0.5, (i + 0.5) / height - 0.5] for i in range(height) for j in range(width)]
    return (F.softmax(x.reshape(*x.shape[:2], -1), 2) @ x.new_tensor(centres)).flatten(1)


def elementwise_reference(function: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Any, Tensor, Mode], Tensor]:
    return lambda layer, params, x, mode: function(layer, x)


REFERENCES: dict[type[Layer], Callable[[Any, Any, Any, Mode], Any]] = {
    layers.Dense: lambda layer, params, x, mode: F.linear(x, params["weight"], params.get("bias")),
    layers.Conv2d: conv2d,
    layers.ConvTranspose2d: conv_transpose2d,
    layers.MaxPool2d: max_pool2d,
    layers.AvgPool2d: avg_pool2d,
    layers.LpPool2d: lp_pool2d,
    layers.AdaptiveAvgPool2d: lambda layer, params, x, mode: F.adaptive_avg_pool2d(x, layer.size),
    layers.MaxUnpool2d: max_unpool2d,
    layers.RoIAlign: roi_align,
    layers.RoIPool: roi_pool,
    layers.Flatten: lambda layer, params, x, mode: x.reshape(len(x), math.prod(x.shape[1:])),
    layers.Reshape: lambda layer, params, x, mode: x.reshape(len(x), *layer.shape),
    layers.Pad2d: pad2d,
    layers.PadChannels: pad_channels,
    layers.Upsample: upsample,
    **{kind: elementwise_reference(one.reference) for kind, one in ELEMENTWISE.items()},
    layers.Softmax: lambda layer, params, x, mode: F.softmax(x, layer.axis),
    layers.SoftArgmax: soft_argmax,
    layers.LogSoftmax: lambda layer, params, x, mode: F.log_softmax(x, layer.axis),
    layers.Dropout: dropout,
    layers.BatchNorm: batch_norm,
    layers.InstanceNorm2d: instance_norm,
    layers.GroupNorm: group_norm,
    layers.LayerNorm: layer_norm,
    layers.LSTM: recurrent,
    layers.GRU: recurrent,
    layers.RNN: recurrent,
    layers.LocalResponseNorm: local_response_norm,
    layers.LocalContrastNorm: local_contrast_norm,
    layers.Add: lambda layer, params, x, mode: torch.stack(x).sum(0),
    layers.Crop: crop,
    layers.Concat: lambda layer, params, x, mode: torch.cat(x, layer.axis),
    layers.Multiply: lambda layer, params, x, mode: torch.stack(torch.broadcast_tensors(*x)).prod(0),
}


def reference_forward(net: Layer, params: Any, x: Any, mode: Mode) -> Any:
    """Return the output of a network, computed by REFERENCES."""
    match net:
        case combine.Sequential():
            for name, child in net.children.items():
                x = reference_forward(child, params[name], x, mode)
            return x
        case combine.Parallel():
            ys = tuple(reference_forward(child, params[name], x, mode) for name, child in net.branches.items())
            return reference_forward(net.merge, params["merge"], ys, mode)
        case combine.Fork():
            return tuple(reference_forward(child, params[name], x, mode) for name, child in net.heads.items())
        case combine.Shared():
            return tuple(reference_forward(net.layer, params["layer"], one, mode) for one in x)
        case combine.Graph():
            values = dict(zip(net.inputs, x if len(net.inputs) > 1 else (x,), strict=True))
            for name, (layer, *sources) in net.nodes.items():
                owner = layer if isinstance(layer, str) else name
                inputs = tuple(values[source] for source in sources)
                values[name] = reference_forward(
                    net.nodes[owner][0], params[owner], inputs if len(inputs) > 1 else inputs[0], mode
                )
            ys = tuple(values[name] for name in net.outputs)
            return ys if len(ys) > 1 else ys[0]
        case _:
            return REFERENCES[type(net)](net, params, x, mode)
