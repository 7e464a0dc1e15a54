"""Repeated runs of a network in float64 from the same state, with access to each layer."""

import copy
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import buffer_paths
from pellucid.config import is_ours
from pellucid.contract import attempt, changed, copied, named
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.sweep import backward, run
from pellucid.tree import flatten, map_tree, nest

# How a leaf layer runs: (place among all leaves in forward order, path, layer, its params, x, mode) -> (y, its cache)
Leaf = Callable[[int, str, Layer, Params, Any, Mode], tuple[Any, Cache]]


class Probe:
    """Float64 copies of a network's parameters and of one batch, and the loss that they give.

    Every run draws the same random numbers (from the state of `mode.rng`, else from `seed`) and starts with the same
    running statistics. With a `nudge`, what each leaf layer and the loss receive is moved by small constants, drawn
    once, relative to the entries: gradients stay defined and what was equal, or zero, no longer is. Layers at or
    below the paths in `frozen` run as in evaluation.
    """

    def __init__(
        self,
        net: Layer,
        params: Params,
        x: Any,
        target: Tensor,
        loss: Loss,
        mode: Mode,
        seed: int,
        nudge: float = 0.0,
        frozen: Collection[str] = (),
    ) -> None:
        self.net, self.loss, self.train = net, loss, mode.train
        self.params = map_tree(double, params)
        self.xs = [double(one) for one in tensors(x)]
        self.target = double(target)
        self.several = isinstance(x, tuple)
        self.device = self.xs[0].device if mode.rng is None else mode.rng.device
        rng = mode.rng if mode.rng is not None else torch.Generator(self.device).manual_seed(seed)
        self.random = rng.get_state()
        self.nudge, self.frozen = nudge, frozenset(frozen)
        self.draw = torch.Generator().manual_seed(seed)
        self.moves: dict[int, list[Tensor]] = {}  # by place in forward order, the loss's at -1

    def moved(self, size: float) -> "Probe":
        """Return the same with inputs and parameters, not running statistics, moved by up to `size` of each entry."""
        draw, kept, flat = torch.Generator().manual_seed(0), buffer_paths(self.net), flatten(self.params)
        other = copy.copy(self)
        other.params = nest(
            self.params, {path: one if path in kept else nudged(one, size, draw) for path, one in flat.items()}
        )
        other.xs = [nudged(one, size, draw) for one in self.xs]
        return other

    def run(self, xs: list[Tensor], params: Params, leaf: Leaf) -> tuple[Any, Cache]:
        """Run the network forward, each layer that is not a combinator by `leaf`."""
        rng, places = self.generator(), count()
        x = tuple(xs) if self.several else xs[0]

        def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            place = next(places)
            if any(part in ("", path) or path.startswith(f"{part}.") for part in self.frozen):
                mode = Mode(False, mode.rng, mode.keep)
            return leaf(place, path, layer, params, self._moved(place, x), mode)

        y, cache = run(self.net, params, x, Mode(self.train, rng), visit)
        return self._moved(-1, y), cache

    def generator(self) -> torch.Generator:
        """Return a generator that draws what every run draws."""
        rng = torch.Generator(self.device)
        rng.set_state(self.random)
        return rng

    def _moved(self, place: int, x: Any) -> Any:
        """Return x with the nudge of this layer added."""
        if not self.nudge:
            return x
        parts = tensors(x)
        if place not in self.moves:
            self.moves[place] = [nudged(one.detach(), self.nudge, self.draw) - one.detach() for one in parts]
        return like(x, [one + move for one, move in zip(parts, self.moves[place], strict=True)])

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


@dataclass
class Visit:
    """One pass through one leaf layer."""

    path: str
    layer: Layer
    x: Any
    cache: Cache
    dx: tuple[Tensor | None, ...] | None = None
    order: int = -1  # place in the backward sweep; -1 where the sweep does not come by
    writes: bool = False  # whether its backward changes the dy that it is given


@dataclass
class Swept:
    """One pass forward and the explicit one backward; `used` are the parameters after it, running statistics moved."""

    visits: list[Visit]
    y: Any
    dy: Any
    dx: Any
    dparams: Params
    used: Params

    def owner(self, path: str) -> str | None:
        """Return the path of the visited layer that a parameter belongs to; None where that one was not visited."""
        visited = {visit.path for visit in self.visits}
        while path and path not in visited:
            path = path.rpartition(".")[0]
        return path if path in visited else None


