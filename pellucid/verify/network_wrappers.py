"""Wrappers of an objective's networks in its verification: one records passes, one is an autograd function."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.nested import flatten, map_tree
from pellucid.objective import LayerWrapper
from pellucid.sweep import backward
from pellucid.verify.probe import like, tensors


class Calls:
    """The passes through the networks of an objective: inputs in forward order, and output gradients by pass index."""

    def __init__(self) -> None:
        self.inputs: list[tuple[str, Any]] = []  # the name of the network, and its input
        self.dys: dict[int, Any] = {}
        self.next_index = count()


class _RecordedCache(NamedTuple):
    pass_index: int  # in forward order
    cache: Cache


@dataclass(frozen=True)
class RecordedNetwork(LayerWrapper):
    """A network that records the input and the output gradient of each pass."""

    name: str
    calls: Calls

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network and record its input."""
        x = map_tensors(_float64, x)
        self.calls.inputs.append((self.name, x))
        y, cache = self.layer.forward(params, x, mode)
        return y, _RecordedCache(next(self.calls.next_index), cache)

    def backward(self, params: Params, cache: Any, dy: Any) -> tuple[Any, Params]:
        """Record dy, and run the network's backward pass."""
        self.calls.dys[cache.pass_index] = dy
        return self.layer.backward(params, cache.cache, dy)


class _AutogradCache(NamedTuple):
    x: Any


@dataclass(frozen=True)
class AutogradNetwork(LayerWrapper):
    """A network as an autograd function, whose derivative is the network's own backward pass.

    Its method `backward`, which the objective calls, returns zeros. If autograd is disabled, only the forward pass is
    computed. An output that the objective computes with `keep=False` has no gradient.
    """

    name: str
    calls: Calls

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network, as a function of autograd if this is enabled and `mode.keep`."""
        x = map_tensors(_float64, x)
        pass_index = next(self.calls.next_index)
        self.calls.inputs.append((self.name, None))  # x would keep alive the graph, which in turn references `calls`
        uses_autograd = torch.is_grad_enabled() and mode.keep
        with torch.no_grad():
            detached = map_tree(torch.detach, params)
            y, cache = self.layer.forward(
                detached, like(x, [tensor.detach() for tensor in tensors(x)]), replace(mode, keep=uses_autograd)
            )
        if uses_autograd:
            leaves = flatten(params)
            run = _ForwardPass(self.layer, detached, cache, y, tuple(leaves), len(tensors(x)), pass_index, self.calls)
            outputs = _NetworkFunction.apply(run, *leaves.values(), *tensors(x))
            y = like(y, [outputs] if isinstance(outputs, Tensor) else list(outputs))
        return y, _AutogradCache(x)

    def backward(self, params: Params, cache: Any, dy: Any) -> tuple[Any, Params]:
        """Return zeros for the input, and no gradients of parameters."""
        return like(cache.x, [torch.zeros_like(tensor) for tensor in tensors(cache.x)]), {}


class _ForwardPass(NamedTuple):
    """One forward pass of a network, with the values that its backward pass needs."""

    layer: Layer
    params: Params
    cache: Cache
    y: Any
    paths: tuple[str, ...]  # the paths of its parameters
    n_inputs: int  # the number of its input tensors
    pass_index: int  # in forward order
    calls: Calls


class _NetworkFunction(torch.autograd.Function):
    """The autograd function of a network; its `backward` calls the network's backward pass."""

    @staticmethod
    def forward(ctx: Any, run: _ForwardPass, *variables: Tensor) -> Any:
        """Return copies of the outputs."""
        ctx.run = run
        first, *other_outputs = [tensor.clone() for tensor in tensors(run.y)]
        return (first, *other_outputs) if other_outputs else first

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> Any:
        """Record the output gradients; return the gradients of the parameters and inputs."""
        run: _ForwardPass = ctx.run
        run.calls.dys[run.pass_index] = dys
        dx, dparams = backward(run.layer, run.params, run.cache, like(run.y, list(dys)))
        flat = flatten(dparams)
        inputs = [None] * run.n_inputs if dx is None else tensors(dx)
        return (None, *(flat.get(path) for path in run.paths), *inputs)


def _float64(x: Tensor) -> Tensor:
    """Return x in float64, for objectives that draw numbers in float32; integers keep their dtype."""
    return x.double() if x.is_floating_point() else x


def map_tensors(function: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Return x, a tensor or nested tuples of tensors, with a function applied to each tensor."""
    return like(x, [function(tensor) for tensor in tensors(x)])
