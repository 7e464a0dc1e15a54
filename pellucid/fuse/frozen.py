"""Fused forms of layers with frozen parameters.

Tests: tests/fuse/test_frozen.py.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, buffer_paths, join
from pellucid.fuse.context import FusedForm, NoCache
from pellucid.fuse.recompute import normalize
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.layers.batchnorm import BatchNorm, RunningCache
from pellucid.nested import flatten


@dataclass(frozen=True)
class FrozenLayer(FusedForm):
    """Replace a layer whose parameters are frozen.

    It always runs in evaluation mode, so batch normalization uses its running statistics and does not update them. The
    backward pass returns dx, and no gradients of parameters.
    """

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the layer in evaluation mode."""
        return self.layer.forward(params, x, Mode(False, mode.rng, mode.keep))

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return the layer's dx."""
        return self.layer.backward(params, cache, dy)[0], {}


def freeze(net: Layer, params: Params, frozen: Collection[str]) -> Layer:
    """Return the network with a FrozenLayer for each outermost layer or combinator with only frozen parameters.

    frozen: the paths of the frozen parameters. Layers with both frozen and trainable parameters are unchanged; the
    caller must ignore the gradients of their frozen parameters.
    """
    return _freeze(net, params, "", set(frozen)) if frozen else net


def learned_paths(layer: Layer, params: Params, path: str = "") -> set[str]:
    """Return the paths of the parameters of a layer at `path`, without buffers such as running statistics."""
    return {join(path, name) for name in flatten(params)} - buffer_paths(layer, path)


def _freeze(layer: Layer, params: Params, path: str, frozen: set[str]) -> Layer:
    learned = learned_paths(layer, params, path)
    if learned and learned <= frozen:
        return FrozenLayer(layer)
    if not isinstance(layer, Combinator) or not learned & frozen:
        return layer
    return layer.rebuild(
        {name: _freeze(child, params.get(name, {}), join(path, name), frozen) for name, child in layer.layers.items()}
    )


@dataclass(frozen=True)
class FrozenNorm(FusedForm):
    """Replace a frozen BatchNorm, which uses its running statistics, so dx does not depend on x."""

    layer: BatchNorm
    overwrite_x: bool  # whether y is written into x's memory
    overwrite_dy: bool  # whether dx is written into dy's memory

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NoCache]:
        """Compute y = x (w / σ) + (b - μ w / σ), in x's memory if `overwrite_x`."""
        return normalize(self.layer, params, RunningCache(x), x if self.overwrite_x else None), NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy (w / σ), in dy's memory if `overwrite_dy`."""
        scale = params["weight"] * torch.rsqrt(params["running_var"] + self.layer.epsilon)
        scale = scale.view(-1, *(1,) * (dy.dim() - 2)).to(dy.dtype)
        return dy.mul_(scale) if self.overwrite_dy else dy * scale, {}
