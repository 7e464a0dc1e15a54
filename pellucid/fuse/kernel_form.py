"""Layers whose backward passes are computed by PyTorch's kernels, with unchanged params, caches and paths.

Tests: tests/fuse/test_kernels.py.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.combine.base import map_layers
from pellucid.fuse.context import FusedForm
from pellucid.fuse.frozen import FrozenLayer
from pellucid.fuse.kernels import BACKWARD_KERNELS
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.sweep import Rule, own_rule


@dataclass(frozen=True)
class KernelForm(FusedForm):
    """Replace a layer whose backward pass has a kernel; params, caches and outputs are those of the layer.

    Its other attributes are the layer's, so that an objective can read options such as `filters` of its networks.
    """

    if not TYPE_CHECKING:  # type checkers report unknown attributes

        def __getattr__(self, name):
            """Return an attribute of the layer."""
            if name == "layer" or name.startswith("__"):  # absent while the form is being copied or unpickled
                raise AttributeError(name)
            return getattr(self.layer, name)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the layer."""
        return self.layer.forward(params, x, mode)

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Compute dx and dparams by the kernel."""
        return BACKWARD_KERNELS[type(self.layer)](self.layer, params, cache, dy)

    def pull(self, params: Params, cache: Cache, dy: Any) -> Any:
        """Compute dx by the layer's `pull` if this omits the gradients of parameters, else by the kernel."""
        if type(self.layer).pull is not Layer.pull:
            return self.layer.pull(params, cache, dy)
        return self.backward(params, cache, dy)[0]


def kernel_form(layer: Layer) -> Layer:
    """Return the KernelForm of a layer, also of a frozen one, or the layer itself if it has no kernel."""
    if type(layer) is FrozenLayer:
        return FrozenLayer(with_kernels(layer.layer))
    return KernelForm(layer) if type(layer) in BACKWARD_KERNELS else layer


def with_kernels(net: Layer) -> Layer:
    """Return a network with a KernelForm of each layer that has one, for code that uses single layers of the network.

    Unlike the layers of `fuse`, these overwrite no other layer's memory, and all paths and caches are the same.
    """
    return map_layers(net, kernel_form)


def kernel_gradient(path: str, layer: Layer) -> Rule:
    """Return the rule for the gradients of one layer: by its kernel, or its own `backward`; see `sweep.backward`."""
    return BACKWARD_KERNELS.get(type(layer), own_rule)


def by_kernel(rule: Rule) -> Rule:
    """Return a rule that only uses the passes of its layer, with the layer's kernel."""
    return lambda layer, params, cache, dy: rule(kernel_form(layer), params, cache, dy)
