"""A convolution with what stands around it: its norm in the weights, a sum and an activation in its kernel."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.conv2d import spread
from pellucid.fuse.inference.activations import OVER
from pellucid.fuse.inference.affine import widened
from pellucid.layers import ReLU, ReLU6
from pellucid.layers.base import Layer, Params, pair
from pellucid.layers.conv2d import Conv2d

mkldnn = torch.ops.mkldnn
# What oneDNN's convolution applies to each number before it leaves the processor: the name, and its arguments.
INSIDE: dict[type[Layer], tuple[str, list[int]]] = {ReLU: ("relu", []), ReLU6: ("hardtanh", [0, 6])}


@dataclass(frozen=True)
class Convolution:
    """Compute y = act(w ⋆ x + b), or act(w ⋆ x + b + other).

    `packable`: sum and activation cost no pass over memory of their own, and the weight is kept as oneDNN wants it for
    images of the first size that comes, so that it need not be laid out again for each batch. (Asked without a size,
    oneDNN may take a layout that is ten times slower; images of other sizes get the weight as it is.)
    """

    layer: Conv2d
    weight: Tensor
    bias: Tensor | None
    act: Layer | None
    packable: bool
    packed: dict[torch.Size, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return y."""
        left, right, top, bottom = self.layer.edges()
        if (left, top) != (right, bottom):
            x = F.pad(x, (0, right - left, 0, bottom - top))
        stride, dilation = pair(self.layer.stride), spread(self.layer)
        if self.packable:
            name, scalars = ("none", []) if self.act is None else INSIDE[type(self.act)]
            place = (top, left), stride, dilation, self.layer.groups
            if not self.packed:
                self.packed[x.shape[1:]] = mkldnn._reorder_convolution_weight(self.weight, *place, x.shape)
            weight = self.packed.get(x.shape[1:], self.weight)
            if other is None:
                return mkldnn._convolution_pointwise(x, weight, self.bias, *place, name, scalars, "")
            unary = None if self.act is None else name
            return mkldnn._convolution_pointwise(x, other, weight, self.bias, *place, "add", 1.0, unary, scalars, "")
        y = torch.conv2d(x, self.weight, self.bias, stride, (top, left), dilation, self.layer.groups)
        if other is not None:
            y += other
        return y if self.act is None else OVER[type(self.act)](self.act, y)


def convolution(
    layer: Conv2d, params: Params, scale: Tensor | None, shift: Tensor | None, act: Layer | None
) -> Convolution:
    """Return the Convolution whose output is multiplied by `scale` and moved by `shift`, (filters,) each."""
    weight, bias = params["weight"], params.get("bias")
    if scale is not None and shift is not None:
        moved = shift if bias is None else shift + widened(bias) * scale
        bias = moved.to(weight.dtype)
        weight = (widened(weight) * scale[:, None, None, None]).to(weight.dtype)
    packable = weight.device.type == "cpu" and weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()
    if packable:
        weight = weight.clone(memory_format=torch.channels_last)
    return Convolution(layer, weight, bias, act, packable)
