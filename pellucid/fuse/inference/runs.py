"""Functions that compute a network's outputs without a backward pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.base import Combinator
from pellucid.fuse.activations import KERNELS
from pellucid.fuse.leaves import fast_dilation
from pellucid.layers import ELU, GELU, HardSwish, LeakyReLU, ReLU, ReLU6, SiLU
from pellucid.layers.base import Layer, Mode, Params, memory_format, pair
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d

aten = torch.ops.aten
mkldnn = torch.ops.mkldnn

RunFunction = Callable[[Any], Any]  # inputs -> outputs
Kernel = Callable[[Any, Tensor], Tensor]  # (layer, x) -> y
Pair = tuple[int, int]
MODE = Mode(keep=False)


@dataclass(frozen=True)
class RunSequence:
    """Run functions in sequence."""

    runs: tuple[RunFunction, ...]

    def __call__(self, x: Any) -> Any:
        """Return the output of the last function."""
        for run in self.runs:
            x = run(x)
        return x


@dataclass(frozen=True)
class ChannelsLast:
    """Run on images in the channels-last memory format, in which convolutions on the CPU are fastest."""

    run: RunFunction

    def __call__(self, x: Any) -> Any:
        """Return the outputs."""
        images = isinstance(x, Tensor) and x.dim() == 4
        return self.run(x.contiguous(memory_format=torch.channels_last) if images else x)


@dataclass(frozen=True)
class AsWritten:
    """Run a layer by its own `forward`."""

    layer: Layer
    params: Params

    def __call__(self, x: Any) -> Any:
        """Return its output."""
        return self.layer.forward(self.params, x, MODE)[0]


def _bare(kernel: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda layer, x: kernel(x)


# Kernels of activations that write y into x's memory.
OVER: dict[type[Layer], Kernel] = {
    **{kind: _bare(kernels.over) for kind, kernels in KERNELS.items()},
    LeakyReLU: lambda layer, x: F.leaky_relu_(x, layer.slope),
    ELU: lambda layer, x: F.elu_(x, layer.alpha),
    GELU: lambda layer, x: aten.gelu_(x, approximate=layer.approximate),
    SiLU: _bare(aten.silu_),
    HardSwish: _bare(aten.hardswish_),
}


@dataclass(frozen=True)
class InPlaceActivation:
    """Compute an activation in the memory of its input, which no other layer reads."""

    layer: Layer

    def __call__(self, x: Tensor) -> Tensor:
        """Return x, which contains y afterwards."""
        return OVER[type(self.layer)](self.layer, x)


def widened(x: Tensor) -> Tensor:
    """Return x in the precision for folding: float64, but float32 on Apple GPUs, which do not support float64."""
    return x.float() if x.device.type == "mps" else x.double()


def scale_and_shift(norm: BatchNorm, params: Params) -> tuple[Tensor, Tensor]:
    """Return the scale w / σ and the shift b - μ w / σ of a norm, (C,) each, in the precision of `widened`."""
    weight, bias, mean, var = (widened(params[name]) for name in ("weight", "bias", "running_mean", "running_var"))
    scale = weight / torch.sqrt(var + norm.epsilon)
    return scale, bias - mean * scale


@dataclass(frozen=True)
class Affine:
    """Compute y = act(x scale + shift) per channel.

    over: whether y is written into x's memory, which no other layer reads.
    """

    scale: Tensor  # (C,)
    shift: Tensor  # (C,)
    act: Layer | None
    over: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Return y."""
        shape = (-1, *(1,) * (x.dim() - 2))
        scale, shift = self.scale.view(shape), self.shift.view(shape)
        if x.dtype is not scale.dtype:  # in half precision, a mean far from 0 would leave too few digits
            y = torch.addcmul(shift, x.to(scale.dtype), scale).to(x.dtype)
        else:
            y = torch.addcmul(shift, x, scale, out=x if self.over else None)
        return y if self.act is None else OVER[type(self.act)](self.act, y)


# Activations that oneDNN's convolution can apply before it writes its output: their name, scalars and algorithm there.
INSIDE: dict[type[Layer], Callable[[Any], tuple[str, list[int], str]]] = {
    ReLU: lambda layer: ("relu", [], ""),
    ReLU6: lambda layer: ("hardtanh", [0, 6], ""),
    GELU: lambda layer: ("gelu", [], layer.approximate),
    SiLU: lambda layer: ("swish", [], ""),
    HardSwish: lambda layer: ("hardswish", [], ""),
}


