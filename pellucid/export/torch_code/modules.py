"""Modules missing in PyTorch; an exported file contains the source code of the modules that it uses."""
# ruff: noqa: D102 - the docstring of each class describes its `forward`

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Standardise(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Parallel(nn.Module):
    """Apply several branches to one input, and `merge` to the tuple of their outputs."""

    def __init__(self, branches: dict[str, nn.Module], merge: nn.Module) -> None:
        super().__init__()
        self.names = tuple(branches)
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.merge = merge

    def forward(self, x: Any) -> Any:
        return self.merge(tuple(self.get_submodule(name)(x) for name in self.names))


class Fork(nn.Module):
    """Apply several heads to one input, and return the tuple of their outputs."""

    def __init__(self, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, head in heads.items():
            self.add_module(name, head)

    def forward(self, x: Any) -> tuple[Any, ...]:
        return tuple(head(x) for head in self.children())


class Shared(nn.Module):
    """Apply one module to each of a tuple of inputs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, xs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self.layer(x) for x in xs)


class Apply(nn.Module):
    """Apply a function to a tensor, or to all tensors of a tuple as its arguments."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Tensor:
        return self.function(*x) if isinstance(x, tuple) else self.function(x)


class ApplyWithDropout(nn.Module):
    """Apply a function to a tuple of tensors and the rate of dropout, which is 0 in evaluation mode."""

    def __init__(self, function: Callable[..., Tensor], rate: float) -> None:
        super().__init__()
        self.function = function
        self.rate = rate

    def forward(self, xs: tuple[Tensor, ...]) -> Tensor:
        return self.function(*xs, self.rate if self.training else 0.0)


class Graph(nn.Module):
    """Run a graph of modules.

    nodes: (module, sources ...) by name. Instead of the module: the name of a node whose module is reused; or, without
    sources, a parameter or another tensor. sources, outputs: names of nodes and inputs. A name with dots is a path:
    "a.b" is the submodule "b" of "a".
    """

    def __init__(self, nodes: dict[str, tuple[Any, ...]], outputs: tuple[str, ...], inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module_and_sources = {
            name: (module if isinstance(module, str) else name, sources) for name, (module, *sources) in nodes.items()
        }
        self.outputs, self.inputs = outputs, inputs
        for name in sorted(nodes, key=lambda name: name.count(".")):  # a module before its submodules
            if not isinstance(nodes[name][0], str):
                self.add_part(name, nodes[name][0])

    def add_part(self, path: str, part: nn.Module | Tensor) -> None:
        *words, name = path.split(".")
        parent: nn.Module = self
        for word in words:
            if word not in dict(parent.named_children()):
                parent.add_module(word, nn.Module())
            parent = parent.get_submodule(word)
        if isinstance(part, nn.Parameter):
            parent.register_parameter(name, part)
        elif isinstance(part, Tensor):
            parent.register_buffer(name, part)
        else:
            parent.add_module(name, part)

    def find_part(self, path: str) -> Any:
        parent, _, name = path.rpartition(".")
        return getattr(self.get_submodule(parent), name)

    def forward(self, x: Any) -> Any:
        values = dict(zip(self.inputs, (x,) if len(self.inputs) == 1 else x, strict=True))
        for name, (module, sources) in self.module_and_sources.items():
            xs = tuple(values[source] for source in sources)
            values[name] = self.find_part(module)(xs[0] if len(xs) == 1 else xs) if xs else self.find_part(module)
        ys = tuple(values[name] for name in self.outputs)
        return ys[0] if len(ys) == 1 else ys


class Add(nn.Module):
    """Sum a tuple of tensors."""

    def forward(self, xs: tuple[Tensor, ...]) -> Tensor:
        return sum(xs[1:], start=xs[0])


class Multiply(nn.Module):
    """Multiply a tuple of tensors."""

    def forward(self, xs: tuple[Tensor, ...]) -> Tensor:
        y = xs[0]
        for x in xs[1:]:
            y = y * x
        return y


class Concat(nn.Module):
    """Concatenate a tuple of tensors along an axis."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, xs: tuple[Tensor, ...]) -> Tensor:
        return torch.cat(xs, self.axis)


class Crop(nn.Module):
    """Crop the first of two images at the bottom and right to the size of the second."""

    def forward(self, xs: tuple[Tensor, Tensor]) -> Tensor:
        return xs[0][:, :, : xs[1].shape[2], : xs[1].shape[3]]


class Reshape(nn.Module):
    """Reshape each sample."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape)


class Pool(nn.Module):
    """Pooling that PyTorch's modules do not support: dilated mean pooling, and p-norm pooling.

    kernel, stride, padding, dilation: pairs (height, width). p: the exponent of the p-norm; None computes the mean.
    count_include_pad: whether the mean includes the zeros of the padding; it never includes positions beyond it.
    """

    def __init__(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        p: float | None = None,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p is not None:
            return self.sums(x.abs() ** self.p, x.shape) ** (1 / self.p)
        rows, columns = self.padding
        widths = (columns, columns, rows, rows)
        counts = F.pad(torch.ones_like(x[:1, :1]), widths, value=float(self.count_include_pad))
        return self.sums(F.pad(x, widths), x.shape) / self.sums(counts, x.shape)

    def sums(self, padded: Tensor, shape: Sequence[int]) -> Tensor:
        end_padding = [0, 0]
        axes = zip(shape[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        for axis, (length, k, s, p, d) in enumerate(axes):
            free_length = length + 2 * p - d * (k - 1) - 1
            if self.ceil_mode and free_length % s and (free_length // s + 1) * s < length + p:
                end_padding[axis] = s - free_length % s
        planes = F.pad(padded, (0, end_padding[1], 0, end_padding[0])).flatten(0, 1)[:, None]
        sums = F.conv2d(planes, planes.new_ones(1, 1, *self.kernel), stride=self.stride, dilation=self.dilation)
        return sums.view(*padded.shape[:2], *sums.shape[2:])


class MaxUnpool2d(nn.Module):
    """Copy each value of (values, switches) to its position (the switch) in an otherwise zero image of `size`."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        values, switches = x
        y = values.new_zeros(*values.shape[:2], self.size[0] * self.size[1])
        return y.scatter(2, switches.flatten(2), values.flatten(2)).view(*values.shape[:2], *self.size)


class ResizeAntialiased(nn.Module):
    """Resize to `size` with antialiasing."""

    def __init__(self, size: tuple[int, int], mode: str, scale: tuple[float, float] | None) -> None:
        super().__init__()
        self.size = size
        self.mode = mode
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        size = self.size
        scale = self.scale
        transposed = self.size[1] == 1
        if transposed:  # PyTorch repeats the first row in images with a single column
            size = (size[1], size[0])
            x = x.mT
            scale = None if scale is None else (scale[1], scale[0])
        options: dict[str, Any] = {"size": size} if scale is None else {"scale_factor": scale}
        y = F.interpolate(x, mode=self.mode, antialias=True, **options)
        return y.mT if transposed else y


class LSTM(nn.LSTM):
    """Return the outputs of all steps, the last ones, or the memories after the last step."""

    def __init__(self, *sizes: int, output: str = "sequence", **options: bool) -> None:
        super().__init__(*sizes, batch_first=True, **options)
        self.output = output

    def __call__(self, x: Tensor) -> Tensor:
        y, (state, cell) = super().__call__(x)
        return {"sequence": y, "state": state, "cell": cell}[self.output]


class GRU(nn.GRU):
    """Return the outputs of all steps, or the last ones."""

    def __init__(self, *sizes: int, output: str = "sequence", **options: bool) -> None:
        super().__init__(*sizes, batch_first=True, **options)
        self.output = output

    def __call__(self, x: Tensor) -> Tensor:
        y, state = super().__call__(x)
        return y if self.output == "sequence" else state


class RNN(nn.RNN):
    """Return the outputs of all steps, or the last ones."""

    def __init__(self, *sizes: int, output: str = "sequence", **options: Any) -> None:
        super().__init__(*sizes, batch_first=True, **options)
        self.output = output

    def __call__(self, x: Tensor) -> Tensor:
        y, state = super().__call__(x)
        return y if self.output == "sequence" else state


class LocalContrastNorm(nn.Module):
    """Subtract the local mean, then divide by the local standard deviation or its image mean, whichever is larger."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.size = size
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        total_weight = x.shape[1] * self.window(torch.ones_like(x[:1, :1]))
        centred = x - self.window(x.sum(1, keepdim=True)) / total_weight
        deviation = torch.sqrt(self.window((centred * centred).sum(1, keepdim=True)) / total_weight)
        average = deviation.mean((2, 3), keepdim=True)
        return centred / torch.maximum(deviation, average).clamp_min(self.epsilon)

    def window(self, plane: Tensor) -> Tensor:
        half = self.size // 2
        offsets = torch.arange(-half, half + 1, dtype=plane.dtype, device=plane.device)
        weights = torch.exp(-0.5 * (offsets / (self.size / 4)) ** 2)
        rows = F.conv2d(plane, weights.view(1, 1, -1, 1), padding=(half, 0))
        return F.conv2d(rows, weights.view(1, 1, 1, -1), padding=(0, half))


class SoftArgmax(nn.Module):
    """Return the expected position (x, y) under the softmax over each map's cells, from -0.5 to 0.5."""

    def forward(self, x: Tensor) -> Tensor:
        p = x.flatten(2).softmax(2).view_as(x)
        steps = [(torch.arange(side, dtype=x.dtype, device=x.device) + 0.5) / side - 0.5 for side in x.shape[2:]]
        return torch.stack(((p.sum(2) * steps[1]).sum(2), (p.sum(3) * steps[0]).sum(2)), 2).flatten(1)
