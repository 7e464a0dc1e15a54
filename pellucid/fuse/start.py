"""Fused forms of the layers before the first trainable layer, which need no backward pass."""

from dataclasses import dataclass, field
from operator import is_
from typing import Any

from torch import Tensor

from pellucid.fuse.context import Form, NoCache
from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.runs import RunFunction
from pellucid.layers.base import Mode, Params
from pellucid.nested import leaves


@dataclass(frozen=True)
class EntranceLayer(Form):
    """Replace a layer without parameters before the first trainable layer: it needs no backward pass."""

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
class FrozenStart(Form):
    """Replace frozen layers before the first trainable layer: they run as in prediction, without a cache.

    The function for prediction is built in the first pass, and reused until a parameter is replaced or written to.
    PyTorch does not count writes to tensors that were created in inference mode; for these the function is rebuilt in
    each pass. Writes through `.data` and `.numpy()` are not detected.
    """

    ready: CachedFunction = field(default_factory=CachedFunction, repr=False, compare=False)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, NoCache]:
        """Run the layers."""
        return self._run(params)(x), NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Any) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}

    def _run(self, params: Params) -> RunFunction:
        ready, tensors = self.ready, leaves(params)
        versions = None if any(map(Tensor.is_inference, tensors)) else [tensor._version for tensor in tensors]
        same = len(tensors) == len(ready.tensors) and all(map(is_, tensors, ready.tensors))
        if ready.run is None or not same or versions is None or versions != ready.versions:
            ready.run, ready.tensors, ready.versions = inference(self.layer, params), tensors, versions
        return ready.run
