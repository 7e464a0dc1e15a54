"""Checks of a network's last layers against its loss and the classes of its data."""

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared, join, walk
from pellucid.data.dataset import check_channels_first
from pellucid.layers import LogSoftmax, Sigmoid, Softmax
from pellucid.layers.base import Layer, Trait, pair
from pellucid.losses import BinaryCrossEntropy, Loss, NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.operators import Permute, ToShape

# The activations that these losses contain.
CONTAINED_ACTIVATIONS: dict[type[Loss], tuple[type[Layer], ...]] = {
    BinaryCrossEntropy: (Sigmoid,),
    SoftmaxCrossEntropy: (Softmax, LogSoftmax),
}
MAX_LISTED_NAMES = 5  # number of classes in a message


def check_ending(net: Layer, loss: Loss) -> None:
    """Raise PellucidError if a last activation is already part of the loss, or one that the loss needs is missing.

    The layers before all outputs are checked. After a merge of branches, the range of the output is unknown, so a
    missing activation is not reported.
    """
    for path, last_layer in last_layers(net).items():
        where = path or "the network"
        layer_type = type(last_layer).__name__
        loss_type = type(loss).__name__
        if isinstance(last_layer, CONTAINED_ACTIVATIONS.get(type(loss), ())):
            raise PellucidError(
                f"{where}: {layer_type} is followed by {loss_type}, which contains it; remove that layer"
            )
        is_merge = Trait.MULTIPLE_INPUTS in last_layer.traits
        if (
            isinstance(loss, NegativeLogLikelihood)
            and not is_merge
            and not isinstance(last_layer, LogSoftmax | Combinator)
        ):
            raise PellucidError(
                f"{where}: {layer_type} is followed by {loss_type}, which takes log-probabilities; end the net with "
                "LogSoftmax (an mlp with output='log_softmax'), or use the loss softmax_cross_entropy, which contains "
                "it"
            )


def has_wide_window(net: Layer) -> bool:
    """Return whether a network treats inputs (C, H, W) as images: whether any window is wider than one pixel."""
    kernels = [vars(layer).get("kernel", 1) for _, layer in walk(net)]
    return any(isinstance(kernel, int | tuple) and pair(kernel)[1] > 1 for kernel in kernels)


def check_axes(nets: Iterable[Layer], shape: Sequence[int], inputs_name: str, is_uint8: bool = False) -> None:
    """Raise PellucidError for inputs of shape (H, W, C) instead of (C, H, W), see `check_channels_first`.

    A shape (n, m, 1) may also be a sequence (C, L, 1): it is treated as an image only if a window of the networks is
    wider than one pixel. is_uint8: whether the values are uint8.
    """
    has_wide_windows = any(map(has_wide_window, nets))
    if shape[2:] != (1,) or has_wide_windows:
        check_channels_first(shape, inputs_name, is_uint8 or (has_wide_windows and shape[2:] == (1,)))


def only_reshapes(layer: Layer) -> bool:
    """Return whether a layer only changes the shape of its input."""
    return Trait.RESHAPE in layer.traits


def only_moves(layer: Layer) -> bool:
    """Return whether a layer only changes the shape of its input, or the order of its axes."""
    return only_reshapes(layer) or isinstance(layer, Permute | ToShape)


def last_layers(net: Layer, is_skipped: Callable[[Layer], bool] = only_reshapes, path: str = "") -> dict[str, Layer]:
    """Return the last layer before each output, by path, skipping layers for which `is_skipped` returns True.

    After merged branches, this is the layer that merges them. A user-defined combinator counts as one layer. Returns {}
    for a network in which all layers are skipped.
    """
    match net:
        case Sequential():
            candidates = (
                last_layers(child, is_skipped, join(path, name)) for name, child in reversed(net.children.items())
            )
            return next(filter(None, candidates), {})
        case Fork():
            layers: dict[str, Layer] = {}
            for name, head in net.heads.items():
                layers |= last_layers(head, is_skipped, join(path, name)) or {join(path, name): head}
            return layers
        case Parallel():
            return last_layers(net.merge, is_skipped, join(path, "merge"))
        case Shared():
            return last_layers(net.layer, is_skipped, join(path, "layer"))
        case Graph():
            return _last_graph_layers(net, is_skipped, path)
        case _:
            return {} if is_skipped(net) else {path: net}


def _last_graph_layers(net: Graph, is_skipped: Callable[[Layer], bool], path: str) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    children = net.layers
    for output in net.outputs:
        name = output
        while name in net.nodes:
            layer, *sources = net.nodes[name]
            layer_name = layer if isinstance(layer, str) else name
            found_layers = last_layers(children[layer_name], is_skipped, join(path, layer_name))
            if not found_layers and len(sources) > 1:
                found_layers = {join(path, layer_name): children[layer_name]}
            layers |= found_layers
            if found_layers:
                break
            name = sources[0]
    return layers


def check_classes(outputs: Any, classes: Sequence[str] | None, where: str = "", remedy: str = "") -> None:
    """Raise PellucidError unless there is one output for each class, or a single output for two classes.

    outputs: the shape of the network's output, (K,) or (K, ...); several outputs are not checked. where, remedy: the
    beginning and the end of the message.
    """
    if classes is None or not outputs or not isinstance(outputs[0], int):
        return
    n_classes = len(classes)
    if not n_classes:
        raise PellucidError(
            f"{where}the data have an empty tuple of classes; for targets that are not classes give None"
        )
    if outputs[0] != n_classes and (outputs[0], n_classes) != (1, 2):
        raise PellucidError(
            f"{where}the network outputs {plural(outputs[0], 'value')}, but the data have "
            f"{plural(n_classes, 'class', 'classes')} ({_listed(classes)}); "
            + (remedy or f"end the network with {plural(n_classes, 'output')}, such as Dense({n_classes})")
        )


def check_same_names(kind: str, names: Sequence[str], model_names: Sequence[str], data: str) -> None:
    """Raise PellucidError, with both lists, unless data have the names of a model, in its order.

    Of long lists, the names from the first difference on are listed. kind: "classes" or "key-points". data: the name of
    the data.
    """
    if tuple(names) == tuple(model_names):
        return
    same_names = takewhile(lambda pair: pair[0] == pair[1], zip(names, model_names, strict=False))
    # Of long lists, the names before the first difference are left out.
    start = len([*same_names]) if max(len(names), len(model_names)) > MAX_LISTED_NAMES else 0
    raise PellucidError(
        f"{data} has the {kind} {_listed(names, start)}, but the model has {_listed(model_names, start)}; give data "
        f"with the {kind} of the model, in its order, or train a new model on these data"
    )


def _listed(names: Sequence[str], start: int = 0) -> str:
    """Return at most MAX_LISTED_NAMES names, from the index `start` on, separated by commas, for a message."""
    texts = [f"{name:.40}" for name in names[start : start + MAX_LISTED_NAMES]]
    return ", ".join(["..."] * (start > 0) + texts + ["..."] * (len(names) > start + MAX_LISTED_NAMES))
