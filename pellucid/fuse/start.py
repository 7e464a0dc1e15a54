"""Fused forms of the layers before the first trainable layer, which need no backward pass.

Tests: tests/fuse/test_frozen.py, tests/fuse/test_forms.py.
"""

from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any

from torch import Tensor

from pellucid.fuse.combinators import FusedSequential
from pellucid.fuse.context import FusedForm, NoCache
from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.runs import RunFunction
from pellucid.fuse.single_layers import FusedConv2d, FusedDense
from pellucid.layers.base import Layer, Mode, Params
from pellucid.nested import leaves


@dataclass(frozen=True)
class EntranceLayer(FusedForm):
    """Replace a layer without parameters before the first trainable layer, which needs no backward pass."""

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, NoCache]:
        """Run the layer without a cache."""
        return self.layer.forward(params, x, Mode(mode.train, mode.rng, keep=False))[0], NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Any) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}


@dataclass
class CachedFunction:
    """A function for prediction, the tensors that it was built from, and their version counters at that time."""

    run: RunFunction | None = None
    tensors: list[Tensor] = field(default_factory=list)
    versions: list[int] | None = None


@dataclass(frozen=True)
class FrozenEntrance(FusedForm):
    """Replace frozen layers before the first trainable layer with their function for prediction, without a cache.

    The function for prediction is built in the first pass, and reused until a parameter is replaced or written to.
    PyTorch does not count writes to tensors that were created in inference mode; for these the function is rebuilt in
    each pass. Writes through `.data` and `.numpy()` are not detected.
    """

    prediction: CachedFunction = field(default_factory=CachedFunction, repr=False, compare=False)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, NoCache]:
        """Run the layers."""
        return self._run(params)(x), NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Any) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}

    def _run(self, params: Params) -> RunFunction:
        prediction = self.prediction
        tensors = leaves(params)
        versions = None if any(map(Tensor.is_inference, tensors)) else [tensor._version for tensor in tensors]
        has_same_tensors = len(tensors) == len(prediction.tensors) and all(map(is_, tensors, prediction.tensors))
        if prediction.run is None or not has_same_tensors or versions is None or versions != prediction.versions:
            prediction.run = inference(self.layer, params)
            prediction.tensors = tensors
            prediction.versions = versions
        return prediction.run


def without_dx(net: Layer) -> Layer:
    """Return a fused network whose first layer computes no dx, if it can omit it; other layers and caches are the same.

    For a network that needs its dx in some passes only, such as a discriminator in the generator's turn.
    """
    if type(net) is FusedSequential:
        name, first = next(iter(net.layers.items()))
        return net.rebuild({**net.layers, name: without_dx(first)})
    return replace(net, need_dx=False) if isinstance(net, FusedConv2d | FusedDense) else net
