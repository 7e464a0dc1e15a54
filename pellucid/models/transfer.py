"""Transfer learning: a new classifier on the features of a network of the zoo."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, Literal

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine import Sequential
from pellucid.models.airbench import airbench96
from pellucid.models.alexnet import alexnet
from pellucid.models.densenet import densenet121
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.parts import average_head, dense_head
from pellucid.models.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from pellucid.models.squeezenet import squeezenet1_1
from pellucid.models.structure import features
from pellucid.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from pellucid.operators import AffineMap

BACKBONES: dict[str, Callable[..., Sequential]] = {
    net.__name__: net
    for net in (
        airbench96, alexnet, densenet121, mobilenet_v2, resnet18, resnet34, resnet50, resnet101, resnet152,
        squeezenet1_1, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn,
    )
}  # fmt: skip


def regressor(
    backbone: str = "airbench96",
    values: int = 1,
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
) -> Sequential:
    """Return the features of a backbone, and a head that outputs numbers in the units of the targets.

    backbone: the name of the network in BACKBONES. values: how many numbers. mean, std: of the targets in the
    training data, one for each number; the dense layer outputs standardized numbers, which the last layer converts.
    Source: the features are those of the backbone's source; the scaling of targets is Bishop 1995, "Neural Networks for
    Pattern Recognition", section 8.2.
    Raises PellucidError for an unknown backbone, and for other counts.
    """
    if backbone not in BACKBONES:
        raise PellucidError(f"no backbone {backbone!r}{nearest(backbone, BACKBONES) or f'; known: {[*BACKBONES]}'}")
    if not values == len(mean) == len(std):
        raise PellucidError(
            f"regressor: {values} values, {len(mean)} means and {len(std)} standard deviations; give one for each value"
        )
    units = AffineMap(tuple(std), tuple(mean))
    return Sequential(features=features(BACKBONES[backbone]()), head=Sequential(**average_head(values), units=units))


def transfer(
    backbone: str = "vgg16",
    classes: int = 10,
    units: Sequence[int] = (128, 128, 128),
    dropout: float = 0.5,
    epsilon: float = 1e-5,
    pad: Literal["both", "same"] = "both",
) -> Sequential:
    """Return the features of a backbone with new dense layers over the flattened maps; it outputs logits.

    backbone: the name of the network in BACKBONES. units: the number of units of each dense layer before the scores.
    dropout: the probability after the ReLU of each of these layers; 0 for none. epsilon, pad: arguments of the
    backbone, for weights that need other values than the defaults: mobilenet_v2 with Keras' weights needs 1e-3 and
    "same".
    Raises PellucidError for an unknown backbone, and for an epsilon or pad if the backbone has no such argument.
    Source: Yosinski, Clune, Bengio and Lipson 2014, How transferable are features in deep networks?
    """
    if backbone not in BACKBONES:
        hint = nearest(backbone, BACKBONES) or f"; known: {', '.join(BACKBONES)}"
        raise PellucidError(f"no backbone {backbone!r}{hint}")
    arguments: dict[str, Any] = {
        name: value for name, value, default in (("epsilon", epsilon, 1e-5), ("pad", pad, "both")) if value != default
    }
    for name in arguments:
        if name not in signature(BACKBONES[backbone]).parameters:
            raise PellucidError(f"the backbone {backbone} has no argument {name}; leave it out")
    head = dense_head(classes, units, dropout, dropout_last=True)
    return Sequential(features=features(BACKBONES[backbone](**arguments)), head=Sequential(**head))