@dataclass(frozen=True)
class Convolution:
    """Compute y = act(w ⋆ x + b), or act(w ⋆ x + b + other).

    packable: whether oneDNN computes it, with the sum and the activation in the same pass. The weight is then packed
    once, in oneDNN's layout for images of the first size that it receives, and not again for each batch. Images of
    other sizes use the unpacked weight. (Without a size, oneDNN may choose a layout that is ten times slower.)
    """

    layer: Conv2d
    weight: Tensor
    bias: Tensor | None
    act: Layer | None
    packable: bool
    packed: dict[torch.Size, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def uneven(self) -> tuple[int, int, int, int] | None:
        """The zeros to add on the right and at the bottom, where "same" pads these more, as `F.pad` takes them."""
        left, right, top, bottom = self.layer.edges()
        return None if (left, top) == (right, bottom) else (0, right - left, 0, bottom - top)

    @cached_property
    def geometry(self) -> tuple[Pair, Pair, Pair, int]:
        """Padding, stride, dilation and groups."""
        left, _, top, _ = self.layer.edges()
        return (top, left), pair(self.layer.stride), fast_dilation(self.layer), self.layer.groups

    @cached_property
    def inside(self) -> tuple[str, list[int], str]:
        """The activation, as oneDNN's convolution takes it."""
        return ("none", [], "") if self.act is None else INSIDE[type(self.act)](self.act)

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return y."""
        if self.uneven is not None:
            x = F.pad(x, self.uneven)
        geometry = self.geometry
        if self.packable:
            name, scalars, algorithm = self.inside
            if not self.packed:
                self.packed[x.shape[1:]] = mkldnn._reorder_convolution_weight(self.weight, *geometry, x.shape)
            weight = self.packed.get(x.shape[1:], self.weight)
            if other is None:
                return mkldnn._convolution_pointwise(x, weight, self.bias, *geometry, name, scalars, algorithm)
            unary = None if self.act is None else name
            return mkldnn._convolution_pointwise(x, other, weight, self.bias, *geometry, "add", 1.0, unary, scalars, "")
        padding, stride, dilation, groups = geometry
        y = torch.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if other is not None:
            y += other
        return y if self.act is None else OVER[type(self.act)](self.act, y)


def convolution(
    layer: Conv2d, params: Params, scale: Tensor | None, shift: Tensor | None, act: Layer | None
) -> Convolution:
    """Return a Convolution whose output is multiplied by `scale` and shifted by `shift`, (filters,) each or None."""
    weight, bias = params["weight"], params.get("bias")
    if scale is not None and shift is not None:
        shifted = shift if bias is None else shift + widened(bias) * scale
        bias = shifted.to(weight.dtype)
        weight = (widened(weight) * scale[:, None, None, None]).to(weight.dtype)
    packable = weight.device.type == "cpu" and weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()
    if packable:
        weight = weight.clone(memory_format=torch.channels_last)
    return Convolution(layer, weight, bias, act, packable)


@dataclass(frozen=True)
class Residual:
    """Run two branches and compute act(their sum); the last convolution of one branch adds the other's output."""

    other: RunFunction
    body: RunFunction
    last: Convolution  # with the activation

    def __call__(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        other = self.other(x)
        return self.last(self.body(x), other)


@dataclass(frozen=True)
class RunSum:
    """Run branches and compute act(their sum) in the memory of the first output, which no other layer reads."""

    first: RunFunction
    others: tuple[RunFunction, ...]
    act: Layer | None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the sum."""
        y = self.first(x)
        for other in self.others:
            y += other(x)
        return y if self.act is None else OVER[type(self.act)](self.act, y)


@dataclass(frozen=True)
class ConvertedCombinator:
    """Run a combinator with converted children."""

    layer: Combinator
    params: Params
    children: Mapping[str, RunFunction]

    def __call__(self, x: Any) -> Any:
        """Return its output."""

        def step(name: str, child: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, None]:
            return self.children[name](x), None

        return self.layer.flow(self.params, x, MODE, step)[0]


@dataclass(frozen=True)
class DenseBlockLayer:
    """A layer of a dense block: its norm and activation, the layers after them, and the number of maps it adds."""

    read: Affine
    body: RunFunction
    growth: int


@dataclass(frozen=True)
class Block:
    """Run the consecutive layers of a dense block, with all maps in one tensor."""

    rows: tuple[DenseBlockLayer, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the maps of x and the maps of all layers, concatenated."""
        channels, *size = x.shape[1:]
        total = channels + sum(row.growth for row in self.rows)
        form = memory_format(x)
        maps = torch.empty(len(x), total, *size, dtype=x.dtype, device=x.device, memory_format=form)
        maps[:, :channels] = x
        for row in self.rows:
            maps[:, channels : channels + row.growth] = row.body(row.read(maps[:, :channels]))
            channels += row.growth
        return maps
