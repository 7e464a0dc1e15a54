"""Networks on MobileNetV2's features that output heat maps or coordinates for the key-points of one object."""

from pellucid.combine import Graph, Sequential
from pellucid.combine.base import Combinator
from pellucid.layers import BatchNorm, Concat, Conv2d, Crop, Dense, Flatten, ReLU, Upsample
from pellucid.layers.base import Layer
from pellucid.models.fcn import KERAS_EPSILON
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.parts import LOGITS_INITIALIZER, chain
from pellucid.models.structure import features

# Stages of MobileNetV2 whose outputs the head receives, coarse to fine: 32, 16, 8 and 4 times smaller than the image.
OUTPUT_STAGES = ("stage7", "stage5", "stage3", "stage2")


def heat_maps(points: int = 68, width: int = 64, epsilon: float = 1e-5) -> Graph:
    """Return a U-Net on MobileNetV2's features for images of any size; it outputs logits (points, H/4, W/4).

    Beginning with the coarsest maps, each step upsamples them by 2, concatenates the features of this size, and applies
    a 3 x 3 convolution with `width` filters. H/4 and W/4 are rounded up. epsilon: of MobileNetV2's batch
    normalization, 1e-3 for Keras' weights.
    Source: Ronneberger, Fischer and Brox 2015, figure 1; Sandler, Howard, Zhu, Zhmoginov and Chen 2018.
    """
    nodes = {"features": (_backbone(epsilon, OUTPUT_STAGES), "input"), "head": (_maps_head(points, width), "features")}
    return Graph(nodes, ("head",))


def coordinates(points: int = 68, width: int = 64, units: int = 256, epsilon: float = 1e-5) -> Sequential:
    """Return MobileNetV2's features with dense layers over the maps of its last stage; it outputs (2 * points,) values.

    A 1 x 1 convolution reduces these maps to `width` channels, so the dense layer of `units` over all positions has
    fewer weights. epsilon: see `heat_maps`.
    Source: Toshev and Szegedy 2014, DeepPose, section 3.1; Sandler, Howard, Zhu, Zhmoginov and Chen 2018.
    """
    head = Sequential(
        narrow=_conv_norm_relu(width, 1),
        flatten=Flatten(),
        dense=Dense(units),
        relu=ReLU(),
        scores=Dense(2 * points, init_weight=LOGITS_INITIALIZER),
    )
    return Sequential(features=_backbone(epsilon, OUTPUT_STAGES[:1]), head=head)


def mobilenet_of(net: Layer) -> Layer | None:
    """Return the MobileNetV2 whose features a network of this module has; None for any other network.

    With the epsilon of Keras' weights, it has Keras' padding, see `models.fcn.backbone_of`.
    """
    features_graph = net.layers.get("features") if isinstance(net, Combinator) else None
    for epsilon in (KERAS_EPSILON, 1e-5):
        if features_graph in (_backbone(epsilon, OUTPUT_STAGES), _backbone(epsilon, OUTPUT_STAGES[:1])):
            return mobilenet_v2(epsilon=epsilon, pad="same" if epsilon == KERAS_EPSILON else "both")
    return None


def _backbone(epsilon: float, output_stages: tuple[str, ...]) -> Graph:
    """Return MobileNetV2's stages 1 to 7 with an output for each of `output_stages`."""
    all_features = features(mobilenet_v2(epsilon=epsilon))
    assert isinstance(all_features, Combinator)
    stages = {name: stage for name, stage in all_features.layers.items() if name != "last"}
    return Graph(chain(stages, "input"), output_stages)


def _maps_head(points: int, width: int) -> Graph:
    inputs = ("maps", *(f"skip{number}" for number in range(1, len(OUTPUT_STAGES))))
    nodes: dict[str, tuple[Layer | str, ...]] = {"narrow": (_conv_norm_relu(width, 1), "maps")}
    current = "narrow"
    for skip in inputs[1:]:
        nodes |= {
            f"up_{skip}": (Upsample(2.0), current),
            f"crop_{skip}": (Crop(), f"up_{skip}", skip),
            f"concat_{skip}": (Concat(), skip, f"crop_{skip}"),
            f"merged_{skip}": (_conv_norm_relu(width, 3), f"concat_{skip}"),
        }
        current = f"merged_{skip}"
    nodes["scores"] = (Conv2d(points, 1, init_weight=LOGITS_INITIALIZER), current)
    return Graph(nodes, ("scores",), inputs)


def _conv_norm_relu(filters: int, kernel: int) -> Sequential:
    return Sequential(conv=Conv2d(filters, kernel, padding=kernel // 2, bias=False), norm=BatchNorm(), relu=ReLU())
