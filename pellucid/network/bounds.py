"""Limits of memory and work for one input of a network from a file, measured on shapes alone."""

import math
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.combine.base import Combinator, Step, is_wiring, join
from pellucid.config import SMALLER, is_ours, raised
from pellucid.errors import LayerError, PellucidError
from pellucid.layers import MaxUnpool2d, RoIAlign, RoIPool
from pellucid.layers.base import Layer, Mode, Params

# Each several times the needs of the largest network of the zoo, and of a U-Net on 512 x 512 images; see decisions.md.
MOST_MEMORY = 1 << 30  # bytes of activations at one time
MOST_VALUES = 1 << 30  # numbers that all operations together output
MOST_WORK = 1 << 38  # multiply-adds
MOST_RUNS = 10_000  # layers, each as often as it runs: shared layers inside shared layers double it level by level


def within_bounds(net: Layer, shape: Any, shapes: dict[str, tuple[Any, Any]] | None = None) -> tuple[Params, Any]:
    """Return the network's parameters for inputs of `shape`, on the device "meta", and the shape of its output.

    Every layer is run once on such a tensor, which has a shape and no values. Raises LayerError, with the layer's
    path, at the first that takes the network beyond a bound. Of a combinator that runs by `flow`, whoever wrote it, the
    children are run; any other layer that is not Pellucid's own counts by its output. shapes: a dict that receives the
    shapes of the input and the output of each layer that runs, by path.
    """
    with torch.device("meta"), torch.no_grad():
        tally = _Tally({} if shapes is None else shapes)
        with tally:
            x = _empty(shape)
        _run(tally, "")("", net, {}, x, Mode(keep=False))
        return net.init(shape, torch.Generator())


def _run(tally: "_Tally", above: str) -> Step:
    """Return the function that runs the children of `above`."""

    def step(name: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, None]:
        path = join(above, name) if name else above
        tally.runs += 1
        try:
            tally.check()
            if is_wiring(layer):
                return layer.flow(_Params(layer, _shape(x)), x, mode, _run(tally, path))[0], None
            own, out = layer.init(_shape(x), torch.Generator())
            with tally:
                y = layer.forward(own, x, mode)[0] if _runs(layer) else _empty(out)
            tally.check()
            tally.shapes[path] = _shape(x), out
        except LayerError:
            raise
        except PellucidError as error:
            raise LayerError(path or type(layer).__name__, _shape(x), str(error)) from error
        return y, None

    return step


class _Params(dict[str, Any]):
    """Parameters of a combinator that are drawn when used: its own; its children draw theirs when they run."""

    def __init__(self, layer: Combinator, shape: Any) -> None:
        super().__init__()
        self._layer, self._shape = layer, shape

    def __missing__(self, name: str) -> Any:
        return self if name in self._layer.layers else self._layer.init(self._shape, torch.Generator())[0][name]


class _Tally(TorchDispatchMode):
    """Counts memory in use, numbers that operations output, and multiply-adds."""

    def __init__(self, shapes: dict[str, tuple[Any, Any]]) -> None:
        super().__init__()
        self.shapes = shapes
        self.runs = self.memory = self.peak = self.values = self.work = 0
        self._holders: dict[int, int] = {}  # how many tensors look at a storage

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [one for one in (result if isinstance(result, tuple | list) else (result,)) if isinstance(one, Tensor)]
        view = any(each.alias_info for each in func._schema.returns)  # of what is there: it takes no memory of its own
        for one in made:
            self._hold(one, view)
        if made and not view:
            count = sum(one.numel() for one in made)
            self.values += count
            self.work += count * _terms(func, args)
        return result

    def _hold(self, tensor: Tensor, view: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._holders:
            if view:  # of a weight
                return
            self._holders[key] = 0
            self.memory += size
            self.peak = max(self.peak, self.memory)
        self._holders[key] += 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self.memory -= size

    def check(self) -> None:
        for what, found, most in (
            ("layers, each as often as it runs", self.runs, MOST_RUNS),
            ("bytes of memory for one input", self.peak, MOST_MEMORY),
            ("numbers put out for one input", self.values, MOST_VALUES),
            ("multiply-adds for one input", self.work, MOST_WORK),
        ):
            if found > raised(most):
                raise PellucidError(f"takes the network to {found:,} {what}, above {raised(most):,}; {SMALLER}")


_aten = torch.ops.aten
_SLOW = 16  # times as long takes one multiply-add where a kernel cannot sum many at once
_DENSE = 64  # products of channels from which a convolution sums many at once


def _terms(func: Any, args: tuple[Any, ...]) -> int:
    """Return the number of multiply-adds for each number that an operation outputs."""
    kind = func.overloadpacket
    if kind is _aten.convolution:
        weight, groups = args[1], args[8]
        channels = weight.shape[0] * weight.shape[1] // groups
        return weight[0].numel() * (1 if channels >= _DENSE else _SLOW)
    if kind in (_aten.mm, _aten.addmm, _aten.bmm):
        return args[-1].shape[-2]
    if kind in (_aten.max_pool2d_with_indices, _aten.avg_pool2d):
        return math.prod(args[1]) * _SLOW
    return 1


def _runs(layer: Layer) -> bool:
    """Return whether a layer runs on "meta", where inputs are floats without values.

    Switches of unpooling are whole numbers, and regions are read to see how many pixels they cover.
    """
    return is_ours(layer) and not isinstance(layer, MaxUnpool2d | RoIAlign | RoIPool)


def _empty(shape: Any) -> Any:
    """Return a tensor of `shape` for one input, or a tuple of such, that has no values."""
    if shape and isinstance(shape[0], tuple):
        return tuple(map(_empty, shape))
    return torch.empty(1, *shape)


def _shape(x: Any) -> Any:
    return tuple(map(_shape, x)) if isinstance(x, tuple) else tuple(x.shape[1:])
