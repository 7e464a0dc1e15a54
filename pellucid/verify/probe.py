"""Repeated passes of a network in float64, from the same state, with a callback for each layer."""

import copy
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths
from pellucid.extend.registry import is_ours
from pellucid.extend.user_defined import attempt, copy_of, has_changed, layer_label
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.nested import flatten, map_tree, nest
from pellucid.sweep import backward, run

# A function that runs one leaf, a layer that is not a combinator: (index of the leaf in forward order, path, layer,
# params, x, mode) -> (y, cache).
IndexedLeaf = Callable[[int, str, Layer, Params, Any, Mode], tuple[Any, Cache]]


class Probe:
    """Float64 copies of a network's parameters and of one batch, for repeated computation of the loss.

    Every run draws the same random numbers (from the state of `mode.rng`, by default from `seed`) and starts with the
    same running statistics.
    nudge: the relative size of small constants that are added to the inputs of each leaf and of the loss. They are the
        same in every run; with them no values are equal or zero, so the loss has a derivative.
    frozen: paths of layers that run in evaluation mode, together with the layers inside them.
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
        self.net = net
        self.loss = loss
        self.train = mode.train
        self.params = map_tree(double, params)
        self.xs = [double(tensor) for tensor in tensors(x)]
        self.target = double(target)
        self.has_tuple_input = isinstance(x, tuple)
        self.device = self.target.device if mode.rng is None else mode.rng.device
        rng = mode.rng if mode.rng is not None else torch.Generator(self.device).manual_seed(seed)
        self.rng_state = rng.get_state()
        self.nudge = nudge
        self.frozen = frozenset(frozen)
        self.rng = torch.Generator().manual_seed(seed)
        self.constants: dict[int, list[Tensor]] = {}  # added to inputs, by index of the leaf; -1 is the loss

    def with_nudge(self, size: float) -> "Probe":
        """Return a copy with nudged inputs and parameters, but equal running statistics; size: see `nudge_tensor`."""
        rng = torch.Generator().manual_seed(0)
        buffers = buffer_paths(self.net)
        flat = flatten(self.params)
        other = copy.copy(self)
        other.params = nest(
            self.params,
            {path: value if path in buffers else nudge_tensor(value, size, rng) for path, value in flat.items()},
        )
        other.xs = [nudge_tensor(tensor, size, rng) for tensor in self.xs]
        return other

    def run(self, xs: list[Tensor], params: Params, leaf: IndexedLeaf) -> tuple[Any, Cache]:
        """Run the network forward, calling `leaf` for each layer that is not a combinator; return (y, cache)."""
        rng = self.generator()
        indices = count()
        x = tuple(xs) if self.has_tuple_input else xs[0]

        def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            index = next(indices)
            if any(frozen_path in ("", path) or path.startswith(f"{frozen_path}.") for frozen_path in self.frozen):
                mode = Mode(False, mode.rng, mode.keep)
            return leaf(index, path, layer, params, self._add_constants(index, x), mode)

        y, cache = run(self.net, params, x, Mode(self.train, rng), visit)
        return self._add_constants(-1, y), cache

    def generator(self) -> torch.Generator:
        """Return a new generator in the state from which every run starts."""
        rng = torch.Generator(self.device)
        rng.set_state(self.rng_state)
        return rng

    def _add_constants(self, index: int, x: Any) -> Any:
        """Return x, the input of the leaf with this index, plus the constants of this leaf."""
        if not self.nudge:
            return x
        inputs = tensors(x)
        if index not in self.constants:
            self.constants[index] = [
                nudge_tensor(tensor.detach(), self.nudge, self.rng) - tensor.detach() for tensor in inputs
            ]
        return like(x, [tensor + constant for tensor, constant in zip(inputs, self.constants[index], strict=True)])

    def pass_params(self) -> Params:
        """Return the parameters; a copy in training mode, because a pass then writes to the running statistics."""
        return map_tree(torch.clone, self.params) if self.train else self.params

    def value(self, replaced_inputs: Mapping[int, Any] | None = None) -> float:
        """Return the loss; `replaced_inputs` replaces the inputs of leaves, by their index in forward order."""

        def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            return layer.forward(params, (replaced_inputs or {}).get(index, x), mode)

        with torch.no_grad():
            y, _ = self.run(self.xs, self.pass_params(), leaf)
            return float(self.loss(y, self.target)[0])


@dataclass
class LeafPass:
    """One pass through one leaf: its input and cache, and its gradient dx."""

    path: str
    layer: Layer
    x: Any
    cache: Cache
    dx: tuple[Tensor | None, ...] | None = None
    order: int = -1  # index in the order of the backward pass; -1 if the backward pass does not reach the layer
    writes_dy: bool = False  # whether its `backward` changes dy in place


@dataclass
class SweepResult:
    """Results of a forward and an explicit backward pass; `updated_params` has the updated running statistics."""

    visits: list[LeafPass]
    y: Any
    dy: Any
    dx: Any
    dparams: Params
    updated_params: Params

    def owner(self, path: str) -> str | None:
        """Return the path of the layer to which a parameter belongs; None if that layer was not visited."""
        visited = {visit.path for visit in self.visits}
        while path and path not in visited:
            path = path.rpartition(".")[0]
        return path if path in visited else None


@dataclass
class Gradient:
    """One explicit gradient, and the gradient of the same tensors from a reference."""

    path: str
    layer: str
    what: str  # name of the gradient: dx, dy, or the path of a parameter
    tensors: list[Tensor]  # the loss is differentiated with respect to these
    explicit: list[Tensor | None]  # the gradient that `backward` returns, by tensor
    reference: list[Tensor] | None  # the reference gradient, by tensor; None if the reference cannot compute it
    order: int  # index of the layer in the order of the backward pass
    loss: Callable[[], float]  # returns the loss for the current values of `tensors`
    writes_dy: bool = False  # whether the layer's `backward` changes dy in place

    @property
    def largest(self) -> float:
        """The largest magnitude of the explicit gradient, among the tensors whose gradient is finite."""
        sizes = [float(gradient.abs().max()) for gradient in self.explicit if gradient is not None and gradient.numel()]
        return max((size for size in sizes if math.isfinite(size)), default=0.0)

    @property
    def fault(self) -> str:
        """The description of a fault that does not depend on the gradient's values; "" if there is none."""
        if self.writes_dy:
            return "backward writes into dy"
        for x, dx in zip(self.tensors, self.explicit, strict=True):
            if dx is None or dx.shape != x.shape:
                return "no explicit gradient" if dx is None else f"shape {tuple(dx.shape)} instead of {tuple(x.shape)}"
        return ""


