"""Fused forms of combinators: a Sequential with groups of fused layers, and a residual block.

Tests: tests/fuse/test_fuse.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.combine.base import Back, Combinator, LayerRun
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True)
class FusedSequential(Combinator):
    """Replace a Sequential with some of its children fused into groups."""

    children: dict[str, Layer]
    # the names of the children that replace several layers each. Such a child receives all params of the Sequential,
    # and returns the gradients of all layers that it replaces, by their names.
    groups: frozenset[str]

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The children by name; a group has the name of its first layer."""
        return self.children

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedSequential":
        """Return the same sequence with other layers."""
        return FusedSequential(dict(layers), self.groups)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers in order."""
        params: Params = {}
        for name, child in self.children.items():
            child_params, shape = child.init(shape, rng)
            params |= child_params if name in self.groups else {name: child_params}
        return params, shape

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run the layers in order."""
        cache = {}
        for name, child in self.children.items():
            x, child_cache = step(name, child, params if name in self.groups else params[name], x, mode)
            if mode.keep:
                cache[name] = child_cache
        return x, cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the layers in reverse order."""
        dparams: Params = {}
        for name, child in reversed(self.children.items()):
            if dy is None:  # the gradient with respect to this child's output is not needed
                break
            is_group = name in self.groups
            dy, child_dparams = back(name, child, params if is_group else params[name], cache.pop(name), dy)
            if is_group:
                dparams |= child_dparams
            else:
                dparams[name] = child_dparams
        return dy, dparams


@dataclass(frozen=True)
class FusedResidual(Combinator):
    """Replace `Parallel({...two branches...}, Add())`; the sum is computed in the output of the branch `target`.

    That output must be new memory that is not in any cache. In the backward pass, the other branch's dx is added to the
    target's dx, which must be new memory as well.
    """

    branches: dict[str, Layer]
    target: str

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The two branches by name."""
        return self.branches

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedResidual":
        """Return the same block with other branches."""
        return FusedResidual(dict(layers), self.target)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise each branch for the input shape."""
        params: Params = {}
        output_shape = shape
        for name, branch in self.branches.items():
            params[name], output_shape = branch.init(shape, rng)
        return params | {"merge": {}}, output_shape

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run both branches on x, and add the other branch's output to the target's in place."""
        cache, ys = {}, {}
        for name, branch in self.branches.items():
            ys[name], child_cache = step(name, branch, params[name], x, mode)
            if mode.keep:
                cache[name] = child_cache
        y = ys.pop(self.target)
        (other,) = ys.values()
        return y.add_(other), cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate dy back through both branches, and add the other branch's dx to the target's in place."""
        dxs: dict[str, Any] = {}
        dparams: Params = {"merge": {}}
        for name, branch in reversed(self.branches.items()):
            dxs[name], dparams[name] = back(name, branch, params[name], cache.pop(name), dy)
        dx = dxs.pop(self.target)
        (other,) = dxs.values()
        if dx is None or other is None:  # a branch without a dx has no input that needs one
            return other if dx is None else dx, dparams
        return dx.add_(other), dparams
