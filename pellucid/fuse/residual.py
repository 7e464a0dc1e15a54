"""The residual block without a tensor for its sum."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.combine.base import Back, Combinator, Step
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True)
class FusedResidual(Combinator):
    """Replace `Parallel({...two branches...}, Add())`: the sum is added into the output of the branch `target`.

    That output must be new memory that no cache holds. On the way back, the skip's gradient is added into the
    target's dx, which must be new memory as well.
    """

    branches: dict[str, Layer]
    target: str

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The two branches by name."""
        return self.branches

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedResidual":
        """Return the same block over other branches."""
        return FusedResidual(dict(layers), self.target)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise each branch for the one input shape."""
        params: Params = {}
        out = shape
        for name, branch in self.branches.items():
            params[name], out = branch.init(shape, rng)
        return params | {"merge": {}}, out

    def flow(self, params: Params, x: Any, mode: Mode, step: Step) -> tuple[Any, Cache]:
        """Run both branches on x, and add the other's output into the target's."""
        cache, ys = {}, {}
        for name, branch in self.branches.items():
            ys[name], kept = step(name, branch, params[name], x, mode)
            if mode.keep:
                cache[name] = kept
        y = ys.pop(self.target)
        (other,) = ys.values()
        return y.add_(other), cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through both branches from the same dy, and add the other's dx into the target's."""
        dxs: dict[str, Any] = {}
        dparams: Params = {"merge": {}}
        for name, branch in reversed(self.branches.items()):
            dxs[name], dparams[name] = back(name, branch, params[name], cache.pop(name), dy)
        dx = dxs.pop(self.target)
        (other,) = dxs.values()
        return dx if other is None else other if dx is None else dx.add_(other), dparams
