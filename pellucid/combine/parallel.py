"""Parallel branches whose outputs are merged.

Fused forms: FusedResidual (fuse/combinators.py) and DenseBlock (fuse/dense_block.py) in training; Residual and RunSum
(fuse/inference/runs.py) in prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.combine.base import Back, Combinator, LayerRun, add_up, init_child, name_children
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True, init=False, repr=False)
class Parallel(Combinator):
    """Apply several layers (branches) to the same input, and merge the tuple of their outputs with another layer.

    A residual block is `Parallel((Identity(), body), Add())`, an Inception block `Parallel(branches, Concat())`.
    branches: a dict of layers by name, or a tuple, whose layers are named by type and count.
    merge: a layer whose input is the tuple of outputs; its name is "merge".
    Source: He et al. 2016, figure 2; Szegedy et al. 2015, figure 2.
    """

    branches: dict[str, Layer]
    merge: Layer

    def __init__(self, branches: tuple[Layer, ...] | Mapping[str, Layer], merge: Layer) -> None:
        named: Mapping[str, Layer] = branches if isinstance(branches, Mapping) else {}
        unnamed: tuple[Layer, ...] = () if isinstance(branches, Mapping) else tuple(branches)
        object.__setattr__(self, "branches", name_children("Parallel", unnamed, named, reserved_names=("merge",)))
        object.__setattr__(self, "merge", merge)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The branches by name, and the merge."""
        return {**self.branches, "merge": self.merge}

    def rebuild(self, layers: Mapping[str, Layer]) -> "Parallel":
        """Return a Parallel of `layers`, the branches by name and the merge as "merge"."""
        return self.with_fields(branches={name: layers[name] for name in self.branches}, merge=layers["merge"])

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize each branch for the input shape, and the merge for the tuple of their output shapes."""
        params: Params = {}
        shapes: list[Any] = []
        for name, branch in self.branches.items():
            params[name], out = init_child(name, branch, shape, rng)
            shapes.append(out)
        params["merge"], out = init_child("merge", self.merge, tuple(shapes), rng)
        return params, out

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run every branch on x, then the merge on the tuple of their outputs."""
        cache: dict[str, Cache] = {}
        ys: list[Any] = []
        for name, branch in self.branches.items():
            y, child_cache = step(name, branch, params[name], x, mode)
            ys.append(y)
            if mode.keep:
                cache[name] = child_cache
        y, child_cache = step("merge", self.merge, params["merge"], tuple(ys), mode)
        if mode.keep:
            cache["merge"] = child_cache
        return y, cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the merge, then every branch, and sum the gradients with respect to x."""
        dparams: Params = {}
        dys, dparams["merge"] = back("merge", self.merge, params["merge"], cache.pop("merge"), dy)
        dx = None
        for (name, branch), branch_dy in zip(reversed(self.branches.items()), reversed(dys), strict=True):
            branch_dx, dparams[name] = back(name, branch, params[name], cache.pop(name), branch_dy)
            dx = add_up(dx, branch_dx)
        return dx, dparams
