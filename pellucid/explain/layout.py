"""Properties of layers that explanations need: whether a method has a rule for them, and whether they output images."""

from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.combine.base import Combinator, walk
from pellucid.combine.graph import Graph
from pellucid.layers import BatchNorm, GroupNorm
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.layers.recurrent import Recurrent
from pellucid.operators import AffineMap, Convolve, Fixed, Learned, OneHot, Permute, Positions, ToShape
from pellucid.rules import Rules, own

IMAGE_LAYERS = Trait.CONVOLUTION | Trait.RESAMPLE  # layers with inputs and outputs (N, C, H, W)
CHANNELS_FIRST = "channels_first"  # the node that gives images (N, C, H, W) to a network for (N, H, W, C)


def has_channels_last(net: Layer, x: Any) -> bool:
    """Return whether a network takes images (N, H, W, C): it moves the channels of x to axis 1 before using weights."""
    if not isinstance(net, Graph) or not isinstance(x, Tensor) or x.dim() < 3:
        return False
    to_first = (0, x.dim() - 1, *range(1, x.dim() - 1))
    names_before_weights = set(net.inputs)  # of the input, and of values computed from it without weights
    for name, (layer, *sources) in net.nodes.items():
        if names_before_weights.isdisjoint(sources):
            continue
        if isinstance(layer, str | Permute | Convolve) or Trait.WEIGHTED in layer.traits:
            return isinstance(layer, Permute) and layer.axes == to_first
        if isinstance(layer, ToShape):  # TensorFlow's converter moves a single channel so
            shape = layer.forward({}, x, Mode(keep=False))[0].shape
            return x.shape[-1] == 1 and shape == (len(x), 1, *x.shape[1:-1])
        names_before_weights.add(name)
    return False


def with_channels_first(net: Layer, params: Params, x: Any) -> tuple[Layer, Params, Any]:
    """Return a network for images (N, C, H, W), its parameters, and x, from a network for images (N, H, W, C).

    Other networks and inputs are returned unchanged.
    """
    if not has_channels_last(net, x):
        return net, params, x
    assert isinstance(net, Graph)
    new_names = {net.inputs[0]: CHANNELS_FIRST}
    nodes: dict[str, tuple[Any, ...]] = {CHANNELS_FIRST: (Permute((0, *range(2, x.dim()), 1)), net.inputs[0])}
    for name, (layer, *sources) in net.nodes.items():
        nodes[name] = (layer, *(new_names.get(source, source) for source in sources))
    outputs = tuple(new_names.get(name, name) for name in net.outputs)
    return net.with_fields(nodes=nodes, outputs=outputs), {CHANNELS_FIRST: {}, **params}, x.movedim(-1, 1)


def used_inputs(net: Layer, path: str, n_inputs: int) -> tuple[bool, ...]:
    """Return for each of the inputs of a network whether the output of the layer at `path` depends on it."""
    if not isinstance(net, Graph):
        return (True,) * n_inputs
    needed = {name for name in net.nodes if path == name or path.startswith(f"{name}.")}
    for name, (_, *sources) in reversed(net.nodes.items()):
        if name in needed:
            needed.update(sources)
    return tuple(name in needed for name in net.inputs)


def check_has_rules(net: Layer, method: str, rules: Rules) -> None:
    """Raise PellucidError for a network with layers for which the rules of a method are not defined.

    A rule is missing if a layer acts on whole tensors, such as attention, and `rules` returns its gradient. Sums,
    layers that move values, parameters and constants need no rule. Except in LRP, convolutions and factors need none,
    either: guided backpropagation and DeconvNet have other rules for rectifiers only.
    """
    without_rule = (Learned, Fixed, Positions, OneHot)
    if method != "lrp":
        without_rule += (Convolve, AffineMap)
    missing = {
        path: type(layer).__name__
        for path, layer in walk(net)
        if (Trait.ANY_AXES in layer.traits or (method == "lrp" and isinstance(layer, Recurrent)))
        and not layer.traits & (Trait.COPIES_VALUES | Trait.ADDITIVE)
        and not isinstance(layer, without_rule)
        and rules(path, layer) is own
    }
    if missing:
        path, name = next(iter(missing.items()))
        raise PellucidError(
            f"{method} has no rule for {plural(len(missing), 'layer')} of this network, first {path} ({name}); "
            "use saliency, integrated_gradients or occlusion"
        )


class ImageOutputs:
    """A watch for `sweep.forward` that records which outputs are images (N, C, H, W), or (N, C, L) or (N, C, D, H, W).

    They have as many axes as one of the inputs.
    In a network with layers that act on whole tensors (`uses_whole_tensors`), a tensor of four axes may also be
    windows, heads of attention, or images with the channels last. In these networks only the following are images: the
    input, the outputs of convolutions, pooling and batch or group normalization, and four-axis outputs of other layers
    that have an image as input and do not act on whole tensors. `mixing_path` is the path of the last layer after the
    last image that multiplies values of different positions; "" if there is none.
    """

    def __init__(self, net: Layer, x: Any) -> None:
        self.mixing_path = ""
        self.uses_whole_tensors = any(Trait.ANY_AXES in layer.traits for _, layer in walk(net))
        self._images = list(x) if isinstance(x, tuple) else [x]
        self._n_inputs = len(self._images)
        self._axis_counts = {image.dim() for image in self._images if image.dim() > 2} or {4}

    def includes(self, y: Any) -> bool:
        """Return whether y is one of the recorded images, other than the input."""
        return any(y is output for output in self._images[self._n_inputs :])

    def __call__(self, path: str, layer: Layer, x: Any, y: Any) -> bool:
        """Return whether y is an image, and record it."""
        if isinstance(layer, Combinator) or not isinstance(y, Tensor):
            return False
        if not self.uses_whole_tensors:
            return y.dim() in self._axis_counts
        is_convolution = isinstance(layer, Convolve)
        if Trait.ANY_AXES in layer.traits and not is_convolution:
            self.mixing_path = (
                path if Trait.MULTIPLE_INPUTS in layer.traits and Trait.LINEAR not in layer.traits else self.mixing_path
            )
            return False
        inputs = x if isinstance(x, tuple) else (x,)
        takes_images = is_convolution or bool(layer.traits & IMAGE_LAYERS) or isinstance(layer, BatchNorm | GroupNorm)
        if y.dim() not in self._axis_counts or not (
            takes_images or any(tensor is output for tensor in inputs for output in self._images)
        ):
            return False
        self._images.append(y)
        self.mixing_path = ""
        return True