def sweep(probe: Probe) -> SweepResult:
    """Run one forward and one explicit backward pass, and record input, cache and dx of each leaf.

    Raises PellucidError for a loss that is not finite, for a user-defined layer whose forward changes its input, and
    for errors in user-defined layers.
    """
    visits: list[LeafPass] = []

    def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        before = None if is_ours(layer) else copy_of(x)
        y, cache = attempt(f"{layer_label(path, layer)}: forward", layer.forward, params, x, mode)
        if before is not None and has_changed(before, x):
            raise PellucidError(f"verify: forward of {layer_label(path, layer)} changes its input; return a new tensor")
        visits.append(LeafPass(path, layer, x, cache))
        return y, cache

    def rule(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        visit = next(visit for visit in visits if visit.cache is cache and visit.dx is None)
        # With a copy, a layer that writes into dy does not change the gradients of other layers.
        copied_dy = like(dy, [tensor.clone() for tensor in tensors(dy)])
        dx, dparams = attempt(f"{layer_label(visit.path, layer)}: backward", layer.backward, params, cache, copied_dy)
        pairs = zip(tensors(dy), tensors(copied_dy), strict=True)
        visit.writes_dy = not all(torch.equal(before.nan_to_num(), after.nan_to_num()) for before, after in pairs)
        visit.dx, visit.order = tuple(tensors(dx)), sum(visit.dx is not None for visit in visits)
        return dx, dparams

    with torch.no_grad():
        updated_params = probe.pass_params()
        y, cache = probe.run(probe.xs, updated_params, leaf)
        value, dy = probe.loss(y, probe.target)
        if not math.isfinite(float(value)):
            raise PellucidError(f"verify: the loss of this batch is {float(value)}; check the inputs and weights")
        dx, dparams = backward(probe.net, probe.params, cache, dy, lambda path, layer: rule, consume=True)
    return SweepResult(visits, y, dy, dx, dparams, updated_params)


def double(x: Tensor) -> Tensor:
    """Return a detached contiguous copy of x in float64; integers keep their dtype."""
    copy = x.detach().to(torch.float64) if x.is_floating_point() else x.detach()
    return copy.clone(memory_format=torch.contiguous_format)


def nudge_tensor(x: Tensor, size: float, rng: torch.Generator) -> Tensor:
    """Return x with each entry changed by up to `size` times its value, and zeros replaced by small positive values.

    Signs are kept for the sake of layers that only accept positive inputs. Integers are returned unchanged.
    """
    if not x.is_floating_point() or not x.numel():
        return x
    factors = torch.rand(x.shape, generator=rng, dtype=torch.float64).to(x.device, x.dtype)
    largest = x.abs().max().nan_to_num(1.0)
    zeros = size * factors * torch.where(largest > 0, largest, 1.0)
    return torch.where(x == 0, zeros, x * (1 + size * (2 * factors - 1)))


def tensors(x: Any) -> list[Tensor]:
    """Return the tensors of nested tuples in order; for a single tensor, a list that contains it."""
    return [tensor for item in x for tensor in tensors(item)] if isinstance(x, tuple) else [x]


def like(x: Any, tensors: list[Tensor]) -> Any:
    """Return `tensors` nested in tuples as x is."""
    remaining = iter(tensors)

    def fill(item: Any) -> Any:
        return tuple(map(fill, item)) if isinstance(item, tuple) else next(remaining)

    return fill(x)
