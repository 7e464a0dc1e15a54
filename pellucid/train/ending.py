"""How a network must end for its loss, and for the classes of its data."""

from collections.abc import Sequence
from typing import Any

from pellucid.combine import Combinator, Sequential
from pellucid.errors import PellucidError
from pellucid.layers import Flatten, Identity, LogSoftmax, Reshape, Sigmoid, Softmax
from pellucid.layers.base import Layer
from pellucid.losses import BinaryCrossEntropy, Loss, NegativeLogLikelihood, SoftmaxCrossEntropy

# Losses that contain the activation that a network might end with.
CONTAINED: dict[type[Loss], tuple[type[Layer], ...]] = {
    BinaryCrossEntropy: (Sigmoid,),
    SoftmaxCrossEntropy: (Softmax, LogSoftmax),
}
SHAPING = (Flatten, Identity, Reshape)  # hand every value on as it is
LISTED = 5  # classes, in an error


def check_ending(net: Layer, loss: Loss) -> None:
    """Refuse an activation that the loss contains, and the lack of one that it needs.

    What a network ends in is known where Sequentials lead to a layer; of other combinators nothing is refused.
    """
    path, last = last_layer(net)
    where, kind, name = path or "the network", type(last).__name__, type(loss).__name__
    if isinstance(last, CONTAINED.get(type(loss), ())):
        raise PellucidError(f"{where}: {kind} stands before {name}, which contains it; drop that layer")
    if isinstance(loss, NegativeLogLikelihood) and not isinstance(last, (LogSoftmax, Combinator)):
        raise PellucidError(
            f"{where}: {kind} stands before {name}, which takes log-probabilities; end the network with LogSoftmax "
            "(an mlp with output='log_softmax'), or take the loss softmax_cross_entropy, which contains it"
        )


def last_layer(net: Layer) -> tuple[str, Layer]:
    """Return the path and the layer that the outputs come from, passing over those that only change the shape."""
    path: list[str] = []
    last = net
    while isinstance(last, Sequential):
        computing = [(name, layer) for name, layer in last.children.items() if not isinstance(layer, SHAPING)]
        if not computing:
            break
        name, last = computing[-1]
        path.append(name)
    return ".".join(path), last


def check_classes(outputs: Any, classes: Sequence[str] | None, where: str = "", remedy: str = "") -> None:
    """Require one output for each class, or a single one for two; what has several outputs is left alone.

    outputs: the shape that the network puts out, (K,) or (K, ...). where and remedy: how the error begins and ends.
    """
    if classes is None or not outputs or not isinstance(outputs[0], int):
        return
    count = len(classes)
    if outputs[0] != count and (outputs[0], count) != (1, 2):
        names = ", ".join(f"{name:.40}" for name in classes[:LISTED]) + (", ..." if count > LISTED else "")
        raise PellucidError(
            f"{where}the network puts out {outputs[0]} values, but the data have {count} classes ({names}); "
            f"{remedy or f'end the network with {count} outputs, such as Dense({count})'}"
        )
