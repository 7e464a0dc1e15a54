"""Networks that output a heat map for each key-point."""

from pellucid.combine import Graph, Sequential
from pellucid.combine.base import Combinator
from pellucid.layers import BatchNorm, Concat, Conv2d, Crop, ReLU, Upsample
from pellucid.layers.base import Layer
from pellucid.models.fcn import KERAS_EPSILON
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.parts import LOGITS, chain
from pellucid.models.surface import features

# MobileNetV2's stages whose outputs are read, from coarse to fine: 32, 16, 8 and 4 times smaller than the image.
TAPS = ("stage7", "stage5", "stage3", "stage2")


def heatmaps(points: int = 68, width: int = 64, epsilon: float = 1e-5) -> Graph:
    """Return a U-Net on MobileNetV2's features for images of any size; it outputs logits (points, H/4, W/4).

    From the coarsest maps on, each step doubles the size, appends the features of that size, and convolves 3 x 3 to
    `width` channels. Sides are rounded up where they are no multiples of 32. epsilon: of MobileNetV2's batch
    normalization, 1e-3 for Keras' weights.
    Source: Ronneberger, Fischer and Brox 2015, figure 1; Sandler, Howard, Zhu, Zhmoginov and Chen 2018.
    """
    net = {"features": (backbone(epsilon), "input"), "head": (_head(points, width), "features")}
    return Graph(net, ("head",))


def backbone(epsilon: float) -> Graph:
    """Return MobileNetV2's stages up to the last that is read, with an output for each of TAPS."""
    whole = features(mobilenet_v2(epsilon=epsilon))
    assert isinstance(whole, Combinator)
    stages = {name: stage for name, stage in whole.layers.items() if name != "last"}
    return Graph(chain(stages, "input"), TAPS)


def mobilenet_of(net: Layer) -> Layer | None:
    """Return MobileNetV2 for the weights of such a network's features; None for any other network.

    As Keras' weights need it where its epsilon is theirs, see models.fcn.backbone_of.
    """
    inner = net.layers.get("features") if isinstance(net, Graph) else None
    for epsilon in (KERAS_EPSILON, 1e-5):
        if inner == backbone(epsilon):
            return mobilenet_v2(epsilon=epsilon, pad="same" if epsilon == KERAS_EPSILON else "both")
    return None


def _head(points: int, width: int) -> Graph:
    inputs = ("maps", *(f"skip{number}" for number in range(1, len(TAPS))))
    nodes: dict[str, tuple[Layer | str, ...]] = {"narrow": (_convolution(width, 1), "maps")}
    at = "narrow"
    for skip in inputs[1:]:
        nodes |= {
            f"up_{skip}": (Upsample(2.0), at),
            f"crop_{skip}": (Crop(), f"up_{skip}", skip),
            f"concat_{skip}": (Concat(), skip, f"crop_{skip}"),
            f"merged_{skip}": (_convolution(width, 3), f"concat_{skip}"),
        }
        at = f"merged_{skip}"
    nodes["scores"] = (Conv2d(points, 1, init_weight=LOGITS), at)
    return Graph(nodes, ("scores",), inputs)


def _convolution(filters: int, kernel: int) -> Sequential:
    return Sequential(conv=Conv2d(filters, kernel, padding=kernel // 2, bias=False), norm=BatchNorm(), relu=ReLU())
