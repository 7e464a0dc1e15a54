"""Properties of layers that explanations need: whether a method has a rule for them, and whether they output images."""

from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.combine.base import Combinator, walk
from pellucid.layers import BatchNorm, GroupNorm
from pellucid.layers.base import Layer, Trait
from pellucid.operators import Fixed, Learned
from pellucid.rules import Rules, own

IMAGE_LAYERS = Trait.CONVOLUTION | Trait.RESAMPLE  # layers with inputs and outputs (N, C, H, W)


def check_has_rules(net: Layer, method: str, rules: Rules) -> None:
    """Raise PellucidError for a network with layers for which the rules of a method are not defined.

    A rule is missing if a layer acts on whole tensors, such as attention, and `rules` returns its gradient. Sums,
    layers that move values, parameters and constants need no rule.
    """
    missing = {
        path: type(layer).__name__
        for path, layer in walk(net)
        if Trait.ANY_AXES in layer.traits
        and not layer.traits & (Trait.COPIES_VALUES | Trait.ADDITIVE)
        and not isinstance(layer, Learned | Fixed)
        and rules(path, layer) is own
    }
    if missing:
        path, name = next(iter(missing.items()))
        raise PellucidError(
            f"{method} has no rule for {plural(len(missing), 'layer')} of this network, first {path} ({name}); "
            "use saliency, integrated_gradients or occlusion"
        )


class ImageOutputs:
    """A watch for `sweep.forward` that records which outputs are images (N, C, H, W).

    In a network with layers that act on whole tensors (`uses_whole_tensors`), a tensor of four axes may also be
    windows, heads of attention, or images with the channels last. In these networks only the following are images: the
    input, the outputs of convolutions, pooling and batch or group normalization, and four-axis outputs of other layers
    that have an image as input and do not act on whole tensors. `mixing_path` is the path of the last layer after the
    last image that multiplies values of different positions; "" if there is none.
    """

    def __init__(self, net: Layer, x: Any) -> None:
        self.mixing_path = ""
        self.uses_whole_tensors = any(Trait.ANY_AXES in layer.traits for _, layer in walk(net))
        self._images = [x]

    def includes(self, y: Any) -> bool:
        """Return whether y is one of the recorded images, other than the input."""
        return any(y is output for output in self._images[1:])

    def __call__(self, path: str, layer: Layer, x: Any, y: Any) -> bool:
        """Return whether y is an image, and record it."""
        if isinstance(layer, Combinator) or not isinstance(y, Tensor):
            return False
        if not self.uses_whole_tensors:
            return y.dim() == 4
        if Trait.ANY_AXES in layer.traits:
            self.mixing_path = (
                path if Trait.MULTIPLE_INPUTS in layer.traits and Trait.LINEAR not in layer.traits else self.mixing_path
            )
            return False
        inputs = x if isinstance(x, tuple) else (x,)
        takes_images = bool(layer.traits & IMAGE_LAYERS) or isinstance(layer, BatchNorm | GroupNorm)
        if y.dim() != 4 or not (takes_images or any(tensor is output for tensor in inputs for output in self._images)):
            return False
        self._images.append(y)
        self.mixing_path = ""
        return True
