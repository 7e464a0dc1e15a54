"""Networks for the key-points of one object: heat maps, and coordinates, on MobileNetV2's features."""

from pellucid.combine import Graph, Sequential
from pellucid.combine.base import Combinator
from pellucid.layers import BatchNorm, Concat, Conv2d, Crop, Dense, Flatten, ReLU, Upsample
from pellucid.layers.base import Layer
from pellucid.models.fcn import KERAS_EPSILON
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.parts import LOGITS, chain
from pellucid.models.surface import features

# MobileNetV2's stages whose outputs are read, from coarse to fine: 32, 16, 8 and 4 times smaller than the image.
TAPS = ("stage7", "stage5", "stage3", "stage2")


def heat_maps(points: int = 68, width: int = 64, epsilon: float = 1e-5) -> Graph:
    """Return a U-Net on MobileNetV2's features for images of any size; it outputs logits (points, H/4, W/4).

    From the coarsest maps on, each step doubles the size, appends the features of that size, and convolves 3 x 3 to
    `width` channels. Sides are rounded up where they are not multiples of 32. epsilon: of MobileNetV2's batch
    normalization, 1e-3 for Keras' weights.
    Source: Ronneberger, Fischer and Brox 2015, figure 1; Sandler, Howard, Zhu, Zhmoginov and Chen 2018.
    """
    net = {"features": (_backbone(epsilon, TAPS), "input"), "head": (_maps_head(points, width), "features")}
    return Graph(net, ("head",))


def coordinates(points: int = 68, width: int = 64, units: int = 256, epsilon: float = 1e-5) -> Sequential:
    """Return MobileNetV2's features with dense layers over the maps of its last stage; it outputs (2 points,) numbers.

    A 1 x 1 convolution reduces these maps to `width` channels, so that the dense layer of `units` over all positions
    stays small. epsilon: as of `heat_maps`.
    Source: Toshev and Szegedy 2014, DeepPose, section 3.1; Sandler, Howard, Zhu, Zhmoginov and Chen 2018.
    """
    head = Sequential(
        narrow=_convolution(width, 1), flatten=Flatten(), dense=Dense(units), relu=ReLU(),
        scores=Dense(2 * points, init_weight=LOGITS),
    )  # fmt: skip
    return Sequential(features=_backbone(epsilon, TAPS[:1]), head=head)


def mobilenet_of(net: Layer) -> Layer | None:
    """Return MobileNetV2 for the weights of such a network's features; None for any other network.

    As Keras' weights need it where its epsilon is theirs, see models.fcn.backbone_of.
    """
    inner = net.layers.get("features") if isinstance(net, Combinator) else None
    for epsilon in (KERAS_EPSILON, 1e-5):
        if inner in (_backbone(epsilon, TAPS), _backbone(epsilon, TAPS[:1])):
            return mobilenet_v2(epsilon=epsilon, pad="same" if epsilon == KERAS_EPSILON else "both")
    return None


def _backbone(epsilon: float, taps: tuple[str, ...]) -> Graph:
    """Return MobileNetV2's stages up to the last that is read, with an output for each of `taps`."""
    whole = features(mobilenet_v2(epsilon=epsilon))
    assert isinstance(whole, Combinator)
    stages = {name: stage for name, stage in whole.layers.items() if name != "last"}
    return Graph(chain(stages, "input"), taps)


def _maps_head(points: int, width: int) -> Graph:
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
