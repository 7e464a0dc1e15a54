"""The normalizations in ONNX."""

import torch
from torch.nn import functional as F

from pellucid.export.onnx_nodes.node import Nodes
from pellucid.layers import BatchNorm, GroupNorm, InstanceNorm2d, LayerNorm, LocalContrastNorm, LocalResponseNorm


def batch_norm(layer: BatchNorm, n: Nodes) -> None:
    """Write BatchNormalization, whose momentum is 1 minus Pellucid's and PyTorch's."""
    params = [n.param(name) for name in ("weight", "bias", "running_mean", "running_var")]
    n.last("BatchNormalization", n.x, *params, epsilon=float(layer.epsilon), momentum=1.0 - layer.momentum)


def instance_norm2d(layer: InstanceNorm2d, n: Nodes) -> None:
    """Write InstanceNormalization."""
    if layer.affine:
        scale = n.param("weight"), n.param("bias")
    else:
        scale = n.constant("scale", torch.ones(n.shape[0])), n.constant("shift", torch.zeros(n.shape[0]))
    n.last("InstanceNormalization", n.x, *scale, epsilon=float(layer.epsilon))


def group_norm(layer: GroupNorm, n: Nodes) -> None:
    """Write GroupNormalization."""
    scale = n.param("weight"), n.param("bias")
    n.last("GroupNormalization", n.x, *scale, num_groups=layer.groups, epsilon=float(layer.epsilon))


def layer_norm(layer: LayerNorm, n: Nodes) -> None:
    """Write LayerNormalization."""
    axes = len(n.shape if layer.shape is None else layer.shape)
    n.last("LayerNormalization", n.x, n.param("weight"), n.param("bias"), axis=-axes, epsilon=float(layer.epsilon))


def local_response_norm(layer: LocalResponseNorm, n: Nodes) -> None:
    """Write LRN for odd sizes; for even sizes, the sum over neighbouring channels is a 1 x 1 convolution."""
    if layer.size % 2:
        n.last(
            "LRN",
            n.x,
            size=layer.size,
            alpha=float(layer.alpha),
            beta=float(layer.beta),
            bias=float(layer.k),
        )
        return
    channels, before = n.shape[0], layer.size // 2
    shift = torch.arange(channels) - torch.arange(channels)[:, None]  # from the channel to its neighbour
    share = ((shift >= -before) & (shift < layer.size - before)).float() * (layer.alpha / layer.size)
    weight = n.constant("share", share[:, :, None, None])
    sums = n.inner("Conv", n.inner("Mul", n.x, n.x), weight, n.constant("k", torch.full((channels,), float(layer.k))))
    n.last("Div", n.x, n.inner("Pow", sums, n.number("beta", layer.beta)))


def local_contrast_norm(layer: LocalContrastNorm, n: Nodes) -> None:
    """Write v = x - Σ w x and y = v / max(c, σ, epsilon) in primitive nodes."""
    half, (channels, height, width) = layer.size // 2, n.shape
    weights = torch.exp(-0.5 * (torch.arange(-half, half + 1).float() / (layer.size / 4)) ** 2)
    down, across = weights.view(1, 1, -1, 1), weights.view(1, 1, 1, -1)
    rows = F.conv2d(torch.ones(1, 1, height, width), down, padding=(half, 0))
    mass = n.constant("mass", channels * F.conv2d(rows, across, padding=(0, half)))  # sums of the weights
    tall, wide = n.constant("down", down), n.constant("across", across)
    channel_axis, image_axes = n.whole("channels", 1), n.whole("image", 2, 3)

    def mean(value: str) -> str:
        plane = n.inner("ReduceSum", value, channel_axis, keepdims=1)  # (N, 1, H, W)
        columns = n.inner("Conv", plane, tall, pads=[half, 0, half, 0])
        return n.inner("Div", n.inner("Conv", columns, wide, pads=[0, half, 0, half]), mass)

    centred = n.inner("Sub", n.x, mean(n.x))
    deviation = n.inner("Sqrt", mean(n.inner("Mul", centred, centred)))
    average = n.inner("ReduceMean", deviation, image_axes, keepdims=1)
    n.last("Div", centred, n.inner("Max", deviation, average, n.number("epsilon", layer.epsilon)))
