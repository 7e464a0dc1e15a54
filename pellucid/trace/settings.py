"""What a pass is run with, and running it again with one thing changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import buffer_paths, join, walk
from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.optim import MaxNorm, Optimizer, Regularizer
from pellucid.trace.calls import Change, Passes, forward
from pellucid.tree import flatten, map_tree


@dataclass(frozen=True, eq=False)
class Settings:
    """Everything that decides a pass; `run` gives the same each time.

    params and x are in the pass's dtype, on the CPU. examples: the n of the regularizers. frozen: paths that a step
    leaves alone; rates: factors of the learning rate by path. classes: what the network's outputs are called.
    """

    net: Layer
    params: Params
    x: Any
    target: Tensor
    loss: Loss
    train: bool = False
    seed: int = 0
    regularizers: tuple[Regularizer | MaxNorm, ...] = ()
    examples: int = 1
    optimizer: Optimizer | None = None
    clip: float | None = None
    frozen: frozenset[str] = frozenset()
    rates: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def run(self, params: Params | None = None, x: Any = None, change: Change | None = None) -> Passes:
        """Run forward, with other parameters, another input, or changes on the way.

        Running statistics that training mode moves are copies.
        """
        params = self.params if params is None else params
        params = map_tree(torch.clone, params) if self.train else params
        mode = Mode(self.train, torch.Generator().manual_seed(self.seed))
        with torch.no_grad():
            return forward(self.net, params, self.x if x is None else x, mode, change)

    def cost(self, passes: Passes, params: Params | None = None) -> tuple[float, float]:
        """Return the loss of a pass, and the regularizers' part of the cost."""
        value = float(self.loss(passes.y, self.target)[0])
        return value, float(sum(penalty.cost(self.decayed(params), self.examples) for penalty in self.penalties))

    @property
    def penalties(self) -> list[Regularizer]:
        """The regularizers that are part of the cost."""
        if not self.decayed():
            return []
        return [penalty for penalty in self.regularizers if isinstance(penalty, Regularizer) and not penalty.decoupled]

    @property
    def decayed_paths(self) -> list[str]:
        """The paths of what regularizers act on."""
        held = {join(path, name) for path, layer in walk(self.net) for name in layer.decayed}
        return [path for path in flatten(self.params) if path in held]

    def decayed(self, params: Params | None = None) -> list[Tensor]:
        """Return the weights that regularizers act on."""
        flat = flatten(self.params if params is None else params)
        return [flat[path] for path in self.decayed_paths]

    @property
    def learned(self) -> list[str]:
        """The paths of what a step changes."""
        kept = buffer_paths(self.net) | self.frozen
        return [path for path in flatten(self.params) if path not in kept]


def prepared(x: Any, dtype: torch.dtype) -> Any:
    """Return a plain copy on the CPU: floating numbers in `dtype`, others as they are."""
    if isinstance(x, tuple):
        return tuple(prepared(one, dtype) for one in x)
    if isinstance(x, dict):
        return {name: prepared(one, dtype) for name, one in x.items()}
    copy = x.detach().cpu()
    copy = copy.to(dtype) if copy.is_floating_point() else copy
    return copy.clone(memory_format=torch.contiguous_format)


def check_dtype(dtype: torch.dtype) -> None:
    """Require float32 or float64."""
    if dtype not in (torch.float32, torch.float64):
        raise PellucidError(f"trace: dtype must be torch.float64 or torch.float32, not {dtype}")