@dataclass
class Gradient:
    """One explicit gradient and another answer, the tensors it belongs to, and the loss as they stand."""

    path: str
    layer: str
    what: str
    tensors: list[Tensor]
    explicit: list[Tensor | None]
    theirs: list[Tensor] | None
    order: int
    loss: Callable[[], float]
    writes: bool = False

    @property
    def largest(self) -> float:
        """The largest finite magnitude of the explicit gradient, one tensor's."""
        sizes = [float(one.abs().max()) for one in self.explicit if one is not None and one.numel()]
        return max((size for size in sizes if math.isfinite(size)), default=0.0)

    @property
    def fault(self) -> str:
        """The fault of the gradient independent of its values; "" if none."""
        if self.writes:
            return "backward writes into dy"
        for x, dx in zip(self.tensors, self.explicit, strict=True):
            if dx is None or dx.shape != x.shape:
                return "no explicit gradient" if dx is None else f"shape {tuple(dx.shape)} instead of {tuple(x.shape)}"
        return ""


def sweep(probe: Probe) -> Swept:
    """Run forward and the explicit backward, and record the input, output, dy and dx of each leaf layer.

    Raises PellucidError where the loss is not finite.
    """
    visits: list[Visit] = []

    def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        before = None if is_ours(layer) else copied(x)
        y, cache = attempt(f"{named(path, layer)}: forward", layer.forward, params, x, mode)
        if before is not None and changed(before, x):
            raise PellucidError(f"verify: forward of {named(path, layer)} changes its input; return a new tensor")
        visits.append(Visit(path, layer, x, cache))
        return y, cache

    def rule(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        visit = next(visit for visit in visits if visit.cache is cache and visit.dx is None)
        given = like(dy, [one.clone() for one in tensors(dy)])  # so that one layer's writing spoils no other's gradient
        dx, dparams = attempt(f"{named(visit.path, layer)}: backward", layer.backward, params, cache, given)
        pairs = zip(tensors(dy), tensors(given), strict=True)
        visit.writes = not all(torch.equal(one.nan_to_num(), now.nan_to_num()) for one, now in pairs)
        visit.dx, visit.order = tuple(tensors(dx)), sum(visit.dx is not None for visit in visits)
        return dx, dparams

    with torch.no_grad():
        used = probe.fresh()
        y, cache = probe.run(probe.xs, used, leaf)
        value, dy = probe.loss(y, probe.target)
        if not math.isfinite(float(value)):
            raise PellucidError(f"verify: the loss of this batch is {float(value)}; check the inputs and weights")
        dx, dparams = backward(probe.net, probe.params, cache, dy, lambda path, layer: rule, consume=True)
    return Swept(visits, y, dy, dx, dparams, used)


def double(x: Tensor) -> Tensor:
    """Return a plain, dense float64 copy; integers keep their type."""
    copy = x.detach().to(torch.float64) if x.is_floating_point() else x.detach()
    return copy.clone(memory_format=torch.contiguous_format)


def nudged(x: Tensor, size: float, draw: torch.Generator) -> Tensor:
    """Return x with each entry moved by up to `size` times itself, and zeros to small positive numbers.

    Signs stay, so that a layer that takes numbers above 0 alone still gets them; integers stay as they are.
    """
    if not x.is_floating_point() or not x.numel():
        return x
    factors = torch.rand(x.shape, generator=draw, dtype=torch.float64).to(x.device, x.dtype)
    largest = x.abs().max().nan_to_num(1.0)
    zeros = size * factors * torch.where(largest > 0, largest, 1.0)
    return torch.where(x == 0, zeros, x * (1 + size * (2 * factors - 1)))


def tensors(x: Any) -> list[Tensor]:
    """Return the tensors of a nest of tuples, in order."""
    return [one for part in x for one in tensors(part)] if isinstance(x, tuple) else [x]


def like(x: Any, tensors: list[Tensor]) -> Any:
    """Return `tensors` in the nesting of x."""
    rest = iter(tensors)

    def fill(part: Any) -> Any:
        return tuple(fill(one) for one in part) if isinstance(part, tuple) else next(rest)

    return fill(x)
