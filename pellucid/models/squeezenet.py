"""SqueezeNet."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Parallel, Sequential
from pellucid.layers import AdaptiveAvgPool2d, Concat, Conv2d, Dropout, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.models.parts import network

# For each fire module: filters of the squeeze layer, and filters of each of the two expand branches.
FIRE_FILTERS = {
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}


@checked
def squeezenet1_1(classes: int = 1000) -> Sequential:
    """Return SqueezeNet 1.1 for 224 x 224 images, 1,235,496 parameters for 1000 classes; it outputs logits.

    Its `scores` layer is a 1 x 1 convolution, followed by ReLU and global average pooling. The child `features`
    outputs (512, 13, 13).
    Source: Iandola, Han, Moskewicz, Ashraf, Dally and Keutzer 2016, figure 2; version 1.1 is the authors' later
    release, which has fewer operations in its first layers.
    """
    features: dict[str, Layer] = {
        "conv1": Conv2d(64, 3, stride=2),
        "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2, ceil_mode=True),
    }
    for name, (squeeze, expand) in FIRE_FILTERS.items():
        features[name] = _fire(squeeze, expand)
        if name in ("fire3", "fire5"):
            features[name.replace("fire", "pool")] = MaxPool2d(3, 2, ceil_mode=True)
    head: dict[str, Layer] = {
        "dropout": Dropout(0.5),
        "scores": Conv2d(classes, 1),
        "relu": ReLU(),
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
    }
    return network(features, head)


def _fire(squeeze_filters: int, expand_filters: int) -> Sequential:
    branches = {"expand1x1": Conv2d(expand_filters, 1), "expand3x3": Conv2d(expand_filters, 3, padding=1)}
    return Sequential(
        squeeze=Conv2d(squeeze_filters, 1),
        squeeze_relu=ReLU(),
        expand=Parallel(branches, Concat()),
        relu=ReLU(),  # one ReLU after the concatenation is equivalent to one per branch, and needs only one cache
    )
