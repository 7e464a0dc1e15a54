"""A network in float64, run again and again from the same state, with each layer within reach."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.sweep import run
from pellucid.tree import map_tree

# How a leaf layer runs: (place among all leaves in forward order, path, layer, its params, x, mode) -> (y, its cache)
Leaf = Callable[[int, str, Layer, Params, Any, Mode], tuple[Any, Cache]]


class Probe:
    """Float64 copies of a network's parameters and of one batch, and the loss that they give.

    Every run draws the same random numbers (from the state of `mode.rng`, else from `seed`) and starts with the same
    running statistics.
    """

    def __init__(self, net: Layer, params: Params, x: Any, target: Tensor, loss: Loss, mode: Mode, seed: int) -> None:
        self.net, self.loss, self.train = net, loss, mode.train
        self.params = map_tree(double, params)
        self.xs = [double(one) for one in tensors(x)]
        self.target = double(target)
        self.several = isinstance(x, tuple)
        self.device = self.xs[0].device if mode.rng is None else mode.rng.device
        rng = mode.rng if mode.rng is not None else torch.Generator(self.device).manual_seed(seed)
        self.random = rng.get_state()

    def run(self, xs: list[Tensor], params: Params, leaf: Leaf) -> tuple[Any, Cache]:
        """Run the network forward, each layer that is no combinator by `leaf`."""
        rng = torch.Generator(self.device)
        rng.set_state(self.random)
        places = count()
        x = tuple(xs) if self.several else xs[0]
        return run(self.net, params, x, Mode(self.train, rng), lambda *its: leaf(next(places), *its))

    def fresh(self) -> Params:
        """Return the parameters with running statistics that may be written to."""
        return map_tree(torch.clone, self.params) if self.train else self.params

    def value(self, instead: Mapping[int, Any] | None = None) -> float:
        """Return the loss; the leaf layers visited at the places in `instead` receive those inputs."""

        def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            return layer.forward(params, (instead or {}).get(index, x), mode)

        with torch.no_grad():
            y, _ = self.run(self.xs, self.fresh(), leaf)
            return float(self.loss(y, self.target)[0])


def double(x: Tensor) -> Tensor:
    """Return a plain, dense float64 copy; integers keep their type."""
    copy = x.detach().to(torch.float64) if x.is_floating_point() else x.detach()
    return copy.clone(memory_format=torch.contiguous_format)


def tensors(x: Any) -> list[Tensor]:
    """Return the tensors of a nest of tuples, in order."""
    return [one for part in x for one in tensors(part)] if isinstance(x, tuple) else [x]


def like(x: Any, tensors: list[Tensor]) -> Any:
    """Return `tensors` in the nesting of x."""
    rest = iter(tensors)

    def fill(part: Any) -> Any:
        return tuple(fill(one) for one in part) if isinstance(part, tuple) else next(rest)

    return fill(x)
